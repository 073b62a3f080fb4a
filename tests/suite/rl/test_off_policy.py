import functools

import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces
from keras import layers

from suite.placement.strategy import create_strategy
from suite.rl.environments import Environments
from suite.rl.evaluation import GreedyReturns
from suite.rl.off_policy import OffPolicyPlayer, Target
from suite.rl.policies import epsilon_greedy
from suite.rl.replay import Sampling
from tests.suite.rl.walkers import ticks

pytestmark = pytest.mark.usefixtures("rings")

DISCOUNT = 0.5


class DeepQ(OffPolicyPlayer):
    """Learns the value of every action."""

    epsilon = keras.optimizers.schedules.PolynomialDecay(1.0, 50, 0.2)

    def act(self, observations, seed, explore=True):
        values = self(observations, training=False)["value"]
        best = tf.argmax(values, axis=-1, output_type=tf.int32)
        if not explore:
            return best
        epsilon = self.epsilon(self.optimizer.iterations)
        return epsilon_greedy(best, values.shape[-1], epsilon, seed)

    def examples(self, batch):
        following = self.target.network(batch["next_observations"], training=False)["value"]
        worth = batch["rewards"] + batch["discount"] * tf.reduce_max(following, axis=-1)
        targets = {"action": batch["actions"], "worth": worth}
        return batch["observations"], targets, batch["weights"]

    def errors(self, targets, outputs):
        value = tf.gather(outputs["value"], targets["action"], batch_dims=1)
        return value - targets["worth"]

    def priorities(self, targets, outputs):
        return tf.abs(self.errors(targets, outputs))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        losses = self.errors(y, y_pred) ** 2
        return self.mean(losses, losses, sample_weight)


def learner(name="Ring-v0", num_envs=4, **options):
    observation = keras.Input((2,), name="observation")
    value = layers.Dense(2, use_bias=False, kernel_initializer="zeros")(observation)
    options = {
        "rollout_length": 2,
        "capacity": 200,
        "batch_size": 32,
        "warm_up": 20,
        "sampling": Sampling(discount=DISCOUNT),
    } | options
    player = DeepQ(
        keras.Model(observation, {"value": value}),
        functools.partial(Environments, name),
        num_envs=num_envs,
        seed=0,
        **options,
    )
    player.compile(keras.optimizers.Adam(0.05))
    return player


def fit(player, steps=10, epochs=1, **options):
    history = player.fit(
        ticks(player.num_envs), steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=0,
        **options,
    )  # fmt: skip
    return history.history


@pytest.mark.parametrize(
    ("name", "onward", "stay"),
    [
        # Moving on is worth 1 now, and half of that for ever: 2. Cut off or not.
        ("Ring-v0", 2, 1),
        # With an end after three steps, of which an observation does not tell, a third of the steps
        # is worth nothing more than 1: w = 1 + 2/3 * w/2.
        ("EndingRing-v0", 1.5, 0.5),
    ],
)
def test_what_follows_an_end_is_worth_nothing_but_not_what_follows_a_cut(name, onward, stay):
    player = learner(name, capacity=10_000, target_rate=0.2, updates=2)

    history = fit(player, steps=150, epochs=2)

    [values] = player.get_weights()
    np.testing.assert_allclose(values, [[stay, onward]] * 2, atol=0.15)
    assert history["loss"][1] < history["loss"][0]


def test_it_plays_what_it_has_learnt():
    player = learner()
    callback = GreedyReturns(Environments("Ring-v0", 5), solved_at=3, seed=0)

    history = fit(player, steps=60, callbacks=[callback])

    assert history["val_return"] == [3]
    # The warm-up counts: 3 rollouts of 8 steps.
    assert player.cost.env_steps == player.cost.env_steps_to_solve == 8 * (60 + 3)


def test_nothing_is_learnt_before_the_warm_up():
    player = learner(warm_up=50, rollout_length=1)

    fit(player, steps=1)

    [replay] = player.replays.values()
    assert replay.size() == 52 + 4
    assert player.optimizer.iterations == 1


def test_updates_are_as_many_as_asked_for():
    player = learner(updates=3)

    fit(player, steps=4)

    assert player.optimizer.iterations == 12


def test_variables_are_those_of_the_network():
    player = learner()
    fit(player)

    assert len(player.trainable_variables) == 1
    assert [v.path for v in player.non_trainable_variables if "seed" not in v.path] == []


@pytest.mark.parametrize(
    ("rate", "period", "expected"),
    [(1.0, 1, [1, 2, 3, 4]), (1.0, 2, [0, 2, 2, 4]), (0.5, 1, [0.5, 1.25, 2.125, 3.0625])],
)
def test_a_target_follows_its_network(rate, period, expected):
    inputs = keras.Input((2,))
    network = keras.Model(inputs, layers.Dense(2, kernel_initializer="zeros")(inputs))
    target = Target(network, rate, period)
    follow = tf.function(target.follow, autograph=False)

    followed = []
    for update in range(1, 5):
        network.set_weights([np.full((2, 2), update), np.zeros(2)])
        follow(tf.constant(update))
        followed.append(float(target.network.get_weights()[0][0, 0]))

    assert followed == expected


def copy_state(player, other):
    """Gives another player all variables and the state of a player, and returns it."""
    other.optimizer.build(other.trainable_variables)
    for name in ("variables", "metrics_variables"):
        for to, variable in zip(getattr(other, name), getattr(player, name), strict=True):
            to.assign(variable.numpy())
    for to, variable in zip(other.optimizer.variables, player.optimizer.variables, strict=True):
        to.assign(variable.numpy())
    other.restore(player.state())
    return other


def compiled_functions(player):
    """The number of functions in the graph of a step that XLA must compile."""
    graph = (
        tf.function(player.train_step)
        .get_concrete_function(next(iter(ticks(player.num_envs))))
        .graph
    )
    return sum(
        "_XlaMustCompile" in operation.node_def.attr and operation.get_attr("_XlaMustCompile")
        for operation in graph.get_operations()
    )


@pytest.mark.parametrize(("priority_exponent", "updates"), [(0, 1), (0.6, 3)])
def test_xla_makes_the_same_updates(priority_exponent, updates):
    sampling = Sampling(2, DISCOUNT, priority_exponent)
    plain, compiled = (
        learner(target_rate=0.5, target_period=2, updates=updates, sampling=sampling, xla=xla)
        for xla in (False, True)
    )

    losses = [fit(player, steps=5)["loss"] for player in (plain, compiled)]

    assert [compiled_functions(player) for player in (plain, compiled)] == [0, 1]

    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for network in ("model", "network"):
        [expected], [weights] = (
            getattr(player.target, network).get_weights() for player in (plain, compiled)
        )
        assert np.any(expected != 0)
        np.testing.assert_allclose(weights, expected, rtol=1e-4)
    if priority_exponent:
        priorities = [p.state()["replays"][0]["priorities"] for p in (plain, compiled)]
        np.testing.assert_allclose(*priorities, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("priority_exponent", "xla"), [(0, False), (0.6, True)])
def test_it_goes_on_from_its_state_to_the_same_steps(priority_exponent, xla):
    sampling = Sampling(2, DISCOUNT, priority_exponent)
    player, fresh = (
        learner(target_rate=0.1, updates=2, sampling=sampling, xla=xla) for _ in range(2)
    )
    fit(player)
    other = copy_state(player, fresh)

    histories = [fit(one, steps=5, epochs=2) for one in (player, other)]

    assert histories[0] == histories[1]
    for one, two in zip(player.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    states = [one.state()["replays"][0] for one in (player, other)]
    assert states[0]["next"] == states[1]["next"]
    for name, array in states[0]["arrays"].items():
        np.testing.assert_array_equal(array, states[1]["arrays"][name])
    np.testing.assert_array_equal(*(state.get("priorities", 0) for state in states))


def test_prioritised_transitions_are_learnt_and_lose_their_priority():
    decay = keras.optimizers.schedules.PolynomialDecay(0.4, 100, 1.0)
    sampling = Sampling(1, DISCOUNT, 0.6, decay)
    player = learner(target_rate=0.2, sampling=sampling, updates=2, capacity=2000)

    history = fit(player, steps=100, epochs=2)

    assert set(history) == {"loss", "episode_return", "episode_length"}
    [values] = player.get_weights()
    np.testing.assert_allclose(values, [[1, 2]] * 2, atol=0.15)
    priorities = player.state()["replays"][0]["priorities"]
    assert np.median(priorities[priorities > 0]) < 0.5
    assert player.state()["replays"][0]["largest"] >= 1


def test_rewards_of_several_steps_are_added_up():
    player = learner(sampling=Sampling(n_step=3, discount=1.0))

    fit(player, steps=20)
    [replay] = player.replays.values()
    batch = replay.sample(256, tf.constant([0, 0]))

    # Nothing is longer than an episode of three steps, which is cut off.
    assert set(batch["rewards"].numpy()) <= {0, 1, 2, 3}
    assert batch["rewards"].numpy().max() > 1
    assert (batch["discount"] == 1).numpy().all()


def test_a_replay_of_another_size_begins_empty(caplog):
    player, other = learner(), learner(capacity=100)
    fit(player, steps=30)

    other.restore(player.state())

    assert "The replay begins empty" in caplog.text
    fit(other, steps=2)


def test_two_replicas_learn_as_one_from_replays_of_their_own():
    with create_strategy("mirrored").scope():
        player = learner(target_rate=0.2)

    history = fit(player, steps=150)

    assert [environments.num_envs for environments in player.played] == [2, 2]
    assert [replay.capacity for replay in player.replays.values()] == [100, 100]
    for values in (player.get_weights(), player.target.network.get_weights()):
        np.testing.assert_allclose(values[0], [[1, 2]] * 2, atol=0.15)
    assert history["episode_return"][0] > 1


def test_a_batch_that_replicas_cannot_share_is_refused():
    with (
        create_strategy("mirrored").scope(),
        pytest.raises(ValueError, match=r"multiple of the number of replicas, 2\. Received: 33"),
    ):
        learner(batch_size=33)


@pytest.mark.parametrize("warm_up", [0, 201])
def test_a_warm_up_that_never_ends_or_begins_is_refused(warm_up):
    with pytest.raises(ValueError, match=f"at most `replay_size`, 200. Received: {warm_up}"):
        learner(warm_up=warm_up)


def test_pictures_keep_their_shape_and_their_bytes():
    picture = spaces.Box(0, 255, (4, 4, 3), np.uint8)

    class Pictures(gymnasium.Env):
        observation_space, action_space = picture, spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.full((4, 4, 3), 200, np.uint8), {}

        def step(self, action):
            return np.full((4, 4, 3), int(action), np.uint8), 1.0, False, False, {}

    gymnasium.register("Pictures-v0", Pictures, max_episode_steps=4)
    observation = keras.Input((4, 4, 3), name="observation")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(observation))
    player = DeepQ(
        keras.Model(observation, {"value": layers.Dense(2)(x)}),
        functools.partial(Environments, "Pictures-v0", flatten=False),
        num_envs=2, rollout_length=2, capacity=50, batch_size=4, warm_up=4,
    )  # fmt: skip
    player.compile(keras.optimizers.SGD(0.01))

    fit(player)
    gymnasium.registry.pop("Pictures-v0")

    [replay] = player.replays.values()
    assert replay.state()["arrays"]["frames"].dtype == np.uint8
    batch = replay.sample(64, tf.constant([0, 0]))
    assert batch["observations"].shape == (64, 4, 4, 3)
    np.testing.assert_array_equal(batch["next_observations"][:, 0, 0, 0], batch["actions"])


def test_a_replay_shorter_than_a_rollout_is_refused():
    with pytest.raises(ValueError, match=r"`replay_size` must be at least 8, a rollout.*: 7"):
        learner(capacity=7, warm_up=1)
