"""The study `gradients`: how large gradients and activations are, by layer, as training goes on."""

import csv
import dataclasses
import functools
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from suite.app import App, Fitted, Phase, Recipe, networks_of
from suite.data.pipelines import Data
from suite.errors import InputError
from suite.figures import curves
from suite.figures import gradients as figures
from suite.files import write_whole
from suite.run import Run
from suite.training.process import restored_settings
from suite.training.session import build
from suite.training.state import build_optimizers, optimizers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """The sizes of gradients and activations of a layer in a step.

    Args:
        step: Number of the step, from 1, over all phases. Step 1 has the initial weights.
        phase: Name of the phase.
        layer: Name of the layer; after that of its network, if there are several.
        weight_gradient: L2 norm of the gradient of the loss with respect to its weights, before it
            is clipped.
        activations: Root mean square of its outputs; of all passes together through which
            gradients flow.
        activation_gradient: L2 norm of the gradient of the loss with respect to its outputs.
    """

    step: int
    phase: str
    layer: str
    weight_gradient: float
    activations: float
    activation_gradient: float


@dataclasses.dataclass(frozen=True)
class Gradients:
    """What was measured.

    Args:
        measurements: Step by step, and within a step layer by layer, from the input to the output.
    """

    measurements: Sequence[Measurement]

    def sizes(self, phase: str) -> tuple[list[str], dict[str, np.ndarray]]:
        """The layers of a phase, and `(steps, layers)` by the name of what was measured."""
        rows = [row for row in self.measurements if row.phase == phase]
        layers = list(dict.fromkeys(row.layer for row in rows))
        sizes = {
            name: np.array([getattr(row, name) for row in rows]).reshape(-1, len(layers))
            for name in ("weight_gradient", "activations", "activation_gradient")
        }
        return layers, sizes

    def summary(self) -> dict[str, Any]:
        """The gradient of the weights of every layer, in the first step and in the last."""
        table: dict[str, Any] = {}
        for phase in self.phases:
            layers, sizes = self.sizes(phase)
            sizes_of_weights = sizes["weight_gradient"]
            ends = zip(layers, sizes_of_weights[0], sizes_of_weights[-1], strict=True)
            title = f"gradient of weights, {phase}: first and last of {len(sizes_of_weights)} steps"
            table[title] = {layer: f"{first:9.3g} {last:9.3g}" for layer, first, last in ends}
        return table

    @property
    def phases(self) -> list[str]:
        """The names of the phases that have steps."""
        return list(dict.fromkeys(row.phase for row in self.measurements))


def measure_gradients(app: App, recipe: Recipe, run: Run, *, steps: int = 100) -> Gradients:
    """Trains the first steps of every phase, and measures gradients and activations in each step.

    The steps are those that a training takes, with its data, schedule and step of its own: nothing
    is computed for a second time. What is measured are the gradients that come to the optimizers,
    so networks that are trained together, such as a generator and a discriminator, are measured
    together; and of an agent those of the rollouts that it plays. Callbacks of the app are not
    used.

    Args:
        app: The application.
        recipe: Its knobs.
        run: Where examples come from, and the seed.
        steps: Largest number of steps of a phase.

    Raises:
        InputError: `steps` is not 1 or more, or the training has no steps of an optimizer.
    """
    if steps < 1:
        raise InputError("`steps` must be 1 or more", steps)
    refuse_no_steps(app, recipe)
    with restored_settings():
        keras.utils.set_random_seed(run.seed)
        data = app.data(recipe.config, run)
        measurements = list(_train(app, recipe, data, steps))
    if not measurements:  # of passes that sum up, without an optimizer
        raise _no_steps(app)
    return Gradients(measurements)


def refuse_no_steps(app: App, recipe: Recipe) -> None:
    """Refuses a training without steps of an optimizer, such as a closed form.

    Raises:
        InputError: All phases are without epochs.
    """
    if not any(phase.epochs for phase in app.phases(recipe.config)):
        raise _no_steps(app)


def _no_steps(app: App) -> InputError:
    return InputError("`gradients` needs a training by steps of an optimizer", app.name)


def _train(app: App, recipe: Recipe, data: Data, steps: int) -> Iterator[Measurement]:
    """Trains the first steps of every phase."""
    built = build(app, recipe, data)
    networks, trained, measured = networks_of(built), 0, 0
    for phase in app.phases(recipe.config):
        length = phase.epochs * data.steps_per_epoch
        model = app.compiled(phase, built, recipe.config, length)
        fitted = Fitted(
            model=model, networks=networks, data=data, config=recipe.config, folder=Path()
        )
        if phase.begin:
            phase.begin(fitted)
        trained_on = data
        if phase.features and phase.epochs:
            trained_on = data.with_features(phase.features(networks))
        if count := min(length, steps):
            yield from _fit(model, trained_on, phase, trained, measured, count)
        # The batches are those that a whole training takes in this phase.
        trained, measured = trained + length, measured + count


def _fit(
    model: keras.Model, data: Data, phase: Phase, trained: int, measured: int, count: int
) -> Iterator[Measurement]:
    """Trains `count` steps of a phase, before which a training takes `trained` steps.

    Args:
        model: The compiled model of the phase.
        data: Its data.
        phase: The phase.
        trained: The steps of the phases before it in a whole training.
        measured: Those of them that were measured.
        count: The steps to measure.
    """
    model.steps_per_execution = 1  # the sums are read after each
    probe = Probe(model)
    rows: list[dict[str, np.ndarray]] = []
    reading = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rows.append(probe.read())
    )
    model.fit(
        data.train(trained), steps_per_epoch=count, callbacks=[reading], shuffle=False, verbose=0
    )
    used = [n for n, _ in enumerate(probe.layers) if any(row["used"][n] for row in rows)]
    names = _names([probe.layers[number] for number in used])
    for step, row in enumerate(rows, start=measured + 1):
        for number, name in zip(used, names, strict=True):
            yield Measurement(
                step=step,
                phase=phase.name,
                layer=name,
                weight_gradient=float(row["weight_gradient"][number]),
                activations=float(row["activations"][number]),
                activation_gradient=float(row["activation_gradient"][number]),
            )


class Probe:
    """Sums what the layers of a compiled model do in a step, without changing the step.

    The optimizers are made to look at the gradients that they are given. Each layer's outputs go
    through an identity, whose gradient looks at outputs and gradients on the way back; so a pass
    without gradients, such as that of an agent that plays, is not counted.

    Args:
        model: The compiled model; it is changed, and must not have been trained.
    """

    def __init__(self, model: keras.Model) -> None:
        self.layers = list(_layers(model))
        # Squares of the gradients of weights, outputs, numbers of outputs, squares of their
        # gradients; of double precision, in which squares of what vanishes are not yet 0.
        self._sums = tf.Variable(tf.zeros((len(self.layers), 4), tf.float64), trainable=False)
        self._numbers = {
            id(variable): number
            for number, (_, layer) in enumerate(self.layers)
            for variable in layer.trainable_variables
        }
        for number, (_, layer) in enumerate(self.layers):
            layer.call = _through(layer.call, self._tapped, number)
        build_optimizers(model)
        for optimizer in optimizers(model):
            self._watch(optimizer)

    def read(self) -> dict[str, np.ndarray]:
        """The sizes `(layers,)` since the last call: `used`, and the fields of `Measurement`."""
        sums = self._sums.numpy()
        self._sums.assign(tf.zeros_like(self._sums))
        weights, outputs, count, gradients = sums.T
        return {
            "used": (weights > 0) | (count > 0),
            "weight_gradient": np.sqrt(weights),
            "activations": np.sqrt(outputs / np.maximum(count, 1)),
            "activation_gradient": np.sqrt(gradients),
        }

    def _add(self, number: int, values: Sequence[Any]) -> None:
        """Adds to all sums of a layer."""
        self._sums.scatter_nd_add([[number]], [tf.stack([tf.cast(v, tf.float64) for v in values])])

    def _watch(self, optimizer: keras.Optimizer) -> None:
        apply = optimizer.apply

        def watched(gradients: Sequence[Any], variables: Sequence[Any] | None = None) -> Any:
            learning = optimizer._trainable_variables if variables is None else variables
            for gradient, variable in zip(gradients, learning, strict=True):
                number = self._numbers.get(id(variable))
                if number is not None and gradient is not None:
                    self._add(number, [_squares(gradient), 0, 0, 0])
            return apply(gradients, variables)

        optimizer.apply = watched

    def _tapped(self, number: int, outputs: tf.Tensor) -> tf.Tensor:
        """The same outputs of a layer, which are noted when a gradient comes back to them."""

        @tf.custom_gradient
        def identity(values: tf.Tensor) -> Any:
            def backwards(gradient: tf.Tensor) -> tf.Tensor:
                self._add(number, [0, _squares(values), tf.size(values), _squares(gradient)])
                return gradient

            return tf.identity(values), backwards

        return identity(outputs) if outputs.dtype.is_floating else outputs


def _squares(values: Any) -> tf.Tensor:
    """The sum of the squares, in double precision."""
    return tf.reduce_sum(tf.cast(tf.convert_to_tensor(values), tf.float64) ** 2)


def _through(call: Any, tap: Any, number: int) -> Any:
    """A layer's `call`, whose outputs go through `tap`."""

    @functools.wraps(call)
    def tapped(*args: Any, **kwargs: Any) -> Any:
        outputs = call(*args, **kwargs)
        return keras.tree.map_structure(lambda output: tap(number, output), outputs)

    return tapped


def _layers(model: keras.Model, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple, keras.Layer]]:
    """The layers with trainable weights and the names of their networks, in the order of calls."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer, (*path, layer.name))
        elif layer.trainable_variables:
            yield path, layer


def _names(layers: Sequence[tuple[tuple[str, ...], keras.Layer]]) -> list[str]:
    """The names of layers, after those of their networks if there are several."""
    several = len({path for path, _ in layers}) > 1
    return ["/".join([*path, layer.name] if several else [layer.name]) for path, layer in layers]


def write_table(rows: Sequence[Any], path: Path) -> None:
    """Writes instances of a dataclass, one or more, as a CSV with a column for each field."""
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(rows[0])]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(dataclasses.asdict, rows))
    write_whole(path, text.getvalue())


def write_gradients(gradients: Gradients, folder: Path) -> None:
    """Writes `gradients.csv`, `by_step.png` and `over_depth.png` into a folder that exists.

    The figures are written once for each phase, if there are several.
    """
    write_table(gradients.measurements, folder / "gradients.csv")
    drawings = {}
    for phase in gradients.phases:
        layers, sizes = gradients.sizes(phase)
        titled = {
            "gradient of weights": sizes["weight_gradient"],
            "gradient of activations": sizes["activation_gradient"],
            "activations": sizes["activations"],
        }
        ending = f"_{phase}" if len(gradients.phases) > 1 else ""
        drawings[f"by_step{ending}"] = figures.by_step(titled, layers)
        drawings[f"over_depth{ending}"] = figures.over_depth(titled, layers)
    curves.save(drawings, folder)
