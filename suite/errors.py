"""What goes wrong in a way that a user can mend: one clear sentence each."""

from pydantic import ValidationError


class InputError(ValueError):
    """Bad input: says what was wrong, what came in and what would be right."""


class Diverged(RuntimeError):
    """A training can come to nothing: a loss is no finite number, or one network has won."""


class Unwritable(OSError):
    """A disk is full, or will not be written to, in the middle of it all: says what and why."""


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
    """One line for one error, whoever raised it. What came in cannot speak to the terminal.

    Args:
        error: What was raised.
        name: What the error is about, where it does not say so itself.
    """
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        names = [part for part in first["loc"] if isinstance(part, str)]
        wish = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        if first["type"] == "missing" and isinstance(number := first["loc"][-1], int):
            wish = f"must have more than {number} items"
        elif first["type"] == "unexpected_keyword_argument":
            wish = "is not known"
        elif first["type"] == "unexpected_positional_argument":
            wish = "must be given by its name"
        elif first["type"] in ("too_short", "too_long"):
            wish = wish.replace("Tuple should", "must").replace(" after validation", "")
        said = f"`{'.'.join(names) or name}` {wish}. Received: {first['input']}"
    else:
        said = " ".join(str(error).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in said)
