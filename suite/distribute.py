"""Where the work is placed. No app knows of it."""

import keras
import tensorflow as tf

from suite.errors import InputError


def strategy(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of a `--strategy` flag.

    Args:
        name: `one_device` is TensorFlow's default placement; `mirrored` keeps one replica of the
            model on each GPU, or on each logical CPU device where there is no GPU; `auto`
            mirrors where several GPUs are visible.

    Raises:
        InputError: `mirrored` finds a single device.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the GPU is in use already: its setting stands
            break
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one_device"
    if name == "one_device":
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise InputError(
            f"--strategy mirrored needs at least two devices. Received: {devices[0].name}"
        )
    # Collectives of several strategies in one process get in each other's way on CPU devices.
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy([device.name for device in devices], reduction)


def seed_of_replica(seeds: keras.random.SeedGenerator) -> tf.Tensor:
    """The next seed, another one on every replica; all of them count their seeds alike."""
    seed = tf.cast(seeds.next(), tf.int32)
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)
