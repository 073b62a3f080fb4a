"""Creates the `tf.distribute` strategy of a training: one device, several, or many hosts."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from suite.errors import InputError, one_line_message
from suite.placement import cluster_spec
from suite.placement.meeting import meet
from suite.run import StrategyName


def create_strategy(name: StrategyName) -> tf.distribute.Strategy:
    """Creates a strategy by its name; in a cluster, waits for the other hosts first.

    GPUs are set to allocate memory as they need it, unless they are in use already.

    Args:
        name: `one_device` is TensorFlow's default placement; `mirrored` keeps one replica of the
            model on each GPU, or on each logical CPU device where there is no GPU;
            `multi_worker` does so on every host of the cluster that `TF_CONFIG` or Slurm
            describes; `tpu` on each core of a TPU; `auto` is `multi_worker` where there is a
            cluster, else `mirrored` where several GPUs are visible, else `one_device`.

    Raises:
        InputError: The devices are missing, or the cluster is described wrongly.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the GPU is in use already and keeps its setting
            break
    if name == "auto" and cluster_spec.in_cluster():
        name = "multi_worker"
    elif name == "auto" and len(gpus) > 1:
        name = "mirrored"
    match name:
        case "multi_worker":
            return _multi_worker()
        case "mirrored":
            return _mirrored(bool(gpus))
        case "tpu":
            return _tpu()
    return tf.distribute.get_strategy()


def _multi_worker() -> tf.distribute.Strategy:
    # TensorFlow logs a warning for every reduction over the workers outside of a step.
    tf.get_logger().setLevel(logging.ERROR)
    resolver = cluster_spec.resolve()
    meet(cluster_spec.addresses(resolver), cluster_spec.worker_number(resolver))
    with _interruptible():
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C end the process at once in a `with` block that connects the workers.

    TensorFlow may wait there for minutes in C++, where Python's handlers are not called, and there
    is no state to save yet. TensorFlow installs a handler of its own for SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _mirrored(on_gpus: bool) -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise InputError("`strategy` mirrored needs at least two devices", devices[0].name)
    # Collectives of several strategies in one process interfere with each other on CPU devices.
    reduction = None if on_gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy([device.name for device in devices], reduction)


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            os.environ.get("TPU_NAME", "local")
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(
            "`strategy` tpu needs a TPU, here or under the name in TPU_NAME",
            one_line_message(error).partition(" used by ")[0],
        ) from None
