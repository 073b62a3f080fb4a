"""What must be settled before TensorFlow and Keras are imported by a program of ours.

A program is what `python -m` runs. Whoever imports a builder or the suite into a program of their
own keeps their settings.
"""

import json
import os
import sys
from pathlib import Path

from suite.errors import InputError

BACKEND = "tensorflow"


def begin_application() -> None:
    """Settles what `python -m apps.<name>` needs; called by the package as it is imported.

    Ends the process with one sentence where Keras has another backend.
    """
    if _begins_as_program():
        quiet_tensorflow()
        try:
            refuse_other_backend()
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(2)


def begin_server() -> None:
    """Settles what `python -m suite.serve` needs; called by the package as it is imported."""
    if _begins_as_program():
        quiet_tensorflow()


def _begins_as_program() -> bool:
    """Whether `python -m` is looking for its module, in a package that it has just imported.

    Nothing of that module, TensorFlow above all, is imported yet.
    """
    return sys.argv[:1] == ["-m"]


def quiet_tensorflow() -> None:
    """Keeps what TensorFlow's C++ logs to errors that end the process.

    Six lines stay, which are logged before any setting counts. They are let through rather than
    hidden with whatever else is said there, such as that a processor is too old.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def refuse_other_backend() -> None:
    """Refuses Keras's other backends, without importing Keras, which imports them.

    Raises:
        InputError: `KERAS_BACKEND`, or else Keras's configuration file, names another one.
    """
    file = _keras_folder() / "keras.json"
    if backend := os.environ.get("KERAS_BACKEND"):
        source = "KERAS_BACKEND"
    else:
        backend, source = _configured_backend(file), str(file)
    if backend != BACKEND:
        raise InputError(
            f"Keras's backend must be {BACKEND} for an application; builders run on any",
            f"{backend}, from {source}",
        )


def settle_keras() -> None:
    """Has Keras work in float32, channels last, whatever its configuration file says.

    To be called before a model is built.

    Raises:
        InputError: Keras runs on another backend.
    """
    import keras

    if keras.config.backend() != BACKEND:
        refuse_other_backend()
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


def _keras_folder() -> Path:
    """Where Keras looks for its configuration."""
    if home := os.environ.get("KERAS_HOME"):
        return Path(home)
    home = os.path.expanduser("~")  # noqa: PTH111 - which does not raise where there is no home
    return Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")


def _configured_backend(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, LookupError, TypeError):  # Keras passes over such a file, too
        return BACKEND
