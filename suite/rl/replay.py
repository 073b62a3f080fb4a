"""A replay of the newest steps, to learn from each of them more than once."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import psutil
import tensorflow as tf

from suite.errors import InputError
from suite.rl.rollouts import Rollout
from suite.rl.spaces import Spaces
from suite.rl.sum_tree import SumTree

SMALLEST_PRIORITY = 1e-6  # keeps every transition possible, as in the paper


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Which transitions a replay samples, and how many rewards each of them adds up.

    Args:
        n_step: Number of rewards that a transition adds up; fewer at the end of an episode.
        discount: Weight of the next step's return, in [0, 1].
        priority_exponent: 0 samples every transition with the same probability; 1 in proportion to
            its priority; in between, to its priority to the power of this number.
        importance_exponent: 1 corrects the loss completely for the probabilities by `weights`; 0
            not at all. A function is called with the number of updates so far, in the graph, like
            a schedule of Keras.

    Raises:
        InputError: A value is out of range.

    Reference:
        Schaul et al., 2015, Prioritized Experience Replay, https://arxiv.org/abs/1511.05952
        Sutton, 1988, Learning to Predict by the Methods of Temporal Differences,
        https://doi.org/10.1007/BF00115009
    """

    n_step: int = 1
    discount: float = 0.99
    priority_exponent: float = 0.0
    importance_exponent: float | Callable[[tf.Tensor], tf.Tensor] = 0.4

    def __post_init__(self) -> None:
        if self.n_step < 1:
            raise InputError("`n_step` must be at least 1", self.n_step)
        for name in ("discount", "priority_exponent", "importance_exponent"):
            value = getattr(self, name)
            if not callable(value) and not 0 <= value <= 1:
                raise InputError(f"`{name}` must be between 0 and 1", value)

    @property
    def prioritized(self) -> bool:
        """Whether transitions have priorities."""
        return self.priority_exponent > 0


UNIFORM = Sampling()


class Replay:
    """The newest steps of environments that are played side by side, in rings of NumPy arrays.

    Every observation is stored once, whether it is the beginning or the end of a transition; of an
    observation that stacks frames, only the newest frame. Arrays keep the type of their field, such
    as `uint8`, and take memory only as they fill.

    A ring has a slot for every step in time. The newest slot holds only the observation with which
    the next rollout begins. If that rollout begins with another observation, because the
    environments were made anew, the episodes before count as cut off.

    Args:
        capacity: Number of steps over all environments, rounded down to a multiple of `num_envs`;
            new ones replace the oldest.
        num_envs: Number of environments.
        spaces: The spaces of the environments.
        sampling: Which transitions are sampled.

    Raises:
        InputError: The capacity is less than a transition of every environment needs.
    """

    def __init__(
        self, capacity: int, num_envs: int, spaces: Spaces, sampling: Sampling = UNIFORM
    ) -> None:
        self.num_envs, self.spaces, self.sampling = num_envs, spaces, sampling
        moments = capacity // num_envs
        self._least = _least_moments(spaces, sampling)
        if moments < self._least:
            raise _too_small(self._least * num_envs, capacity)
        self.capacity = moments * num_envs
        self._ring = moments + 1
        self._arrays = {
            name: np.zeros((self._ring, num_envs, *spec.shape), spec.dtype.as_numpy_dtype)
            for name, spec in _fields(spaces).items()
        }
        self._tree = SumTree(self._ring * num_envs) if sampling.prioritized else None
        self._largest = 1.0  # largest priority so far
        self._next = 0  # the slot of the observation with which the next rollout begins
        self._moments = 0  # number of slots that hold steps

    @property
    def nbytes(self) -> int:
        """The memory of a full replay, in bytes."""
        arrays = sum(array.nbytes for array in self._arrays.values())
        return arrays + (self._tree.nbytes if self._tree else 0)

    def add(self, rollout: Rollout) -> tf.Tensor:
        """Stores the steps of a rollout, in the graph, and returns the new `size`."""
        columns = [
            rollout.observations, rollout.actions, rollout.rewards,
            rollout.terminated, rollout.truncated, rollout.valid,
        ]  # fmt: skip
        size = tf.numpy_function(self._add, columns, tf.int64)
        size.set_shape(())
        return size

    def size(self) -> tf.Tensor:
        """The number of stored steps, in the graph; 0 while there is nothing to sample."""
        size = tf.numpy_function(self._size, [], tf.int64)
        size.set_shape(())
        return size

    def sample(
        self, batch_size: int, seed: tf.Tensor, importance_exponent: tf.Tensor | float = 0.0
    ) -> dict[str, tf.Tensor]:
        """Random transitions, with replacement, in the graph.

        Args:
            batch_size: Number of transitions.
            seed: A pair of integers.
            importance_exponent: See `Sampling`.

        Returns:
            By name, the fields of transitions of up to `n_step` steps; numbers are of Keras's
            float type, float32 by default:
            `observations` `(batch, *observation_shape)`, in which the first action was taken;
            `actions` `(batch, *action_shape)`, these first actions;
            `rewards` `(batch,)`, the discounted sum of the rewards;
            `next_observations`, after the last of the steps;
            `terminated` `(batch,)` bool, whether the episode ended with it;
            `discount` `(batch,)`, the weight of the return that follows: the discount to the power
            of the number of steps, and 0 after the end of an episode, so that the target is
            `rewards + discount * value of next_observations`;
            `weights` `(batch,)`, the weights of the losses, at most 1, all 1 if the sampling is
            uniform;
            `rows` `(batch,)` int64, which `prioritize` takes.
        """
        observation = ((batch_size, *self.spaces.observation_shape), self.spaces.observation_dtype)
        number = ((batch_size,), tf.float32)
        specs = {
            "observations": observation,
            "actions": ((batch_size, *self.spaces.action_shape), self.spaces.action_dtype),
            "rewards": number,
            "next_observations": observation,
            "terminated": ((batch_size,), tf.bool),
            "discount": number,
            "weights": number,
            "rows": ((batch_size,), tf.int64),
        }
        tensors = tf.numpy_function(
            functools.partial(self._sample, batch_size),
            [seed, tf.cast(importance_exponent, tf.float32)],
            [dtype for _, dtype in specs.values()],
        )
        for tensor, (shape, _) in zip(tensors, specs.values(), strict=True):
            tensor.set_shape(shape)
        batch = dict(zip(specs, tensors, strict=True))
        floats = ("rewards", "discount", "weights")
        return batch | {name: tf.cast(batch[name], keras.config.floatx()) for name in floats}

    def prioritize(self, rows: tf.Tensor, priorities: tf.Tensor) -> tf.Operation:
        """Sets the priorities of sampled transitions, in the graph; new ones get the largest.

        Args:
            rows: `rows` of a sample.
            priorities: `(batch,)`, such as the absolute errors of the values.
        """
        return tf.numpy_function(self._prioritize, [rows, priorities], [])

    def state(self) -> dict[str, Any]:
        """The stored steps, as views of the arrays, which are not copied."""
        slots = min(self._moments + 1, self._ring)
        state: dict[str, Any] = {
            "next": self._next,
            "moments": self._moments,
            "arrays": {name: array[:slots] for name, array in self._arrays.items()},
        }
        if self._tree:
            state["priorities"] = self._tree.leaves[: slots * self.num_envs]
            state["largest"] = self._largest
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replaces the stored steps by those of a state.

        Raises:
            ValueError: The state is of a replay with fields of other shapes, another capacity, or
                another number of environments.
            KeyError: The state lacks a field or priorities.
        """
        arrays = {name: np.asarray(state["arrays"][name]) for name in self._arrays}
        following, moments = int(state["next"]), int(state["moments"])
        slots = min(moments + 1, self._ring)
        shapes_fit = all(
            array.shape == (slots, *self._arrays[name].shape[1:]) for name, array in arrays.items()
        )
        full = moments == self._ring - 1
        if not shapes_fit or not (0 <= following < slots if full else following == moments):
            raise ValueError("the state of another replay, or of one of another capacity")
        if self._tree:
            leaves = np.asarray(state["priorities"], np.float64)
            if leaves.shape != (slots * self.num_envs,):
                raise ValueError("the state of a replay with other priorities")
            self._tree.restore(leaves)
            self._largest = float(state["largest"])
        for name, array in arrays.items():
            self._arrays[name][:slots] = array
        self._next, self._moments = following, moments

    def _size(self) -> np.int64:
        return np.int64(self._moments * self.num_envs if self._moments >= self._least else 0)

    def _add(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        valid: np.ndarray,
    ) -> np.int64:
        arrays = self._arrays
        channels = self.spaces.frame_shape[-1]
        frames = observations[..., -channels:]
        if self._moments and not np.array_equal(arrays["frames"][self._next], frames[0]):
            self._cut_off()
        length = len(actions)
        if length >= self._ring:
            raise ValueError(f"a rollout of {length} steps in a replay of {self._ring - 1}")
        slots = (self._next + np.arange(length + 1)) % self._ring
        arrays["frames"][slots] = frames
        steps = slots[:-1]
        arrays["actions"][steps] = actions
        arrays["rewards"][steps] = rewards
        arrays["terminated"][steps] = terminated
        arrays["ended"][steps] = terminated | truncated
        arrays["valid"][steps] = valid
        arrays["valid"][slots[-1]] = False
        if self.spaces.frame_stack > 1:
            self._count_history(slots)
        if self._tree:
            # New transitions are as likely as the likeliest; slots without one are never sampled.
            priority = self._largest**self.sampling.priority_exponent
            self._tree.set(self._rows(slots), priority * arrays["valid"][slots].ravel())
        self._advance(length)
        return self._size()

    def _count_history(self, slots: np.ndarray) -> None:
        history, most = self._arrays["history"], self.spaces.frame_stack - 1
        for step, following in itertools.pairwise(slots):
            older = np.minimum(history[step] + 1, most)
            history[following] = np.where(self._arrays["valid"][step], older, 0)

    def _cut_off(self) -> None:
        """Ends all episodes at the newest observations, with a step that only resets."""
        last = (self._next - 1) % self._ring
        self._arrays["ended"][last] = True
        for name in ("terminated", "ended", "valid"):
            self._arrays[name][self._next] = False
        following = (self._next + 1) % self._ring
        self._arrays["history"][following] = 0
        if self._tree:
            self._tree.set(self._rows(np.array([self._next])), np.zeros(self.num_envs))
        self._advance(1)

    def _advance(self, length: int) -> None:
        self._next = (self._next + length) % self._ring
        self._moments = min(self._moments + length, self._ring - 1)

    def _rows(self, slots: np.ndarray) -> np.ndarray:
        """The rows of all environments at some slots, `(slots * envs,)`."""
        return (slots[:, None] * self.num_envs + np.arange(self.num_envs)).ravel()

    def _sample(
        self, batch_size: int, seed: np.ndarray, importance_exponent: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        key = np.asarray(seed, np.int64).view(np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        rows = self._draw(batch_size, random)
        while not (usable := self._complete(rows)).all():
            rows[~usable] = self._draw(int((~usable).sum()), random)
        weights = np.ones(batch_size)
        if self._tree:
            weights = self._tree.leaves[rows] ** -np.float64(importance_exponent)
            weights /= weights.max()
        return (*self._transitions(rows), weights.astype(np.float32), rows)

    def _draw(self, number: int, random: np.random.Generator) -> np.ndarray:
        """Random rows, some of which may not be complete transitions."""
        if self._tree:
            # One from each of equal parts of the sum of the priorities, as in the paper.
            parts = (np.arange(number) + random.random(number)) / number
            return self._tree.find(parts * self._tree.total)
        oldest = self._next - self._moments
        rows = random.integers(0, self._moments * self.num_envs, number)
        return (rows + oldest * self.num_envs) % (self._ring * self.num_envs)

    def _complete(self, rows: np.ndarray) -> np.ndarray:
        """Whether rows are steps whose earlier frames and later rewards are all in the ring."""
        slots, envs = np.divmod(rows, self.num_envs)
        age = (self._next - slots) % self._ring  # steps from here to the newest observation
        before = self._arrays["history"][slots, envs]
        return (
            self._arrays["valid"][slots, envs]
            & (age >= self.sampling.n_step)
            & (age + before <= self._moments)
        )

    def _transitions(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """The transitions that begin at rows."""
        slots, envs = np.divmod(rows, self.num_envs)
        arrays, discount = self._arrays, self.sampling.discount
        number = np.arange(self.sampling.n_step)
        following = (slots[:, None] + number) % self._ring, envs[:, None]
        over = np.cumsum(arrays["ended"][following], axis=1)
        goes_on = np.pad(over[:, :-1] == 0, ((0, 0), (1, 0)), constant_values=True)
        rewards = (arrays["rewards"][following] * goes_on) @ (discount**number)
        count = goes_on.sum(axis=1)
        terminated = arrays["terminated"][(slots + count - 1) % self._ring, envs]
        return (
            self._observations(slots, envs),
            arrays["actions"][slots, envs],
            rewards.astype(np.float32),
            self._observations((slots + count) % self._ring, envs),
            terminated,
            np.where(terminated, 0, discount**count).astype(np.float32),
        )

    def _observations(self, slots: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Observations `(batch, *observation_shape)`, stacked from their frames."""
        frames, stack = self._arrays["frames"], self.spaces.frame_stack
        if stack == 1:
            return frames[slots, envs]
        history = self._arrays["history"][slots, envs]
        # At the beginning of an episode its first frame stands for the missing ones.
        back = np.minimum(np.arange(stack - 1, -1, -1), history[:, None].astype(np.int64))
        stacked = frames[(slots[:, None] - back) % self._ring, envs[:, None]]
        joined = np.moveaxis(stacked, 1, -2)  # (batch, ..., stack, channels)
        return joined.reshape(len(slots), *self.spaces.observation_shape)

    def _prioritize(self, rows: np.ndarray, priorities: np.ndarray) -> None:
        assert self._tree, "the sampling has no priorities"
        raised = np.abs(np.asarray(priorities, np.float64)) + SMALLEST_PRIORITY
        # A loss that is NaN ends the training, but only after the step: a tree with it has no sum.
        raised = np.where(np.isfinite(raised), raised, self._largest)
        self._largest = max(self._largest, float(raised.max()))
        self._tree.set(rows, raised**self.sampling.priority_exponent)


def check_replay_size(
    replay_size: int,
    batch_size: int,
    num_envs: int,
    spaces: Spaces,
    sampling: Sampling = UNIFORM,
) -> None:
    """Checks that a replay has room for a batch, and fits into the memory of the machine.

    Args:
        replay_size: The capacity of the replay, over all replicas.
        batch_size: Transitions of an update.
        num_envs: Number of environments, over all replicas.
        spaces: The spaces of the environments.
        sampling: Which transitions are sampled.

    Raises:
        InputError: `replay_size` is less than a batch or a transition of every environment, or more
            than memory can hold.
    """
    least = max(batch_size, num_envs * _least_moments(spaces, sampling))
    if replay_size < least:
        raise _too_small(least, replay_size)
    step = sum(spec.dtype.size * int(np.prod(spec.shape)) for spec in _fields(spaces).values())
    step += 32 * sampling.prioritized  # of the sum tree, at most
    memory = psutil.virtual_memory().total
    if 2 * replay_size * step > memory:
        raise InputError(
            f"`replay_size` must be at most {memory // (2 * step):,}: the replay and a copy of it, "
            f"while it is saved, must fit into the memory of {memory / 1e9:.1f} GB",
            f"{replay_size:,}, which takes {replay_size * step / 1e9:,.1f} GB",
        )


def _least_moments(spaces: Spaces, sampling: Sampling) -> int:
    """Smallest number of steps of each environment among which a transition is complete.

    At most two of them are resets: the one after an end, and the one after a new beginning.
    """
    return sampling.n_step + spaces.frame_stack + 1


def _too_small(least: int, replay_size: int) -> InputError:
    return InputError(
        f"`replay_size` must be at least {least:,}, for a batch and for a transition of every "
        "environment",
        replay_size,
    )


def _fields(spaces: Spaces) -> dict[str, tf.TensorSpec]:
    """Shape and type of what is stored of a step of one environment.

    `frames` is the newest frame of the observation before the step, `ended` whether the episode
    ended or was cut off with it, and `history` the number of older frames of its episode that the
    observation shows.
    """
    return {
        "frames": tf.TensorSpec(spaces.frame_shape, spaces.observation_dtype),
        "actions": tf.TensorSpec(spaces.action_shape, spaces.action_dtype),
        "rewards": tf.TensorSpec((), tf.float32),
        "terminated": tf.TensorSpec((), tf.bool),
        "ended": tf.TensorSpec((), tf.bool),
        "valid": tf.TensorSpec((), tf.bool),
        "history": tf.TensorSpec((), tf.uint8),
    }
