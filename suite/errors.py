"""Errors that a user can act on. Each has a message of one clear sentence."""

import re
from collections.abc import Callable
from typing import Any

NOTHING = object()
KNOB = re.compile("`([^`]*)`")
LONGEST = 200  # characters of a value that an error repeats


class InputError(ValueError):
    """Bad input. The message says what the input must be, and what was received.

    Args:
        requirement: What must be, such as "`batch_size` must be even". Knobs are in backticks; a
            command line prints them as flags, `--batch-size`.
        received: The input; left out if the requirement already names it.
    """

    def __init__(self, requirement: str, received: Any = NOTHING) -> None:
        super().__init__(requirement, received)
        self.requirement, self.received = requirement, received

    def __str__(self) -> str:
        return self.worded(lambda knob: f"`{knob}`")

    def worded(self, spelling: Callable[[str], str]) -> str:
        """The message, with every knob as `spelling` returns it for the knob's name."""
        requirement = KNOB.sub(lambda knob: spelling(knob[1]), self.requirement)
        if self.received is NOTHING:
            return requirement
        return f"{requirement}. Received: {self.received}"


class InputFailed(InputError):
    """Input that was good before a training, and fails in it, as an environment or a file may."""


class Diverged(RuntimeError):
    """A training cannot succeed: a loss is not finite, or one of two opposed networks has won."""


class Unwritable(OSError):
    """A file cannot be written during a run, because the disk is full, for example."""


class WorkerLost(RuntimeError):
    """Another worker of the cluster is gone, or cannot be reached any more."""


class Interrupted(BaseException):
    """A signal asked the training to stop, and its state was saved.

    Not an `Exception`: like `KeyboardInterrupt`, it must pass through `except Exception`.

    Args:
        message: Where the training stopped, and how to resume it.
        signal_number: The signal, such as `signal.SIGTERM`; the exit code is 128 plus this number.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def one_line_message(error: BaseException, name: str = "value") -> str:
    """The message of any error as one printable line.

    Args:
        error: The error.
        name: The knob that the error is about, if the error does not name one.
    """
    return printable(str(as_input_error(error, name)))


def as_input_error(error: BaseException, name: str = "value") -> BaseException:
    """Converts a `ValidationError` of pydantic to an `InputError`; returns other errors unchanged.

    Args:
        error: The error.
        name: The knob that the error is about, if the error does not name one.
    """
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return error
    first = error.errors(include_url=False)[0]
    names = [part for part in first["loc"] if isinstance(part, str)]
    rule = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if first["type"] == "missing" and isinstance(number := first["loc"][-1], int):
        rule = f"must have more than {number} items"
    elif first["type"] == "unexpected_keyword_argument":
        rule = "is not known"
    elif first["type"] == "unexpected_positional_argument":
        rule = "must be given by its name"
    elif first["type"] in ("too_short", "too_long"):
        rule = rule.replace("Tuple should", "must").replace(" after validation", "")
    return InputError(f"`{'.'.join(names) or name}` {rule}", _brief(first["input"]))


def _brief(value: Any) -> Any:
    """The value, or only its type if its text is long, as that of an array."""
    return value if len(str(value)) <= LONGEST else f"an object of {type(value).__name__}"


def printable(text: str) -> str:
    """Text in one line. Control characters, which a terminal would obey, are escaped."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
