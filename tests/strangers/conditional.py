"""Named networks with a condition: a generator and a critic, which get the class as an input."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from suite import App, checked, settings
from suite.app import Objective
from suite.data import Examples, Source, supervised
from suite.knobs import BatchSize, Epochs, Units
from suite.placement.replicas import seed_of_replica


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the points.
        batch_size: Points of a step.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 10


def load_data(config, run):
    """Points of a plane around three centres."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 100).astype(np.int32)
    points = (np.eye(3, 2)[labels] + random.normal(scale=0.1, size=(100, 2))).astype(np.float32)
    source = Source(
        name="synthetic:centres", train=Examples(points, labels), class_names=("a", "b", "c")
    )
    return supervised(
        source, batch_size=config.batch_size, validation_split=0.2, seed=run.seed, min_steps=1
    )


@checked
def build_model(*, units: Units = 8) -> dict[str, keras.Model]:
    """Builds both networks.

    Args:
        units: Units of their hidden layers.
    """

    def network(name, size, outputs):
        value = keras.Input((size,), name="latent" if name == "generator" else "point")
        label = keras.Input((), dtype="int32", name="label")
        x = layers.Concatenate()([value, ops.one_hot(label, 3)])
        x = layers.Dense(outputs)(layers.Dense(units, activation="tanh")(x))
        return keras.Model({value.name: value, "label": label}, x, name=name)

    return {"generator": network("generator", 2, 2), "critic": network("critic", 2, 1)}


class Trainer(keras.Model):
    """Trains the generator to please the critic, and the critic to tell points apart."""

    def __init__(self, networks):
        super().__init__()
        self.generator, self.critic = networks["generator"], networks["critic"]
        self.critic_optimizer = keras.optimizers.Adam(0.01)
        self.seeds = keras.random.SeedGenerator()
        self.mean = keras.metrics.Mean("gap")

    @property
    def optimizers(self):
        return [self.optimizer, self.critic_optimizer]

    def build_optimizers(self):
        self.optimizer.build(self.generator.trainable_variables)
        self.critic_optimizer.build(self.critic.trainable_variables)

    def objectives(self, batch):
        gap = functools.partial(self.gap, *batch[:2])
        return {
            "critic": Objective(gap, self.critic.trainable_variables),
            "generator": Objective(lambda: -gap(), self.generator.trainable_variables),
        }

    def gap(self, points, labels):
        latent = tf.random.stateless_normal(tf.shape(points), seed_of_replica(self.seeds))
        generated = self.generator({"latent": latent, "label": labels})
        real, fake = (self.critic({"point": p, "label": labels}) for p in (points, generated))
        return ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake))

    def train_step(self, data):
        points, labels, *_ = data
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape(persistent=True) as tape:
            gap = self.gap(points, labels) / replicas
            negative = -gap
        for value, network, optimizer in (
            (gap, self.critic, self.critic_optimizer),
            (negative, self.generator, self.optimizer),
        ):
            variables = network.trainable_variables
            optimizer.apply(tape.gradient(value, [v.value for v in variables]), variables)
        self.mean.update_state(gap * replicas)
        return {"gap": self.mean.result()}

    def test_step(self, data):
        self.mean.update_state(self.gap(data[0], data[1]))
        return {"gap": self.mean.result()}


def compile_model(built, config, steps):
    """Both under Adam."""
    trainer = Trainer(built)
    trainer.compile(keras.optimizers.Adam(0.01))
    trainer.build_optimizers()
    return trainer


def endpoints(fitted):
    """`latent` and `label` to `point`."""
    generator = fitted.networks["generator"]
    return {"serve": keras.Model(generator.input, {"point": generator.output})}


app = App(
    name="conditional",
    topic="generative",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    example=lambda fitted: {
        "latent": np.ones((6, 2), np.float32),
        "label": np.arange(6, dtype=np.int32) % 3,
    },
    evaluate=lambda fitted: fitted.model.evaluate(fitted.data.test, verbose=0, return_dict=True),
    objective="val_gap",
    objective_mode="min",
    keep_best=True,
    tiny={"epochs": 2},
)
