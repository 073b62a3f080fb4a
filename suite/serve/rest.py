"""The REST interface of TensorFlow Serving; it also takes pictures and serves the playground.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from google.protobuf.json_format import MessageToDict
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from suite.serve import tensors, uploads
from suite.serve.access import Access
from suite.serve.batching import Arrays
from suite.serve.models import DEFAULT_SIGNATURE, PICTURE, Models, Signature, State, Version
from suite.serve.monitor import Monitor
from suite.serve.status import Code, RequestError
from suite.serve.tensors import PredictBody

PLAYGROUND = Path(__file__).parent / "playground"
RETRY_AFTER = "1"  # second
HEADERS = {
    Code.UNAVAILABLE: {"Retry-After": RETRY_AFTER},
    Code.UNAUTHENTICATED: {"WWW-Authenticate": "Bearer"},
}
LONG = 2**20  # bytes of a JSON body that takes too long to parse while other requests wait


def application(models: Models, access: Access, monitor: Monitor, **options: Any) -> FastAPI:
    """Builds the ASGI application.

    Args:
        models: The models that are served.
        access: Access rules of the requests.
        monitor: Counts and times the requests.
        options: Further arguments of `FastAPI`.
    """

    async def check_token(request: Request) -> None:
        access.check_token(request.headers.get("authorization", ""))

    async def check_site(request: Request) -> None:
        if request.method == "POST":
            headers = request.headers
            access.check_site(
                *(headers.get(name, "") for name in ("sec-fetch-site", "origin", "host"))
            )

    guards = [Depends(check_site), *([Depends(check_token)] if access.token else [])]
    app = FastAPI(openapi_url=None, dependencies=guards, **options)
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Encoding", "Content-Type"],
            expose_headers=["Retry-After"],
        )

    @app.exception_handler(RequestError)
    async def request_error(request: Request, error: RequestError) -> Response:
        headers = HEADERS.get(error.code)
        # The message may quote a lone surrogate from the request, which UTF-8 cannot encode.
        message = str(error).encode(errors="backslashreplace").decode()
        return JSONResponse({"error": message}, error.code.http, headers)

    @app.exception_handler(HTTPException)
    async def malformed(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]
        # TensorFlow Serving answers any wrong path or method with this code.
        code = HTTPStatus.BAD_REQUEST if path.startswith("/v1/") else error.status_code
        return JSONResponse({"error": f"Malformed request: {request.method} {path}"}, code)

    @app.exception_handler(ClientDisconnect)
    async def disconnected(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=HTTPStatus.BAD_REQUEST)  # the client is gone

    async def answer(
        request: Request, model: str, number: int | None = None, label: str | None = None
    ) -> Response:
        """Answers a request to predict: by the picture signature if the body is pictures.

        Any other body is JSON.

        Raises:
            RequestError: The request cannot be answered, or takes too long.
        """
        inputs: Arrays
        with monitor.request(model, "rest"):
            try:
                async with asyncio.timeout(access.timeout):
                    content = await uploads.read(request, access.max_bytes)
                    version = await models.version(model, number, label)
                    content_type = request.headers.get("content-type", "")
                    if pictures := await uploads.pictures(content, content_type):
                        body = PredictBody("", True, pictures)
                        signature = _picture_signature(version, model)
                        inputs = {PICTURE: np.array(pictures, object)}
                    elif len(content) < LONG:
                        body, signature, inputs = _parsed(content, version)
                    else:
                        body, signature, inputs = await asyncio.to_thread(_parsed, content, version)
                    outputs = await signature(inputs)
            except TimeoutError:
                raise access.timeout_error() from None
            return Response(tensors.write(outputs, body), media_type="application/json")

    @app.post("/v1/models/{model}:predict")
    async def predict(request: Request, model: str) -> Response:
        return await answer(request, model)

    @app.post("/v1/models/{model}/versions/{version}:predict")
    async def predict_version(request: Request, model: str, version: str) -> Response:
        return await answer(request, model, _number(version))

    @app.post("/v1/models/{model}/labels/{label}:predict")
    async def predict_label(request: Request, model: str, label: str) -> Response:
        return await answer(request, model, label=label)

    @app.get("/v1/models/{model}/metadata")
    async def metadata(model: str) -> Any:
        return await describe(model)

    @app.get("/v1/models/{model}/versions/{version}/metadata")
    async def metadata_of_version(model: str, version: str) -> Any:
        return await describe(model, _number(version))

    @app.get("/v1/models/{model}/labels/{label}/metadata")
    async def metadata_of_label(model: str, label: str) -> Any:
        return await describe(model, label=label)

    async def describe(
        name: str, number: int | None = None, label: str | None = None
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(access.timeout):
                version = await models.version(name, number, label)
        except TimeoutError:
            raise access.timeout_error() from None
        definitions = {
            key: MessageToDict(
                definition,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for key, definition in version.definitions.items()
        }
        suite = {} if version.metadata is None else {"suite": version.metadata}
        spec = {"name": name, "signature_name": "", "version": str(version.number)}
        return {
            "model_spec": spec,
            "metadata": {"signature_def": {"signature_def": definitions}, **suite},
        }

    @app.get("/v1/models")
    async def status_of_all() -> Any:
        states = models.all_states()
        return {"models": [{"name": name, **_status(states[name])} for name in states]}

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

    async def healthy(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(request: Request) -> Response:
        code = HTTPStatus.OK if models.names else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"models": models.names}, code)

    # Routes of Starlette skip FastAPI's dependencies, so these need no token.
    app.add_route("/healthz", healthy)
    app.add_route("/readyz", ready)
    app.mount("/", StaticFiles(directory=PLAYGROUND, html=True))
    return app


def _parsed(content: bytes, version: Version) -> tuple[PredictBody, Signature, Arrays]:
    """A JSON body, the signature that it asks, and what that takes."""
    body = tensors.read(content)
    signature = _signature(version, body)
    return body, signature, tensors.arrays(body, signature.inputs)


def _signature(version: Version, body: PredictBody) -> Signature:
    """The signature that a JSON body names.

    Encoded pictures go to the signature for pictures if the default signature takes no strings.
    """
    signature = version.signature(body.signature_name)
    is_default = body.signature_name in ("", DEFAULT_SIGNATURE)
    takes_strings = any(spec.dtype == "string" for spec in signature.inputs.values())
    if is_default and body.only_bytes and not takes_strings:
        return version.picture_signature() or signature
    return signature


def _picture_signature(version: Version, model: str) -> Signature:
    signature = version.picture_signature()
    if not signature:
        raise RequestError(
            f"{model} takes no pictures, since no signature has only an input {PICTURE} of "
            f"strings: send JSON with what /v1/models/{model}/metadata names"
        )
    return signature


def _number(version: str) -> int | None:
    if not (version.isascii() and version.isdecimal() and len(version) < 19):
        raise RequestError(f"the version must be a number. Received: {version}")
    return int(version) or None  # some clients send 0 for the newest version


def _status(states: Mapping[int, tuple[int, str]]) -> dict[str, Any]:
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": State.Name(state),
                "status": {
                    "error_code": "DATA_LOSS" if message else "OK",
                    "error_message": message,
                },
            }
            for number, (state, message) in states.items()
        ]
    }
