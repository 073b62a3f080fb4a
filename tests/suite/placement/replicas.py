"""What some steps of an app do to its weights, wherever it is placed.

Run by every worker of a cluster, as a script: `replicas.py <file> <app>...` has the chief write the
weights of all apps.
"""

import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import suite.rl.rollouts
from suite import Run
from suite.app import load_app
from suite.placement.keras_3_15 import fit_on_replicas
from suite.placement.strategy import is_chief, spread, strategy
from suite.rl.rollouts import Rollout
from suite.trainers.gan import GenerativeAdversarialNetwork
from suite.trainers.variational import tfd

BATCH, STEPS = 8, 20
# What would be noise of another kind on every replica.
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


def fixed_rollout(policy, environments, length, seed):
    seen = tf.transpose(rows_of_replica(EPISODES.swapaxes(0, 1), environments.num_envs), [1, 0, 2])
    often, rewards = seen[1:, :, 0] > 0, seen[1:, :, 1]
    never = tf.zeros_like(often)
    return Rollout(
        seen, tf.cast(often, tf.int32), rewards, never, never, ~never, 0 * rewards, 0 * rewards
    )


def weights_after(name, placement):
    """Of an app whose noise is fixed, after some steps of SGD."""
    app = load_app(name)
    knobs = {"batch_size": BATCH, "num_envs": BATCH, "rollout_length": len(EPISODES) - 1}
    knobs |= {"likelihood": "continuous_bernoulli", "num_codes": 4}
    config = app.config(**{k: v for k, v in knobs.items() if hasattr(app.config(), k)})
    data = app.data(config, Run(data="embedded"))
    silent = {k: 0.0 for k in ("noise", "dropout") if k in app.architecture_knobs()}
    keras.utils.set_random_seed(0)
    with (
        mock.patch.object(GenerativeAdversarialNetwork, "_latents", fixed_latents),
        mock.patch.object(tfd.Normal, "sample", fixed_sample),
        mock.patch.object(suite.rl.rollouts, "play", fixed_rollout),
        fit_on_replicas(placement),
    ):
        with placement.scope():
            model = app.compile(app.build(**data.model_arguments, **silent), config, STEPS)
            for attribute, value in list(vars(model).items()):
                if isinstance(value, keras.optimizers.Optimizer):
                    setattr(model, attribute, keras.optimizers.SGD(1e-3))
        for layer in model._flatten_layers():
            if isinstance(layer, layers.BatchNormalization):
                layer.synchronized = True
        # None starts at zero: the shift before a batch normalisation hardly moves, and what it
        # would be compared by is the rounding of gradients that cancel.
        random = np.random.default_rng(2)
        for weight in model.trainable_variables:
            if not np.any(weight):
                weight.assign(random.normal(scale=0.1, size=weight.shape))
        batches = spread(lambda shard: data.train(0, shard), placement)
        model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return [np.array(weights) for weights in model.get_weights()]


if __name__ == "__main__":
    file, *names = sys.argv[1:]
    placement = strategy("multi_worker")
    found = {name: weights_after(name, placement) for name in names}
    if is_chief(placement):
        parts = {f"{name}/{n}": each for name in found for n, each in enumerate(found[name])}
        np.savez(file, **parts)
