"""Grid worlds: decisions by a table of values, from Bellman's equations to Q-learning.

Where the model of an environment is known, dynamic programming computes the best policy. Where it
is not, Sarsa, Q-learning, double Q-learning and Monte Carlo learn from steps. Any environment of
Gymnasium with discrete observations and actions will do: FrozenLake, CliffWalking, Taxi, Blackjack.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings, train_aside
from suite.app import Fitted, Metrics, Phase, one_phase
from suite.cli import main, show_messages
from suite.data import Data
from suite.data.images.files import writable_picture
from suite.export.endpoints import most_likely
from suite.export.exported import Exports
from suite.figures import curves
from suite.figures.maps import Map, maps
from suite.knobs import Epochs, Fraction, Seed, Steps
from suite.rl.environments import Environments
from suite.rl.episodes import (
    DATA_LAYOUTS,
    EPISODES,
    TEST_SEED,
    VALIDATION_SEED,
    load_episodes,
)
from suite.rl.evaluation import (
    MILLISECONDS_PER_FRAME,
    Policy,
    returns_of,
    solved_metric,
    write_episode,
)
from suite.rl.tabular import planning
from suite.rl.tabular.dynamics import Task, directions, open_task, reachable, way
from suite.rl.tabular.learner import Learning, Method, TabularLearner, set_values, values_of
from suite.rl.tabular.updates import Exploration, Rate

Planning = Literal["policy_iteration", "value_iteration"]
Temperature = Annotated[float, Field(ge=0, le=1e6)]
MOST_VALUES = 50_000_000  # of a table
MOST_MAPS = 8  # of a figure


@settings
class Config:
    """The settings of the training.

    Args:
        method: `policy_iteration` and `value_iteration` compute the best policy from the known
            model of the environment; the others learn from steps.
        environment: Name of a Gymnasium environment with discrete observations and actions, or
            `module:Class` of your own.
        max_episode_steps: Largest number of steps in an episode; by default the environment's, or
            1,000 if it has none.
        timed: Whether values and actions also depend on the number of steps left.
        discount: Discount of the next step's value.
        epochs: Number of epochs; after every epoch the greedy policy is evaluated.
        steps_per_epoch: Rollouts in an epoch, of as many steps as an episode may have.
        num_envs: Number of agents, which play side by side and share the table.
        learning_rate: Share of the way that a value moves towards its first target.
        learning_rate_decay: The rate falls with the number of targets to this power: 0 keeps it,
            1 takes the mean of targets that come one by one.
        exploration: `epsilon_greedy` takes some actions at random; `softmax` takes better ones
            more often.
        epsilon: Share of random actions at first.
        final_epsilon: Share of random actions in the end; it changes linearly.
        temperature: Temperature of softmax at first, in the unit of the values.
        final_temperature: Temperature in the end; it changes linearly.
    """

    method: Literal[Method, Planning] = "q_learning"
    environment: str = "FrozenLake-v1"
    max_episode_steps: Steps | None = None
    timed: bool = True
    discount: Fraction = 1.0
    epochs: Epochs = 10
    steps_per_epoch: Steps = 20
    num_envs: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    learning_rate_decay: Fraction = 0.65
    exploration: Exploration = "epsilon_greedy"
    epsilon: Fraction = 1.0
    final_epsilon: Fraction = 0.1
    temperature: Temperature = 1.0
    final_temperature: Temperature = 0.01


def load_data(config: Config, run: Run) -> Data:
    """The seeds of the episodes; the experience itself is collected during the training.

    Raises:
        InputError: The environment cannot be used, or not with this method.
    """
    task = task_of(config)
    if is_planned(config):
        if task.dynamics is None:
            raise InputError(
                "`method` must be one that learns from steps, since the model of "
                f"{task.name} is not known",
                config.method,
            )
        if config.discount == 1 and not config.timed:
            raise InputError(
                f"`discount` must be below 1 for {config.method} without `timed`", config.discount
            )
    horizons = horizons_of(config, task)
    if (count := task.num_states * task.num_actions * horizons) > MOST_VALUES:
        raise InputError(
            f"`environment` must have at most {MOST_VALUES:,} values, one for every state, action "
            "and number of steps left",
            f"{count:,} of {task.name}",
        )
    data = load_episodes(
        run,
        task.name,
        config.num_envs,
        rollout_length=task.limit,
        steps_per_epoch=config.steps_per_epoch,
        max_episode_steps=task.limit,
        validation_episodes=None,
    )
    arguments = {
        "num_states": task.num_states,
        "num_actions": task.num_actions,
        "steps": task.limit if config.timed else None,
        "num_tables": 2 if config.method == "double_q_learning" else 1,
    }
    description = data.description
    if is_planned(config):  # nothing is played
        description = dataclasses.replace(description, train=0)
    return dataclasses.replace(data, model_arguments=arguments, description=description)


def task_of(config: Config) -> Task:
    """The environment of a training."""
    return open_task(config.environment, config.max_episode_steps)


def is_planned(config: Config) -> bool:
    """Whether the policy is computed from the known model of the environment, not learnt."""
    return config.method in get_args(Planning)


def horizons_of(config: Config, task: Task) -> int:
    """Number of the horizons of a table: the limit of steps, or 1 if values do not depend on it."""
    return task.limit if config.timed else 1


@checked
def build_model(
    num_states: PositiveInt = 16,
    num_actions: PositiveInt = 4,
    steps: PositiveInt | None = 100,
    num_tables: PositiveInt = 1,
    *,
    initial_value: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0,
) -> keras.Model:
    """Builds the table of values: from the number of a state to the value of every action.

    Args:
        num_states: Number of states.
        num_actions: Number of actions.
        steps: Largest number of steps left that values depend on; None if they do not.
        num_tables: Number of tables, whose mean the values are.
        initial_value: Initial value of every action, plus a random difference of at most 0.001,
            which decides the first choices. High values make an agent try everything.

    Returns:
        A functional model from `state` `(batch,)` and, with `steps`, `steps_left` `(batch,)`, both
        int32, to `value` `(batch, num_actions)`: the expected return of every action.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Watkins, 1989, Learning from Delayed Rewards,
        https://www.cs.rhul.ac.uk/~chrisw/new_thesis.pdf
    """
    inputs = {"state": keras.Input((), dtype="int32", name="state")}
    index = inputs["state"]
    if steps is not None:
        left = inputs["steps_left"] = keras.Input((), dtype="int32", name="steps_left")
        index = index * steps + ops.clip(left, 1, steps) - 1
    tables = [
        layers.Embedding(
            num_states * (steps or 1),
            num_actions,
            embeddings_initializer=keras.initializers.RandomUniform(
                initial_value - 1e-3, initial_value + 1e-3
            ),
            dtype=keras.config.floatx(),
            name=f"table_{number}",
        )(index)
        for number in range(num_tables)
    ]
    if num_tables > 1:
        tables = [layers.Average(dtype=keras.config.floatx(), name="value")(tables)]
    return keras.Model(inputs, {"value": tables[0]}, name="grid_world")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Wraps the table as a `TabularLearner`; planning needs none."""
    if is_planned(config):
        return model
    rates = {
        "epsilon_greedy": (config.epsilon, config.final_epsilon),
        "softmax": (config.temperature, config.final_temperature),
    }
    method: Any = config.method
    learning = Learning(
        method=method,
        timed=config.timed,
        discount=config.discount,
        rate=Rate(config.learning_rate, config.learning_rate_decay),
        exploration=config.exploration,
        exploration_rates=rates[config.exploration],
    )
    trained = TabularLearner(
        model, task_of(config), learning, num_agents=config.num_envs, steps=steps
    )
    trained.compile(keras.optimizers.SGD(1.0), auto_scale_loss=False)
    return trained


def phases(config: Config) -> list[Phase]:
    """One phase; it has no epochs if the policy is planned."""
    if is_planned(config):
        return [Phase(name="plan", begin=plan)]
    return list(one_phase(config))


def plan(fitted: Fitted) -> None:
    """Computes the best values, and sets the table."""
    config = fitted.config
    task = task_of(config)
    dynamics = task.dynamics
    if dynamics is None:
        raise TypeError(f"{task.name} cannot be planned: its model is not known")
    by_policies = config.method == "policy_iteration"
    if config.timed:
        values = (
            planning.policy_iteration_within(dynamics, task.limit, config.discount)[0]
            if by_policies
            else planning.best_within(dynamics, task.limit, config.discount)
        )
    elif by_policies:
        values = planning.policy_iteration(dynamics, config.discount)[0][..., None]
    else:
        best = planning.best_without_limit(dynamics, config.discount)
        if best is None:
            raise InputError(
                "`discount` must be smaller, such as 0.999: values do not converge", config.discount
            )
        values = best[..., None]
    [network] = fitted.networks.values()
    set_values(network, planning.of_observations(dynamics, values, task.num_states))


def table_of(network: keras.Model, config: Config, task: Task) -> np.ndarray:
    """The values `(horizons, states, actions)` of a network."""
    return values_of(network, task, horizons_of(config, task))


def greedy_actions(network: keras.Model, config: Config, task: Task) -> np.ndarray:
    """The best actions `(horizons, states)` by the table; the first of several."""
    return table_of(network, config, task).argmax(axis=-1)


def greedy_policy(task: Task, actions: np.ndarray) -> Policy:
    """The policy of one episode, which counts the steps that are left.

    Args:
        task: The environment.
        actions: From `greedy_actions`.
    """
    steps = itertools.count(task.limit, -1)

    def act(observations: np.ndarray) -> np.ndarray:
        horizon = int(np.clip(next(steps), 1, len(actions))) - 1
        return actions[horizon, task.states_of(observations)]

    return act


def episode_returns(task: Task, actions: np.ndarray, seed: int) -> np.ndarray:
    """Returns of `EPISODES` episodes that are played, where the model is not known."""
    environments = Environments(task.name, EPISODES, max_episode_steps=task.limit)
    return returns_of(greedy_policy(task, actions), environments, seed)


class Returns(keras.callbacks.Callback):
    """Adds the expected return of the greedy policy to the logs of an epoch, as `val_return`.

    It is exact where the model of the environment is known, and else a mean over episodes.

    Args:
        network: The table.
        config: The settings of the training.
    """

    def __init__(self, network: keras.Model, config: Config) -> None:
        super().__init__()
        self.network, self.config, self.task = network, config, task_of(config)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        actions = greedy_actions(self.network, self.config, self.task)
        if self.task.dynamics is None:
            value = episode_returns(self.task, actions, VALIDATION_SEED).mean()
        else:
            value = planning.policy_return(self.task.dynamics, actions, self.task.limit)
        logs["val_return"] = float(value)


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Evaluates the greedy policy after every epoch."""
    [network] = fitted.networks.values()
    return [Returns(network, fitted.config)]


def endpoints(fitted: Fitted) -> dict[str, keras.Model]:
    """`state`, and `steps_left` if it matters, to the `value` of actions and the best `action`."""
    [network] = fitted.networks.values()
    value = network.output["value"]
    outputs = {"value": value, "action": most_likely(value)}
    return {"serve": keras.Model(network.input, outputs, name=network.name)}


def example(fitted: Fitted) -> dict[str, np.ndarray]:
    """64 states, and with them numbers of steps left if they matter, to check the export with."""
    arguments = fitted.data.model_arguments
    inputs = {"state": np.arange(64, dtype=np.int32) % arguments["num_states"]}
    if arguments["steps"] is not None:
        inputs["steps_left"] = 1 + np.arange(64, dtype=np.int32) % arguments["steps"]
    return inputs


def evaluate(fitted: Fitted) -> Metrics:
    """The expected return of the greedy policy in an episode, and the best that is possible.

    Returns:
        `eval_return`, exact where the model of the environment is known, else a mean over episodes
        with the deviation `eval_return_std`; `solved`, 1 or 0, where Gymnasium says which return
        counts as a solution; `best_return` of any policy within the limit of steps,
        and the difference from it, `eval_gap`; `best_return_without_limit`, None where it is
        unbounded. None also stands for unknown values.
    """
    [network] = fitted.networks.values()
    task = task_of(fitted.config)
    actions = greedy_actions(network, fitted.config, task)
    if task.dynamics is None:
        returns = episode_returns(task, actions, TEST_SEED)
        return {
            "eval_return": float(returns.mean()),
            "eval_return_std": float(returns.std()),
            **solved_metric(returns.mean(), task.solved_at),
            "best_return": None,
            "eval_gap": None,
            "best_return_without_limit": None,
        }
    start = task.dynamics.start
    value = planning.policy_return(task.dynamics, actions, task.limit)
    best = planning.best_at_limit(task.dynamics, task.limit)
    unlimited = planning.best_without_limit(task.dynamics)
    return {
        "eval_return": value,
        "eval_return_std": None,
        **solved_metric(value, task.solved_at),
        "best_return": float(start @ best),
        "eval_gap": float(start @ best) - value,
        "best_return_without_limit": (
            None if unlimited is None else float(start @ unlimited.max(axis=1))
        ),
    }


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws values and actions on the map of the environment."""
    [network] = fitted.networks.values()
    config, task = fitted.config, task_of(fitted.config)
    values = table_of(network, config, task)
    actions = values.argmax(axis=-1)
    ways = {}
    if task.dynamics is not None and task.dynamics.is_deterministic:
        ways = {"way": way(task, actions)}
    return {"values": maps(panels(task, values, ways))}


def panels(task: Task, values: np.ndarray, ways: dict[str, np.ndarray]) -> list[Map]:
    """The maps of a table: for several numbers of steps left, or for what a map does not show.

    Args:
        task: The environment.
        values: Of actions, `(horizons, states, actions)`.
        ways: Rows and columns of paths over the map, `(steps + 1, 2)`, by name.
    """
    is_reachable = reachable(task)
    moves = directions(task)
    rest = list(np.ndindex(task.layout[2:]))  # indices of what rows and columns do not show
    horizons = [len(values)]
    if len(rest) == 1 and len(values) > 1:
        horizons = sorted({max(1, len(values) // part) for part in (1, 4, 20)}, reverse=True)
    panels_of_table = []
    for horizon, others in itertools.product(horizons, rest):
        at = (..., *others)
        mask = is_reachable.reshape(task.layout)[at]
        if not mask.any():
            continue
        table = values[horizon - 1].reshape(*task.layout, -1)[(slice(None), slice(None), *others)]
        title = f"{horizon} steps left" if len(horizons) > 1 else ""
        title = title or ", ".join(map(str, others))
        colours = np.where(mask, table.max(axis=-1), np.nan)
        panels_of_table.append(Map(title, colours, table.argmax(axis=-1), moves, ways))
    return panels_of_table[:MOST_MAPS]


def show_episode(
    app: App,
    *,
    output: Path = Path("episode.gif"),
    seed: Seed = 0,
    exports: Exports = Exports(),
) -> None:
    """Show an episode of the exported policy; needs `pip install '.[render]'`.

    Args:
        output: Image file that gets the animation.
        seed: Seed of the first state and of chance in the episode.
    """
    writable_picture(output)
    exported = exports.open(app.name)
    config = app.config_from_record(exported.metadata()["config"])
    task = task_of(config)
    policy = greedy_policy(task, greedy_actions(exported.built(), config, task))
    write_episode(output, task.name, policy, seed, task.limit, 4 * MILLISECONDS_PER_FRAME)


def compare_ways(
    app: App,
    *,
    environment: str = "CliffWalking-v1",
    output: Path = Path("ways.png"),
    seed: Seed = 0,
) -> None:
    """Train Sarsa and Q-learning, and draw their paths on a map of Q-learning's values.

    Args:
        environment: Name of a deterministic Gymnasium environment.
        output: Image file that gets the map.
        seed: Seed of the initial tables and the exploration.
    """
    show_messages(quiet=False)
    writable_picture(output)
    task = task_of(app.recipe("cliff", environment=environment).config)
    if task.dynamics is None or not task.dynamics.is_deterministic:
        raise InputError(
            "`environment` must leave nothing to chance, and its model must be known", environment
        )
    ways: dict[str, np.ndarray] = {}
    for method in ("sarsa", "q_learning"):
        chosen = app.recipe("cliff", environment=environment, method=method)
        trained = train_aside(app, chosen, Run(seed=seed))
        [network] = trained.networks.values()
        values = table_of(network, chosen.config, task)
        ways[method] = way(task, values.argmax(axis=-1))
        explored = trained.history["episode_return"][-1]
        print(f"{method}: {len(ways[method]) - 1} steps; return while exploring {explored:.1f}")
    [panel, *_] = panels(task, values, ways)
    curves.write(maps([panel._replace(actions=None)]), output)


app = App(
    name="grid_world",
    topic="control",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    callbacks=callbacks,
    endpoints=endpoints,
    example=example,
    evaluate=evaluate,
    figures=draw,
    commands={"play": show_episode, "ways": compare_ways},
    recipes={
        "frozen_lake_8x8": {"environment": "FrozenLake8x8-v1", "epochs": 20},
        "taxi": {
            "environment": "Taxi-v4",
            "timed": False,
            "discount": 0.99,
            "epochs": 3,
            "learning_rate_decay": 0.0,
        },
        "cliff": {
            "environment": "CliffWalking-v1",
            "max_episode_steps": 100,
            "timed": False,
            "epochs": 2,
            "steps_per_epoch": 10,
            "num_envs": 256,
            "epsilon": 0.1,
        },
        "blackjack": {
            "environment": "Blackjack-v1",
            "max_episode_steps": 25,
            "timed": False,
            "epochs": 40,
            "learning_rate_decay": 0.85,
        },
    },
    search={
        "learning_rate": "0.1..1.0",
        "learning_rate_decay": "0.4..1.0",
        "final_epsilon": "0.0..0.5",
    },
    objective="val_return",
    objective_mode="max",
    data_layouts=DATA_LAYOUTS,
    tiny={"epochs": 1, "num_envs": 32, "steps_per_epoch": 4},
)

if __name__ == "__main__":
    main(app)
