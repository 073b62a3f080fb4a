"""Settings that must be made before one of the suite's programs imports TensorFlow and Keras.

The programs are those that `python -m` runs. Somebody who imports a builder or the suite into
another program keeps the settings of that program.
"""

import json
import os
import sys
from pathlib import Path

from suite.errors import InputError

BACKEND = "tensorflow"


def begin_application() -> None:
    """Prepares the process for `python -m apps.<name>`; the package `apps` calls it on import.

    Ends the process with one sentence if Keras has another backend. Does nothing in a process that
    runs another program.
    """
    if _begins_as_program():
        quiet_tensorflow()
        try:
            refuse_other_backend()
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(2)


def begin_server() -> None:
    """Prepares the process for `python -m suite.serve`; the package calls it on import."""
    if _begins_as_program():
        quiet_tensorflow()


def _begins_as_program() -> bool:
    """Whether `python -m` is importing the package of the module that it will run.

    At this time the module itself, and so TensorFlow, is not imported yet.
    """
    return sys.argv[:1] == ["-m"]


def quiet_tensorflow() -> None:
    """Reduces the log of TensorFlow's C++ code to errors that end the process.

    Six lines remain, which TensorFlow logs before it reads this setting. Hiding them would hide
    important messages as well, such as that the processor is too old.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def refuse_other_backend() -> None:
    """Refuses backends other than TensorFlow, without importing Keras, which would import them.

    Raises:
        InputError: `KERAS_BACKEND`, or without it Keras's configuration file, names another one.
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


def set_keras_defaults() -> None:
    """Sets Keras to float32 and channels last, regardless of its configuration file.

    Call it before a model is built.

    Raises:
        InputError: Keras runs on another backend.
    """
    import keras

    if keras.config.backend() != BACKEND:
        refuse_other_backend()
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


def _keras_folder() -> Path:
    """The folder of Keras's configuration file, by Keras's own rules."""
    if home := os.environ.get("KERAS_HOME"):
        return Path(home)
    home = os.path.expanduser("~")  # noqa: PTH111 - which does not raise where there is no home
    return Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")


def _configured_backend(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, LookupError, TypeError):  # Keras ignores such a file as well
        return BACKEND
