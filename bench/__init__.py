"""Benchmarks: ours, peers and the machine's own limits, timed in turn in one process.

Nothing here is installed with the package; run it from a checkout with ``python -m bench``.
"""
