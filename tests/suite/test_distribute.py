import keras
import numpy as np
import pytest
import tensorflow as tf

from suite import InputError
from suite.data import Split, shuffled_batches
from suite.distribute import seed_of_replica, strategy


def test_auto_is_one_device_without_gpus():
    assert strategy("auto").num_replicas_in_sync == 1


def test_mirrored_takes_all_logical_devices():
    assert strategy("mirrored").num_replicas_in_sync == 2


def test_mirrored_needs_two_devices(monkeypatch):
    one = tf.config.list_logical_devices("CPU")[:1]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: one * (kind == "CPU"))

    with pytest.raises(InputError, match=r"at least two devices. Received: /device:CPU:0"):
        strategy("mirrored")


def test_replicas_share_a_batch_and_see_every_example_once():
    rows = Split(np.arange(24, dtype="float32")[:, None], np.zeros(24, "int32"))
    dataset = shuffled_batches(rows, 8, seed=0)(0).take(3)
    placement = strategy("mirrored")

    shares = [
        [np.asarray(local)[:, 0].tolist() for local in placement.experimental_local_results(x)]
        for x, _ in placement.experimental_distribute_dataset(dataset)
    ]

    assert all(len(left) == len(right) == 4 for left, right in shares)
    assert sorted(x for share in shares for local in share for x in local) == list(range(24))


def test_replicas_draw_seeds_of_their_own():
    placement = strategy("mirrored")
    with placement.scope():
        seeds = keras.random.SeedGenerator(0)

    drawn = [
        np.stack(
            placement.experimental_local_results(placement.run(seed_of_replica, args=(seeds,)))
        )
        for _ in range(2)
    ]

    assert len(np.unique(np.concatenate(drawn), axis=0)) == 4
