"""Serves every model and version under a folder, as TensorFlow Serving does.

python -m suite.serve
python -m suite.serve saved_models --port 8501 --grpc-port 8500
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from suite.console import error_line, prepare_output
from suite.errors import InputError
from suite.export.versions import versions
from suite.serve.access import Access
from suite.serve.batching import Limits

Repeatable = Parameter(negative=(), show_default=False)
Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))]
AtLeastOne = Annotated[int, Parameter(validator=Number(gte=1))]


def serve(
    folder: Path = Path("saved_models"),
    /,
    *,
    host: str = "127.0.0.1",
    port: Port = 8501,
    grpc_port: Port = 8500,
    max_batch_size: AtLeastOne = 64,
    batch_timeout_ms: Annotated[float, Parameter(validator=Number(gte=0, lte=10_000))] = 0.0,
    max_queue: AtLeastOne = 1000,
    # gRPC holds the size of a message in 32 bits.
    max_request_mib: Annotated[int, Parameter(validator=Number(gte=1, lte=2047))] = 64,
    timeout_seconds: Annotated[float, Parameter(validator=Number(gt=0, lte=86_400))] = 60.0,
    token_file: Path | None = None,
    cors_origin: Annotated[tuple[str, ...], Repeatable] = (),
    label: Annotated[tuple[str, ...], Repeatable] = (),
    engine: Literal["asyncio", "ray"] = "asyncio",
    replicas: AtLeastOne = 2,
) -> None:
    """Serve every model and version under a folder, as TensorFlow Serving does.

    Args:
        folder: Holds `<app>/<version>/`.
        host: Address to listen on, of IPv4 or IPv6; `0.0.0.0` or `::` lets others in.
        port: Port of REST, the playground, `/metrics`, `/healthz` and `/readyz`.
        grpc_port: Port of gRPC.
        max_batch_size: Most examples that are combined for one call of a model.
        batch_timeout_ms: Time that an idle model waits for more requests, in milliseconds.
        max_queue: Most requests for a signature at a time; further ones are answered with 503.
        max_request_mib: Largest request in MiB, after decompression.
        timeout_seconds: Longest time that a request may take, and that its headers may take before
            that, a second at least.
        token_file: File with the bearer token that requests must carry.
        cors_origin: Origin whose web pages may use this server from a browser, such as
            `https://example.com`, or `*` for all; may be repeated.
        label: `<app>/<label>=<version>`, such as `<app>/stable=3`; may be repeated.
        engine: `asyncio` answers from this process; `ray` from replicas on Ray Serve, by REST.
        replicas: Processes of the engine `ray`.
    """
    if not folder.is_dir() or not any(versions(path) for path in folder.iterdir()):
        raise InputError(
            "the folder must hold <app>/<version>/", f"{folder}; python -m apps.<app> makes one"
        )
    limits = Limits(max_batch_size, batch_timeout_ms / 1000, max_queue)
    labels = _labels(label)
    token = _token(token_file) if token_file else None
    origins = tuple(map(_origin, cors_origin))
    access = Access(token, max_request_mib * 2**20, timeout_seconds, origins)
    address = host.removeprefix("[").removesuffix("]"), port
    if not address[0]:  # which would listen on all addresses of this machine
        raise InputError("`host` must be a name or an address", repr(host))
    try:
        if engine == "ray":
            import ray  # noqa: F401

            from suite.serve import replicas as ray_engine
        else:
            from suite.serve import server
    except ModuleNotFoundError as error:
        extra = "ray" if engine == "ray" else "serve"
        raise InputError(
            f"serving needs more packages: pip install '.[{extra}]'", f"no module {error.name}"
        ) from None
    if engine == "ray":
        ray_engine.serve(folder, limits, labels, access, address, replicas)
    else:
        server.serve(folder, limits, labels, access, address, grpc_port)


def _labels(arguments: Sequence[str]) -> dict[str, dict[str, int]]:
    """Parses `<app>/<label>=<version>` into numbers of versions by model and label."""
    labels: dict[str, dict[str, int]] = {}
    for argument in arguments:
        path, _, number = argument.partition("=")
        model, _, label = path.partition("/")
        if not (model and label and number.isascii() and number.isdecimal()):
            raise InputError("`label` must be like <app>/stable=3", argument)
        labels.setdefault(model, {})[label] = int(number)
    return labels


def _origin(argument: str) -> str:
    """Checks that an argument is an origin as browsers send it: without a path or a final slash."""
    try:
        url = urlsplit(argument)
        is_origin = f"{url.scheme}://{url.netloc}" == argument and bool(url.scheme and url.hostname)
    except ValueError:
        is_origin = False
    if not is_origin and argument != "*":
        raise InputError("`cors_origin` must be like https://example.com, or *", argument)
    return argument.lower()


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("`token_file` must be readable", f"{path}: {error}") from None
    if not token:
        raise InputError("`token_file` must hold a token", f"{path}, which is empty")
    if not (token.isascii() and token.isprintable()):  # no header can carry another one
        raise InputError("`token_file` must hold one line of ASCII", f"{path}, with others")
    return token


def main(arguments: Sequence[str]) -> int:
    """Runs a command line.

    Returns:
        The exit code: 0; 2 for bad input; 130 for Ctrl-C before the server has started.
    """
    prepare_output()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command_line = cyclopts.App(name="python -m suite.serve", version_flags=[])
    command_line.default(serve)
    try:
        command_line(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except (cyclopts.CycloptsError, InputError, OSError) as error:
        print(error_line(error, command_line), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
