"""Standard output and error that take every text, whatever the locale, a shell or a log file."""

import io
import os
import sys


def prepare_output() -> None:
    """Lets a program write to standard output and error without a thought; called as it starts.

    Characters that the encoding does not have are escaped rather than an error. A stream that the
    shell has closed (`2>&-`) swallows what is written, so that nothing goes into whatever file
    would get its number.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere() -> io.TextIOWrapper:
    # Kept open for as long as the program runs.
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
