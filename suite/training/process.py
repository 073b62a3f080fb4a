"""What a training changes in its process, and restores at its end."""

import contextlib
import importlib
import logging
import random
from collections.abc import Iterator

import keras
import numpy as np

from suite.startup import set_keras_defaults

# Private attributes that hold random states.
KERAS_SEEDS = ("global_random_seed", "global_seed_generator")
TENSORFLOW_SEEDS = ("_seed", "_rng")


@contextlib.contextmanager
def showing_messages(quiet: bool) -> Iterator[None]:
    """Prints the suite's log messages in a `with` block, if the program has not set up logging.

    Args:
        quiet: Whether to print nothing after all.
    """
    logger = logging.getLogger("suite")
    if quiet or logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextlib.contextmanager
def restored_settings() -> Iterator[None]:
    """Sets Keras's defaults in a `with` block, and restores the caller's settings at its end.

    The defaults are those of the dtype and of the image data format. Restored are these, the dtype
    policy, determinism, and the random states of Python, NumPy, Keras and TensorFlow.

    Raises:
        InputError: Keras runs on another backend.
    """
    # Neither Keras nor TensorFlow has a public function that returns the seed.
    global_state = importlib.import_module("keras.src.backend.common.global_state")
    context = importlib.import_module("tensorflow.python.eager.context").context()
    determinism = importlib.import_module("tensorflow.python.framework.config")
    policy, deterministic = keras.config.dtype_policy(), determinism.is_op_determinism_enabled()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    keras_seeds = {name: global_state.get_global_attribute(name) for name in KERAS_SEEDS}
    tensorflow_seeds = {n: v for n, v in vars(context).items() if n in TENSORFLOW_SEEDS}
    floatx, image_data_format = keras.config.floatx(), keras.config.image_data_format()
    set_keras_defaults()
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_image_data_format(image_data_format)
        keras.config.set_dtype_policy(policy)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for name, seed in keras_seeds.items():
            global_state.set_global_attribute(name, seed)
        vars(context).update(tensorflow_seeds)
        if not deterministic and determinism.is_op_determinism_enabled():
            determinism.disable_op_determinism()
