"""Benchmarks against the peers, on the same work in one run. Run: `python -m benchmarks`."""
