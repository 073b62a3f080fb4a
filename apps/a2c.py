"""Advantage actor-critic: a policy that learns by playing, inside `fit`.

The actor chooses actions, and the critic predicts returns. Actions with a better return than the
critic predicted become more likely. Many copies of an environment are played side by side, one
rollout for each update. The environment can be any Gymnasium environment whose observations can be
flattened and whose actions are discrete or continuous.
"""

import keras

from suite import App, Run
from suite.cli import main
from suite.data import Data
from suite.rl.episodes import DATA_LAYOUTS
from suite.rl.evaluation import COMMANDS, unit_observations
from suite.tasks import control

SAMPLE_EFFICIENT = {  # needs few environment steps
    "epochs": 20,
    "num_envs": 16,
    "steps_per_epoch": 400,
    "learning_rate": 1e-3,
    "entropy_weight": 0.0,
    "reward_scale": 0.03,
}


def load_data(config: control.ActorCriticConfig, run: Run) -> Data:
    """The seeds of the episodes, of which a rollout is played for each update."""
    return control.load_data(config, run, config.rollout_length)


def compile_model(model: keras.Model, config: control.ActorCriticConfig, steps: int) -> keras.Model:
    """Wraps the model as an `ActorCritic` that Adam trains.

    Reference:
        Mnih et al., 2016, Asynchronous Methods for Deep Reinforcement Learning,
        https://arxiv.org/abs/1602.01783
        Differs from the paper: all copies of the environment are stepped at the same time.
    """
    trained = control.ActorCritic(model, config)
    trained.compile(control.decaying_adam(config, steps, config.clip_norm))
    return trained


app = App(
    name="a2c",
    topic="control",
    summary=__doc__,
    config=control.ActorCriticConfig,
    data=load_data,
    build=control.build_actor_critic,
    compile=compile_model,
    callbacks=control.callbacks,
    endpoints=control.endpoints,
    example=unit_observations,
    evaluate=control.evaluate,
    figures=control.draw,
    commands=COMMANDS,
    recipes={
        "efficient": SAMPLE_EFFICIENT | {"steps_per_epoch": 20, "learning_rate": 2e-3},
        "acrobot": SAMPLE_EFFICIENT
        | {"environment": "Acrobot-v1", "epochs": 10, "scale_observations": False},
        "pendulum": SAMPLE_EFFICIENT
        | {"environment": "Pendulum-v1", "discount": 0.9, "gae_lambda": 0.9, "reward_scale": 0.01},
    },
    objective="val_return",
    objective_mode="max",
    keep_best=True,
    data_layouts=DATA_LAYOUTS,
    tiny={"epochs": 1, "num_envs": 4, "steps_per_epoch": 10, "units": (8,)},
)

if __name__ == "__main__":
    main(app)
