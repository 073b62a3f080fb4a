"""The server's metrics, for Prometheus."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.requests import ClientDisconnect

from suite.serve.models import Models
from suite.serve.status import RequestError


class Monitor:
    """Counts requests, and measures how long they take.

    Args:
        models: Only names of these models become labels. Other names that clients send would fill
            the memory.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "suite_requests", "Requests answered", ("model", "way", "code"), registry=self.registry
        )
        self._seconds = Histogram(
            "suite_request_seconds", "Seconds of a request", ("model",), registry=self.registry
        )

    @contextmanager
    def request(self, model: str, way: str) -> Iterator[None]:
        """Counts and times the body of a `with` statement as one request.

        Args:
            model: The name that the client asked for.
            way: The interface that received the request, `rest` or `grpc`.
        """
        start, code = time.perf_counter(), "OK"
        try:
            yield
        except RequestError as error:
            code = error.code.name
            raise
        except (asyncio.CancelledError, ClientDisconnect):
            code = "CANCELLED"
            raise
        except BaseException:
            code = "INTERNAL"
            raise
        finally:
            label = model if model in self._models.names else ""
            self._requests.labels(label, way, code).inc()
            self._seconds.labels(label).observe(time.perf_counter() - start)
