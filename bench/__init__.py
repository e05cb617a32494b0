"""Benchmarks: what the proxy costs, beside what else could stand in its place.

    python -m bench [--quick]
"""
