"""The applications: one module each, found by being here."""

import os
import sys

# `python -m apps.<name>`, where `sys.argv` still reads so, talks to people. TensorFlow writes to
# standard error while it is imported, before any log level counts: keep that out of the way.
# Whoever imports a builder from here keeps everything as it is.
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
