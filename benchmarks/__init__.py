"""prealloc beside the usual ways, in one run: `python -m benchmarks`."""
