"""What goes wrong in a way that a user can mend: one clear sentence each."""

import re
from collections.abc import Callable
from typing import Any

NOTHING = object()
KNOB = re.compile("`([^`]*)`")
LONGEST = 200  # characters of a value that an error repeats


class InputError(ValueError):
    """Bad input: what must be, and what was received.

    Args:
        requirement: What must be; names of knobs stand in backticks (`batch_size`), and are
            spelled as flags where the input came from a command line.
        received: What came in instead; left out where it is part of the sentence already.
    """

    def __init__(self, requirement: str, received: Any = NOTHING) -> None:
        super().__init__(requirement, received)
        self.requirement, self.received = requirement, received

    def __str__(self) -> str:
        return self.worded(lambda knob: f"`{knob}`")

    def worded(self, spelling: Callable[[str], str]) -> str:
        """The sentence, with knobs as they are spelled where the input came from."""
        requirement = KNOB.sub(lambda knob: spelling(knob[1]), self.requirement)
        if self.received is NOTHING:
            return requirement
        return f"{requirement}. Received: {self.received}"


class Diverged(RuntimeError):
    """A training can come to nothing: a loss is no finite number, or one network has won."""


class Unwritable(OSError):
    """A disk is full, or cannot be written to, in the middle of a run: says where and why."""


class WorkerLost(RuntimeError):
    """Another worker of the cluster is gone, or cannot be reached any more."""


class Interrupted(BaseException):
    """A signal asked the training to stop, and its state was saved.

    Not an `Exception`: like `KeyboardInterrupt`, it must pass through `except Exception`.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def sentence(error: BaseException, name: str = "value") -> str:
    """One printable line for an error, whoever raised it.

    Args:
        error: What was raised.
        name: What the error is about, where it does not say so itself.
    """
    return printable(str(refusal(error, name)))


def refusal(error: BaseException, name: str = "value") -> BaseException:
    """The error, or, where a check of types has raised it, what that says as an `InputError`."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return error
    first = error.errors(include_url=False)[0]
    names = [part for part in first["loc"] if isinstance(part, str)]
    must = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if first["type"] == "missing" and isinstance(number := first["loc"][-1], int):
        must = f"must have more than {number} items"
    elif first["type"] == "unexpected_keyword_argument":
        must = "is not known"
    elif first["type"] == "unexpected_positional_argument":
        must = "must be given by its name"
    elif first["type"] in ("too_short", "too_long"):
        must = must.replace("Tuple should", "must").replace(" after validation", "")
    return InputError(f"`{'.'.join(names) or name}` {must}", received=_shown(first["input"]))


def _shown(value: Any) -> Any:
    """The value, or, where it is long, such as an array, only what it is."""
    return value if len(str(value)) <= LONGEST else f"an object of {type(value).__name__}"


def printable(text: str) -> str:
    """Text in one line that cannot speak to the terminal."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
