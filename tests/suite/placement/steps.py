"""The weights of an app after some steps of its `tiny` training, on any placement."""

from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import suite.rl.players
from suite import Run
from suite.app import load_app
from suite.placement.keras_3_15 import fit_on_replicas
from suite.placement.replicas import distribute, is_chief
from suite.placement.strategy import create_strategy
from suite.rl.rollouts import Rollout
from suite.trainers.gan import GenerativeAdversarialNetwork
from suite.trainers.variational import tfd
from suite.training.session import build

BATCH, STEPS = 8, 20
# Fixed values in place of random ones, which would differ on every replica.
NOISE = np.random.default_rng(0).normal(size=(BATCH, 256)).astype("float32")
EPISODES = np.random.default_rng(1).normal(size=(5, BATCH, 4)).astype("float32")


def rows_of_replica(values, num):
    replica = tf.distribute.get_replica_context()  # there is none while Keras builds the model
    first = replica.replica_id_in_sync_group * num if replica else 0
    return tf.convert_to_tensor(values)[first : first + num]


def fixed_latents(self, num):
    return rows_of_replica(NOISE, num)[:, : self.generator.input_shape[-1]]


def fixed_sample(self, shape, seed):
    mean = self.mean()
    noise = rows_of_replica(NOISE, tf.shape(mean)[0])[:, : mean.shape[1]]
    return (mean + self.stddev() * noise)[None]


def fixed_rollout(act, environments, length, seed):
    rows = rows_of_replica(EPISODES.swapaxes(0, 1), environments.num_envs)
    observations = tf.transpose(rows, [1, 0, 2])
    actions, rewards = observations[1:, :, 0] > 0, observations[1:, :, 1]
    never = tf.zeros_like(actions)
    return Rollout(
        observations,
        tf.cast(actions, tf.int32),
        rewards,
        never,
        never,
        ~never,
        0 * rewards,
        0 * rewards,
    )


def weights_after(name, placement):
    """The weights of an app with fixed noise after some steps of SGD."""
    app = load_app(name)
    # Distortion is off: rounding in distorted images may move a pooled maximum, and so grow.
    knobs = {
        "rotation": 0.0,
        "shift": 0.0,
        "zoom": 0.0,
        "batch_size": BATCH,
        "num_envs": BATCH,
        "rollout_length": len(EPISODES) - 1,
    }
    knobs |= {
        "likelihood": "continuous_bernoulli",
        "noise": 0.0,
        "dropout": 0.0,
        "bound_weight": 1.0,
    }
    known = {*vars(app.config()), *app.architecture_knobs()}
    recipe = app.recipe(**{**app.tiny, **{k: v for k, v in knobs.items() if k in known}})
    config = recipe.config
    data = app.data(config, Run(data="embedded"))
    keras.utils.set_random_seed(0)
    with (
        mock.patch.object(GenerativeAdversarialNetwork, "_latents", fixed_latents),
        mock.patch.object(tfd.Normal, "sample", fixed_sample),
        mock.patch.object(suite.rl.players, "collect", fixed_rollout),
        fit_on_replicas(placement),
    ):
        with placement.scope():
            model = app.compile(build(app, recipe, data), config, STEPS)
            for attribute, value in list(vars(model).items()):
                if isinstance(value, keras.optimizers.Optimizer):
                    setattr(model, attribute, keras.optimizers.SGD(1e-3))
        for layer in model._flatten_layers():
            if isinstance(layer, layers.BatchNormalization):
                layer.synchronized = True
        # No weight starts at zero: the bias before a batch normalisation hardly moves, and its
        # comparison would be one of rounding errors of gradients that cancel.
        random = np.random.default_rng(2)
        for weight in model.trainable_variables:
            if not np.any(weight):
                weight.assign(random.normal(scale=0.1, size=weight.shape))
        batches = distribute(lambda shard: data.train(0, shard), placement)
        model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return [np.array(weights) for weights in model.get_weights()]


def write_weights(file: Path, names: Sequence[str]) -> None:
    """Trains apps as a worker of a cluster; the chief writes the weights of all of them."""
    placement = create_strategy("multi_worker")
    weights = {name: weights_after(name, placement) for name in names}
    if is_chief(placement):
        parts = {f"{name}/{n}": array for name in weights for n, array in enumerate(weights[name])}
        np.savez(file, **parts)
