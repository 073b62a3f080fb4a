import logging

import gymnasium
import pytest
from gymnasium import spaces

from suite import InputError, Run
from suite.rl.episodes import load_episodes

pytestmark = pytest.mark.usefixtures("rings")


def load(name, run=Run(), **options):  # noqa: B008
    return load_episodes(run, name, 4, rollout_length=2, steps_per_epoch=3, **options)


def test_another_seed_begins_other_episodes():
    def seeds(seed):
        return next(iter(load("CartPole-v1", Run(seed=seed)).train(2)))

    one, again, other = seeds(1), seeds(1), seeds(2)

    assert (one[0] == again[0]).numpy().all() and (one[0] != other[0]).numpy().any()


def test_observations_may_be_left_as_they_are():
    def scale(**options):
        return load("Acrobot-v1", **options).model_arguments.get("observation_scale")

    assert scale()[-1] < 0.1
    assert scale(scale_observations=False) is None


def test_a_model_is_told_what_it_will_see_and_do():
    assert load("Pendulum-v1").model_arguments == {
        "observation_dim": 3,
        "observation_scale": pytest.approx((1, 1, 1 / 8)),
        "num_actions": 1,
        "action_bounds": ((-2.0,), (2.0,)),
        "action_choices": None,
    }
    arguments = load("Pendulum-v1", flatten=False).model_arguments
    assert arguments["observation_shape"] == (3,) and "observation_dim" not in arguments


def test_flattening_is_mentioned_once(caplog):
    with caplog.at_level(logging.INFO, "suite"):
        load("Blackjack-v1")
        assert "flattened to 45 numbers by gymnasium.spaces.flatten: Tuple" in caplog.text
        assert len(caplog.records) == 1
        caplog.clear()
        load("CartPole-v1")
    assert not caplog.records


def test_what_does_not_end_is_refused_before_training_or_cut_off():
    with pytest.raises(InputError, match=r"or be given `max_episode_steps`. Received: EndlessRing"):
        load("EndlessRing-v0")

    load("EndlessRing-v0", max_episode_steps=5)


def test_a_broken_rule_is_named_before_training():
    class Silent(gymnasium.Env):
        observation_space, action_space = spaces.Discrete(1), spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return 0, {}

        def step(self, action):
            return 0, None, True, False, {}

    gymnasium.register("Silent-v0", Silent)
    with pytest.raises(InputError, match="no finite number: None"):
        load("Silent-v0")
    gymnasium.registry.pop("Silent-v0")
