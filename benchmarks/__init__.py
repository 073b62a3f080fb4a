"""Benchmarks: a module answers a question, and writes `results/<name>.json`.

Those of applications stand in folders by subject, those of the suite itself here: `seeds`,
`compare`, `search`, `distribute`, `reliability` and `worker_kills`. Others hold what several need:
`turns` runs contestants, `results` writes records, `table` makes the tables of them.
"""

import sys

# PyTorch loads Triton where it is installed, whose LLVM ends a process that has TensorFlow's. It
# compiles for GPUs, so that nothing is lost without it.
sys.modules["triton"] = None  # type: ignore[assignment]
