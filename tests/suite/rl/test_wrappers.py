import itertools
import sys
import types

import gymnasium
import numpy as np
import pytest

from suite import InputError
from suite.rl.checks import check_environment
from suite.rl.environments import Environments
from suite.rl.evaluation import render_episode
from suite.rl.wrappers import make, register, step_limit
from tests.suite.rl.walkers import Blinker

PONG = "ALE/Pong-v5"


@pytest.fixture
def island(monkeypatch):
    """A module with the class of an environment that is not registered."""
    module = types.ModuleType("island")
    module.Lighthouse = type("Lighthouse", (Blinker,), {})
    module.CartPole = type("CartPole", (Blinker,), {})  # as one of Gymnasium's
    monkeypatch.setitem(sys.modules, "island", module)
    yield
    for name in ("Lighthouse", "CartPole"):
        gymnasium.registry.pop(f"island.{name}", None)


@pytest.mark.usefixtures("island")
@pytest.mark.parametrize("name", ["island:Lighthouse", "island:CartPole"])
def test_a_class_of_a_module_is_an_environment(name):
    check_environment(name, max_episode_steps=5)
    environments = Environments(name, 2, max_episode_steps=5, flatten=False)

    assert environments.reset(0).shape == (2, 4, 4, 1)
    assert environments.max_episode_steps == 5


@pytest.mark.usefixtures("island")
@pytest.mark.parametrize("name", ["island:Lighthous", "island:__name__"])
def test_a_module_without_the_class_is_refused(name):
    with pytest.raises(InputError, match=f"one of Gymnasium's.*Received: {name}"):
        register(name)


@pytest.mark.parametrize(
    ("name", "package", "command"),
    [
        (PONG, "ale_py", r"pip install '.\[atari\]'"),
        ("MinAtar/Breakout-v1", "minatar.gym", "pip install minatar"),
    ],
)
def test_a_missing_package_is_named(name, package, command, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(gymnasium.registry, name, raising=False)

    with pytest.raises(InputError, match=f"installed package: {command}. Received: {name}"):
        Environments(name, 1)


@pytest.mark.parametrize("vectorization", ["auto", "sync"])
def test_atari_games_show_stacks_of_grey_pictures(vectorization):
    pytest.importorskip("ale_py")

    environments = Environments(
        PONG, 2, vectorization, max_episode_steps=20, flatten=False, frame_stack=4
    )

    first = environments.reset(0)
    rows = [environments.step(np.array([2, 3])) for _ in range(60)]
    assert environments.spaces.observation_shape == first.shape[1:] == (84, 84, 4)
    assert first.dtype == np.uint8 and first.std() > 1
    assert (first == first[..., :1]).all()
    lengths = np.stack([row[6] for row in rows])
    assert 0 < lengths.max() <= 20 and environments.max_episode_steps == 20
    assert np.stack([row[3] for row in rows]).any()  # cut off
    for before, (after, *_, valid, _, _) in itertools.pairwise(rows):
        shifted = after[valid][..., :-1] == before[0][valid][..., 1:]
        assert shifted.all()
    environments.close()


def test_an_atari_game_is_cut_off_after_half_an_hour():
    pytest.importorskip("ale_py")

    assert step_limit(register(PONG)) == 27_000
    assert make(PONG, 100).unwrapped.ale.getInt("max_num_frames_per_episode") == 400


def test_an_atari_game_can_be_checked_and_drawn():
    pytest.importorskip("ale_py")

    check_environment(PONG, max_episode_steps=20)
    frames, _ = render_episode(
        PONG, lambda observations: np.zeros(1, np.int32), 0, 20, flatten=False, frame_stack=4
    )

    assert frames.shape[1:] == (210, 160, 3) and 1 < len(frames) <= 21


@pytest.mark.parametrize("vectorization", ["auto", "sync"])
def test_missing_games_are_said(vectorization, monkeypatch, tmp_path):
    pytest.importorskip("ale_py")
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path / "none"))

    with pytest.raises(InputError, match=f"one that can be made. Received: {PONG}: ROM directory"):
        Environments(PONG, 1, vectorization)


def test_minatar_games_are_bytes_that_go_on_from_their_state():
    pytest.importorskip("minatar")
    one, other = (
        Environments("MinAtar/Breakout-v1", 2, flatten=False, max_episode_steps=100)
        for _ in range(2)
    )
    one.reset(3)
    actions = np.random.default_rng(0).integers(0, 3, (60, 2))
    for pair in actions[:30]:
        one.step(pair)

    other.restore(one.state())

    assert one.observations.shape == (2, 10, 10, 4) and one.observations.dtype == np.uint8
    for pair in actions[30:]:
        for first, second in zip(one.step(pair), other.step(pair), strict=True):
            np.testing.assert_array_equal(first, second)
