"""Loads SavedModels, with tensorflow-text's operations where they have some."""

import importlib
import re
from pathlib import Path
from typing import Any

import tensorflow as tf

from suite.errors import InputError

UNKNOWN = re.compile(r"Op type not registered '([^']+)'")


def load_saved_model(folder: Path) -> Any:
    """The SavedModel in a folder, as `tf.saved_model.load` returns it.

    A tokenizer's operations are part of the package tensorflow-text, which TensorFlow knows once it
    is imported. That takes a second and is done only if a SavedModel needs it.

    Raises:
        InputError: An operation is unknown, with tensorflow-text or because it is not installed.
    """
    try:
        return tf.saved_model.load(str(folder))
    except RuntimeError as error:
        operation = _unknown(error)
    try:
        importlib.import_module("tensorflow_text")
    except (ImportError, tf.errors.NotFoundError) as error:  # not there, or for another TensorFlow
        raise InputError(
            f"tensorflow-text for TensorFlow {tf.__version__} must be installed, "
            f"pip install '.[text]', to load {folder}",
            f"the operation {operation}",
        ) from error
    try:
        return tf.saved_model.load(str(folder))
    except RuntimeError as error:
        raise InputError(
            f"the operations of {folder} must be TensorFlow's or tensorflow-text's",
            _unknown(error),
        ) from error


def _unknown(error: RuntimeError) -> str:
    """The operation that TensorFlow does not know; raises the error if it is another one."""
    if operation := UNKNOWN.search(str(error)):
        return operation[1]
    raise error
