"""Benchmarks: every module answers one question, and writes `benchmarks/results/<name>.json`."""
