import numpy as np
import pytest

from suite import InputError, Run
from suite.rl.environments import Environments, film, load_episodes, returns_of

pytestmark = pytest.mark.usefixtures("corridors")


def test_the_step_after_an_end_is_none():
    environments = Environments("Corridor-v0", 2)

    seen = [environments.reset(0)]
    rows = [environments.step(np.zeros((2, 2), "f4")) for _ in range(6)]
    seen += [row[0] for row in rows]

    _, rewards, terminated, _, valid, returns, lengths = (
        np.stack(each)[:, 0] for each in zip(*rows, strict=True)
    )
    assert np.stack(seen)[:, 0].argmax(axis=-1).tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert rewards.tolist() == [1, 2, 3, 0, 1, 2]
    assert terminated.tolist() == [False, False, True, False, False, False]
    assert valid.tolist() == [True, True, True, False, True, True]
    assert returns.tolist() == [0, 0, 6, 0, 0, 0]
    assert lengths.tolist() == [0, 0, 3, 0, 0, 0]


def test_actions_fill_the_bounds_and_stay_inside():
    environments = Environments("Corridor-v0", 1)
    environments.reset(0)

    for action in ([-1.0, 0.0], [0.5, 1.0], [7.0, -7.0]):
        environments.step(np.array([action], "f4"))

    asked = environments._vector.envs[0].unwrapped.asked
    np.testing.assert_allclose(asked, [[0, 0], [7.5, 4], [10, -4]])
    assert environments.spaces.action_bounds == ((0.0, -4.0), (10.0, 4.0))


def test_observations_are_scaled_by_their_bounds_where_there_are_any():
    found = Environments("CartPole-v1", 3)

    assert found.spaces.observation_dim == 4 and found.spaces.num_actions == 2
    assert found.spaces.observation_scale == pytest.approx([1 / 4.8, 1, 1 / 0.41887903, 1])
    assert found.reset(0).shape == (3, 4)
    assert found.solved_at == 475


def test_the_same_seed_begins_alike():
    one, two = Environments("CartPole-v1", 3), Environments("CartPole-v1", 3)

    assert (one.reset(4) == two.reset(4)).all()
    assert (one.reset(4) != two.reset(5)).any()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_copies_may_be_played_in_other_ways(vectorization):
    environments = Environments("CartPole-v1", 2, vectorization)

    environments.reset(0)
    assert environments.step(np.zeros(2, "int64"))[1].tolist() == [1, 1]
    environments.close()


def test_each_environment_plays_one_episode():
    returns = returns_of(lambda seen: np.zeros((3, 2)), Environments("Corridor-v0", 3), seed=0)

    assert returns.tolist() == [6, 6, 6]


def test_an_episode_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("suite.rl.environments.LONGEST_EPISODE", 20)

    with pytest.raises(InputError, match="must end its episodes within 20 steps"):
        returns_of(lambda seen: np.zeros(2), Environments("CliffWalking-v1", 2), seed=0)


def test_a_restored_one_keeps_its_own_clock():
    one, other = Environments("CartPole-v1", 2), Environments("CartPole-v1", 2)
    one.reset(0)

    other.restore(one.state())

    assert other.begun > one.begun


def test_another_seed_begins_other_episodes():
    def seeds(seed):
        data = load_episodes(Run(seed=seed), "CartPole-v1", 4, rollout_length=2, steps_per_epoch=3)
        return next(iter(data.train(2)))

    one, again, other = seeds(1), seeds(1), seeds(2)

    assert (one[0] == again[0]).numpy().all() and (one[0] != other[0]).numpy().any()


def test_observations_may_be_left_as_they_are():
    def scale(**options):
        data = load_episodes(Run(), "Acrobot-v1", 4, rollout_length=2, steps_per_epoch=3, **options)
        return data.model_arguments.get("observation_scale")

    assert scale()[-1] < 0.1
    assert scale(scale_observations=False) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPole-v11", r"near it: CartPole-v1.*Received: CartPole-v11"),
        ("Nothing of the kind", r"one of Gymnasium's.*Received: Nothing of the kind"),
        ("Blackjack-v1", r"Box or Discrete observations. Received: Tuple"),
        ("Unbounded-v0", r"a bounded Box of them. Received: Box"),
        ("no_such_module:Toy-v0", r"one that can be made.*no_such_module"),
    ],
)
def test_what_is_of_no_use_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        Environments(name, 1)


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(InputError, match=r"one that can be drawn\. Received: Broken-v0"):
        film("Broken-v0", lambda seen: np.zeros((1, 2)), seed=0)
