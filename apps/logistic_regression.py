"""Logistic regression: which class a row belongs to, and what each feature does to the odds.

One logit for two classes, softmax for more, with a penalty of squared weights. L-BFGS over all rows
finds the one optimum there is; Adam takes steps towards it.
"""

import logging
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt
from scipy.optimize import minimize

from suite import App, checked, settings
from suite.app import Fitted, Metrics, Phase, evaluate_on_test
from suite.cli import main
from suite.export.exported import Exports
from suite.figures import probabilities as figures
from suite.knobs import NumClasses
from suite.tasks import tables as task
from suite.trainers.schedules import one_cycle

# Under `suite`, whose messages a training shows.
log = logging.getLogger("suite.logistic_regression")

MOST_ITERATIONS = 5000  # of L-BFGS
STEEP = 1e-5  # a slope of the loss that is no minimum
LARGEST = 300  # logarithm of an odds ratio that is reported


@settings
class Config(task.Config):
    """The settings of the training.

    Args:
        dataset: `breast_cancer`, `wine` or `iris`, which come with scikit-learn; or a table of
            TensorFlow Datasets, such as `penguins`.
        solver: `lbfgs` minimises the loss over all training rows, in float64; `adam` takes
            `epochs`.
    """

    dataset: str = "breast_cancer"
    solver: Literal["lbfgs", "adam"] = "lbfgs"


@checked
def build_model(
    num_features: PositiveInt = 30,
    num_classes: NumClasses = 2,
    mean: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    *,
    l2: Annotated[float, Field(ge=0, le=1e6)] = 1e-3,
) -> keras.Model:
    """Builds the model: standardised features to logits, linearly.

    Args:
        num_features: Numbers in a row.
        num_classes: Number of logits. Of two, the first is 0.
        mean: Mean of the features, `(num_features,)`; zeros if None. Not trained.
        scale: Scale of the features, `(num_features,)`; ones if None. Not trained.
        l2: Penalty of the sum of squared weights of standardised features, added to the mean
            cross-entropy. scikit-learn's `C` is `1 / (2 * l2 * rows)`.

    Returns:
        A functional model, `features` `(batch, num_features)` to logits `(batch, num_classes)`,
        float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Cox, 1958, The Regression Analysis of Binary Sequences,
        https://doi.org/10.1111/j.2517-6161.1958.tb00292.x
    """
    features = keras.Input((num_features,), name="features")
    x = task.standardized(features, mean, scale)
    log_odds = layers.Dense(
        num_classes if num_classes > 2 else 1,
        kernel_regularizer=keras.regularizers.L2(l2),
        dtype=keras.config.floatx(),
        name="log_odds",
    )(x)
    if num_classes == 2:
        log_odds = layers.Concatenate(dtype=keras.config.floatx(), name="logits")(
            [ops.zeros_like(log_odds), log_odds]
        )
    return keras.Model(features, log_odds, name="logistic_regression")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with cross-entropy on logits, and Adam under one cycle."""
    model.compile(
        keras.optimizers.Adam(one_cycle(config.learning_rate, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            # Without the penalty, so that penalties can be compared by it.
            keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="log_loss"),
        ],
    )
    return model


def phases(config: Config) -> list[Phase]:
    """L-BFGS, which needs no epochs; or epochs of Adam."""
    if config.solver == "lbfgs":
        return [Phase(name="solve", begin=solve)]
    return [Phase(name="fit", epochs=config.epochs)]


def solve(fitted: Fitted) -> None:
    """Sets the weights to those of the smallest loss on the training rows, by L-BFGS in float64.

    Reference:
        Liu and Nocedal, 1989, On the Limited Memory BFGS Method for Large Scale Optimization,
        https://doi.org/10.1007/BF01589116
    """
    train = fitted.data.splits["train"].in_memory()
    layer = fitted.model.get_layer("log_odds")
    matrix, shift = fitted.model.get_layer("standardize").get_weights()
    rows = tf.constant(train.inputs.astype(np.float64) @ matrix.astype(np.float64) + shift)
    num_features, count = layer.kernel.shape
    l2 = layer.kernel_regularizer.l2

    def loss_of(flat: tf.Tensor) -> tf.Tensor:
        kernel = tf.reshape(flat[:-count], (num_features, count))
        logits = rows @ kernel + flat[-count:]
        if count == 1:
            logits = tf.concat([tf.zeros_like(logits), logits], axis=1)
        crossentropy = tf.nn.sparse_softmax_cross_entropy_with_logits(train.targets, logits)
        return tf.reduce_mean(crossentropy) + l2 * tf.reduce_sum(kernel**2)

    def loss_and_gradient(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = tf.constant(flat)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = loss_of(weights)
        return loss.numpy(), tape.gradient(loss, weights).numpy()

    result = minimize(
        loss_and_gradient,
        np.zeros((num_features + 1) * count),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_ITERATIONS, "ftol": 0, "gtol": 1e-9},
    )
    kernel, bias = result.x[:-count].reshape(num_features, count), result.x[-count:]
    if abs(result.jac).max() > STEEP or (
        not l2 and _separates(rows @ kernel + bias, train.targets)
    ):
        log.warning("L-BFGS stopped before its end; a larger --l2 gives the loss a clear minimum.")
    layer.set_weights([kernel, bias])


def _separates(logits: np.ndarray, labels: np.ndarray) -> bool:
    """Whether all rows are classified rightly: without a penalty larger weights are then better."""
    logits = np.asarray(logits)
    answers = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
    return bool((answers == labels).all())


def evaluate(fitted: Fitted) -> Metrics:
    """The loss, the accuracy, and what scikit-learn measures of the probabilities.

    `test_auc` is the area under the ROC curve, for more than two classes the mean of each against
    the others; None if a class has no test rows. `test_log_loss` is the cross-entropy without the
    penalty.
    """
    from sklearn.metrics import log_loss, roc_auc_score

    labels, probabilities = fitted.data.splits["test"].targets, probabilities_of(fitted)
    classes = np.arange(probabilities.shape[1])
    auc = None
    if len(np.unique(labels)) == len(classes):
        scores = probabilities[:, 1] if len(classes) == 2 else probabilities
        auc = float(roc_auc_score(labels, scores, multi_class="ovr"))
    return {
        **evaluate_on_test(fitted),
        "test_log_loss": float(log_loss(labels, probabilities, labels=classes)),
        "test_auc": auc,
    }


def probabilities_of(fitted: Fitted) -> np.ndarray:
    """The probabilities of the classes on the test split, `(n, classes)`, float64."""
    logits = np.asarray(fitted.outputs(), np.float64)
    return np.asarray(tf.nn.softmax(logits))


def findings(fitted: Fitted) -> dict[str, Any]:
    """The range of each feature, coefficients in the units of the table, and odds ratios.

    An odds ratio is what the odds of a class are multiplied by when a feature rises by its standard
    deviation, and the others stay: of two classes the odds of the second, of more those against the
    geometric mean of all.
    """
    [model] = fitted.networks.values()
    description = fitted.data.description
    features, classes = description.feature_names, description.class_names
    matrix, shift = (n.astype(np.float64) for n in model.get_layer("standardize").get_weights())
    kernel, bias = (n.astype(np.float64) for n in model.get_layer("log_odds").get_weights())
    log_ratios = kernel - kernel.mean(axis=1, keepdims=True) if len(classes) > 2 else kernel
    intercepts = bias + shift @ kernel
    names = classes if len(classes) > 2 else classes[1:]

    def table(values: np.ndarray) -> dict[str, dict[str, float]]:
        return {
            name: dict(zip(features, column.tolist(), strict=True))
            for name, column in zip(names, values.T, strict=True)
        }

    return {
        **task.feature_ranges(fitted),
        "coefficients": table(matrix @ kernel),
        "intercepts": dict(zip(names, intercepts.tolist(), strict=True)),
        "odds_ratios": table(np.exp(np.clip(log_ratios, -LARGEST, LARGEST))),
    }


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws what any classifier of tables has, ROC curves, calibration, and the odds ratios."""
    labels, probabilities = fitted.data.splits["test"].targets, probabilities_of(fitted)
    names = fitted.data.description.class_names
    return {
        **task.draw(fitted),
        "roc": figures.roc(labels, probabilities, names),
        "calibration": figures.calibration(labels, probabilities, names),
        "odds_ratios": figures.odds_ratios(findings(fitted)["odds_ratios"]),
    }


def odds(app: App, *, exports: Exports = Exports()) -> None:
    """Print the odds ratio of each feature, the strongest first."""
    ratios = exports.open(app.name).metadata("odds_ratios")["odds_ratios"]
    for name, by_feature in ratios.items():
        print(f"The odds of {name}, when a feature rises by its standard deviation, are times")
        width = max(map(len, by_feature))
        for feature, ratio in sorted(by_feature.items(), key=lambda row: -abs(np.log(row[1]))):
            print(f"  {feature:{width}}  {ratio:.3g}")


app = App(
    name="logistic_regression",
    topic="tables",
    summary=__doc__,
    config=Config,
    data=task.load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    endpoints=task.endpoints,
    evaluate=evaluate,
    findings=findings,
    figures=draw,
    commands={**task.COMMANDS, "odds": odds},
    studies=task.STUDIES,
    try_next="odds",
    objective="val_log_loss",
    data_layouts=task.DATA_LAYOUTS,
    tiny={"solver": "adam", "epochs": 1, "batch_size": 8, "min_steps_per_epoch": 20},
)

if __name__ == "__main__":
    main(app)
