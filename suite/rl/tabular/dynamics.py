"""The dynamics of small environments as arrays, read from Gymnasium's environments.

Most of Gymnasium's environments with few states hold a table of their transitions, `P`. Blackjack
has none, but its rules are known, so its table is computed. Other environments can only be played.
"""

import dataclasses
import functools
import itertools
import logging
import math
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.toy_text.blackjack import BlackjackEnv

from suite.errors import InputError
from suite.rl.environments import Environments
from suite.rl.wrappers import register

log = logging.getLogger(__name__)

LIMIT = 1_000  # steps of an episode, if neither the environment nor the user sets a limit
CHECKED_STEPS = 300  # random steps by which a table is compared with its environment
CARDS = {**dict.fromkeys(range(1, 10), 1 / 13), 10: 4 / 13}  # of an endless deck; 1 is an ace

# Gymnasium registers only the slippery versions.
for size, steps in (("4x4", 100), ("8x8", 200)):
    gymnasium.register(
        f"FrozenLake{size}NotSlippery-v1",
        "gymnasium.envs.toy_text.frozen_lake:FrozenLakeEnv",
        kwargs={"map_name": size, "is_slippery": False},
        max_episode_steps=steps,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Dynamics:
    """What an action leads to: at most `outcomes` results of every action in every state.

    Args:
        probability: Of each outcome, `(states, actions, outcomes)`, float64; 0 if there are fewer.
        following: The state after it, `(states, actions, outcomes)`, int32.
        reward: `(states, actions, outcomes)`, float64.
        terminated: Whether the episode ends with it, `(states, actions, outcomes)`, bool.
        start: The probability that an episode begins in a state, `(states,)`, float64.
        observed: The number of the observation that an agent makes in a state, `(states,)`, int32.
            Two states may have the same one.
    """

    probability: np.ndarray
    following: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    start: np.ndarray
    observed: np.ndarray

    @property
    def is_deterministic(self) -> bool:
        """Whether every action has one outcome, and all episodes begin alike."""
        return bool((self.probability.max(axis=-1) == 1).all() and (self.start > 0).sum() == 1)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """An environment of discrete observations and actions.

    Args:
        name: The name of the environment in Gymnasium.
        sizes: The number of values of each component of an observation. Observations are numbered
            through all combinations, the last component changing fastest.
        num_actions: Number of actions.
        limit: Steps after which an episode is cut off.
        layout: The shape of all observations as an array, rows and columns of a map first.
        dynamics: What actions lead to; None if the environment can only be played.
        solved_at: The mean return at which Gymnasium counts the task as solved; None if it names
            none.
    """

    name: str
    sizes: tuple[int, ...]
    num_actions: int
    limit: int
    layout: tuple[int, ...]
    dynamics: Dynamics | None
    solved_at: float | None = None

    @property
    def num_states(self) -> int:
        """Number of observations, some of which may never be made."""
        return math.prod(self.sizes)

    def states_of(self, observations: np.ndarray) -> np.ndarray:
        """The numbers `(n,)`, int32, of observations as `Environments` returns them.

        Args:
            observations: `(n, sum(sizes))`, each component one-hot.
        """
        parts = np.split(observations, np.cumsum(self.sizes)[:-1], axis=1)
        numbers = np.ravel_multi_index([part.argmax(axis=1) for part in parts], self.sizes)
        return np.asarray(numbers, np.int32)


def open_task(name: str, max_episode_steps: int | None = None) -> Task:
    """Opens an environment for its sizes, and reads its dynamics if they are known.

    Args:
        name: The name of the environment in Gymnasium.
        max_episode_steps: Steps after which an episode is cut off; None leaves that to the
            environment, or sets `LIMIT` if it has no limit.

    Raises:
        InputError: There is no such environment, or its observations or actions are not discrete.
    """
    environments = Environments(name, 1, max_episode_steps=max_episode_steps)
    environments.close()
    observations = environments.observation_space
    sizes = tuple(_sizes(observations, name))
    if environments.spaces.action_shape or environments.spaces.action_dtype != "int32":
        raise InputError(
            "`environment` must have one choice for an action; a2c learns others",
            f"{name}, with several choices or numbers",
        )
    num_actions, count = environments.spaces.num_actions, math.prod(sizes)
    with gymnasium.make(
        register(name), max_episode_steps=max_episode_steps, disable_env_checker=True
    ) as environment:
        inner = environment.unwrapped
        task = Task(
            name=name,
            sizes=sizes,
            num_actions=num_actions,
            limit=environments.max_episode_steps or LIMIT,
            layout=_layout(inner, sizes, count),
            dynamics=None,
            solved_at=environments.solved_at,
        )
        try:
            dynamics = _dynamics(inner, sizes, num_actions)
            agrees = dynamics is None or _agrees(environment, task, dynamics)
        except Exception:  # what others call `P` may be anything, and a step may fail
            agrees = False
    if not agrees:
        log.warning(
            "%s does not do what its table `P` says: the table is not used, and the environment is "
            "played.",
            name,
        )
        return task
    return dataclasses.replace(task, dynamics=dynamics)


def _sizes(space: gymnasium.Space, name: str) -> Iterator[int]:
    """The number of values of each component, in the order in which Gymnasium flattens them."""
    match space:
        case spaces.Discrete():
            yield int(space.n)
        case spaces.MultiDiscrete():
            yield from map(int, space.nvec.ravel())
        case spaces.Tuple():
            for part in space.spaces:
                yield from _sizes(part, name)
        case spaces.Dict():
            for part in space.spaces.values():
                yield from _sizes(part, name)
        case _:
            raise InputError(
                "`environment` must have observations that can be counted: Discrete, "
                "MultiDiscrete, or a Tuple or Dict of these; a2c learns from others",
                f"{space} of {name}",
            )


def _layout(inner: Any, sizes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Rows and columns of a map, and the sizes of what else distinguishes its states."""
    try:
        shapes = [np.shape(getattr(inner, "desc", ())), tuple(getattr(inner, "shape", ()))]
        if hasattr(inner, "decode"):  # Taxi: row, column, passenger, destination
            shapes.append(tuple(digit + 1 for digit in inner.decode(count - 1)))
        for shape in shapes:
            if len(shape) >= 2 and math.prod(shape) == count:
                return tuple(map(int, shape))
    except Exception as error:  # what others call so may be anything
        log.debug("No map of %s: %s", inner, error)
    return sizes if len(sizes) > 1 else (1, count)


def _dynamics(inner: Any, sizes: tuple[int, ...], num_actions: int) -> Dynamics | None:
    if type(inner) is BlackjackEnv:
        return blackjack(natural=inner.natural, sab=inner.sab)
    table, start = getattr(inner, "P", None), getattr(inner, "initial_state_distrib", None)
    count = math.prod(sizes)
    if table is None or start is None or np.shape(start) != (count,):
        return None
    return from_table(table, np.asarray(start, np.float64), num_actions)


def from_table(table: Any, start: np.ndarray, num_actions: int) -> Dynamics:
    """Converts a table of transitions as Gymnasium's environments have it.

    Args:
        table: Maps a state and an action to a list of outcomes
            `(probability, following, reward, terminated)`.
        start: The probability that an episode begins in a state, `(states,)`.
        num_actions: Number of actions.
    """
    count = len(start)
    most = max(len(table[s][a]) for s in range(count) for a in range(num_actions))
    shape = (count, num_actions, most)
    probability, reward = np.zeros(shape), np.zeros(shape)
    following, terminated = np.zeros(shape, np.int32), np.ones(shape, bool)
    for index in np.ndindex(shape[:2]):
        for outcome, values in enumerate(table[index[0]][index[1]]):
            place = (*index, outcome)
            probability[place], following[place], reward[place], terminated[place] = values
    return Dynamics(
        probability=probability,
        following=following,
        reward=reward,
        terminated=terminated,
        start=start,
        observed=np.arange(count, dtype=np.int32),
    )


def _agrees(environment: gymnasium.Env, task: Task, dynamics: Dynamics) -> bool:
    """Whether `CHECKED_STEPS` random steps, and the begins of their episodes, are in the table.

    An episode that is cut off before the limit depends on more than the table says.
    """
    space, choices = environment.observation_space, np.random.default_rng(0)

    def number(observation: Any) -> int:
        vector = spaces.flatten(space, observation)
        return int(task.states_of(np.asarray(vector)[None])[0])

    steps = task.limit
    for _ in range(CHECKED_STEPS):
        if steps == task.limit:
            observation, _ = environment.reset(seed=int(choices.integers(2**31)))
            states = np.flatnonzero(dynamics.observed == number(observation))
            if not dynamics.start[states].any():
                return False
            steps = 0
        states = np.flatnonzero(dynamics.observed == number(observation))
        action = int(choices.integers(task.num_actions))
        start = environment.action_space.start
        observation, reward, terminated, truncated, _ = environment.step(action + start)
        same = (dynamics.probability[states, action] > 0) & np.isclose(
            dynamics.reward[states, action], reward
        )
        same &= dynamics.terminated[states, action] == terminated
        if not terminated:
            after = dynamics.observed[dynamics.following[states, action]]
            same &= after == number(observation)
        steps += 1
        if not same.any() or (truncated and steps < task.limit):
            return False
        if terminated:
            steps = task.limit
    return True


@functools.cache
def blackjack(*, natural: bool, sab: bool) -> Dynamics:
    """The dynamics of Gymnasium's Blackjack: cards of an endless deck against a dealer.

    An agent observes the sum of its cards, the first card of the dealer, and whether it has an ace
    that counts 11. A natural, an ace and a ten at once, is observed as any other 21 with an ace,
    but may be worth more.

    Args:
        natural: Whether a natural that wins is worth 1.5.
        sab: Whether a natural beats every other hand, as in the book (Sutton and Barto, hence the
            name in Gymnasium); `natural` then has no effect.

    Reference:
        Sutton and Barto, 2018, Reinforcement Learning: An Introduction, example 5.1,
        http://incompleteideas.net/book/the-book-2nd.html
    """
    sizes = (32, 11, 2)

    def state(total: int, dealer: int, ace: bool) -> int:
        return int(np.ravel_multi_index((total, dealer, int(ace)), sizes))

    count = math.prod(sizes)
    observed = [*range(count), *(state(21, dealer, True) for dealer in CARDS)]
    nothing = [(1.0, 0, 0.0, True)]  # in a state that does not occur
    table: list[list[Any]] = [[nothing, nothing] for _ in observed]
    start = np.zeros(len(observed))
    for dealer, dealer_chance in CARDS.items():
        scores = _dealer_scores(dealer)
        natural_state = count + dealer - 1
        for total, ace in itertools.product(range(4, 22), (False, True)):
            if ace and total < 12:
                continue
            here, hit = state(total, dealer, ace), []
            for card, chance in CARDS.items():
                new_total, new_ace = _with_card(total - 10 * ace, ace, card)
                if new_total > 21:
                    hit.append((chance, here, -1.0, True))
                else:
                    hit.append((chance, state(new_total, dealer, new_ace), 0.0, False))
            table[here] = [_stick(here, total, scores), hit]
        worth = 1.5 if natural and not sab else 1.0
        _, hit_at_21 = table[state(21, dealer, True)]
        table[natural_state] = [_stick(natural_state, 21, scores, worth, beats_all=sab), hit_at_21]
        for first, chance in CARDS.items():
            for second, second_chance in CARDS.items():
                total, ace = _with_card(first, first == 1, second)
                first_state = natural_state if total == 21 else state(total, dealer, ace)
                start[first_state] += dealer_chance * chance * second_chance
    dynamics = from_table(table, start, 2)
    return dataclasses.replace(dynamics, observed=np.asarray(observed, np.int32))


def _with_card(hard: int, ace: bool, card: int) -> tuple[int, bool]:
    """The sum after one more card, and whether an ace counts 11 in it.

    Args:
        hard: The sum before, in which aces count 1.
        ace: Whether there is an ace in it.
        card: The card.
    """
    hard += card
    usable = (ace or card == 1) and hard + 10 <= 21
    return hard + 10 * usable, usable


def _dealer_scores(first: int) -> dict[tuple[int, bool], float]:
    """The probability of every pair of the dealer's score, 0 if above 21, and being a natural."""
    scores: dict[tuple[int, bool], float] = {}

    def draw(hard: int, ace: bool, cards: int, chance: float) -> None:
        total = hard + 10 * (ace and hard + 10 <= 21)
        if total >= 17:
            score = (total if total <= 21 else 0, total == 21 and cards == 2)
            scores[score] = scores.get(score, 0.0) + chance
            return
        for card, probability in CARDS.items():
            draw(hard + card, ace or card == 1, cards + 1, chance * probability)

    draw(first, first == 1, 1, 1.0)
    return scores


def _stick(
    here: int,
    total: int,
    scores: dict[tuple[int, bool], float],
    worth: float = 1.0,
    beats_all: bool = False,
) -> list[tuple[float, int, float, bool]]:
    """The outcomes of taking no more cards.

    Args:
        here: The state, in which the episode ends.
        total: The sum of the player.
        scores: From `_dealer_scores`.
        worth: What a win is worth.
        beats_all: Whether the hand, a natural, also wins against 21 of more than two cards.
    """
    chances: dict[float, float] = {}
    for (score, of_two_cards), chance in scores.items():
        reward = float(np.sign(total - score))
        if reward == 1 or (beats_all and not of_two_cards):
            reward = worth
        chances[reward] = chances.get(reward, 0.0) + chance
    return [(chance, here, reward, True) for reward, chance in chances.items()]


def reachable(task: Task) -> np.ndarray:
    """The observations `(states,)`, bool, in which an agent may ever have to act.

    All, if the model of the environment is not known.
    """
    dynamics = task.dynamics
    if dynamics is None:
        return np.ones(task.num_states, bool)
    reached = dynamics.start > 0
    goes_on = (dynamics.probability > 0) & ~dynamics.terminated
    while True:
        following = dynamics.following[reached][goes_on[reached]]
        if reached[following].all():
            break
        reached[following] = True
    observed = np.zeros(task.num_states, bool)
    observed[dynamics.observed[reached]] = True
    return observed


def directions(task: Task) -> np.ndarray | None:
    """Rows and columns by which each action usually moves on the map, `(actions, 2)`, signs only.

    None, if the model of the environment is not known.
    """
    dynamics = task.dynamics
    if dynamics is None:
        return None
    places = np.stack(np.unravel_index(dynamics.observed, task.layout)[:2], axis=-1)
    moves = places[dynamics.following] - places[:, None, None]
    means = (dynamics.probability[..., None] * moves).sum(axis=2)
    # The median over the states, since borders stop an agent and a fall takes it far away.
    acting = np.isin(dynamics.observed, np.flatnonzero(reachable(task)))
    return np.sign(np.round(np.median(means[acting], axis=0), 6)).astype(int)


def way(task: Task, actions: np.ndarray) -> np.ndarray:
    """The path of a policy on the map, as rows and columns `(steps + 1, 2)`.

    Nothing is left to chance: the dynamics must be deterministic.

    Args:
        task: An environment with deterministic dynamics.
        actions: For every number of steps left and every observation, `(horizons, states)`; the
            last row holds for all numbers above it as well.
    """
    dynamics = task.dynamics
    if dynamics is None or not dynamics.is_deterministic:
        raise ValueError(f"{task.name} leaves something to chance")
    states = [int(dynamics.start.argmax())]
    for left in range(task.limit, 0, -1):
        action = actions[min(left, len(actions)) - 1, dynamics.observed[states[-1]]]
        outcome = int(dynamics.probability[states[-1], action].argmax())
        over = dynamics.terminated[states[-1], action, outcome]
        states.append(int(dynamics.following[states[-1], action, outcome]))
        if over:
            break
    observed = dynamics.observed[states]
    return np.stack(np.unravel_index(observed, task.layout)[:2], axis=-1)
