"""The study `attack`: small changes of pictures that change what a classifier answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from cyclopts import Parameter
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite.app import App, networks_of
from suite.attacks.fooling import CONFIDENCE, fooling_picture
from suite.attacks.gradients import fgsm, pgd, probabilities
from suite.attacks.universal import add_change, universal_perturbation
from suite.data.examples import Split
from suite.data.images.files import writable_picture
from suite.data.images.preparation import Preparation
from suite.errors import InputError
from suite.export.exported import Exports
from suite.export.reopened import reopen
from suite.figures import attacks as figures
from suite.figures import curves
from suite.knobs import Fraction, settings
from suite.tasks import pictures

EPSILON = 0.1
NUM_EPSILONS = 4  # of a curve, beside 0
NUM_TO_LEARN_FROM = 2000  # training pictures for a universal change


@Parameter(name="*")
@settings
class Attack:
    """What is attacked, and how.

    Args:
        all: Attack the test split, and measure the accuracy, instead of files.
        method: `fgsm`, one step; `pgd`, many steps; `universal`, one change for all pictures;
            `fooling`, a picture of nothing that is taken for a class.
        epsilon: Largest change of a pixel, as a share of its range. Defaults to 0.1; fooling has
            none.
        steps: Steps of the attack. Defaults to 40 for pgd, 200 for universal, 2000 for fooling;
            fgsm has one.
        restarts: Attempts of pgd; of all their steps the worst counts.
        num: With `all`, pictures of the test split to attack, chosen at random. Defaults to all.
        label: The class that the picture of `fooling` shall be taken for.
        output: Image file that gets the figure.
    """

    all: bool = False
    method: Literal["fgsm", "pgd", "universal", "fooling"] = "pgd"
    epsilon: Fraction | None = None
    steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    restarts: Annotated[int, Field(ge=1, le=1000)] = 1
    num: PositiveInt | None = None
    label: str | None = None
    output: Path = Path("attack.png")


def attack(
    app: App,
    *files: Path,
    knobs: Attack = Attack(),  # noqa: B008
    exports: Exports = Exports(),
    data: str | None = None,
    data_dir: Path | None = None,
) -> None:
    """Change pictures a little so that the answers change, or make one out of noise.

    Args:
        files: Image files, as `predict` takes them.
        data: Where the test split comes from, and the pictures that `universal` learns from, as in
            training. Defaults to where the export's did.
        data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
    """
    _refuse_misfits(knobs, files, data or data_dir)
    writable_picture(knobs.output)
    if knobs.method == "fooling":
        figure = _fool(app, knobs, exports)
    elif knobs.all:
        figure = _measure(app, knobs, exports, data, data_dir)
    else:
        figure = _change_files(app, files, knobs, exports, data, data_dir)
    curves.write(figure, knobs.output)
    print(f"{knobs.output}: the figure")


def _refuse_misfits(knobs: Attack, files: Sequence[Path], data: str | Path | None) -> None:
    """Refuses knobs that do not fit together, before anything is loaded."""
    if knobs.method == "fgsm" and knobs.steps is not None:
        raise InputError("`steps` must be left out with `method` fgsm, which has one", knobs.steps)
    if knobs.method != "pgd" and knobs.restarts != 1:
        raise InputError("`restarts` must be left out unless `method` is pgd", knobs.restarts)
    if knobs.num is not None and not knobs.all:
        raise InputError("`num` must be left out without `all`", knobs.num)
    if data is not None and not knobs.all and knobs.method != "universal":
        requirement = "`data` and `data_dir` must be left out without `all` or `method` universal"
        raise InputError(requirement, data)
    if knobs.method == "fooling":
        if knobs.epsilon is not None:
            raise InputError("`epsilon` must be left out with `method` fooling", knobs.epsilon)
        if knobs.label is None:
            raise InputError("`label` must be a class with `method` fooling", "none")
        if files or knobs.all:
            received = ", ".join(map(str, files)) or "all"
            raise InputError("there must be no pictures with `method` fooling", received)
        return
    if knobs.label is not None:
        raise InputError("`label` must be left out unless `method` is fooling", knobs.label)
    if knobs.all == bool(files):
        received = "both" if files else "neither"
        raise InputError("there must be one image file or more, or `all`", received)


def _change_files(
    app: App,
    files: Sequence[Path],
    knobs: Attack,
    exports: Exports,
    data: str | None,
    data_dir: Path | None,
) -> Figure:
    """Leads the network away from its answers to files, and prints both answers."""
    exported, images = pictures.read_files(app, files, exports)
    network = pictures.answering(exported, networks_of(exported.built()))
    names = exported.metadata("class_names")["class_names"]

    def training_split() -> Split:
        return reopen(app, exported, data, data_dir).data.splits["train"]

    labels = probabilities(network, images).argmax(axis=1)
    changed = _attacked(network, images, labels, knobs, _epsilon(knobs), training_split)
    before, after = (_answers(network, x, names) for x in (images, changed))
    for path, old, new in zip(files, before, after, strict=True):
        print(f"{path}: {old}; changed: {new}")
    return figures.changes(images, changed, before, after)


def _measure(
    app: App, knobs: Attack, exports: Exports, data: str | None, data_dir: Path | None
) -> Figure:
    """Measures the accuracy on the test split against the size of the change, and prints it."""
    exported = exports.open(app.name)
    fitted = reopen(app, exported, data, data_dir)
    network, splits = pictures.answering(exported, fitted.networks), fitted.data.splits
    test = _some(splits["test"], knobs.num).in_memory()

    def training_split() -> Split:
        return splits["train"]

    curve = {}
    for epsilon in np.unique(np.linspace(0, _epsilon(knobs), NUM_EPSILONS + 1)).tolist():
        changed = test.inputs
        if epsilon:
            changed = _attacked(network, test.inputs, test.targets, knobs, epsilon, training_split)
        right = probabilities(network, changed).argmax(axis=1) == test.targets
        curve[epsilon] = float(right.mean())
        print(f"epsilon {epsilon:.4f}  accuracy {curve[epsilon]:.2%}")
    return figures.accuracy(curve, f"{knobs.method}, {test.num_examples} pictures")


def _fool(app: App, knobs: Attack, exports: Exports) -> Figure:
    """Makes a picture out of noise that the network takes for the class `label`."""
    exported = exports.open(app.name)
    metadata = exported.metadata("class_names")
    names = metadata["class_names"]
    if knobs.label not in names:
        raise InputError(f"`label` must be one of: {', '.join(names)}", knobs.label)
    network = pictures.answering(exported, networks_of(exported.built()))
    shape = network.inputs[0].shape[1:]
    if None in shape:
        shape = Preparation.of_export(metadata).shape
    index = names.index(knobs.label)
    picture = fooling_picture(network, index, shape, **_steps(knobs))
    chance = probabilities(network, picture[None])[0, index]
    answer = f"{knobs.label} ({chance:.2%})"
    resisted = (
        "" if chance >= CONFIDENCE else f", less than {CONFIDENCE:.2%}: the steps did not suffice"
    )
    print(f"made out of noise: {answer}{resisted}")
    return figures.fooling(picture, answer)


def _attacked(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    knobs: Attack,
    epsilon: float,
    training_split: Callable[[], Split],
) -> np.ndarray:
    """The pictures after the attack, float32, in 0..255."""
    match knobs.method:
        case "fgsm":
            return fgsm(network, images, labels, epsilon=epsilon)
        case "universal":
            train = _some(training_split(), NUM_TO_LEARN_FROM).in_memory()
            change = universal_perturbation(
                network, train.inputs, train.targets, epsilon=epsilon, **_steps(knobs)
            )
            return add_change(np.asarray(images, np.float32), change).numpy()
        case _:
            return pgd(
                network,
                images,
                labels,
                epsilon=epsilon,
                restarts=knobs.restarts,
                **_steps(knobs),
            )


def _epsilon(knobs: Attack) -> float:
    return EPSILON if knobs.epsilon is None else knobs.epsilon


def _steps(knobs: Attack) -> dict[str, Any]:
    """The number of steps as an argument; nothing for the default of the method."""
    return {} if knobs.steps is None else {"steps": knobs.steps}


def _some(split: Split, num: int | None) -> Split:
    """At most `num` rows of a split, the same in every call; all of them if it is None."""
    rows = np.random.default_rng(0).permutation(split.num_examples)[:num]
    return split.rows(np.sort(rows))


def _answers(network: keras.Model, images: np.ndarray, names: Sequence[str]) -> list[str]:
    """The name of the likeliest class of every picture, and its probability."""
    chances = probabilities(network, images)
    return [f"{names[row.argmax()]} ({row.max():.2%})" for row in chances]
