"""Benchmarks: a module answers a question, and writes `results/<name>.json`.

Others hold what several need: `turns` runs contestants, `results` writes records, `table` makes the
tables of them.
"""
