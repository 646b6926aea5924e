"""The engine beside its limit and its peers: `python -m benchmarks.engine`. The rules are in __main__."""
