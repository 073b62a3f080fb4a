"""The error of a request, with its codes in HTTP and gRPC."""

from enum import Enum
from http import HTTPStatus

from grpc import StatusCode


class Code(Enum):
    """Reasons for the failure of a request, with the code in gRPC and the code in HTTP."""

    INVALID_ARGUMENT = (StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST)
    NOT_FOUND = (StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND)
    UNAUTHENTICATED = (StatusCode.UNAUTHENTICATED, HTTPStatus.UNAUTHORIZED)
    PERMISSION_DENIED = (StatusCode.PERMISSION_DENIED, HTTPStatus.FORBIDDEN)
    TOO_LARGE = (StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    UNAVAILABLE = (StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE)
    DEADLINE_EXCEEDED = (StatusCode.DEADLINE_EXCEEDED, HTTPStatus.GATEWAY_TIMEOUT)

    @property
    def grpc(self) -> StatusCode:
        return self.value[0]

    @property
    def http(self) -> HTTPStatus:
        return self.value[1]


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        message: One sentence for the client.
        code: The reason.
    """

    def __init__(self, message: str, code: Code = Code.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.code = code
