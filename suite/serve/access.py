"""Who may ask, and how much."""

import hmac
from typing import NamedTuple

from suite.serve.status import Kind, RequestError


class Access(NamedTuple):
    """What every request must keep to.

    Args:
        token: That it must bear; None for no such demand.
        body_size: Most bytes of it.
        seconds: That it may take.
    """

    token: str | None = None
    body_size: int = 64 * 2**20
    seconds: float = 60.0

    def admit(self, authorization: str) -> None:
        """Lets a request pass.

        Args:
            authorization: What stands in its header of that name.

        Raises:
            RequestError: It does not bear the token.
        """
        wanted = f"Bearer {self.token}"
        if self.token and not hmac.compare_digest(authorization.encode(), wanted.encode()):
            raise RequestError("a bearer token is needed", Kind.UNAUTHENTICATED)

    def too_late(self) -> RequestError:
        """What a request is told whose time is over."""
        return RequestError(f"no answer within {self.seconds:g} seconds", Kind.DEADLINE_EXCEEDED)
