"""Benchmarks: each prints one JSON object. Run them from the root: `python -m benchmarks.agent`."""
