"""The gRPC interface of TensorFlow Serving, with TensorFlow Serving's messages."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from suite.serve.access import Access
from suite.serve.models import DEFAULT_SIGNATURE, Models
from suite.serve.monitor import Monitor
from suite.serve.status import Code, RequestError
from suite.serve.tensors import check_shape

POINTER_BYTES = 8  # the size of a string's entry in an array


def server(models: Models, access: Access, monitor: Monitor) -> grpc.aio.Server:
    """Builds the gRPC server, to which the caller adds an address.

    Args:
        models: The models that are served.
        access: Access rules of the requests.
        monitor: Counts and times the requests.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", access.max_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(models, access, monitor), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _ModelService(models, access, monitor), server
    )
    return server


class _Service:
    """The base of both services: runs a request under the access rules, with metrics and timeout.

    Args:
        models: The models that are served.
        access: Access rules of the requests.
        monitor: Counts and times the requests.
    """

    def __init__(self, models: Models, access: Access, monitor: Monitor) -> None:
        self.models, self.access, self.monitor = models, access, monitor

    async def _answer(
        self,
        model: str,
        context: grpc.aio.ServicerContext,
        respond: Callable[[], Awaitable[Message]],
    ) -> Message:
        """Returns the message of `respond`; a `RequestError` aborts the call with its code."""
        try:
            with self.monitor.request(model, "grpc"):
                metadata = dict(context.invocation_metadata())
                self.access.check_token(metadata.get("authorization", ""))
                try:
                    async with asyncio.timeout(self.access.timeout):
                        return await respond()
                except TimeoutError:
                    raise self.access.timeout_error() from None
        except RequestError as error:
            await context.abort(error.code.grpc, str(error))


class _PredictionService(_Service, prediction_service_pb2_grpc.PredictionServiceServicer):
    async def Predict(  # noqa: N802
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> Message:
        async def predict() -> Message:
            spec = request.model_spec
            version = await self.models.version(*_name_number_label(spec))
            signature = version.signature(spec.signature_name)
            outputs = await signature(
                _arrays(request.inputs, signature.inputs, self.access.max_bytes)
            )
            response = predict_pb2.PredictResponse()
            response.model_spec.name = spec.name
            response.model_spec.signature_name = spec.signature_name or DEFAULT_SIGNATURE
            response.model_spec.version.value = version.number
            for name in request.output_filter or outputs:
                if name not in outputs:
                    names = ", ".join(outputs)
                    raise RequestError(
                        f"output_filter must name some of: {names}. Received: {name}"
                    )
                response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
            return response

        return await self._answer(request.model_spec.name, context, predict)

    async def GetModelMetadata(  # noqa: N802
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> Message:
        async def describe() -> Message:
            if list(request.metadata_field) != ["signature_def"]:
                raise RequestError(
                    "metadata_field must be signature_def. Received: "
                    f"{', '.join(request.metadata_field) or 'nothing'}"
                )
            version = await self.models.version(*_name_number_label(request.model_spec))
            definitions = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in version.definitions.items():
                definitions.signature_def[name].CopyFrom(definition)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version.number
            response.metadata["signature_def"].Pack(definitions)
            return response

        return await self._answer(request.model_spec.name, context, describe)


class _ModelService(_Service, model_service_pb2_grpc.ModelServiceServicer):
    async def GetModelStatus(  # noqa: N802
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> Message:
        async def list_states() -> Message:
            states = self.models.states(*_name_number_label(request.model_spec))
            response = get_model_status_pb2.GetModelStatusResponse()
            for number, (state, message) in states.items():
                version = response.model_version_status.add(version=number, state=state)
                if message:
                    version.status.error_code = error_codes_pb2.DATA_LOSS
                    version.status.error_message = message
            return response

        return await self._answer(request.model_spec.name, context, list_states)


def _name_number_label(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str | None]:
    return (
        spec.name,
        spec.version.value or None,  # some clients send 0 for the newest version
        spec.version_label if spec.HasField("version_label") else None,
    )


def _arrays(inputs: Any, specs: dict[str, tf.TensorSpec], max_bytes: int) -> dict[str, np.ndarray]:
    if inputs.keys() != specs.keys():
        raise RequestError(
            f"the inputs must be named {', '.join(specs)}. Received: {', '.join(sorted(inputs))}"
        )
    return {name: _array(inputs[name], spec, max_bytes) for name, spec in specs.items()}


def _array(proto: TensorProto, spec: tf.TensorSpec, max_bytes: int) -> np.ndarray:
    try:
        dtype, shape = tf.dtypes.as_dtype(proto.dtype), tf.TensorShape(proto.tensor_shape)
        if dtype != spec.dtype:
            raise RequestError(f"{spec.name} must be {spec.dtype.name}. Received: {dtype.name}")
        # A message may hold one value for a shape of any size, which would be filled with it.
        if shape.num_elements() * (dtype.size or POINTER_BYTES) > max_bytes:
            raise RequestError(
                f"{spec.name} must have at most {max_bytes} bytes. Received: the shape {shape}",
                Code.TOO_LARGE,
            )
        return check_shape(tf.make_ndarray(proto), spec)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{spec.name} must be a whole tensor. Received: {error}") from None
