"""Writing SavedModel versions under `<export_dir>/<app>/<n>/`, whole or not at all."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from suite.app import Built, networks_of
from suite.errors import Unwritable
from suite.export.endpoints import Endpoint, arguments, as_endpoint, call
from suite.export.versions import CHECKSUMS, METADATA, WARMUP, network_file, versions
from suite.files import DISK_ERRNOS, folder_aside, unwritable, write_checksums, write_whole

ASIDE = ".export-"  # prefix of the folder in which a version is being written
SECONDS_OF_AN_EXPORT = 3600  # at most; older folders were left by exports that were killed
# The errors of TensorFlow when a disk is full or cannot be written to.
TENSORFLOW_DISK_ERRORS = (
    tf.errors.ResourceExhaustedError, tf.errors.UnknownError, tf.errors.InternalError,
    tf.errors.PermissionDeniedError, tf.errors.DataLossError, tf.errors.FailedPreconditionError,
)  # fmt: skip
Endpoints = Mapping[str, keras.Model | Endpoint]


def write_saved_model(
    folder: Path,
    built: Built,
    endpoints: Endpoints,
    example: Any,
    metadata: Mapping[str, Any],
) -> tuple[Path, float]:
    """Writes the next version, and reads it back to compare.

    The version is written to a temporary folder and renamed, so that a reader never sees half of
    it. TensorFlow Serving ignores the temporary folder, since its name is not a number.

    Args:
        folder: `<export_dir>/<app>`.
        built: The model, or the networks by name, that the builder made; saved in Keras's format as
            well, to be trained or evaluated later.
        endpoints: Signatures by name; `serve` is the default one.
        example: Inputs of the default endpoint: its outputs are compared after reloading, and its
            first row warms up a server.
        metadata: Facts about the model for clients, written as JSON.

    Returns:
        The version's folder, and the largest absolute difference between the outputs of the
        reloaded `serve` signature and of the endpoint on `example`; infinity where text differs, or
        only one of two numbers is finite.

    Raises:
        Unwritable: The version cannot be written; no part of it is left.
    """
    networks = networks_of(built)
    with contextlib.ExitStack() as stack:
        with _on_disk(folder, networks):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(folder)
            version = stack.enter_context(folder_aside(folder, ASIDE)) / "version"
        archive = keras.export.ExportArchive()
        plain = {name: _without_training(network) for name, network in networks.items()}
        for network in plain.values():
            archive.track(network)
        functions = {}
        for name, endpoint in endpoints.items():
            endpoint = as_endpoint(endpoint)
            functions[name] = endpoint.as_graph()
            functions[name].get_concrete_function()  # builds layers, which only then can be tracked
            for resource in endpoint.resources:
                archive.track(resource)
            archive.add_endpoint(name, functions[name], input_signature=list(endpoint.inputs))
        with _on_disk(folder, networks):
            archive.write_out(str(version), verbose=False)
        serve = as_endpoint(endpoints["serve"])
        # Where a device has too little memory, TensorFlow's error is the same as of a full disk.
        expected = functions["serve"](*arguments(serve.inputs, example).values())
        difference = _difference(version, example, expected)
        content = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
        with _on_disk(folder, networks):
            (version / "assets.extra").mkdir()
            for name, network in plain.items():
                file = version / network_file(name if isinstance(built, Mapping) else None)
                file.parent.mkdir(exist_ok=True)
                network.save(file)
            write_whole(version / METADATA, content)
            _write_warmup(version / WARMUP, folder.name, serve, example)
            write_checksums(version / CHECKSUMS, version)
            return _move_into_place(version, folder), difference


@contextlib.contextmanager
def _on_disk(folder: Path, networks: Mapping[str, keras.Model]) -> Iterator[None]:
    """Turns errors of a full or read-only disk into `Unwritable`."""
    try:
        yield
    except Unwritable:
        raise
    except (OSError, *TENSORFLOW_DISK_ERRORS) as error:
        # HDF5 does not always say which error it was.
        if isinstance(error, OSError) and error.errno not in {None, *DISK_ERRNOS}:
            raise
        weights = [array for network in networks.values() for array in network.get_weights()]
        # The weights are written twice: in the SavedModel and in Keras's format.
        raise unwritable(folder, 2 * sum(array.nbytes for array in weights), error) from error


def try_endpoints(endpoints: Endpoints, example: Any) -> None:
    """Traces every endpoint and calls `serve`, to find errors before a training and not after it.

    Args:
        endpoints: Signatures by name.
        example: Inputs of the endpoint `serve`.

    Raises:
        ValueError: The first endpoint is not `serve`, or does not fit the example.
    """
    if next(iter(endpoints), None) != "serve":
        raise ValueError(
            f"the first endpoint must be called serve. Received: {', '.join(endpoints) or 'none'}"
        )
    for name, endpoint in endpoints.items():
        graph = as_endpoint(endpoint).as_graph().get_concrete_function()
        outputs = graph.structured_outputs
        if not isinstance(outputs, Mapping):
            raise ValueError(
                f"the endpoint {name} must return tensors by name. Received: {type(outputs)}"
            )
    serve = as_endpoint(endpoints["serve"])
    _first_request("", serve, example)  # raises if the example does not fit a request
    serve.function(*arguments(serve.inputs, example).values())


def _without_training(network: keras.Model) -> keras.Model:
    """A network without optimizer, loss and metrics."""
    return keras.Model(network.input, network.output, name=network.name)


def _remove_leftovers(folder: Path) -> None:
    """Removes the folders that killed exports have left."""
    for aside in folder.glob(f"{ASIDE}*"):
        with contextlib.suppress(FileNotFoundError):  # another export has just ended
            if time.time() - aside.stat().st_mtime > SECONDS_OF_AN_EXPORT:
                shutil.rmtree(aside, ignore_errors=True)


def _difference(version: Path, example: Any, expected: Mapping[str, Any]) -> float:
    """The largest difference between the outputs of a version and those of its endpoint."""
    reloaded = call(tf.saved_model.load(str(version)).signatures["serve"], example)
    return max(_distance(reloaded[name], np.asarray(expected[name])) for name in expected)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest absolute difference; infinity where text differs, or numbers are not finite."""
    if np.array_equal(one, other, equal_nan=not one.dtype.hasobject):
        return 0.0
    if one.dtype.hasobject:
        return float("inf")
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(np.max(np.nan_to_num(difference, nan=np.inf), initial=0))


def _first_request(name: str, serve: Endpoint, example: Any) -> Any:
    """A request for the first example, in TensorFlow Serving's form."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = "serving_default"
    for key, tensor in arguments(serve.inputs, example).items():
        first = tensor[:1] if tensor.shape.rank else tensor
        request.inputs[key].CopyFrom(tf.make_tensor_proto(first.numpy()))
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )


def _write_warmup(path: Path, name: str, serve: Endpoint, example: Any) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(_first_request(name, serve, example).SerializeToString())


def _move_into_place(version: Path, folder: Path) -> Path:
    number = max(versions(folder), default=0)
    while True:
        number += 1
        place = folder / str(number)
        try:
            return version.rename(place)
        except OSError:
            if not os.path.lexists(place):
                raise
            # Another export took this number meanwhile, or a file has this name: take the next.
