"""Live transports beside their floor and their peers: `python -m benchmarks.fanout`. The rules are in __main__."""
