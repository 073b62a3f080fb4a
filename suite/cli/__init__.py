"""The command line of an app, generated from its signatures and docstrings."""

from suite.cli.printing import columns, show_messages
from suite.cli.program import main, run

__all__ = ["columns", "main", "run", "show_messages"]
