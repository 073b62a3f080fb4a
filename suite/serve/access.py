"""Access rules of the server: the token, the size and time of a request, the web origins."""

import hmac
from typing import NamedTuple
from urllib.parse import urlsplit

from suite.serve.status import Code, RequestError


class Access(NamedTuple):
    """The access rules that hold for every request.

    Args:
        token: The bearer token that a request must carry; None if no token is needed.
        max_bytes: Largest size of a body after decompression.
        timeout: Seconds after which a request fails.
        origins: Origins of the web pages that may use this server from a browser; `*` for all.
    """

    token: str | None = None
    max_bytes: int = 64 * 2**20
    timeout: float = 60.0
    origins: tuple[str, ...] = ()

    def check_token(self, authorization: str) -> None:
        """Compares the header `Authorization` of a request with the token.

        Raises:
            RequestError: The header does not carry the token.
        """
        scheme, _, token = authorization.partition(" ")
        is_right = hmac.compare_digest(token.encode(), (self.token or "").encode())
        if self.token and not (scheme.lower() == "bearer" and is_right):
            raise RequestError("a bearer token is needed", Code.UNAUTHENTICATED)

    def check_site(self, site: str, origin: str, host: str) -> None:
        """Refuses what a web page of another origin sends, unless `origins` has it.

        Browsers keep the answer from such a page, but the work would be done.

        Args:
            site: The header `Sec-Fetch-Site`, which browsers send to this machine and by TLS, and
                pages cannot change; empty without one.
            origin: The header `Origin`; empty without one, as of clients that are no browsers.
            host: The header `Host`, by which pages are told apart where there is no `site`.

        Raises:
            RequestError: The page may not use this server.
        """
        is_other = site in ("cross-site", "same-site")
        if not site and origin:
            try:
                is_other = urlsplit(origin).netloc != host
            except ValueError:  # no address, as of a malformed one of IPv6
                is_other = True
        if is_other and not {origin, "*"} & set(self.origins):
            raise RequestError("the page must be of an allowed origin", Code.PERMISSION_DENIED)

    def timeout_error(self) -> RequestError:
        """The error for a request that took longer than `timeout`."""
        return RequestError(f"no answer within {self.timeout:g} seconds", Code.DEADLINE_EXCEEDED)
