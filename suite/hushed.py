"""Keeps quiet what TensorFlow writes to standard error while it is imported.

It does so before any log level counts. To be imported first by what `python -m ...` runs, which
talks to people, and where `sys.argv` still reads so; whoever imports a builder or the suite keeps
everything as it is.
"""

import os
import sys

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
