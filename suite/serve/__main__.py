"""Serves every model and version under a folder, as TensorFlow Serving does.

python -m suite.serve
python -m suite.serve saved_models --port 8501 --grpc-port 8500
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from suite.errors import InputError, sentence
from suite.export.versions import versions
from suite.serve.access import Access
from suite.serve.batches import Limits

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))]
AtLeastOne = Annotated[int, Parameter(validator=Number(gte=1))]


def main(
    folder: Path = Path("saved_models"),
    /,
    *,
    host: str = "127.0.0.1",
    port: Port = 8501,
    grpc_port: Port = 8500,
    max_batch_size: AtLeastOne = 64,
    batch_timeout_ms: Annotated[float, Parameter(validator=Number(gte=0, lte=10_000))] = 0.0,
    max_queue: AtLeastOne = 1000,
    # gRPC counts bytes in 32 bits.
    max_request_mib: Annotated[int, Parameter(validator=Number(gte=1, lte=2047))] = 64,
    timeout_seconds: Annotated[float, Parameter(validator=Number(gt=0))] = 60.0,
    token_file: Path | None = None,
    label: tuple[str, ...] = (),
    engine: Literal["asyncio", "ray"] = "asyncio",
    replicas: AtLeastOne = 2,
) -> None:
    """Serve every model and version under a folder, as TensorFlow Serving does.

    Args:
        folder: Holds `<app>/<version>/`.
        host: Address to listen on; `0.0.0.0` lets others in.
        port: Of REST, of the playground, of `/metrics`, `/healthz` and `/readyz`.
        grpc_port: Of gRPC.
        max_batch_size: Most examples that are put together for one call of a model.
        batch_timeout_ms: How long an idle model waits for more, in milliseconds.
        max_queue: Most requests for a signature at a time; further ones are answered with 503.
        max_request_mib: Largest request, in MiB.
        timeout_seconds: That a request may take.
        token_file: Holds the bearer token that requests must have.
        label: `<app>/<label>=<version>`, such as `mnist_cnn/stable=3`; may be repeated.
        engine: `asyncio` answers from this process; `ray` from replicas on Ray Serve, by REST.
        replicas: Processes of the engine `ray`.
    """
    if not folder.is_dir() or not any(versions(path) for path in folder.iterdir()):
        raise InputError(
            f"the folder must hold <app>/<version>/. Received: {folder}; python -m apps.mnist_cnn "
            "makes one"
        )
    limits = Limits(max_batch_size, batch_timeout_ms / 1000, max_queue)
    labels = _labels(label)
    token = _token(token_file) if token_file else None
    access = Access(token, max_request_mib * 2**20, timeout_seconds)
    served = (folder, limits, labels, access, (host, port))
    try:
        if engine == "ray":
            from suite.serve import ray

            ray.serve(*served, replicas)
        else:
            from suite.serve import server

            server.serve(*served, grpc_port)
    except ModuleNotFoundError as error:
        extra = "ray" if engine == "ray" else "serve"
        raise InputError(
            f"serving needs packages more: pip install '.[{extra}]'. Received: none that is called "
            f"{error.name}"
        ) from None


def _labels(given: Sequence[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for each in given:
        who, _, number = each.partition("=")
        model, _, label = who.partition("/")
        if not (model and label and number.isascii() and number.isdecimal()):
            raise InputError(f"--label must be like mnist_cnn/stable=3. Received: {each}")
        found.setdefault(model, {})[label] = int(number)
    return found


def _token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--token-file must be readable. Received: {path}: {error}") from None
    if not token:
        raise InputError(f"--token-file must hold a token. Received: {path}, which is empty")
    return token


def answer(arguments: Sequence[str]) -> int:
    """Runs from the words of a command line, and gives the exit code: 2 for bad input."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command_line = cyclopts.App(name="python -m suite.serve", version_flags=[])
    command_line.default(main)
    try:
        command_line(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except (cyclopts.CycloptsError, InputError, OSError) as error:
        print(sentence(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before there was anything to finish
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(answer(sys.argv[1:]))
