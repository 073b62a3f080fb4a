import numpy as np
import pytest
import tensorflow as tf

from suite.rl.environments import Environments
from suite.rl.tabular.dynamics import open_task
from suite.rl.tabular.worlds import Gameplay, Simulation, draw


def test_outcomes_have_their_probabilities_and_episodes_begin_again(fork):
    world = Simulation(fork, 2, 4000, "float32")
    draws = draw(4000, 2, tf.constant([1, 2]))
    place = world.begin(draws)
    assert (place.state.numpy() == 0).all() and (place.steps_left.numpy() == 2).all()

    on = tf.ones(4000, tf.int32)
    first = world.move(place, on, draw(4000, 2, tf.constant([1, 3])))
    second = world.move(first.place, 0 * on, draw(4000, 2, tf.constant([1, 4])))

    assert (first.observed.numpy() == 1).all() and not first.over.numpy().any()
    assert (first.place.steps_left.numpy() == 1).all()
    assert second.terminated.numpy().all() and second.over.numpy().all()
    high = np.isclose(second.rewards, 1.2)
    assert (high | np.isclose(second.rewards, 0.8)).all()
    assert high.mean() == pytest.approx(0.5, abs=0.04)
    assert (second.place.state.numpy() == 0).all() and (second.place.steps_left.numpy() == 2).all()


def test_an_episode_is_cut_off_without_an_end(fork):
    world = Simulation(fork, 1, 3, "float32")
    draws = draw(3, 2, tf.constant([1, 2]))

    step = world.move(world.begin(draws), tf.ones(3, tf.int32), draws)

    assert step.over.numpy().all() and not step.terminated.numpy().any()
    assert (step.observed.numpy() == 1).all() and (step.place.state.numpy() == 0).all()


def test_episodes_begin_where_the_dynamics_say():
    task = open_task("Taxi-v4")
    world = Simulation(task.dynamics, task.limit, 60_000, "float32")

    begun = np.bincount(world.begin(draw(60_000, 6, tf.constant([0, 1]))).state, minlength=500)

    assert ((begun > 0) == (task.dynamics.start > 0)).all()
    assert begun.max() < 1.5 * 60_000 / 300


def test_frozen_lake_is_simulated_as_it_is_played():
    """The share of agents whose episodes end within six random steps."""
    task = open_task("FrozenLake-v1")
    count = 20_000
    world = Simulation(task.dynamics, task.limit, count, "float32")
    place = world.begin(draw(count, 4, tf.constant([0, 0])))
    ended = np.zeros(count, bool)
    for number in range(6):
        draws = draw(count, 4, tf.constant([7, number]))
        step = world.move(place, tf.argmax(draws.actions, axis=1, output_type=tf.int32), draws)
        ended |= step.over.numpy()
        place = step.place

    dynamics, distribution = task.dynamics, task.dynamics.start
    chances = np.where(dynamics.terminated, 0, dynamics.probability) / 4
    for _ in range(6):
        before, distribution = distribution, np.zeros(16)
        np.add.at(distribution, dynamics.following, before[:, None, None] * chances)

    assert ended.mean() == pytest.approx(1 - distribution.sum(), abs=0.015)


def test_the_environment_itself_is_played(coins):
    task = open_task("Coin-v0")
    environments = Environments("Coin-v0", 3, max_episode_steps=task.limit)
    world = Gameplay(environments, task, "float32")

    @tf.function(autograph=False)
    def play():
        place = world.begin(draw(3, 2, tf.constant([1, 1])))
        steps, observed = [], [world.observe(place)]
        for number in range(3):
            actions = observed[-1] % 2  # the side that is shown
            step = world.move(place, actions, draw(3, 2, tf.constant([1, number])))
            place = step.place
            steps.append(step)
            observed.append(step.observed)
        return steps, observed

    steps, observed = play()

    assert [step.valid.numpy().all() for step in steps] == [True, True, False]
    assert (steps[0].rewards.numpy() == 1).all() and (steps[1].rewards.numpy() == 1).all()
    assert steps[1].terminated.numpy().all() and not steps[0].over.numpy().any()
    assert [int(step.place.steps_left[0]) for step in steps] == [4, 3, 5]
    assert (observed[0].numpy() < 2).all() and (observed[1].numpy() >= 2).all()
