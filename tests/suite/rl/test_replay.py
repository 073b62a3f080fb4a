import math

import numpy as np
import pytest
import tensorflow as tf

from suite import InputError
from suite.rl.environments import Environments
from suite.rl.replay import Replay, Sampling, check_replay_size
from suite.rl.rollouts import Rollout
from suite.rl.spaces import Spaces, stack_frames

ENVS = 2
DISCOUNT = 0.5


def spaces_of(frame=(2,), stack=1, dtype="float32"):
    shape = (*frame[:-1], frame[-1] * stack)
    return Spaces(shape, dtype, (1.0,) * math.prod(shape), 2, frame_stack=stack)


def play(length, frame=(2,), stack=1, dtype="float32", first=0, seed=0):
    """Random episodes, some cut off; every frame is filled with a number of its own."""
    random = np.random.default_rng(seed)
    valid, ended = np.ones((length + 1, ENVS), bool), np.zeros((length, ENVS), bool)
    for time in range(length):
        ended[time] = valid[time] & (random.random(ENVS) < 0.25)
        valid[time + 1] = ~ended[time]
    terminated = ended & (random.random(ended.shape) < 0.5)
    numbers = first + np.arange((length + 1) * ENVS).reshape(-1, ENVS, *[1] * len(frame))
    frames = (numbers * np.ones(frame)).astype(dtype)
    observations = [np.tile(frames[0], stack)]
    for time in range(length):
        observations.append(stack_frames(observations[-1], frames[time + 1], ~valid[time]))
    rewards = random.integers(1, 9, ended.shape).astype(np.float32)
    actions = random.integers(0, 2, ended.shape).astype(np.int32)
    nothing = np.zeros(ended.shape, np.float32)
    return Rollout(
        np.stack(observations), actions, rewards, terminated, ended & ~terminated, valid[:-1],
        nothing, nothing,
    )  # fmt: skip


def part(rollout, begin, end):
    fields = {name: getattr(rollout, name)[begin:end] for name in Rollout._fields}
    return Rollout(**fields | {"observations": rollout.observations[begin : end + 1]})


def fill(replay, rollout, length=3):
    for begin in range(0, len(rollout.actions), length):
        replay.add(part(rollout, begin, begin + length))
    return replay


def numbers_of(observations):
    """The numbers of the newest frames."""
    return observations.reshape(len(observations), -1)[:, -1].astype(int)


def sample(replay, size=2000, seed=0, exponent=0.0):
    batch = replay.sample(size, tf.constant([0, seed]), exponent)
    return {name: values.numpy() for name, values in batch.items()}


def transition(rollout, time, env, n_step):
    """The transition of up to `n_step` steps, by a plain loop."""
    total, weight = 0.0, 1.0
    for last in range(time, time + n_step):
        total += weight * rollout.rewards[last, env]
        weight *= DISCOUNT
        if rollout.terminated[last, env] or rollout.truncated[last, env]:
            break
    terminated = rollout.terminated[last, env]
    return {
        "observations": rollout.observations[time, env],
        "actions": rollout.actions[time, env],
        "rewards": total,
        "next_observations": rollout.observations[last + 1, env],
        "terminated": terminated,
        "discount": 0 if terminated else weight,
        "weights": 1,
    }


@pytest.mark.parametrize("priority_exponent", [0, 0.5])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize(
    ("frame", "stack", "dtype"),
    [((2,), 1, "float32"), ((2,), 3, "float32"), ((2, 2, 1), 4, "uint8"), ((2, 3, 2), 3, "uint8")],
)
@pytest.mark.parametrize("capacity", [200, 31])
def test_samples_are_all_complete_transitions_and_no_others(
    frame, stack, dtype, n_step, capacity, priority_exponent
):
    replay = Replay(
        capacity,
        ENVS,
        spaces_of(frame, stack, dtype),
        Sampling(n_step, DISCOUNT, priority_exponent),
    )
    rollout = play(60, frame, stack, dtype)

    batch = sample(fill(replay, rollout))

    oldest = max(0, 60 - capacity // ENVS)
    for field in ("observations", "next_observations"):
        assert batch[field].dtype == dtype
    sampled = set()
    numbers, rows, again = np.unique(
        numbers_of(batch["observations"]), return_index=True, return_inverse=True
    )
    for values in batch.values():
        np.testing.assert_array_equal(values, np.asarray(values)[rows][again])
    for number, row in zip(numbers, rows, strict=True):
        time, env = divmod(number, ENVS)
        sampled.add((time, env))
        for name, value in transition(rollout, time, env, n_step).items():
            np.testing.assert_array_equal(batch[name][row], value, err_msg=name)
    ages = np.zeros((61, ENVS), int)
    for time in range(60):
        ages[time + 1] = np.where(rollout.valid[time], ages[time] + 1, 0)
    assert sampled == {
        (time, env)
        for time in range(oldest, 61 - n_step)
        for env in range(ENVS)
        if rollout.valid[time, env] and time - min(ages[time, env], stack - 1) >= oldest
    }


def test_the_seed_decides_and_a_graph_knows_the_shapes():
    replay = fill(Replay(200, ENVS, spaces_of()), play(30))
    draw = tf.function(lambda seed: replay.sample(64, seed))

    one, again, other = (draw(tf.constant([0, seed])) for seed in (1, 1, -2))

    assert one["observations"].shape == (64, 2) and one["rows"].shape == (64,)
    np.testing.assert_array_equal(one["rows"], again["rows"])
    assert (one["rows"] != other["rows"]).numpy().any()


def test_a_graph_sees_what_was_added_before():
    replay = Replay(200, ENVS, spaces_of(), Sampling(n_step=2))

    @tf.function
    def add():
        sizes = [replay.add(part(play(12), 0, 3))]
        with tf.control_dependencies(sizes):
            sizes.append(replay.add(part(play(12), 3, 6)))
        with tf.control_dependencies(sizes):
            return [*sizes, replay.size()]

    # Of three steps there may be no transition yet.
    assert [int(size) for size in add()] == [0, 12, 12]


def test_episodes_that_cannot_go_on_are_cut_off():
    replay = Replay(200, ENVS, spaces_of((2,), 3), Sampling(n_step=2, discount=DISCOUNT))
    before, rollout = play(15, stack=3), play(12, stack=3, first=1000, seed=1)
    fill(replay, before)

    batch = sample(fill(replay, rollout))

    begun, ended = numbers_of(batch["observations"]), numbers_of(batch["next_observations"])
    assert set(ended - begun) <= {ENVS, 2 * ENVS}
    # The last steps before the cut stay, if they are no resets.
    last = {14 * ENVS + env for env in range(ENVS) if before.valid[-1, env]}
    assert last and last <= set(begun)
    for row in np.flatnonzero(begun >= 1000):
        time, env = divmod(begun[row] - 1000, ENVS)
        for name, value in transition(rollout, time, env, 2).items():
            np.testing.assert_array_equal(batch[name][row], value, err_msg=name)


def test_priorities_are_probabilities_and_weights_undo_them():
    replay = Replay(200, ENVS, spaces_of(), Sampling(priority_exponent=0.5))
    fill(replay, play(12))
    rows = np.unique(sample(replay)["rows"])
    errors = np.arange(1, len(rows) + 1, dtype=np.float32) ** 2

    replay.prioritize(tf.constant(rows), tf.constant(-errors))
    batch = sample(replay, 40_000, exponent=0.8)

    rows_of_sample, counts = np.unique(batch["rows"], return_counts=True)
    np.testing.assert_array_equal(rows_of_sample, rows)
    likelihood = np.sqrt(errors)
    np.testing.assert_allclose(
        counts / counts.sum(), likelihood / likelihood.sum(), rtol=0.1, atol=1e-3
    )
    expected = likelihood[np.searchsorted(rows, batch["rows"])] ** -0.8
    np.testing.assert_allclose(batch["weights"], expected / expected.max(), rtol=1e-4)


def test_a_tree_of_a_loss_that_is_no_number_can_be_drawn_from():
    replay = Replay(200, ENVS, spaces_of(), Sampling(priority_exponent=1.0))
    fill(replay, play(12))
    rows = np.unique(sample(replay)["rows"])

    replay.prioritize(tf.constant(rows), tf.constant([np.nan, np.inf] + [1.0] * (len(rows) - 2)))

    assert set(sample(replay)["rows"]) == set(rows)


def test_new_transitions_are_as_likely_as_the_likeliest():
    replay = Replay(200, ENVS, spaces_of(), Sampling(priority_exponent=1.0))
    rollout = play(24)
    fill(replay, part(rollout, 0, 12))
    rows = np.unique(sample(replay)["rows"])

    replay.prioritize(tf.constant(rows), tf.constant([7.0] + [0.0] * (len(rows) - 1)))
    fill(replay, part(rollout, 12, 24))
    rows_of_sample = sample(replay)["rows"]

    assert set(rows_of_sample[rows_of_sample <= rows.max()]) == {rows[0]}
    new = rollout.valid[12:24].sum()
    assert (rows_of_sample == rows[0]).mean() == pytest.approx(1 / (1 + new), rel=0.3)


@pytest.mark.parametrize("priority_exponent", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_pictures_take_the_memory_of_their_frames(priority_exponent, dtype):
    spaces = spaces_of((84, 84, 1), 4, dtype)

    replay = Replay(100_000, 8, spaces, Sampling(3, priority_exponent=priority_exponent))

    size = 100_000 * 84 * 84 * np.dtype(dtype).itemsize
    assert size < replay.nbytes < 1.02 * size


def test_a_million_steps_are_not_copied_for_their_state():
    replay = Replay(1_000_000, ENVS, spaces_of((4,)))
    fill(replay, play(30, (4,)))

    frames = replay.state()["arrays"]["frames"]

    assert frames.shape == (31, ENVS, 4) and frames.base is not None


@pytest.mark.parametrize("length", [0, 12, 30, 51])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(3, priority_exponent=0.6)])
def test_it_goes_on_from_its_state(length, sampling):
    rollout = play(81, stack=2)
    one, other = (Replay(60, ENVS, spaces_of((2,), 2), sampling) for _ in range(2))
    fill(one, part(rollout, 0, length))
    fill(other, play(40, stack=2, seed=5))
    if length and sampling.prioritized:
        rows = sample(one, 32)["rows"]
        one.prioritize(tf.constant(rows), tf.range(32.0))

    other.restore(one.state())
    for replay in (one, other):
        fill(replay, part(rollout, length, 81))

    batches = [sample(replay, 64) for replay in (one, other)]
    for name, values in batches[0].items():
        np.testing.assert_array_equal(values, batches[1][name])
    assert one.size() == other.size() == 60


def of_another(**options):
    settings = {"capacity": 60, "spaces": spaces_of(), "sampling": Sampling()} | options
    return fill(Replay(num_envs=ENVS, **settings), play(45)).state()


@pytest.mark.parametrize(
    "state",
    [
        of_another(capacity=80),
        of_another(capacity=40),
        of_another() | {"next": 31},
        of_another() | {"moments": 3},
        of_another() | {"next": -1},
    ],
)
def test_the_state_of_another_is_refused(state):
    replay = fill(Replay(60, ENVS, spaces_of()), play(12))
    before = sample(replay)["rows"]

    with pytest.raises(ValueError, match="another"):
        replay.restore(state)
    np.testing.assert_array_equal(sample(replay)["rows"], before)


def test_a_state_without_priorities_is_refused():
    replay = Replay(60, ENVS, spaces_of(), Sampling(priority_exponent=0.5))

    with pytest.raises(KeyError):
        replay.restore(of_another())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_step": 0}, "`n_step` must be at least 1. Received: 0"),
        ({"discount": 1.1}, "`discount` must be between 0 and 1. Received: 1.1"),
        ({"priority_exponent": -1}, "`priority_exponent` must be between 0 and 1"),
        ({"importance_exponent": 2}, "`importance_exponent` must be between 0 and 1"),
    ],
)
def test_a_sampling_out_of_range_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Sampling(**options)


def test_actions_have_the_shape_of_the_environment():
    spaces = Environments("Pendulum-v1", 1).spaces

    arrays = Replay(10, 1, spaces).state()["arrays"]

    assert arrays["actions"].shape == (1, 1, 1) and arrays["actions"].dtype == np.float32
    assert arrays["frames"].shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (31, "`replay_size` must be at least 32, for a batch .*Received: 31"),
        (10**15, r"must be at most [\d,]+: .* fit into the memory of .* which takes [\d,.]+ GB"),
    ],
)
def test_a_replay_smaller_than_a_batch_or_larger_than_memory_is_refused(size, message):
    with pytest.raises(InputError, match=message):
        check_replay_size(size, 32, 2, spaces_of())
    check_replay_size(32, 32, 2, spaces_of())


def test_a_replay_without_room_for_a_transition_is_refused():
    sampling = Sampling(n_step=5)

    for check in (
        lambda: check_replay_size(20, 4, 4, spaces_of(), sampling),
        lambda: Replay(20, 4, spaces_of(), sampling),
    ):
        with pytest.raises(InputError, match="`replay_size` must be at least 28"):
            check()
