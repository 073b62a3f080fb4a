import functools
import json
import socket

import keras
import numpy as np
import pytest
import tensorflow as tf

from suite import InputError, Run
from suite.data.examples import Shard, Split, batches, shuffled_batches
from suite.data.pictures import augmenter
from suite.errors import WorkerLost
from suite.placement.keras_3_15 import fit_on_replicas
from suite.placement.strategy import (
    _cluster,
    is_chief,
    noticing_loss,
    seed_of_replica,
    spread,
    spread_passes,
    strategy,
)
from suite.rl.environments import load_episodes


def numbered(count):
    return Split(np.arange(count, dtype="float32")[:, None], np.zeros(count, "int32"))


def cluster(job="worker", index=0, **jobs):
    jobs = jobs or {"worker": ["localhost:1", "localhost:2"]}
    return json.dumps({"cluster": jobs, "task": {"type": job, "index": index}})


def test_auto_is_one_device_without_gpus():
    assert strategy("auto").num_replicas_in_sync == 1
    assert is_chief(strategy("auto"))


def test_mirrored_takes_all_logical_devices():
    assert strategy("mirrored").num_replicas_in_sync == 2


def test_mirrored_needs_two_devices(monkeypatch):
    one = tf.config.list_logical_devices("CPU")[:1]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: one * (kind == "CPU"))

    with pytest.raises(InputError, match=r"at least two devices. Received: /device:CPU:0"):
        strategy("mirrored")


def test_a_tpu_must_be_there():
    with pytest.raises(InputError, match="--strategy tpu needs a TPU"):
        strategy("tpu")


def test_a_cluster_must_be_described(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)

    with pytest.raises(InputError, match=r"needs a cluster.*python -m suite\.cluster"):
        strategy("multi_worker")


@pytest.mark.parametrize("name", ["auto", "multi_worker"])
@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("{", r"must be JSON like .* Received: \{"),
        ("[]", "must be JSON like"),
        ('{"cluster": {"worker": ["localhost:1"]}}', "must be JSON like"),
        ('{"cluster": {"worker": 7}, "task": {"type": "worker", "index": 0}}', "must be JSON like"),
        (cluster(worker=["localhost"]), "host:port. Received: localhost"),
        (cluster(worker=["localhost:1", "b:65536"]), "host:port. Received: b:65536"),
        (cluster(worker=["localhost:1", "localhost:1"]), "every worker once"),
        (cluster(worker=["a:1"], ps=["b:1"]), "chief and worker only. Received: ps"),
        (cluster(worker=["http://localhost:1"]), "host:port. Received: http://localhost:1"),
        (cluster(worker=["no such host:1"]), "host:port. Received: no such host:1"),
        (cluster(chief=[], worker=["localhost:1"]), "one chief, or none, and no empty list. Rec"),
        (cluster(job="chief", chief=["a:1", "b:1"]), "one chief, or none"),
        ('{"cluster": {}, "task": {"type": "worker", "index": 0}}', "no empty list. Received: {}"),
        (cluster()[:-1] + ', "rpc_layer": "foo"}', "rpc_layer in TF_CONFIG must be grpc. Rec"),
        (cluster(index=False), "one of worker 0 to 1. Received: worker False"),
        (cluster(worker=["localhost:" + 5000 * "9"]), "host:port. Received: localhost:9"),
        (cluster(worker={"localhost:1": 2}), "must be JSON like"),
        (cluster(job=["worker"]), "must be JSON like"),
        (9999 * "[", "must be JSON like"),
        (cluster(index=2), "one of worker 0 to 1. Received: worker 2"),
        (cluster(index=-1), "one of worker 0 to 1. Received: worker -1"),
        (cluster(index="0"), "one of worker 0 to 1. Received: worker 0"),
        (cluster(job="chief"), "one of worker 0 to 1. Received: chief 0"),
    ],
)
def test_a_cluster_described_wrongly_is_refused(name, described, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", described)

    with pytest.raises(InputError, match=message):
        strategy(name)


def test_slurm_says_who_works_together(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[9-10],other")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2(x2),1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "5")
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("TF_CONFIG", "")

    resolver = _cluster()

    assert resolver.cluster_spec().as_dict() == {
        "worker": ["node9:8888", "node9:8889", "node10:8888", "node10:8889", "other:8888"]
    }
    assert (resolver.task_type, resolver.task_id) == ("worker", 3)


def test_slurm_s_number_of_tasks_must_be_one(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "two")
    monkeypatch.setenv("TF_CONFIG", "")

    with pytest.raises(InputError, match=r"must be a number. Received: two"):
        strategy("auto")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLURM_STEP_NODELIST", None),
        ("SLURM_STEP_NODELIST", "h[1-"),
        ("SLURM_STEP_TASKS_PER_NODE", "1"),
        ("SLURM_PROCID", None),
        ("SLURM_PROCID", "first"),
    ],
)
def test_slurm_must_say_it_all(name, value, monkeypatch):
    said = {"NODELIST": "a,b", "TASKS_PER_NODE": "1(x2)", "NUM_TASKS": "2"}
    said = {f"SLURM_STEP_{key}": each for key, each in said.items()} | {"SLURM_PROCID": "0"}
    for each, text in {**said, "TF_CONFIG": "", name: value}.items():
        monkeypatch.delenv(each, raising=False)
        if text is not None:
            monkeypatch.setenv(each, text)

    with pytest.raises(InputError, match="must say who works together. Received: .*" + name):
        strategy("auto")


def test_a_port_in_use_is_refused(monkeypatch):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("TF_CONFIG", cluster(worker=[f"localhost:{port}", "localhost:1"]))

        with pytest.raises(InputError, match=f"must be free. Received: localhost:{port}"):
            strategy("multi_worker")


@pytest.mark.parametrize(("hosts", "error"), [(1, tf.errors.UnavailableError), (2, WorkerLost)])
def test_a_lost_worker_is_said_in_one_sentence(hosts, error, monkeypatch):
    monkeypatch.setattr("suite.placement.strategy.many_hosts", lambda placement: hosts > 1)

    with pytest.raises(error) as said, noticing_loss(strategy("one_device"), "go on so"):
        raise tf.errors.UnavailableError(None, None, "Collective ops is aborted by: Socket closed")

    if hosts > 1:
        assert str(said.value) == "another worker is gone, or cannot be reached; go on so"


@pytest.mark.parametrize("size", [24, 23, 25])
def test_replicas_share_a_batch_and_see_every_example_once(size):
    placement = strategy("mirrored")
    make = shuffled_batches(numbered(size), 8, seed=0)
    steps = -(-size // 8)
    spread_out = spread(functools.partial(make, 0), placement)
    seen = []

    for whole, batch in zip(make(0).take(steps), spread_out, strict=False):
        inputs, _, *weights = (
            [np.asarray(part) for part in placement.experimental_local_results(each)]
            for each in batch
        )
        [weights] = weights or [[np.ones(len(part)) for part in inputs]]
        seen += [x for xs, ws in zip(inputs, weights, strict=True) for x in xs[ws > 0, 0]]
        average = np.mean([np.mean(xs[:, 0] * ws) for xs, ws in zip(inputs, weights, strict=True)])
        assert average == pytest.approx(np.mean(whole[0]))

    assert sorted(seen) == list(range(size))


def test_shards_of_a_batch_are_distorted_as_the_batch_is():
    images = np.random.default_rng(0).integers(0, 255, (14, 28, 28, 1), dtype=np.uint8)
    make = shuffled_batches(
        Split(images, np.zeros(14, "int32")), 8, seed=0, augment=augmenter(10, 2, 0.1)
    )

    for step in range(2):
        whole, _ = next(iter(make(step)))
        parts = [next(iter(make(step, Shard(index, 3))))[0] for index in range(3)]
        np.testing.assert_allclose(tf.concat(parts, 0), whole, atol=1e-3)


def test_uneven_batches_teach_replicas_what_they_teach_one_device():
    random = np.random.default_rng(0)
    examples = Split(random.normal(size=(23, 3)).astype("f4"), random.normal(size=23).astype("f4"))
    weights = []
    for name in ("one_device", "mirrored"):
        placement = strategy(name)
        keras.utils.set_random_seed(0)
        with placement.scope():
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(0.1), "mse")
        make = functools.partial(shuffled_batches(examples, 5, seed=0), 0)
        with fit_on_replicas(placement):
            model.fit(spread(make, placement), steps_per_epoch=10, shuffle=False, verbose=0)
        weights.append(model.get_weights())

    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_evaluation_is_that_of_one_device():
    """Of batches that two replicas can't share evenly."""
    examples = Split(np.arange(9, dtype="f4")[:, None], np.arange(9, dtype="f4") ** 2)
    found = []
    for name in ("one_device", "mirrored"):
        placement = strategy(name)
        keras.utils.set_random_seed(0)
        with placement.scope():
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse", metrics=["mae"])
        dataset, steps = spread_passes(batches(examples, 5), placement)
        with fit_on_replicas(placement):
            found.append([model.evaluate(dataset, steps=steps, verbose=0) for _ in range(2)])

    np.testing.assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize("name", ["one_device", "mirrored"])
def test_no_pipeline_has_a_thread_that_could_keep_its_end_waiting(name, monkeypatch):
    placement, whole = strategy(name), tf.distribute.InputContext(1, 0, 2)
    monkeypatch.setattr(placement, "distribute_datasets_from_function", lambda make: make(whole))
    make = functools.partial(shuffled_batches(numbered(8), 4, seed=0), 0)
    passes, _ = spread_passes(batches(numbered(8), 4), placement)

    for dataset in (spread(make, placement), passes):
        assert dataset.options().autotune.enabled is False


def test_a_batch_smaller_than_the_replicas_is_refused():
    make = shuffled_batches(numbered(24), 1, seed=0)

    with pytest.raises(InputError, match=r"number of replicas, 2\. Received: 1"):
        spread(functools.partial(make, 0), strategy("mirrored"))


def test_environments_must_be_shared_evenly():
    data = load_episodes(Run(), "CartPole-v1", 5, rollout_length=2, steps_per_epoch=3)

    with pytest.raises(InputError, match=r"multiple of the number of replicas, 2\. Received: 5"):
        spread(functools.partial(data.train, 0), strategy("mirrored"))


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
