"""What a server counts, for Prometheus."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from suite.serve.models import Models
from suite.serve.status import RequestError


class Monitor:
    """Counts requests, and how long they take.

    Args:
        models: Whose names are kept; clients must not be able to make some up.
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
        """Times and counts what is done inside."""
        started, code = time.perf_counter(), "OK"
        try:
            yield
        except RequestError as error:
            code = error.kind.name
            raise
        except BaseException:
            code = "INTERNAL"
            raise
        finally:
            model = model if model in self._models.names else ""
            self._requests.labels(model, way, code).inc()
            self._seconds.labels(model).observe(time.perf_counter() - started)
