"""TensorFlow Serving's REST interface.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from google.protobuf.json_format import MessageToDict
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from suite.serve import tensors
from suite.serve.access import Access
from suite.serve.models import Models, State
from suite.serve.monitor import Monitor
from suite.serve.status import Kind, RequestError

PLAYGROUND = Path(__file__).parent / "playground"
RETRY_AFTER = "1"  # second


def application(models: Models, access: Access, monitor: Monitor, **options: Any) -> FastAPI:
    """The server as an ASGI application.

    Args:
        models: That answer.
        access: See there.
        monitor: Counts.
        options: Of FastAPI.
    """

    async def admit(request: Request) -> None:
        access.admit(request.headers.get("authorization", ""))

    guards = [Depends(admit)] if access.token else []
    app = FastAPI(openapi_url=None, dependencies=guards, **options)

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        headers = {"Retry-After": RETRY_AFTER} if error.kind is Kind.UNAVAILABLE else None
        # What came in may hold half a character, which no answer can.
        said = str(error).encode(errors="backslashreplace").decode()
        return JSONResponse({"error": said}, error.kind.http, headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]
        # As TensorFlow Serving says it, of whatever is wrong with a path or a method.
        code = HTTPStatus.BAD_REQUEST if path.startswith("/v1/") else error.status_code
        return JSONResponse({"error": f"Malformed request: {request.method} {path}"}, code)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=HTTPStatus.BAD_REQUEST)  # that nobody will read

    async def predicted(
        request: Request, model: str, number: int | None = None, label: str | None = None
    ) -> Response:
        with monitor.request(model, "rest"):
            try:
                async with asyncio.timeout(access.seconds):
                    body = await _body(request, access.body_size)
                    version = await models.version(model, number, label)
                    asked = tensors.read(body)
                    signature = version.signature(asked.signature_name)
                    outputs = await signature(tensors.arrays(asked, signature.inputs))
            except TimeoutError:
                raise access.too_late() from None
            return Response(tensors.write(outputs, asked), media_type="application/json")

    @app.post("/v1/models/{model}:predict")
    async def predict(request: Request, model: str) -> Response:
        return await predicted(request, model)

    @app.post("/v1/models/{model}/versions/{version}:predict")
    async def predict_version(request: Request, model: str, version: str) -> Response:
        return await predicted(request, model, _number(version))

    @app.post("/v1/models/{model}/labels/{label}:predict")
    async def predict_label(request: Request, model: str, label: str) -> Response:
        return await predicted(request, model, label=label)

    @app.get("/v1/models/{model}/metadata")
    async def metadata(model: str) -> Any:
        return await described(model)

    @app.get("/v1/models/{model}/versions/{version}/metadata")
    async def metadata_of_version(model: str, version: str) -> Any:
        return await described(model, _number(version))

    @app.get("/v1/models/{model}/labels/{label}/metadata")
    async def metadata_of_label(model: str, label: str) -> Any:
        return await described(model, label=label)

    async def described(
        name: str, number: int | None = None, label: str | None = None
    ) -> dict[str, Any]:
        version = await models.version(name, number, label)
        definitions = {
            key: MessageToDict(
                each, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for key, each in version.definitions.items()
        }
        spec = {"name": name, "signature_name": "", "version": str(version.number)}
        return {
            "model_spec": spec,
            "metadata": {"signature_def": {"signature_def": definitions}},
        }

    @app.get("/v1/models/{model}")
    async def status(model: str) -> Any:
        return _status(models.states(model))

    @app.get("/v1/models/{model}/versions/{version}")
    async def status_of_version(model: str, version: str) -> Any:
        return _status(models.states(model, _number(version)))

    @app.get("/v1/models/{model}/labels/{label}")
    async def status_of_label(model: str, label: str) -> Any:
        return _status(models.states(model, label=label))

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(monitor.registry), media_type=CONTENT_TYPE_LATEST)

    async def lives(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(request: Request) -> Response:
        code = HTTPStatus.OK if models.names else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"models": models.names}, code)

    # Routes of Starlette's, which want no token.
    app.add_route("/healthz", lives)
    app.add_route("/readyz", ready)
    app.mount("/", StaticFiles(directory=PLAYGROUND, html=True))
    return app


async def _body(request: Request, most: int) -> bytes:
    """The body, read no further than it may be long.

    Raises:
        RequestError: It is longer.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise RequestError(f"the body must have at most {most} bytes", Kind.TOO_LARGE)
    return bytes(body)


def _number(version: str) -> int | None:
    if not (version.isascii() and version.isdecimal() and len(version) < 19):
        raise RequestError(f"the version must be a number. Received: {version}")
    return int(version) or None  # some clients say 0 for the newest one


def _status(states: Mapping[int, tuple[int, str]]) -> Any:
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": State.Name(state),
                "status": {"error_code": "DATA_LOSS" if wrong else "OK", "error_message": wrong},
            }
            for number, (state, wrong) in states.items()
        ]
    }
