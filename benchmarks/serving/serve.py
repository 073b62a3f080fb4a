"""How many requests a second does the server answer, beside others that serve the same model?

    pip install '.[serve,benchmark]'
    python -m benchmarks.serving.serve

One exported `mnist_cnn`, one image in a request, and clients that ask again as soon as they are
answered. Servers and clients share the machine, with one server at a time. Of every peer several
settings are measured, and the best one counts. Then, for batches of 32, the time of a request is
compared with that of a call of the SavedModel in process.
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
from benchmarks.turns import open_app

PORT, RPC_PORT = 8511, 8512
SECONDS_TO_BEGIN, SECONDS_TO_END = 180, 30
BATCH, TURNS = 32, 3


class Server(NamedTuple):
    """A server of another project.

    Args:
        command: Its module in `benchmarks.serving.servers`, and its flags.
        path: The path of its URL that predicts.
    """

    command: Sequence[str]
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


def export(folder: Path) -> Path:
    """Exports an untrained network, which is as fast as a trained one, and returns its folder."""
    from apps.mnist_cnn import app
    from suite import Run
    from suite.export.saved_model import write_saved_model

    fitted = open_app(app, app.recipe(), Run(data="embedded", quiet=True))
    image, metadata = np.zeros((1, 28, 28, 1), "uint8"), {"app": app.name}
    endpoints = app.endpoints(fitted)
    return write_saved_model(folder / app.name, fitted.networks, endpoints, image, metadata)[0]


@contextlib.contextmanager
def running(command: Sequence[str], url: str, body: bytes) -> Iterator[None]:
    """Starts a server, waits until it answers, and stops it at the end.

    Args:
        command: A module, and its arguments.
        url: Gets the request that shows whether the server answers.
        body: Of that request.

    Raises:
        RuntimeError: It ended, or did not answer in `SECONDS_TO_BEGIN`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + SECONDS_TO_BEGIN
        while not _answers(url, body):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} does not answer")
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def load_server(url: str, *bodies: Path, clients: int, seconds: float) -> dict[str, float]:
    """Has so many clients ask a server, and returns what `benchmarks.serving.load` measures."""
    arguments = [url, *map(str, bodies), "--clients", str(clients), "--seconds", str(seconds)]
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.load", *arguments],
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(process.stdout)


def overheads(version: Path, images: np.ndarray, seconds: float) -> dict[str, float]:
    """Measures a batch in process, by gRPC and by REST.

    Returns:
        `milliseconds <way>` for each way, and `overhead of <way>`, the time that a server adds,
        divided by that in process.
    """
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "mnist_cnn"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(images.astype(np.float32)))
    predict = prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(f"127.0.0.1:{RPC_PORT}")
    ).Predict
    body = json.dumps({"instances": images.tolist()}).encode()
    rest = http.client.HTTPConnection("127.0.0.1", PORT)

    def by_rest() -> bytes:
        rest.request("POST", PREDICT, body)
        return rest.getresponse().read()

    def in_process() -> float:
        command = [sys.executable, "-m", "benchmarks.serving.servers.network", str(version)]
        command += ["--batch", str(len(images)), "--seconds", str(seconds / TURNS)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def median(call: Callable[[], Any]) -> float:
        durations, end = [], time.perf_counter() + seconds / TURNS
        while (started := time.perf_counter()) < end:
            call()
            durations.append(time.perf_counter() - started)
        return 1000 * statistics.median(durations)

    ways: dict[str, Callable[[], float]] = {
        "in process": in_process,
        "gRPC": lambda: median(lambda: predict(request)),
        "REST": lambda: median(by_rest),
    }
    turns = [{way: measure() for way, measure in ways.items()} for _ in range(TURNS)]
    medians = {way: statistics.median(turn[way] for turn in turns) for way in ways}
    return {f"milliseconds {way}": value for way, value in medians.items()} | {
        f"overhead of {way}": medians[way] / medians["in process"] - 1 for way in ("gRPC", "REST")
    }


def main(*, seconds: float = 20.0, clients: tuple[int, ...] = (1, 8, 64)) -> None:
    """Measures all servers, one after the other.

    Args:
        seconds: Length of each measurement.
        clients: Numbers of clients that ask at the same time.
    """
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCH, 28, 28, 1)).astype("uint8")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        version = export(folder / "saved_models")
        body = folder / "one.json"
        body.write_text(json.dumps({"instances": images[:1].tolist()}))
        ports = ["--port", str(PORT), "--grpc-port", str(RPC_PORT)]
        ours = ["suite.serve", str(folder / "saved_models"), *ports]
        contestants = {"ours": (ours, PREDICT)} | {
            who: ([f"benchmarks.serving.servers.{name}", str(version), str(PORT), *flags], path)
            for who, ((name, *flags), path) in PEERS.items()
        }
        rows = []
        for who, (command, path) in contestants.items():
            url = f"http://127.0.0.1:{PORT}{path}"
            with running(command, url, body.read_bytes()):
                for count in clients:
                    result = load_server(url, body, clients=count, seconds=seconds)
                    rows.append({"server": who, "clients": count, **result})
                    print(rows[-1], flush=True)
                if who == "ours":
                    times = overheads(version, images, seconds)
    loaded = [row for row in rows if row["clients"] == max(clients)]
    best = max(loaded[1:], key=lambda row: row["requests_per_second"])
    publish(
        "serve",
        rows,
        ratio=loaded[0]["requests_per_second"] / best["requests_per_second"],
        ratio_of_p99=loaded[0]["p99_ms"] / min(row["p99_ms"] for row in loaded[1:]),
        best_peer=best["server"],
        **times,
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
