import dataclasses
from unittest import mock

import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.a3c import AsynchronousActorCritic, Config, Worker, app, compile_model
from suite import InputError, Run, cli, train
from suite.tasks.control import ActorCritic, build_actor_critic, make_environments
from tests.suite.rl.conftest import Corridor
from tests.suite.rl.walkers import ticks

QUIET = Run(data="embedded", quiet=True)
TINY = {"epochs": 2, "num_envs": 4, "num_workers": 2, "round_length": 6, "units": (8,)}


def worker_of(network, config, number):
    """A worker for a network, with environments of its own."""
    environments = make_environments(config, number)
    copy = ActorCritic(keras.models.clone_model(network), config)
    return Worker(ActorCritic(network, config), copy, environments)


def test_a_worker_keeps_the_weights_that_it_fetched():
    config = Config(num_envs=2, num_workers=1)
    network = build_actor_critic(units=(4,))
    worker = worker_of(network, config, 2)
    worker.environments.begin(0)
    before = network.get_weights()

    worker.fetch()
    network.set_weights([np.zeros_like(weights) for weights in before])
    gradients, loss, returns, lengths = worker.play(tf.constant([0, 0]))

    for kept, fetched in zip(worker.copy.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, fetched)
    assert [g.shape for g in gradients] == [v.shape for v in worker.copy.trainable_variables]
    assert returns.shape == lengths.shape == (config.rollout_length, 2) and np.isfinite(loss)
    worker.fetch()
    assert not any(weights.any() for weights in worker.copy.get_weights())


def test_a_late_gradient_is_of_the_weights_before_the_updates_of_others():
    """Two workers fetch the same weights; their gradients are added up, one after the other."""
    config = Config(num_envs=4, num_workers=2, round_length=1, in_turn=True)
    network = build_actor_critic(units=(4,))
    expected = network.get_weights()
    gradients = []
    for seed in (0, 2):  # of the first environment of each worker
        worker = worker_of(network, config, 2)
        worker.environments.begin(seed)
        worker.fetch()
        gradients.append(worker.play(tf.constant([seed, 0]))[0])

    model = AsynchronousActorCritic(network, config)
    model.compile(keras.optimizers.SGD(0.5))
    model.optimizer.build(model.trainable_variables)
    before = [variable.numpy() for variable in model.trainable_variables]
    history = model.fit(ticks(4), steps_per_epoch=1, shuffle=False, verbose=0).history

    for variable, start, *both in zip(model.trainable_variables, before, *gradients, strict=True):
        np.testing.assert_allclose(
            variable.numpy(), start - 0.5 * (both[0] + both[1]), rtol=1e-4, atol=1e-6
        )
    assert any((new != old).any() for new, old in zip(network.get_weights(), expected, strict=True))
    assert model.counts.staleness == {0: 1, 1: 1} and history["staleness"] == [0.5]


def test_workers_in_turn_do_the_same_in_every_run():
    recipe = app.recipe(**TINY, in_turn=True)

    one, other = (train(app, recipe, QUIET) for _ in range(2))

    for a, b in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # Of two workers in turn, only the first update of a round is not late.
    assert one.report["metrics"]["staleness_max"] == 1
    assert one.history["staleness"] == pytest.approx(2 * [11 / 12])
    assert one.report["metrics"]["env_steps"] == 2 * 12 * 2 * 32
    assert (one.folder / "figures" / "staleness.png").exists()


def test_free_workers_share_the_updates_of_a_round():
    trained = train(app, app.recipe(**TINY), QUIET)

    counts = trained.model.counts.staleness
    assert counts.total() == 2 * 12 == int(trained.model.optimizer.iterations)
    assert trained.report["metrics"]["env_steps"] == 2 * 12 * 2 * 32
    mean = sum(staleness * number for staleness, number in counts.items()) / 24
    assert trained.report["metrics"]["staleness_mean"] == pytest.approx(mean)
    assert np.mean(trained.history["staleness"]) == pytest.approx(mean)


def test_one_worker_is_never_late():
    trained = train(app, app.recipe(**TINY | {"num_workers": 1}), QUIET)

    assert trained.model.counts.staleness == {0: 12}


def test_free_workers_learn_to_balance_the_pole():
    trained = train(app, app.recipe(epochs=15), QUIET)

    assert trained.report["metrics"]["eval_return_mean"] > 200
    assert trained.history["episode_return"][0] < 60


def test_several_replicas_report_what_the_training_cost():
    metrics = train(
        app, app.recipe(**app.tiny), dataclasses.replace(QUIET, strategy="mirrored")
    ).report["metrics"]

    assert metrics["env_steps"] > 0
    assert metrics["staleness_max"] >= metrics["staleness_mean"] >= 0


def test_counts_of_staleness_survive_a_kill():
    one, other = (
        AsynchronousActorCritic(build_actor_critic(units=(4,)), Config()) for _ in range(2)
    )
    one.counts.staleness.update({0: 3, 2: 5})

    other.restore(one.state())

    assert other.counts.staleness == {0: 3, 2: 5}


def test_an_environment_that_fails_in_a_thread_is_named():
    gymnasium.register("Broken-v0", Corridor, kwargs={"fails": True})
    config = Config(environment="Broken-v0", num_envs=4, num_workers=2)
    network = build_actor_critic(
        4, num_actions=2, action_bounds=((0.0, -4.0), (10.0, 4.0)), units=(4,)
    )
    model = compile_model(network, config, 1)
    model.optimizer.build(model.trainable_variables)

    with pytest.raises(InputError, match="Received: Broken-v0: ValueError: the lamp went out"):
        model.fit(ticks(4), steps_per_epoch=1, shuffle=False, verbose=0)
    gymnasium.registry.pop("Broken-v0")


def test_workers_of_other_hosts_are_refused():
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy)

    with (
        mock.patch.object(tf.distribute, "get_strategy", return_value=strategy),
        pytest.raises(InputError, match=r"threads of one process\. Received: multi_worker"),
    ):
        compile_model(None, Config(), 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-workers", "0"], "--num-workers "),
        (["--num-workers", "3"], "--num-envs must be a multiple of --num-workers, 3"),
        (["--deterministic"], "--in-turn must be set"),
        (["--precision", "mixed_float16"], "--precision must be float32 or mixed_bfloat16"),
        (["--round-length", "0"], "--round-length "),
        (["--data", "pole.csv"], "--environment says what is played"),
        (["--jit"], "--jit"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
