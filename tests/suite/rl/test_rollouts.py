import pytest
import tensorflow as tf

from suite.rl.environments import Environments
from suite.rl.rollouts import collect, transitions
from tests.suite.rl.walkers import walker

pytestmark = pytest.mark.usefixtures("corridors", "rings")


def test_a_rollout_goes_on_where_the_last_one_ended():
    model = walker()
    [environments] = [model.make(2)]
    environments.reset(0)

    one, two = (collect(model.act, environments, 3, tf.constant([0, n])) for n in range(2))

    steps = tf.argmax(tf.concat([one.observations, two.observations], 0), -1)[:, 0]
    assert steps.numpy().tolist() == [0, 1, 2, 3, 3, 0, 1, 2]
    assert one.valid.numpy().all()
    assert two.valid.numpy()[:, 0].tolist() == [False, True, True]
    assert one.actions.shape == (3, 2, 2)
    assert (one.actions != two.actions).numpy().any()


@pytest.mark.parametrize(("name", "ends"), [("Ring-v0", False), ("EndingRing-v0", True)])
def test_transitions_are_steps_and_never_resets(name, ends):
    environments = Environments(name, 2)
    environments.reset(0)
    onward = lambda observations, seed: tf.ones([2], tf.int32)  # noqa: E731

    steps = transitions(collect(onward, environments, 9, tf.constant([0, 0])), discount=0.5)

    # Two of nine steps only reset, in both copies.
    assert steps["actions"].shape == (14,)
    places, following = (
        tf.argmax(steps[f"{prefix}observations"], axis=-1) for prefix in ("", "next_")
    )
    assert (following == 1 - places).numpy().all()
    assert (steps["rewards"] == 1).numpy().all()
    # What was cut off is no end.
    assert steps["terminated"].numpy().sum() == (4 if ends else 0)
    assert steps["discount"].numpy().sum() == (5 if ends else 7)
    assert (steps["weights"] == 1).numpy().all()
