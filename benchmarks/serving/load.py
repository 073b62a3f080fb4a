"""Clients that send a server requests again and again, as soon as they have an answer.

python -m benchmarks.serving.load http://127.0.0.1:8501/v1/models/mnist_cnn:predict body.json

The benchmarks of the server call it.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cyclopts
import httptools
import numpy as np
import uvloop


class Client(asyncio.Protocol):
    """A client that sends requests over one connection, which stays open.

    Args:
        requests: The bytes of one request after the other.
        end: When to stop, by `time.perf_counter`.
        answers: Gets the time of every answer, the seconds it took, and its status, which is 0 for
            a lost connection.
        over: Is set after the last answer.
    """

    def __init__(
        self,
        requests: Iterator[bytes],
        end: float,
        answers: list[tuple[float, float, int]],
        over: asyncio.Future[None],
    ) -> None:
        self.requests, self.end, self.answers, self.over = requests, end, answers, over

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.answers.append((time.perf_counter(), 0.0, 0))
            self.over.set_result(None)

    def on_message_complete(self) -> None:
        """Takes down an answer, and sends the next request; the parser calls it."""
        now = time.perf_counter()
        self.answers.append((now, now - self.started, self.parser.get_status_code()))
        if now < self.end:
            self._send()
        else:
            self.over.set_result(None)
            self.transport.close()

    def _send(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.started = time.perf_counter()
        self.transport.write(next(self.requests))


async def _clients(
    url: str, bodies: Sequence[bytes], clients: int, seconds: float, warm_up: float
) -> dict[str, float]:
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
    answers: list[tuple[float, float, int]] = []
    loop, begin = asyncio.get_running_loop(), time.perf_counter() + warm_up
    overs = [loop.create_future() for _ in range(clients)]
    for number, over in enumerate(overs):
        first = number % len(requests)
        turns = itertools.cycle(requests[first:] + requests[:first])
        await loop.create_connection(
            lambda turns=turns, over=over: Client(turns, begin + seconds, answers, over),
            parts.hostname,
            parts.port,
        )
    await asyncio.gather(*overs)
    counted = [answer for answer in answers if begin <= answer[0] < begin + seconds]
    durations = 1000 * np.array([seconds for _, seconds, status in counted if status == 200])
    return {
        "requests_per_second": len(durations) / seconds,
        "p50_ms": float(np.percentile(durations, 50)),
        "p99_ms": float(np.percentile(durations, 99)),
        "failed": sum(status != 200 for _, _, status in answers),
    }


def main(
    url: str, *bodies: Path, clients: int = 64, seconds: float = 20.0, warm_up: float = 3.0
) -> None:
    """Prints requests a second, percentiles of the latency and failures, as JSON.

    Args:
        url: Where the requests go.
        bodies: Files with the contents of requests; every client sends one after the other, the
            first its first, the second its second, and so on.
        clients: Number of clients that ask at the same time.
        seconds: How long answers are counted.
        warm_up: Seconds before that, whose answers are not counted.
    """
    result = uvloop.run(
        _clients(url, [body.read_bytes() for body in bodies], clients, seconds, warm_up)
    )
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    cyclopts.run(main)
