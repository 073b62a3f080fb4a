"""SavedModel versions under `<export_dir>/<app>/<n>/`: writing them whole, and reading them."""

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from cyclopts import Parameter
from keras import ops
from pydantic import PositiveInt

from suite.errors import InputError, Unwritable
from suite.export.versions import CHECKSUMS, METADATA, WARMUP, versions
from suite.files import refuse_damage, unwritable, write_checksums, write_whole
from suite.knobs import settings

log = logging.getLogger(__name__)

SAID_BY_ALL = {"app": str, "config": dict, "source": str, "metrics": dict}
KERAS_MODEL = "assets.extra/model.keras"
# What TensorFlow and Keras raise on reading a file that is cut off or changed.
DAMAGE = (OSError, LookupError, ValueError, TypeError, zipfile.BadZipFile, tf.errors.OpError)
ASIDE = ".export-"
LONGEST = 3600  # seconds that an export may take


class Endpoint(NamedTuple):
    """A signature that is no Keras model, since its inputs are no batches.

    Args:
        function: Takes a tensor for each of `inputs`, and returns a dict of tensors.
        inputs: Their shapes, types and names.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: Sequence[tf.TensorSpec]


def classifier(model: keras.Model) -> keras.Model:
    """A classifier as it is served: `logits`, `probabilities` and `label`.

    Args:
        model: Functional, with logits `(batch, classes)` as its only output.

    Returns:
        A model with the same inputs and the outputs `logits` and `probabilities`
        `(batch, classes)`, float32, and `label` `(batch,)`, int64: the index of the class.
    """
    logits = ops.cast(model.output, "float32")
    return keras.Model(
        model.input,
        {
            "logits": logits,
            "probabilities": ops.softmax(logits),
            "label": ops.cast(ops.argmax(logits, axis=-1), "int64"),
        },
        name=model.name,
    )


def export(
    folder: Path,
    model: keras.Model,
    endpoints: Mapping[str, keras.Model | Endpoint],
    example: np.ndarray,
    metadata: Mapping[str, Any],
) -> tuple[Path, float]:
    """Writes the next version, and reads it back to compare.

    The version is made aside and renamed into place, so that a reader never sees half of one.
    TensorFlow Serving passes over the folder beside the versions, whose name is no number.

    Args:
        folder: `<export_dir>/<app>`.
        model: The trained model; kept in Keras's own format as well, to train or evaluate on.
        endpoints: Signatures by name; `serve`, a model, is the default one.
        example: A batch for the default endpoint: compared after reloading, and used to warm up
            a server.
        metadata: What a client should know: written as JSON.

    Returns:
        The version's folder, and the largest absolute difference between the outputs of the
        reloaded `serve` signature and of the Keras model on `example`.

    Raises:
        Unwritable: The version cannot be written; no half of it is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _clear_away(folder)
    aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=folder))
    try:
        made = aside / "version"
        archive = keras.export.ExportArchive()
        # Without the optimizer, the loss and what else only training needs.
        plain = keras.Model(model.input, model.output, name=model.name)
        archive.track(plain)
        for name, endpoint in endpoints.items():
            function, inputs = _batched(endpoint) if isinstance(endpoint, keras.Model) else endpoint
            archive.add_endpoint(name, function, input_signature=list(inputs))
        archive.write_out(str(made), verbose=False)
        (made / "assets.extra").mkdir()
        difference = _difference(made, endpoints["serve"], example)
        plain.save(made / KERAS_MODEL)
        write_whole(made / METADATA, json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")
        _write_warmup(made / WARMUP, folder.name, endpoints["serve"], example[:1])
        write_checksums(made / CHECKSUMS, made)
        return _move_into_place(made, folder), difference
    except Unwritable:
        raise
    except (OSError, tf.errors.OpError) as error:
        size = 2 * sum(weights.nbytes for weights in model.get_weights())
        raise unwritable(folder, size, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _clear_away(folder: Path) -> None:
    """Removes what exports have left that were killed."""
    for aside in folder.glob(f"{ASIDE}*"):
        with contextlib.suppress(FileNotFoundError):  # another export has just ended
            if time.time() - aside.stat().st_mtime > LONGEST:
                shutil.rmtree(aside, ignore_errors=True)


@Parameter(name="*")
@settings
class Export:
    """Which exported model answers.

    Args:
        export_dir: Folder that holds `<app>/<version>/`.
        version: Version to use. Defaults to the newest.
    """

    export_dir: Path = Path("saved_models")
    version: PositiveInt | None = None

    def folder(self, app_name: str) -> Path:
        """The folder of the version.

        Raises:
            InputError: There is no such version.
        """
        parent = self.export_dir / app_name
        found = versions(parent)
        if not found:
            raise InputError(
                f"an exported model is needed. Received: none under {parent}; "
                f"python -m apps.{app_name} makes one"
            )
        if self.version is not None and self.version not in found:
            raise InputError(
                f"--version must be one of: {', '.join(map(str, found))}. Received: {self.version}"
            )
        return parent / str(self.version or found[-1])

    def metadata(self, app_name: str, *more: str) -> dict[str, Any]:
        """What was written down about the version.

        Args:
            app_name: Whose export.
            more: What it must say beside what all do.

        Raises:
            InputError: It cannot be read, or does not say it.
        """
        folder = self.folder(app_name)
        refuse_damage(folder / CHECKSUMS, folder)
        path = folder / METADATA
        try:
            metadata = json.loads(path.read_text())
            fits = [isinstance(metadata[name], kind) for name, kind in SAID_BY_ALL.items()]
            if all(fits) and all(metadata.get(name) for name in ("metrics", *more)):
                return metadata
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass
        raise InputError(f"an exported model must be whole. Received: {path}, damaged")

    def call(
        self, app_name: str, inputs: np.ndarray | Mapping[str, Any], signature: str = "serve"
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature by name.

        Args:
            app_name: Whose export.
            inputs: By name, or just the one that there is.
            signature: The endpoint.

        Raises:
            InputError: The version cannot be loaded.
        """
        return call(self.signature(app_name, signature), inputs)

    def signature(self, app_name: str, name: str = "serve") -> Any:
        """A signature of the version, a function of named tensors.

        Raises:
            InputError: The version cannot be loaded.
        """
        folder = self.folder(app_name)
        refuse_damage(folder / CHECKSUMS, folder)
        try:
            return tf.saved_model.load(str(folder)).signatures[name]
        except DAMAGE:
            raise InputError(
                f"an exported model must be whole. Received: {folder}, damaged"
            ) from None

    def keras_model(self, app_name: str) -> keras.Model:
        """The version as a Keras model.

        Raises:
            InputError: The version cannot be loaded.
        """
        folder = self.folder(app_name)
        refuse_damage(folder / CHECKSUMS, folder)
        path = folder / KERAS_MODEL
        try:
            return keras.models.load_model(path, compile=False, safe_mode=True)
        except DAMAGE:
            raise InputError(
                f"an exported model must be whole. Received: {path}, damaged"
            ) from None


def _batched(model: keras.Model) -> Endpoint:
    """A model as an endpoint for batches of any size."""

    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return model(keras.tree.pack_sequence_as(model.input, tensors), training=False)

    return Endpoint(
        serve,
        [
            tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=tensor.name)
            for tensor in model.inputs
        ],
    )


def call(function: Any, inputs: np.ndarray | Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of a signature by name, of inputs by name, or of just the one that there is."""
    specs = function.structured_input_signature[1]
    if not isinstance(inputs, Mapping):
        inputs = dict.fromkeys(specs, inputs)
    outputs = function(**{name: tf.cast(inputs[name], specs[name].dtype) for name in specs})
    return {key: value.numpy() for key, value in outputs.items()}


def _difference(folder: Path, endpoint: keras.Model, example: np.ndarray) -> float:
    reloaded = call(tf.saved_model.load(str(folder)).signatures["serve"], example)
    expected = endpoint.predict_on_batch(example)
    return max(
        float(np.max(np.abs(reloaded[name].astype(np.float64) - expected[name])))
        for name in expected
    )


def _write_warmup(path: Path, name: str, endpoint: keras.Model, example: np.ndarray) -> None:
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = "serving_default"
    [tensor] = endpoint.inputs
    proto = tf.make_tensor_proto(example.astype(tensor.dtype))
    request.inputs[tensor.name].CopyFrom(proto)
    record = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record.SerializeToString())


def _move_into_place(made: Path, folder: Path) -> Path:
    number = max(versions(folder), default=0)
    while True:
        number += 1
        version = folder / str(number)
        try:
            return made.rename(version)
        except OSError:
            if not os.path.lexists(version):
                raise
            # another export took this number in between, or it is no folder: take the next
