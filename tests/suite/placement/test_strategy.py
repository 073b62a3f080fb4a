import functools
import json
import signal
import subprocess

import pytest
import tensorflow as tf

from suite import InputError
from suite.placement.meeting import meet
from suite.placement.replicas import is_chief
from suite.placement.strategy import create_strategy
from tests.forks import Fork, free_addresses


def test_auto_is_one_device_without_gpus():
    assert create_strategy("auto").num_replicas_in_sync == 1
    assert is_chief(create_strategy("auto"))


def test_mirrored_takes_all_logical_devices():
    assert create_strategy("mirrored").num_replicas_in_sync == 2


def test_mirrored_needs_two_devices(monkeypatch):
    one = tf.config.list_logical_devices("CPU")[:1]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: one * (kind == "CPU"))

    with pytest.raises(InputError, match=r"at least two devices. Received: /device:CPU:0"):
        create_strategy("mirrored")


def test_a_tpu_must_be_there():
    with pytest.raises(InputError, match="`strategy` tpu needs a TPU"):
        create_strategy("tpu")


def test_ctrl_c_is_heard_while_tensorflow_connects_the_workers(tmp_path):
    """One of them came to the meeting, and never to TensorFlow."""
    addresses = free_addresses(2)
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
    waiting = Fork(
        functools.partial(create_strategy, "multi_worker"),
        tmp_path / "output.txt",
        environment={"TF_CONFIG": json.dumps(config)},
    )
    meet(addresses, 1)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(3)

    waiting.send_signal(signal.SIGINT)

    assert waiting.wait(5) == -signal.SIGINT
