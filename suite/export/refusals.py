"""What exports say when they refuse their inputs."""

import re

from suite.errors import InputError

# What an export's own check of its inputs raises: what must be and, in some, what was received.
REFUSAL = re.compile(r"assertion failed: \[([^\]]*\bmust\b[^\]]*)\](?: \[([^\]]*)\])?")


def refusal(error: Exception) -> InputError | None:
    """What an export's own check of its inputs says; None for an error of another kind."""
    words = REFUSAL.search(str(error))
    return InputError(*filter(None, words.groups())) if words else None
