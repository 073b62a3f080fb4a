"""What is wrong with a request, in TensorFlow's words, for both ways in."""

from enum import Enum
from http import HTTPStatus

from grpc import StatusCode


class Kind(Enum):
    """Kinds of errors, and the codes that the two ways in have for them."""

    INVALID_ARGUMENT = (StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST)
    NOT_FOUND = (StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND)
    UNAUTHENTICATED = (StatusCode.UNAUTHENTICATED, HTTPStatus.UNAUTHORIZED)
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
    """A request that gets no tensors for an answer.

    Args:
        message: One sentence.
        kind: Of error.
    """

    def __init__(self, message: str, kind: Kind = Kind.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.kind = kind
