"""Benchmarks: limits from a job's shape, runs on simulated hardware, traces, plots, synthesis."""
