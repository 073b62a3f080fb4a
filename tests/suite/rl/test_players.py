import numpy as np
import pytest

from suite import InputError
from suite.placement.strategy import create_strategy
from tests.suite.rl.walkers import ticks, walker

pytestmark = pytest.mark.usefixtures("corridors")


def test_fit_plays_and_learns():
    model = walker()

    history = model.fit(ticks(), steps_per_epoch=4, epochs=5, shuffle=False, verbose=0).history

    assert history["episode_return"] == pytest.approx(5 * [6])
    assert history["episode_length"] == pytest.approx(5 * [3])
    assert history["loss"][-1] < history["loss"][0] / 2


def test_replicas_play_environments_of_their_own():
    placement = create_strategy("mirrored")
    with placement.scope():
        model = walker(num_envs=4)

    history = model.fit(ticks(4), steps_per_epoch=4, epochs=2, shuffle=False, verbose=0).history

    assert [environments.num_envs for environments in model.played] == [2, 2]
    assert history["loss"][1] < history["loss"][0]


def test_two_replicas_take_the_step_of_one():
    """The corridor is the same for all, and so is what is learnt of it."""
    weights = []
    for placement in ("one_device", "mirrored"):
        with create_strategy(placement).scope():
            model = walker(num_envs=4)
        model.fit(ticks(4), steps_per_epoch=4, shuffle=False, verbose=0)
        weights.append(model.get_weights())

    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_an_environment_that_fails_is_named():
    model = walker("Broken-v0")

    with pytest.raises(InputError, match="Received: Broken-v0: ValueError: the lamp went out"):
        model.fit(ticks(), steps_per_epoch=4, shuffle=False, verbose=0)


def test_it_plays_on_from_its_state():
    one, other = walker(), walker()
    one.fit(ticks(), steps_per_epoch=4, shuffle=False, verbose=0)
    state = one.state()
    weights = [variable.numpy() for variable in (*one.variables, *one.optimizer.variables)]

    other.optimizer.build(other.trainable_variables)
    for variable, value in zip(
        (*other.variables, *other.optimizer.variables), weights, strict=True
    ):
        variable.assign(value)
    other.restore(state)
    histories = [
        model.fit(ticks(), steps_per_epoch=3, epochs=2, shuffle=False, verbose=0).history
        for model in (one, other)
    ]

    assert histories[0] == histories[1]
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(one.played, other.played, strict=True):
        np.testing.assert_array_equal(a.observations, b.observations)
        assert a.steps == b.steps == 100


def test_what_cannot_be_saved_begins_new_episodes(caplog):
    model = walker()
    model.fit(ticks(), steps_per_epoch=1, shuffle=False, verbose=0)
    model.cost.env_steps = 7
    state = model.state()

    for unusable in (None, {"nothing": 1}, {"object": {"_ended": {"random": 1}}}):
        caplog.clear()
        other = walker()
        other.restore(state | {"environments": [[2, unusable]]})

        assert "New episodes begin" in caplog.text
        assert other.cost.env_steps == 7
        assert [environments.observations for environments in other.played] == [None]
