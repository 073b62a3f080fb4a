"""Predicts a number from the row of a table, and how far off it may be: with an interval.

A line and polynomials are fitted exactly, by least squares or ridge regression; networks by
gradients. The output is a distribution, normal or Student's t, whose intervals are made to hold as
many unseen rows as they say.
"""

import dataclasses
import itertools
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt
from tensorflow_probability import distributions as tfd

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, Phase, evaluate_on_test
from suite.cli import main
from suite.data import Data, Examples, Source
from suite.data.sources import MADE_HERE
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.figures import numbers
from suite.knobs import Activation, Epochs, Fraction, Rate, Share, Units, WeightDecay
from suite.tasks import tables as task
from suite.trainers.schedules import one_cycle

# Under `suite`, whose messages a training shows.
log = logging.getLogger("suite.regression")

# Polynomials of one variable with noise, by the name of the dataset: coefficients from the constant
# up, and the standard deviation of the noise.
CURVES = {"line": ((2.0, 2.5), 0.1), "cubic": ((0.3, -4.0, 1.0, -1.0), 0.5)}
UNSEEN_ROWS = 10_000  # of a curve, to test on
MOST_TERMS = 1000  # of a polynomial
SMALLEST_SCALE = 1e-6  # of standardised targets


@settings
class Config(task.Config):
    """The settings of the training.

    Args:
        dataset: `line` and `cubic`, which are made here; `diabetes` and `california`, which come
            with scikit-learn; or a table of TensorFlow Datasets.
        rows: Rows to train and validate on of a table that is made here.
        noise_scale: Standard deviation of the noise in a table that is made here. Defaults to 0.1
            for the line, and 0.5 for the cubic.
        solver: `exact` is a closed form, for a polynomial without hidden layers; `adam` takes
            `epochs`, and is for all.
        distribution: What the output is.
        degrees_of_freedom: Of Student's t: the fewer, the more often rows lie far out.
        interval: Probability that the interval holds a row.
        mean_weight: How much the loss follows the error of the mean: 0 is the likelihood, in which
            rows that are uncertain count less; at 1 all count alike for the mean.
        weight_decay: Decoupled weight decay in a step of Adam, times the learning rate.
        patience: Epochs without a better validation error after which Adam stops, and takes the
            weights of the best epoch; 0 does not stop.
    """

    dataset: str = "line"
    rows: Annotated[int, Field(ge=3, le=10_000_000)] = 1000
    noise_scale: Annotated[float, Field(ge=0, le=1e6)] | None = None
    solver: Literal["exact", "adam"] = "exact"
    distribution: Literal["normal", "student_t"] = "normal"
    degrees_of_freedom: Annotated[float, Field(gt=0, le=1e6)] = 5.0
    interval: Share = 0.9
    mean_weight: Fraction = 1.0
    weight_decay: WeightDecay = 0.0
    patience: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    epochs: Epochs = 20


def load_data(config: Config, run: Run) -> Data:
    """Rows `(features,)` and numbers `()`, float32."""
    made_here = config.dataset in CURVES and run.data in MADE_HERE
    if made_here and run.arrays is None:
        run = dataclasses.replace(run, data="arrays", arrays=make_curve(config))
    return task.load_data(config, run, arguments=arguments_of, numeric=True)


def make_curve(config: Config) -> Source:
    """Points of a polynomial with noise, the same ones each time; x is uniform in -2..2."""
    coefficients, noise_scale = CURVES[config.dataset]
    if config.noise_scale is not None:
        noise_scale = config.noise_scale

    def points(count: int, seed: int) -> Examples:
        random = np.random.default_rng(seed)
        x = random.uniform(-2, 2, count)
        y = np.polynomial.Polynomial(coefficients)(x) + random.normal(0, noise_scale, count)
        return Examples(x[:, None].astype(np.float32), y.astype(np.float32))

    return Source(
        name=f"synthetic:{config.dataset}",
        train=points(config.rows, 0),
        test=points(UNSEEN_ROWS, 1),
        feature_names=("x",),
    )


def arguments_of(train: Examples) -> dict[str, np.ndarray]:
    """The arguments of the builder that standardise features and targets."""
    targets = task.statistics(Examples(train.targets[:, None]))
    return {**task.statistics(train), **{f"target_{name}": n for name, n in targets.items()}}


@checked
def build_model(
    num_features: PositiveInt = 1,
    mean: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    target_mean: np.ndarray | None = None,
    target_scale: np.ndarray | None = None,
    *,
    degree: Annotated[int, Field(ge=1, le=10)] = 1,
    units: tuple[Units, ...] = (),
    activation: Activation = "silu",
    dropout: Rate = 0.0,
    noise: Literal["constant", "varying"] = "constant",
    l1: Annotated[float, Field(ge=0, le=1e6)] = 0.0,
    l2: Annotated[float, Field(ge=0, le=1e6)] = 0.0,
) -> keras.Model:
    """Builds a polynomial of the features, or a network on top of it.

    Args:
        num_features: Numbers in a row.
        mean: Mean of the features, `(num_features,)`; zeros if None. Not trained.
        scale: Scale of the features, `(num_features,)`; ones if None. Not trained.
        target_mean: Mean of the targets, `(1,)`; 0 if None. Not trained.
        target_scale: Scale of the targets, `(1,)`; 1 if None. Not trained.
        degree: Degree of the polynomial of the standardised features.
        units: Units of each hidden layer; none for the polynomial alone.
        activation: Keras's name of the activation of the hidden layers.
        dropout: Dropout rate after each hidden layer.
        noise: Whether the scale of the output is one number, or varies with the row.
        l1: Penalty of the sum of absolute weights.
        l2: Penalty of the sum of squared weights, of standardised features and targets. The exact
            solver adds it to the mean squared error, and Adam to the loss.

    Returns:
        A functional model, `features` `(batch, num_features)` to `location_and_scale`
        `(batch, 2)`, float32, in units of the target.

    Raises:
        InputError: An argument is out of range, or the polynomial has too many terms.
    """
    features = keras.Input((num_features,), name="features")
    penalty = keras.regularizers.L1L2(l1, l2)
    x = polynomial(task.standardized(features, mean, scale), degree)
    for place, size in enumerate(units):
        x = layers.Dense(size, activation, kernel_regularizer=penalty, name=f"hidden_{place + 1}")(
            x
        )
        x = layers.Dropout(dropout)(x)
    floatx = keras.config.floatx()
    location = layers.Dense(1, kernel_regularizer=penalty, dtype=floatx, name="location")(x)
    if noise == "constant":
        one = ops.ones_like(location)
        raw_scale = layers.Dense(
            1, use_bias=False, kernel_initializer="zeros", dtype=floatx, name="raw_scale"
        )(one)
    else:
        raw_scale = layers.Dense(1, kernel_initializer="zeros", dtype=floatx, name="raw_scale")(x)
    target_mean = np.zeros(1) if target_mean is None else target_mean
    target_scale = np.ones(1) if target_scale is None else target_scale
    zero = np.zeros(1)
    location = task.affine(location, target_scale[:, None], target_mean, "location_in_units")
    # The last layer also holds the factor by which `calibrate` corrects the scale.
    scales = task.affine(
        ops.softplus(raw_scale) + SMALLEST_SCALE, target_scale[:, None], zero, "scale_in_units"
    )
    outputs = layers.Concatenate(dtype=floatx, name="location_and_scale")([location, scales])
    return keras.Model(features, outputs, name="regression")


def polynomial(x: keras.KerasTensor, degree: int) -> keras.KerasTensor:
    """All products of up to `degree` features, `(batch, terms)`, in the order of `terms_of`.

    Raises:
        InputError: There are too many of them.
    """
    num_features = x.shape[1]
    if (count := math.comb(num_features + degree, degree) - 1) > MOST_TERMS:
        raise InputError(
            f"`degree` must be lower for {num_features} features: a polynomial has at most "
            f"{MOST_TERMS} terms here",
            f"{degree}, with {count} terms",
        )
    parts = [x]
    for power in range(2, degree + 1):
        factors = np.array([term for term in terms_of(num_features, degree) if len(term) == power])
        parts.append(ops.prod(ops.take(x, factors, axis=1), axis=2))
    return layers.Concatenate(dtype=keras.config.floatx(), name="terms")(parts) if degree > 1 else x


def terms_of(num_features: int, degree: int) -> list[tuple[int, ...]]:
    """The terms of a polynomial without its constant, each as the indices of its factors."""
    return [
        term
        for power in range(1, degree + 1)
        for term in itertools.combinations_with_replacement(range(num_features), power)
    ]


def distribution(config: Config, outputs: tf.Tensor) -> tfd.Distribution:
    """The distribution of the targets, `(batch,)`.

    Args:
        config: Says which one.
        outputs: Location and scale, `(batch, 2)`.
    """
    location, scale = outputs[:, 0], outputs[:, 1]
    if config.distribution == "normal":
        return tfd.Normal(location, scale)
    return tfd.StudentT(config.degrees_of_freedom, location, scale)


def interval_of(config: Config, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
    """The mean, and the lower and upper end of the interval, `(batch,)` each."""
    answer = distribution(config, outputs)
    tail = (1 - config.interval) / 2
    return {
        "mean": outputs[:, 0],
        "lower": answer.quantile(tail),
        "upper": answer.quantile(1 - tail),
    }


class ErrorOfMean(keras.metrics.RootMeanSquaredError):
    """The root of the mean squared error of the location."""

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        super().update_state(ops.reshape(y_true, (-1,)), y_pred[:, 0], sample_weight)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with the negative log-likelihood of standardised targets, and AdamW under one cycle.

    The likelihood of a row is weighted by its variance to the power of `mean_weight`, through which
    no gradient flows. A phase without steps has no cycle.

    Raises:
        InputError: The exact solver is asked for what it cannot solve.

    Reference:
        Seitzer, Tavakoli, Antic and Martius, 2022, On the Pitfalls of Heteroscedastic Uncertainty
        Estimation with Probabilistic Neural Networks, https://arxiv.org/abs/2203.09168
    """
    if config.solver == "exact":
        refuse_what_has_no_closed_form(model)

    def loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        targets = ops.cast(ops.reshape(y_true, (-1,)), y_pred.dtype)
        unit = model.get_layer("location_in_units").kernel[0, 0]
        weight = ops.stop_gradient(y_pred[:, 1] / unit) ** (2 * config.mean_weight)
        return -weight * (distribution(config, y_pred).log_prob(targets) + ops.log(unit))

    learning_rate = one_cycle(config.learning_rate, steps) if steps else config.learning_rate
    model.compile(
        keras.optimizers.AdamW(learning_rate, weight_decay=config.weight_decay),
        loss=loss,
        metrics=[ErrorOfMean(name="rmse")],
    )
    return model


def refuse_what_has_no_closed_form(model: keras.Model) -> None:
    """Refuses hidden layers, noise that varies, and an L1 penalty.

    Raises:
        InputError: The model has one of them.
    """
    location, raw_scale = model.get_layer("location"), model.get_layer("raw_scale")
    for knob, must, has in (
        ("units", "left out", any(layer.name.startswith("hidden") for layer in model.layers)),
        ("noise", "constant", raw_scale.use_bias),
        ("l1", "0", location.kernel_regularizer.l1 > 0),
    ):
        if has:
            raise InputError(f"`{knob}` must be {must} with `solver` exact; adam takes it")


def phases(config: Config) -> list[Phase]:
    """The closed form; or epochs of Adam, after which the scale is corrected."""
    if config.solver == "exact":
        return [Phase(name="solve", begin=solve)]
    return [Phase(name="fit", epochs=config.epochs), Phase(name="calibrate", begin=calibrate)]


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Early stopping, if there is to be any."""
    if not fitted.config.patience:
        return []
    return [
        keras.callbacks.EarlyStopping(
            "val_rmse", mode="min", patience=fitted.config.patience, restore_best_weights=True
        )
    ]


def solve(fitted: Fitted) -> None:
    """Sets the weights by ridge regression on the training rows, in float64; least squares at 0.

    The scale is such that the interval is as wide as the errors of rows that are left out, which
    the leverage gives without another fit.

    Reference:
        Hoerl and Kennard, 1970, Ridge Regression, https://doi.org/10.1080/00401706.1970.10488634
        Barber, Candès, Ramdas and Tibshirani, 2021, Predictive Inference with the Jackknife+,
        https://arxiv.org/abs/1905.02928. Differs from the paper: one interval around the fit to all
        rows, which is their jackknife.
    """
    model, train = fitted.model, fitted.data.splits["train"].in_memory()
    location, raw_scale = model.get_layer("location"), model.get_layer("raw_scale")
    in_units = model.get_layer("location_in_units")
    terms = standardized_terms(model, train.inputs)
    target_scale, target_mean = (np.asarray(n, np.float64).item() for n in in_units.get_weights())
    targets = (train.targets.astype(np.float64) - target_mean) / target_scale

    count = len(terms)
    u, s, v = np.linalg.svd(terms - terms.mean(axis=0), full_matrices=False)
    known = s > s.max() * max(terms.shape) * np.finfo(np.float64).eps
    u, s, v = u[:, known], s[known], v[known]
    kept = s**2 / (s**2 + count * location.kernel_regularizer.l2)
    parts = kept * (u.T @ (targets - targets.mean()))
    kernel = v.T @ (parts / s)
    bias = targets.mean() - terms.mean(axis=0) @ kernel
    location.set_weights([kernel[:, None], np.array([bias])])

    leverage = 1 / count + u**2 @ kept
    errors = targets - targets.mean() - u @ parts
    left_out = abs(errors) / np.maximum(1 - leverage, 1e-6)
    half_width = quantile_of_errors(left_out, fitted.config)
    # The inverse of what the model makes of the raw scale.
    raw = np.log(np.expm1(max(half_width, 2 * SMALLEST_SCALE) - SMALLEST_SCALE))
    raw_scale.set_weights([np.array([[raw]])])


def calibrate(fitted: Fitted) -> None:
    """Multiplies the scale, so that intervals hold as many validation rows as they are to hold.

    Reference:
        Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, 2018, Distribution-Free Predictive Inference
        for Regression, https://arxiv.org/abs/1604.04173
    """
    rows = fitted.data.splits["validation"].in_memory()
    location, scale = np.asarray(fitted.model(rows.inputs, training=False), np.float64).T
    layer = fitted.model.get_layer("scale_in_units")
    kernel, bias = layer.get_weights()
    factor = quantile_of_errors(abs(rows.targets - location) / scale, fitted.config)
    layer.set_weights([kernel * max(factor, 1e-6), bias])


def quantile_of_errors(errors: np.ndarray, config: Config) -> float:
    """The scale at which the interval just covers the error of rank `ceil((n + 1) * interval)`.

    Args:
        errors: Absolute errors of n rows, `(n,)`. Of too few for the interval, the largest counts,
            which is logged.
        config: Says which distribution, and which interval.
    """
    rank = math.ceil((len(errors) + 1) * config.interval)
    if rank > len(errors):
        rank = len(errors)
        log.warning(
            "An interval of %g%% needs more than %d rows: it may hold fewer.",
            100 * config.interval,
            rank,
        )
    upper = interval_of(config, tf.constant([[0.0, 1.0]], tf.float64))["upper"]
    return float(np.sort(errors)[rank - 1] / upper.numpy().item())


def standardized_terms(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """The terms of the polynomial, `(n, terms)`, as the model has them, but in float64."""
    matrix, bias = (n.astype(np.float64) for n in model.get_layer("standardize").get_weights())
    x = inputs.astype(np.float64) @ matrix + bias
    terms = terms_of(x.shape[1], degree_of(model))
    return np.stack([x[:, list(term)].prod(axis=1) for term in terms], axis=1)


def degree_of(model: keras.Model) -> int:
    """The degree of the polynomial of a model without hidden layers."""
    num_features, count = model.input.shape[1], model.get_layer("location").kernel.shape[0]
    return next(n for n in range(1, 11) if math.comb(num_features + n, n) - 1 == count)


def coefficients(model: keras.Model, feature_names: Sequence[str]) -> dict[str, float]:
    """The coefficients of the polynomial in the units of the table, by term; `1` is the constant.

    Args:
        model: A model without hidden layers.
        feature_names: Names of the features; a term is such as `x`, `x^2` or `x y`.
    """
    names = ("standardize", "location", "location_in_units")
    layers_of = ([n.astype(np.float64) for n in model.get_layer(m).get_weights()] for m in names)
    (matrix, shift), (kernel, constant), (unit, origin) = layers_of
    slopes = np.diag(matrix)
    sums: dict[tuple[int, ...], float] = defaultdict(float, {(): constant.item()})
    for term, weight in zip(terms_of(len(slopes), degree_of(model)), kernel[:, 0], strict=True):
        # A product of sums is a sum of products: of each factor its slope times x, or its shift.
        for taken in itertools.product((True, False), repeat=len(term)):
            chosen = tuple(n for n, with_x in zip(term, taken, strict=True) if with_x)
            shifts = [n for n, with_x in zip(term, taken, strict=True) if not with_x]
            sums[chosen] += weight * slopes[list(chosen)].prod() * shift[shifts].prod()
    result = {
        named(term, feature_names): float(value * unit.item()) for term, value in sums.items()
    }
    return {**result, "1": result["1"] + origin.item()}


def named(term: Sequence[int], feature_names: Sequence[str]) -> str:
    """A term in words: powers of names with blanks between them, or `1`."""
    powers = Counter(term)
    return " ".join(feature_names[n] + (f"^{p}" if p > 1 else "") for n, p in powers.items()) or "1"


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`: `features` to `mean`, `lower`, `upper` and `scale`, `(batch,)` each.

    `row`, if the source has a preparation: an input for each column of the table to the same
    outputs.
    """
    [model] = fitted.networks.values()

    def serve(features: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(features, training=False)
        return {**interval_of(fitted.config, outputs), "scale": outputs[:, 1]}

    inputs = [tf.TensorSpec((None, model.input.shape[1]), tf.float32, "features")]
    return task.with_rows(Endpoint(serve, inputs), fitted)


def intervals(fitted: Fitted) -> dict[str, np.ndarray]:
    """`mean`, `lower` and `upper` of the test rows, `(n,)` each."""
    answers = interval_of(fitted.config, tf.constant(fitted.outputs()))
    return {name: values.numpy() for name, values in answers.items()}


def evaluate(fitted: Fitted) -> Metrics:
    """The loss, and what scikit-learn measures: R2, absolute and squared errors; and intervals.

    `test_coverage` is the share of rows within their interval, `test_interval_width` the mean
    width. R2 needs two rows.
    """
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    targets = fitted.data.splits["test"].targets
    mean, lower, upper = intervals(fitted).values()
    return {
        **evaluate_on_test(fitted),
        "test_r2": float(r2_score(targets, mean)) if len(targets) > 1 else None,
        "test_mae": float(mean_absolute_error(targets, mean)),
        "test_rmse": float(root_mean_squared_error(targets, mean)),
        "test_coverage": float(((lower <= targets) & (targets <= upper)).mean()),
        "test_interval_width": float((upper - lower).mean()),
    }


def findings(fitted: Fitted) -> dict[str, Any]:
    """The range of each feature, and the coefficients of a polynomial."""
    [model] = fitted.networks.values()
    result = task.feature_ranges(fitted)
    if not any(layer.name.startswith("hidden") for layer in model.layers):
        result["coefficients"] = coefficients(model, fitted.data.description.feature_names)
    return result


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws predictions with intervals against the test rows, and the curve of one feature."""
    test = fitted.data.splits["test"].in_memory()
    answers = intervals(fitted)
    figures = {"predictions": numbers.predictions(test.targets, **answers)}
    names = fitted.data.description.feature_names
    if len(names) == 1:
        inputs = test.inputs[:, 0]
        figures["curve"] = numbers.curve(inputs, test.targets, **answers, xlabel=names[0])
    return figures


def predict(app: App, *values: str, exports: Exports = Exports()) -> None:
    """Predict the number of a row.

    Args:
        values: One value for each column but the label, in the order of the training data; for the
            line and the cubic x.
    """
    outputs, metadata = task.answer_row(app, values, exports, "config")
    config: Mapping[str, Any] = metadata["config"]
    mean, lower, upper = (outputs[name][0] for name in ("mean", "lower", "upper"))
    percent = f"{100 * config['interval']:g}%"
    print(f"{mean:.6g}, with {percent} from {lower:.6g} to {upper:.6g}")


NETWORK = {"solver": "adam", "noise": "varying"}

app = App(
    name="regression",
    topic="tables",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    callbacks=callbacks,
    endpoints=endpoints,
    evaluate=evaluate,
    findings=findings,
    figures=draw,
    commands={"predict": predict},
    search={"degree": "1..6", "l2": "1e-6..1"},  # what both solvers take
    recipes={
        "cubic": {"dataset": "cubic", "degree": 3},
        "network": {
            **NETWORK,
            "units": (256, 256, 128),
            "epochs": 40,
            "batch_size": 256,
            "learning_rate": 0.01,
            "weight_decay": 0.05,
        },
    },
    try_next=lambda report: (
        "predict 0.5" if len(report["data"]["feature_names"]) == 1 else "evaluate"
    ),
    objective="val_rmse",
    objective_mode="min",
    data_layouts="a CSV with a header and a row for each example; `--label` names the number.",
    tiny={**NETWORK, "units": (8,), "epochs": 1, "batch_size": 8, "min_steps_per_epoch": 20}
    | {"rows": 200},
)

if __name__ == "__main__":
    main(app)
