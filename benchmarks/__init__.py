"""Benchmarks, which report ratios within one run."""
