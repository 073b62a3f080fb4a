"""How many requests a second does the server answer, beside others that serve the same model?

    pip install '.[serve,benchmark]'
    python -m benchmarks.serve

One exported `mnist_cnn`, one image in a request, and clients that ask again as soon as they are
answered. Servers and clients share the machine; every server is alone with the clients. Of every
peer several settings are measured, and the best one counts. Then batches of 32: what a request
takes longer than calling the SavedModel in process.
"""

import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.turns import opened

PORT, RPC_PORT = 8511, 8512
SECONDS_TO_BEGIN, SECONDS_TO_END = 180, 30
BATCH, TURNS = 32, 3


class Server(NamedTuple):
    """A contestant.

    Args:
        words: Its module among `benchmarks.servers`, and its flags.
        path: That it answers.
    """

    words: Sequence[str]
    path: str


PREDICT = "/v1/models/mnist_cnn:predict"
PEERS = {
    "LitServe": Server(["litserve"], "/predict"),
    "LitServe, fast queue": Server(["litserve", "--fast-queue"], "/predict"),
    "KServe, 1 worker": Server(["kserve"], PREDICT),
    "KServe, 2 workers": Server(["kserve", "--workers", "2"], PREDICT),
    "Ray Serve, 1 replica": Server(["ray"], "/"),
    "Ray Serve, 2 replicas": Server(["ray", "--replicas", "2"], "/"),
}


def exported(folder: Path) -> Path:
    """Exports a network that has learnt nothing, which is as fast as one that has."""
    from apps.mnist_cnn import app
    from suite import Run
    from suite.export.saved_model import write_saved_model

    fitted = opened(app, app.recipe(), Run(data="embedded", quiet=True))
    image, described = np.zeros((1, 28, 28, 1), "uint8"), {"app": app.name}
    endpoints = app.endpoints(fitted)
    return write_saved_model(folder / app.name, fitted.networks, endpoints, image, described)[0]


@contextlib.contextmanager
def running(words: Sequence[str], url: str, body: bytes) -> Iterator[None]:
    """A server that answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + SECONDS_TO_BEGIN
        while not _answers(url, body):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{' '.join(words)} does not answer")
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def asked(url: str, body: Path, clients: int, seconds: float) -> dict[str, float]:
    """What so many clients get."""
    words = [url, str(body), "--clients", str(clients), "--seconds", str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", *words], check=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout)


def overheads(version: Path, images: np.ndarray, seconds: float) -> dict[str, float]:
    """Milliseconds of a batch in a process of its own, by gRPC and by REST, and the overheads."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    message = predict_pb2.PredictRequest()
    message.model_spec.name = "mnist_cnn"
    message.inputs["image"].CopyFrom(tf.make_tensor_proto(images.astype(np.float32)))
    predict = prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(f"127.0.0.1:{RPC_PORT}")
    ).Predict
    body = json.dumps({"instances": images.tolist()}).encode()
    rest = http.client.HTTPConnection("127.0.0.1", PORT)

    def by_rest() -> bytes:
        rest.request("POST", PREDICT, body)
        return rest.getresponse().read()

    def in_process() -> float:
        words = [sys.executable, "-m", "benchmarks.servers.network", str(version)]
        words += ["--batch", str(len(images)), "--seconds", str(seconds / TURNS)]
        return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    def median(call: Callable[[], Any]) -> float:
        took, until = [], time.perf_counter() + seconds / TURNS
        while (begun := time.perf_counter()) < until:
            call()
            took.append(time.perf_counter() - begun)
        return 1000 * statistics.median(took)

    ways: dict[str, Callable[[], float]] = {
        "in process": in_process,
        "gRPC": lambda: median(lambda: predict(message)),
        "REST": lambda: median(by_rest),
    }
    turns = [{way: measure() for way, measure in ways.items()} for _ in range(TURNS)]
    medians = {way: statistics.median(turn[way] for turn in turns) for way in ways}
    return {f"milliseconds {way}": found for way, found in medians.items()} | {
        f"overhead of {way}": medians[way] / medians["in process"] - 1 for way in ("gRPC", "REST")
    }


def main(*, seconds: float = 20.0, clients: tuple[int, ...] = (1, 8, 64)) -> None:
    """Measures all.

    Args:
        seconds: Of each measurement.
        clients: How many ask at the same time.
    """
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCH, 28, 28, 1)).astype("uint8")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        version = exported(folder / "saved_models")
        one = folder / "one.json"
        one.write_text(json.dumps({"instances": images[:1].tolist()}))
        ports = ["--port", str(PORT), "--grpc-port", str(RPC_PORT)]
        own = ["suite.serve", str(folder / "saved_models"), *ports]
        contestants = {"ours": (own, PREDICT)} | {
            who: ([f"benchmarks.servers.{name}", str(version), str(PORT), *flags], path)
            for who, ((name, *flags), path) in PEERS.items()
        }
        rows = []
        for who, (words, path) in contestants.items():
            url = f"http://127.0.0.1:{PORT}{path}"
            with running(words, url, one.read_bytes()):
                for count in clients:
                    found = asked(url, one, count, seconds)
                    rows.append({"server": who, "clients": count, **found})
                    print(rows[-1], flush=True)
                if who == "ours":
                    facts = overheads(version, images, seconds)
    most = [row for row in rows if row["clients"] == max(clients)]
    best = max(most[1:], key=lambda row: row["requests_per_second"])
    publish(
        "serve",
        rows,
        ratio=most[0]["requests_per_second"] / best["requests_per_second"],
        ratio_of_p99=most[0]["p99_ms"] / min(row["p99_ms"] for row in most[1:]),
        best_peer=best["server"],
        **facts,
    )


def _answers(url: str, body: bytes) -> bool:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bool(answer.read())
    except (urllib.error.URLError, ConnectionError):
        return False


if __name__ == "__main__":
    cyclopts.run(main)
