"""The gradient check: the gradients of an app's networks and losses against central differences.

Everything is computed in float64, with the builder, the compilation and the examples of the app.
The loss of a small batch is made a pure function of the weights: noise and dropout are what they
are in training, but the states of all seeds, and the running averages of normalisations, are set
back before every evaluation. What a loss keeps from its gradient by `stop_gradient` is held at its
value at the point, as its gradient takes it.

What is compared are derivatives along directions. For every layer these are single weights, drawn
at random; and a direction that is halfway between the layer's gradient and a random vector. The
gradient's part in it makes the derivative large against the rounding of the loss, the random part
sees what is wrong across the gradient. One direction more is that of all layers together.

Kinks of ReLU, of maxima and of hinges are where a loss has no derivative. Initial weights often
stand on one: where a bias is 0 and a patch of a picture black, all units are exactly at the kink.
So the check is made near the initial weights, at a point to which noise has moved all weights.
There, a difference can still straddle a kink. One that does shows it: a loss that is smooth between
its points has differences over h and over 2 h that agree, and second differences of which one is
four times the other. Where they do not, the step is chosen anew, then the direction, and then the
point; the gradient that is to be checked has no part in this choice but for its size, which says
what is small.

Reference:
    Bengio, 2012, Practical Recommendations for Gradient-Based Training of Deep Architectures
    (section 4.1, gradient checking), https://arxiv.org/abs/1206.5533
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from suite.app import App, Objective, Phase, Recipe, networks_of
from suite.data.pipelines import Data
from suite.errors import InputError
from suite.studies.gradients import refuse_no_steps
from suite.training.process import restored_settings
from suite.training.session import build

TOLERANCE = 1e-6  # of a relative error
EXAMPLES = 4  # of the batch
NOISE = 0.05  # standard deviation of what moves the weights from where they begin
STEPS = (1e-5, 1e-4, 1e-6, 1e-3)  # half the distance of two points, in the order of their trial
DRAWS = 2  # of a direction, until the loss is smooth along it
POINTS = 4  # at which what was not smooth is tried again
SMOOTH = TOLERANCE / 10  # relative disagreement of differences up to which a loss is smooth
ALL = "all layers"
SMALL = 1e-4  # share of the norm of the whole gradient below which a derivative is small

# Changes of variables, by their number.
Direction = Mapping[int, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derivative:
    """A derivative of a loss along a direction, computed in two ways.

    Args:
        loss: Name of the loss.
        layer: The layer whose weights are moved, or `all layers`.
        direction: What is moved: one weight, such as `kernel[3, 0]`, or `direction`.
        analytic: By the gradient.
        numeric: By central differences.
        error: Their difference as a share of the larger one. If both are small, it is a share of
            the root mean square of the derivatives by the weights of the same tensor, or of a ten
            thousandth of the norm of the whole gradient.
        doubt: How much the differences contradict each other, as such a share; above `SMOOTH` no
            step was found over which the loss is smooth, and `error` may be that of the difference.
    """

    loss: str
    layer: str
    direction: str
    analytic: float
    numeric: float
    error: float
    doubt: float


def worst_errors(derivatives: Sequence[Derivative]) -> dict[str, Any]:
    """The largest error of every layer, by the name of the loss; and whether all are small."""
    table: dict[str, Any] = {}
    for derivative in derivatives:
        errors = table.setdefault(derivative.loss, {})
        # An error that is not a number counts as the largest.
        errors[derivative.layer] = np.maximum(errors.get(derivative.layer, 0.0), derivative.error)
    words = {
        loss: {layer: f"{error:.1e}" for layer, error in errors.items()}
        for loss, errors in table.items()
    }
    verdict = "agree" if agree(derivatives) else f"differ by more than {TOLERANCE:.0e}"
    return {**words, f"{len(derivatives)} derivatives": verdict}


def agree(derivatives: Sequence[Derivative]) -> bool:
    """Whether no error is above `TOLERANCE`."""
    return all(derivative.error <= TOLERANCE for derivative in derivatives)


def check_gradients(
    app: App,
    recipe: Recipe,
    data: Data,
    *,
    seed: int = 0,
    weights: int = 2,
    examples: int = EXAMPLES,
) -> list[Derivative]:
    """Compares gradients of all phases of an app with central differences, in float64.

    Args:
        app: The application.
        recipe: Its knobs.
        data: What the app has loaded.
        seed: Decides weights, noise and directions.
        weights: Single weights of every tensor that are checked.
        examples: Largest number of examples in the batch.

    Returns:
        The derivatives of all phases that have epochs.

    Raises:
        InputError: The app's model has a training step of its own, and no `objectives`; or weights
            that are not of float64; or the training has no steps of an optimizer.
    """
    refuse_no_steps(app, recipe)
    derivatives = []
    with restored_settings(), in_float64():
        for phase in app.phases(recipe.config):
            if not phase.epochs:
                continue
            keras.utils.set_random_seed(seed)
            networks, model, batch = _prepared(app, recipe, data, phase, examples)
            everything = {
                id(variable): variable
                for network in [model, *networks.values()]
                for variable in network.variables
            }
            for name, objective in objectives(model, batch).items():
                derivatives += compare(
                    objective,
                    name=f"{phase.name}/{name}",
                    state=[v for v in everything.values() if not v.trainable],
                    weights=weights,
                    random=np.random.default_rng(seed),
                )
    return derivatives


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Makes layers, losses and metrics of a `with` block compute in float64."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def _prepared(
    app: App, recipe: Recipe, data: Data, phase: Phase, examples: int
) -> tuple[Mapping[str, keras.Model], keras.Model, Any]:
    """The networks, the compiled model of a phase, and the first rows of its first batch."""
    built = build(app, recipe, data)
    networks = networks_of(built)
    steps = phase.epochs * data.steps_per_epoch
    model = app.compiled(phase, built, recipe.config, steps)
    inputs, *others = next(iter(data.train(0)))
    batch = keras.tree.map_structure(lambda part: part[:examples], (inputs, *others))
    if phase.features:
        batch = (phase.features(networks)(batch[0], training=False), *batch[1:])
    return networks, model, batch


def objectives(model: keras.Model, batch: Any) -> Mapping[str, Objective]:
    """What a training step of a compiled model lowers, by name.

    Raises:
        InputError: The model has a training step of its own, and no `objectives`.
    """
    if hasattr(model, "objectives"):
        return dict(model.objectives(batch))
    if type(model).train_step is not keras.Model.train_step:
        raise InputError(
            "a model with a `train_step` of its own must have `objectives`", type(model).__name__
        )
    return {"loss": Objective.of(model, batch)}


def compare(
    objective: Objective,
    *,
    name: str = "loss",
    state: Sequence[keras.Variable] = (),
    weights: int = 2,
    random: np.random.Generator | None = None,
) -> list[Derivative]:
    """Compares the gradient of a loss with central differences.

    Args:
        objective: The loss, and its variables, in float64. They have their values again at the end.
        name: What to call the loss.
        state: Variables that computing the loss changes, such as those of seeds.
        weights: Single weights of every tensor that are compared.
        random: Decides the point and the directions.

    Raises:
        InputError: A variable is not of float64, such as one of a network that was loaded.
    """
    random = random or np.random.default_rng(0)
    for variable in objective.variables:
        if variable.dtype != "float64":
            raise InputError(
                "weights must be float64 to be checked", f"{variable.path}: {variable.dtype}"
            )
    begun = [np.array(variable) for variable in objective.variables]
    function = _Function(objective, state)
    moves = [
        (layer, tensors, tensor)
        for layer, tensors in _layers(objective.variables).items()
        for tensor in [None, *(n for n in tensors if layer != ALL for _ in range(weights))]
    ]
    derivatives: dict[int, Derivative] = {}
    try:
        for _ in range(POINTS):
            function.go_to([w + NOISE * random.normal(size=w.shape) for w in begun])
            function.look()
            for number, move in enumerate(moves):
                if number not in derivatives or derivatives[number].doubt > SMOOTH:
                    derivatives[number] = _derivative(function, name, *move, random)
            if all(derivative.doubt <= SMOOTH for derivative in derivatives.values()):
                break
    finally:
        function.go_to(begun)
    return list(derivatives.values())


class _Function:
    """The loss as a function of changes of the weights, and its gradient where nothing is changed.

    Args:
        objective: The loss and its variables.
        state: Variables that are set back before every evaluation.
    """

    def __init__(self, objective: Objective, state: Sequence[keras.Variable]) -> None:
        self.variables = list(objective.variables)
        self._state = [(variable, np.array(variable)) for variable in state]
        self._eager, self._compiled = objective.loss, tf.function(objective.loss, autograph=False)
        self._held: list[tf.Variable] = []  # what `stop_gradient` was given at the point, in turn

    def go_to(self, point: Sequence[np.ndarray]) -> None:
        """Moves to another point."""
        self._point = point
        for variable, values in zip(self.variables, point, strict=True):
            variable.assign(values)

    def look(self) -> None:
        """Computes loss and gradient at the point."""
        self._set_back()
        with tf.GradientTape() as tape, self._holding(hold=True):
            loss = self._eager()
        gradient = tape.gradient(
            loss, [variable.value for variable in self.variables], unconnected_gradients="zero"
        )
        self.gradient = [np.array(tf.convert_to_tensor(part), float) for part in gradient]
        self.norm = math.sqrt(sum(np.sum(part**2) for part in self.gradient))
        self.loss = self({})

    def __call__(self, change: Direction) -> float:
        for number, values in change.items():
            self.variables[number].assign(self._point[number] + values)
        self._set_back()
        with self._holding():
            loss = float(self._compiled())
        for number in change:
            self.variables[number].assign(self._point[number])
        return loss

    @contextlib.contextmanager
    def _holding(self, hold: bool = False) -> Iterator[None]:
        """Makes `stop_gradient` of a `with` block return what it was given at the point.

        Args:
            hold: Whether the block computes the loss at the point: what is given is what is held.
        """
        original, numbers = tf.stop_gradient, itertools.count()

        def held(values: Any, name: str | None = None) -> tf.Tensor:
            number = next(numbers)
            if not hold:
                return tf.identity(self._held[number])
            stopped = original(values)
            if number == len(self._held):
                self._held.append(tf.Variable(stopped, trainable=False))
            self._held[number].assign(stopped)
            return stopped

        tf.stop_gradient = held
        try:
            yield
        finally:
            tf.stop_gradient = original

    def _set_back(self) -> None:
        for variable, values in self._state:
            variable.assign(values)

    def slope(self, direction: Direction) -> float:
        """The derivative along a direction, by the gradient."""
        return sum(float(np.sum(self.gradient[n] * part)) for n, part in direction.items())


def _layers(variables: Sequence[keras.Variable]) -> dict[str, list[int]]:
    """The numbers of the variables of every layer, by its path; and of all layers, as `ALL`."""
    layers: dict[str, list[int]] = {}
    for number, variable in enumerate(variables):
        layers.setdefault(variable.path.rpartition("/")[0], []).append(number)
    return {**layers, ALL: list(range(len(variables)))}


def _derivative(
    function: _Function,
    loss: str,
    layer: str,
    tensors: Sequence[int],
    tensor: int | None,
    random: np.random.Generator,
) -> Derivative:
    """Compares along a direction over which the loss is smooth, if one is drawn in time.

    Args:
        function: The loss.
        loss: Its name.
        layer: The layer whose weights are moved.
        tensors: The numbers of its variables.
        tensor: The number of the variable of which one weight is moved; None for all of `tensors`.
        random: Draws the direction.
    """
    tried = []
    for _ in range(DRAWS):
        small = SMALL * function.norm
        if tensor is None:
            words, direction = "direction", _slanted(function, tensors, random)
        else:
            gradient, variable = function.gradient[tensor], function.variables[tensor]
            small = max(small, float(np.sqrt(np.mean(gradient**2))))
            words, direction = _single(tensor, variable, random)
        analytic = function.slope(direction)
        for step in STEPS:
            numeric, doubt = _difference(function, direction, step)
            scale = max(abs(analytic), abs(numeric), small) or 1.0
            tried.append(
                Derivative(
                    loss=loss,
                    layer=layer,
                    direction=words,
                    analytic=analytic,
                    numeric=numeric,
                    error=abs(analytic - numeric) / scale,
                    doubt=doubt / scale,
                )
            )
            if doubt <= SMOOTH * scale:
                return tried[-1]
    return min(tried, key=lambda derivative: derivative.doubt)


def _single(
    tensor: int, variable: keras.Variable, random: np.random.Generator
) -> tuple[str, Direction]:
    """A direction along one weight of a variable, and its name."""
    direction = np.zeros(variable.shape)
    index = tuple(int(random.integers(size)) for size in variable.shape)
    direction[index] = 1
    return f"{variable.name}{list(index) or ''}", {tensor: direction}


def _slanted(function: _Function, tensors: Sequence[int], random: np.random.Generator) -> Direction:
    """A direction of length 1, halfway between the gradient and a random vector."""
    parts = {n: random.normal(size=function.gradient[n].shape) for n in tensors}
    length = math.sqrt(sum(np.sum(part**2) for part in parts.values()))
    norm = math.sqrt(sum(np.sum(function.gradient[n] ** 2) for n in tensors)) or 1.0
    mixed = {n: part / length + function.gradient[n] / norm for n, part in parts.items()}
    length = math.sqrt(sum(np.sum(part**2) for part in mixed.values()))
    return {n: part / length for n, part in mixed.items()}


def _difference(function: _Function, direction: Direction, step: float) -> tuple[float, float]:
    """A derivative by central differences, and how much the differences contradict each other.

    The differences over one and over two steps are extrapolated to none (Richardson).
    """
    below2, below, above, above2 = (
        function({n: k * step * part for n, part in direction.items()}) for k in (-2, -1, 1, 2)
    )
    near, far = (above - below) / (2 * step), (above2 - below2) / (4 * step)
    bend = above - 2 * function.loss + below
    wide_bend = above2 - 2 * function.loss + below2
    doubt = max(abs(near - far), abs(wide_bend - 4 * bend) / (2 * step))
    return (4 * near - far) / 3, doubt
