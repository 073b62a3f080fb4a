"""What every application of the suite is made with.

from suite import App, Run, train
"""

import os
import sys

# `python -m ...`, where `sys.argv` still reads so, talks to people. TensorFlow writes to standard
# error while it is imported, before any log level counts: keep that out of the way. Whoever imports
# a builder or the suite keeps everything as it is.
if sys.argv[:1] == ["-m"]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    standard_error = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        os.close(nowhere)

from suite.app import App
from suite.errors import Diverged, InputError, Interrupted
from suite.run import Run
from suite.training import Trained, train

__all__ = ["App", "Diverged", "InputError", "Interrupted", "Run", "Trained", "train"]
