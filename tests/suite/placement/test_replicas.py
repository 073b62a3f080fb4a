import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from suite import InputError, Run
from suite.data.examples import Examples, Source
from suite.data.images.augmentation import random_affine
from suite.data.pipelines import Shard, batches, shuffled_batches, supervised
from suite.errors import WorkerLost
from suite.placement import replicas
from suite.placement.keras_3_15 import fit_on_replicas
from suite.placement.replicas import (
    distribute,
    distribute_passes,
    reporting_lost_worker,
    seed_of_replica,
)
from suite.placement.strategy import create_strategy
from suite.rl.episodes import load_episodes


def numbered(count):
    return Examples(np.arange(count, dtype="float32")[:, None], np.zeros(count, "int32"))


@pytest.mark.parametrize(("hosts", "error"), [(1, tf.errors.UnavailableError), (2, WorkerLost)])
def test_a_lost_worker_is_said_in_one_sentence(hosts, error, monkeypatch):
    monkeypatch.setattr("suite.placement.replicas.many_hosts", lambda placement: hosts > 1)

    with (
        pytest.raises(error) as caught,
        reporting_lost_worker(create_strategy("one_device"), "go on so"),
    ):
        raise tf.errors.UnavailableError(None, None, "Collective ops is aborted by: Socket closed")

    if hosts > 1:
        assert str(caught.value) == "another worker is gone, or cannot be reached; go on so"


@pytest.mark.parametrize("size", [24, 23, 25])
def test_replicas_share_a_batch_and_see_every_example_once(size):
    placement = create_strategy("mirrored")
    make = shuffled_batches(numbered(size), 8, seed=0)
    steps = -(-size // 8)
    shares = distribute(functools.partial(make, 0), placement)
    numbers = []

    for whole, batch in zip(make(0).take(steps), shares, strict=False):
        inputs, _, *weights = (
            [np.asarray(part) for part in placement.experimental_local_results(values)]
            for values in batch
        )
        [weights] = weights or [[np.ones(len(part)) for part in inputs]]
        numbers += [x for xs, ws in zip(inputs, weights, strict=True) for x in xs[ws > 0, 0]]
        average = np.mean([np.mean(xs[:, 0] * ws) for xs, ws in zip(inputs, weights, strict=True)])
        assert average == pytest.approx(np.mean(whole[0]))

    assert sorted(numbers) == list(range(size))


def test_shards_of_a_batch_are_distorted_as_the_batch_is():
    images = np.random.default_rng(0).integers(0, 255, (14, 28, 28, 1), dtype=np.uint8)
    make = shuffled_batches(
        Examples(images, np.zeros(14, "int32")), 8, seed=0, augment=random_affine(10, 2, 0.1)
    )

    for step in range(2):
        whole, _ = next(iter(make(step)))
        parts = [next(iter(make(step, Shard(index, 3))))[0] for index in range(3)]
        np.testing.assert_allclose(tf.concat(parts, 0), whole, atol=1e-3)


def test_uneven_batches_teach_replicas_what_they_teach_one_device():
    random = np.random.default_rng(0)
    examples = Examples(
        random.normal(size=(23, 3)).astype("f4"), random.normal(size=23).astype("f4")
    )
    weights = []
    for name in ("one_device", "mirrored"):
        placement = create_strategy(name)
        keras.utils.set_random_seed(0)
        with placement.scope():
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(0.1), "mse")
        make = functools.partial(shuffled_batches(examples, 5, seed=0), 0)
        with fit_on_replicas(placement):
            model.fit(distribute(make, placement), steps_per_epoch=10, shuffle=False, verbose=0)
        weights.append(model.get_weights())

    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_evaluation_is_that_of_one_device():
    """Of batches that two replicas can't share evenly."""
    examples = Examples(np.arange(9, dtype="f4")[:, None], np.arange(9, dtype="f4") ** 2)
    logs = []
    for name in ("one_device", "mirrored"):
        placement = create_strategy(name)
        keras.utils.set_random_seed(0)
        with placement.scope():
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse", metrics=["mae"])
        dataset, steps = distribute_passes(batches(examples, 5), placement)
        with fit_on_replicas(placement):
            logs.append([model.evaluate(dataset, steps=steps, verbose=0) for _ in range(2)])

    np.testing.assert_allclose(*logs, rtol=1e-6)


@pytest.mark.parametrize("name", ["one_device", "mirrored"])
def test_no_pipeline_has_a_thread_that_could_keep_its_end_waiting(name, monkeypatch):
    placement, whole = create_strategy(name), tf.distribute.InputContext(1, 0, 2)
    monkeypatch.setattr(placement, "distribute_datasets_from_function", lambda make: make(whole))
    tuned = tf.data.Dataset.from_tensors((np.zeros((4, 1)), np.zeros(4)))
    passes, _ = distribute_passes(tuned, placement)

    for dataset in (distribute(lambda shard: tuned, placement), passes):
        assert dataset.options().autotune.enabled is False


def test_a_batch_smaller_than_the_replicas_is_refused():
    source = Source(name="numbers", train=numbered(24))
    data = supervised(source, batch_size=1, validation_split=0.5, seed=0)

    with pytest.raises(InputError, match=r"number of replicas, 2\. Received: 1"):
        data.check_replicas(2)


def test_environments_must_be_shared_evenly():
    data = load_episodes(Run(), "CartPole-v1", 5, rollout_length=2, steps_per_epoch=3)

    with pytest.raises(InputError, match=r"multiple of the number of replicas, 2\. Received: 5"):
        data.check_replicas(2)


def test_replicas_draw_seeds_of_their_own():
    placement = create_strategy("mirrored")
    with placement.scope():
        seeds = keras.random.SeedGenerator(0)

    seeds_of_runs = [
        np.stack(
            placement.experimental_local_results(placement.run(seed_of_replica, args=(seeds,)))
        )
        for _ in range(2)
    ]

    assert len(np.unique(np.concatenate(seeds_of_runs), axis=0)) == 4


def test_what_differs_between_workers_is_named(monkeypatch):
    others = iter(['{"seed": 1, "jit": false}', '{"seed": 1, "jit": true}', "2"])
    monkeypatch.setattr(replicas, "gather", lambda placement, text: [text, next(others)])
    placement = tf.distribute.get_strategy()

    replicas.refuse_disagreement(placement, run={"seed": 1, "jit": False})
    with pytest.raises(InputError, match=r"^the run, `jit`, must .*\. Received: false; true$"):
        replicas.refuse_disagreement(placement, run={"seed": 1, "jit": False})
    with pytest.raises(InputError, match=r"^the data must be .*workers\. Received: 1; 2$"):
        replicas.refuse_disagreement(placement, data=1)
