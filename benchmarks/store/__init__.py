"""The store beside its limit and its peer: `python -m benchmarks.store`. The rules are in __main__."""
