"""What a server counts, for Prometheus."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from suite.serve.status import RequestError


class Monitor:
    """Counts requests, and how long they take."""

    def __init__(self) -> None:
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
            if error.kind.http == 404:
                model = ""  # clients must not be able to make up names that are kept
            raise
        except BaseException:
            code = "INTERNAL"
            raise
        finally:
            self._requests.labels(model, way, code).inc()
            self._seconds.labels(model).observe(time.perf_counter() - started)
