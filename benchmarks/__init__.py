"""Benchmarks: a module answers a question, and writes `results/<name>.json`.

Those of applications stand in folders by subject, those of the suite itself here: `seeds`,
`compare`, `search`, `distribute`, `reliability` and `worker_kills`. Others hold what several need:
`turns` runs contestants, `results` writes records, `table` makes the tables of them.
"""
