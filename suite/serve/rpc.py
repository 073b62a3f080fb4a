"""TensorFlow Serving's gRPC interface, with its own messages."""

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
from suite.serve.models import Models
from suite.serve.monitor import Monitor
from suite.serve.status import Kind, RequestError
from suite.serve.tensors import fitting


def server(models: Models, access: Access, monitor: Monitor) -> grpc.aio.Server:
    """A server without an address yet.

    Args:
        models: That answer.
        access: See there.
        monitor: Counts.
    """
    made = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", access.body_size),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _Predictions(models, access, monitor), made
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _States(models, access, monitor), made
    )
    return made


class _Service:
    def __init__(self, models: Models, access: Access, monitor: Monitor) -> None:
        self.models, self.access, self.monitor = models, access, monitor

    async def _answer(
        self, name: str, context: grpc.aio.ServicerContext, made: Callable[[], Awaitable[Message]]
    ) -> Message:
        """What is made, or the error in gRPC's words."""
        try:
            with self.monitor.request(name, "grpc"):
                self.access.admit(dict(context.invocation_metadata()).get("authorization", ""))
                try:
                    async with asyncio.timeout(self.access.seconds):
                        return await made()
                except TimeoutError:
                    raise self.access.too_late() from None
        except RequestError as error:
            await context.abort(error.kind.grpc, str(error))


class _Predictions(_Service, prediction_service_pb2_grpc.PredictionServiceServicer):
    async def Predict(  # noqa: N802
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> Message:
        async def predicted() -> Message:
            spec = request.model_spec
            version = await self.models.version(*_asked(spec))
            name = spec.signature_name or "serving_default"
            signature = version.signature(name)
            outputs = await signature(
                _arrays(request.inputs, signature.inputs, self.access.body_size)
            )
            answer = predict_pb2.PredictResponse()
            answer.model_spec.CopyFrom(model_pb2.ModelSpec(name=spec.name, signature_name=name))
            answer.model_spec.version.value = version.number
            for key in request.output_filter or outputs:
                if key not in outputs:
                    known = ", ".join(outputs)
                    raise RequestError(f"output_filter must name some of: {known}. Received: {key}")
                answer.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
            return answer

        return await self._answer(request.model_spec.name, context, predicted)

    async def GetModelMetadata(  # noqa: N802
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> Message:
        async def described() -> Message:
            if list(request.metadata_field) != ["signature_def"]:
                raise RequestError(
                    "metadata_field must be signature_def. Received: "
                    f"{', '.join(request.metadata_field) or 'nothing'}"
                )
            version = await self.models.version(*_asked(request.model_spec))
            found = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in version.definitions.items():
                found.signature_def[name].CopyFrom(definition)
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.model_spec.name = request.model_spec.name
            answer.model_spec.version.value = version.number
            answer.metadata["signature_def"].Pack(found)
            return answer

        return await self._answer(request.model_spec.name, context, described)


class _States(_Service, model_service_pb2_grpc.ModelServiceServicer):
    async def GetModelStatus(  # noqa: N802
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> Message:
        async def states() -> Message:
            spec = request.model_spec
            answer = get_model_status_pb2.GetModelStatusResponse()
            for number, (state, wrong) in self.models.states(*_asked(spec)).items():
                one = answer.model_version_status.add(version=number, state=state)
                if wrong:
                    one.status.error_code = error_codes_pb2.DATA_LOSS
                    one.status.error_message = wrong
            return answer

        return await self._answer(request.model_spec.name, context, states)


def _asked(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str | None]:
    """Name, number and label; some clients say 0 for the newest version."""
    return (
        spec.name,
        spec.version.value or None,
        spec.version_label if spec.HasField("version_label") else None,
    )


def _arrays(inputs: Any, specs: dict[str, tf.TensorSpec], most: int) -> dict[str, np.ndarray]:
    if inputs.keys() != specs.keys():
        raise RequestError(
            f"the inputs must be named {', '.join(specs)}. Received: {', '.join(sorted(inputs))}"
        )
    return {name: _array(inputs[name], spec, most) for name, spec in specs.items()}


def _array(proto: TensorProto, spec: tf.TensorSpec, most: int) -> np.ndarray:
    try:
        given, shape = tf.dtypes.as_dtype(proto.dtype), tf.TensorShape(proto.tensor_shape)
        if given != spec.dtype:
            raise RequestError(f"{spec.name} must be {spec.dtype.name}. Received: {given.name}")
        # A tensor of one value may say in a few bytes that it is of any size.
        if shape.num_elements() * given.size > most:
            raise RequestError(
                f"{spec.name} must have at most {most} bytes. Received: the shape {shape}",
                Kind.TOO_LARGE,
            )
        return fitting(tf.make_ndarray(proto), spec)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{spec.name} must be a whole tensor. Received: {error}") from None
