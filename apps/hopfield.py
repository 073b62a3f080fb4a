"""Hopfield's associative memory: it is given a part of a pattern, and recalls the whole.

Patterns are stored in closed form, by Hebb's rule or by the pseudo-inverse, as the states in which
a recurrent network comes to rest. The modern memory keeps the patterns themselves, stores
exponentially many, and is the attention of a Transformer. Works for random patterns and for
pictures in black and white.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, Phase, no_compilation
from suite.cli import main
from suite.data import Data, Examples, Source, supervised
from suite.data.images.files import tiled, writable_picture, write_picture
from suite.data.images.sources import load_pictures
from suite.data.sources import MADE_HERE
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.figures import images as figures
from suite.knobs import Rate, Units
from suite.memories.hopfield import (
    Hopfield,
    ModernHopfield,
    distorted,
    random_patterns,
    recalled_share,
)
from suite.tasks import pictures

Rule = Literal["hebb", "pseudo_inverse", "modern"]
Patterns = Annotated[int, Field(ge=2, le=100_000)]
Sweeps = Annotated[int, Field(ge=1, le=1000)]
RANDOM = "random"
INK = 127.5  # grey values above it become 1, others -1
CUE_SEEDS = {"validation": 1, "test": 2}  # which cues are drawn does not depend on the run
MOST_SHOWN = 10  # cues in the figure
SMALLEST_SHOWN = 40  # pixels of a side, to which smaller patterns are enlarged
LOADS = (0.02, 0.05, 0.08, 0.10, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18, 0.2, 0.5, 1.0, 2.0)


@settings
class Config:
    """The settings of the memory.

    Args:
        dataset: `random` patterns; or the name of any image-classification dataset in TensorFlow
            Datasets, such as mnist, of which pictures are taken from all classes in turn.
        patterns: Number of patterns to store.
        num_units: Units of random patterns; pictures have one for each pixel and channel.
        image_size: Height and width of pictures. Defaults to 28 for drawings, to the size of photos
            but at most 64, and to that of the pictures of an `.npz`.
        noise: Share of the units of a cue that are the other way round.
        erased: Share of the units of a cue, the last ones, that are unknown; of a picture the lower
            part.
        cues: Number of cues of every pattern, to validate and to test.
    """

    dataset: str = RANDOM
    patterns: Patterns = 10
    num_units: Units = 100
    image_size: Annotated[int, Field(ge=4, le=256)] | None = None
    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    erased: Rate = 0.0
    cues: Annotated[int, Field(ge=1, le=10_000)] = 10


def load_data(config: Config, run: Run) -> Data:
    """Patterns `(units,)`, -1 or 1, float32, to store; and their cues, with 0 where unknown.

    The training split has the patterns. Validation and test have cues, whose targets are the
    numbers of the patterns, `()`.

    Raises:
        InputError: There are fewer pictures than patterns.
    """
    made_here = config.dataset == RANDOM and run.data in MADE_HERE
    if made_here and run.arrays is None:
        patterns = random_patterns(config.patterns, config.num_units)
        source = Source(name="synthetic:patterns", train=numbered(patterns))
    else:
        source = of_pictures(config, run)
    patterns = source.train.in_memory().inputs
    splits: dict[str, Any] = {
        name: cues_of(patterns, config, seed) for name, seed in CUE_SEEDS.items()
    }
    return supervised(
        dataclasses.replace(source, **splits),
        batch_size=len(patterns),
        batch_knob="patterns",
        validation_split=0.5,  # not used: the source has all splits
        seed=run.seed,
        min_steps=1,
        model_arguments=lambda train: {
            "num_units": patterns.shape[1],
            "num_patterns": len(patterns),
        },
    )


def numbered(patterns: np.ndarray) -> Examples:
    """Patterns with their numbers as targets."""
    return Examples(patterns, np.arange(len(patterns), dtype=np.int32))


def of_pictures(config: Config, run: Run) -> Source:
    """Pictures as patterns, from all classes in turn; a pattern is named after its class.

    Raises:
        InputError: There are fewer pictures than patterns.
    """
    dataset = "mnist" if config.dataset == RANDOM else config.dataset
    source = load_pictures(run, dataset, image_size=config.image_size)
    count = source.train.num_examples
    if config.patterns > count:
        raise InputError(f"`patterns` must be at most the {count} pictures", config.patterns)
    labels = source.train.targets
    rows = np.arange(config.patterns) if labels is None else in_turn(labels, config.patterns)
    chosen = source.train.rows(rows).in_memory()
    patterns = np.where(chosen.inputs > INK, 1.0, -1.0).astype(np.float32)
    patterns = patterns.reshape(len(patterns), -1)
    if len(np.unique(patterns, axis=0)) < len(patterns):
        raise InputError(
            f"the {config.patterns} pictures must differ once they are black and white; `patterns` "
            "may be smaller",
            "two that are alike",
        )
    names: tuple[str, ...] = ()
    if chosen.targets is not None:
        classes = [source.class_names[label] for label in chosen.targets]
        several = len(set(classes)) < len(classes)
        names = tuple(
            f"{name} ({classes[:place].count(name) + 1})" if several else name
            for place, name in enumerate(classes)
        )
    return Source(
        name=source.name,
        train=numbered(patterns),
        class_names=names,
        comparable=source.comparable,
        preparation=source.preparation,
    )


def in_turn(labels: np.ndarray, count: int) -> np.ndarray:
    """The first rows of every class in turn, `(count,)`: of each class one, then a second one."""
    turns = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rows = labels == label
        turns[rows] = np.arange(rows.sum())
    return np.lexsort((labels, turns))[:count]


def cues_of(patterns: np.ndarray, config: Config, seed: int) -> Examples:
    """Cues of all patterns, and the numbers of the patterns."""
    numbers = np.repeat(np.arange(len(patterns), dtype=np.int32), config.cues)
    random = np.random.default_rng(seed)
    cues = distorted(patterns[numbers], config.noise, config.erased, random)
    return Examples(cues, numbers)


@checked
def build_model(
    num_units: PositiveInt = 100,
    num_patterns: PositiveInt = 10,
    *,
    rule: Rule = "hebb",
    sweeps: Sweeps = 10,
    asynchronous: bool = False,
    beta: Annotated[float, Field(gt=0, le=1e6)] = 1.0,
) -> keras.Model:
    """Builds the memory: from cues to what they recall.

    Args:
        num_units: Units of a pattern.
        num_patterns: Number of patterns, which the modern memory has room for.
        rule: How patterns are stored: `hebb`, `pseudo_inverse`, or in the `modern` memory.
        sweeps: How often all units are updated.
        asynchronous: Whether units are updated one after the other; the modern memory updates them
            at once.
        beta: How sharply the nearest pattern stands out in the modern memory.

    Returns:
        A functional model, `pattern` `(batch, num_units)` to a dict of `recalled`
        `(batch, num_units)`, -1 or 1, and the `energy` `(batch,)` where the memory came to rest.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Hopfield, 1982, Neural Networks and Physical Systems with Emergent Collective Computational
        Abilities, https://doi.org/10.1073/pnas.79.8.2554
        Ramsauer et al., 2020, Hopfield Networks Is All You Need, https://arxiv.org/abs/2008.02217
    """
    floatx = keras.config.floatx()
    pattern = keras.Input((num_units,), name="pattern")
    memory: keras.Layer
    if rule == "modern":
        memory = ModernHopfield(num_patterns, beta=beta, sweeps=sweeps, dtype=floatx, name="memory")
    else:
        memory = Hopfield(
            rule, sweeps=sweeps, asynchronous=asynchronous, dtype=floatx, name="memory"
        )
    states, energy = memory(pattern)
    recalled = ops.where(states < 0, -1.0, 1.0)
    return keras.Model(pattern, {"recalled": recalled, "energy": energy}, name="hopfield")


def phases(config: Config) -> list[Phase]:
    """One phase without epochs, which stores the patterns; it is computed on one device."""
    return [Phase(name="store", begin=store)]


def store(fitted: Fitted) -> None:
    """Stores the patterns of the training split."""
    [network] = fitted.networks.values()
    network.get_layer("memory").store(fitted.data.splits["train"].in_memory().inputs)


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`: `pattern` `(batch, units)` to `recalled`, `energy`, and the stored pattern near it.

    That is the `index` of the stored pattern, its `overlap`, the mean product of units, and, of
    pictures with classes, its `name`. `image` and `picture`, if the patterns are pictures: grey
    values `(batch, height, width, channels)` or the bytes of image files to the same, and to
    `reconstruction`, grey values.
    """
    [network] = fitted.networks.values()
    patterns = fitted.data.splits["train"].in_memory().inputs
    stored, names = tf.Variable(patterns, trainable=False), fitted.data.description.class_names
    units = patterns.shape[1]

    def serve(pattern: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(pattern, training=False)
        overlaps = tf.matmul(outputs["recalled"], stored, transpose_b=True) / units
        best = tf.math.top_k(overlaps, 1)
        index = best.indices[:, 0]
        answers = {**outputs, "overlap": best.values[:, 0], "index": index}
        return answers | ({"name": tf.gather(tf.constant(list(names)), index)} if names else {})

    spec = tf.TensorSpec((None, units), tf.float32, "pattern")
    made = {"serve": Endpoint(serve, [spec], [stored])}
    source = fitted.data.source
    if source is None or source.preparation is None:
        return made
    shape = source.preparation.shape

    def serve_images(image: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = serve(tf.reshape(tf.where(image > INK, 1.0, -1.0), [-1, units]))
        grey = (answers["recalled"] + 1) * INK
        return {**answers, "reconstruction": tf.reshape(grey, [-1, *shape])}

    spec = tf.TensorSpec((None, *shape), tf.float32, "image")
    made["image"] = Endpoint(serve_images, [spec], [stored])
    made["picture"] = pictures.endpoint(made["image"], source.preparation)
    return made


def recalled_patterns(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """What the test cues recall, and the patterns that they are cues of: `(cues, units)`."""
    patterns = fitted.data.splits["train"].in_memory().inputs
    return fitted.outputs()["recalled"], patterns[fitted.data.splits["test"].targets]


def evaluate(fitted: Fitted) -> Metrics:
    """What is right after the recall of the test cues.

    `test_recalled` is the share of cues whose pattern is recalled without an error, `test_right`
    the share of units that are right, `test_right_in_cues` the same before the recall, and `load`
    the number of patterns over that of units. All are None where an export is evaluated on other
    data than those that it stores.
    """
    if not fitted.learnt_from:
        return dict.fromkeys(["test_recalled", "test_right", "test_right_in_cues", "load"])
    recalled, patterns = recalled_patterns(fitted)
    cues = fitted.data.splits["test"].in_memory().inputs
    right = recalled == patterns
    return {
        "test_recalled": float(right.all(axis=1).mean()),
        "test_right": float(right.mean()),
        "test_right_in_cues": float((cues == patterns).mean()),
        "load": fitted.data.description.train / patterns.shape[1],
    }


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws cues above what they recall, and the patterns; random ones as squares, if they fit."""
    recalled, patterns = recalled_patterns(fitted)
    cues = fitted.data.splits["test"].in_memory().inputs
    source = fitted.data.source
    if source is not None and source.preparation is not None:
        shape = source.preparation.shape
    else:
        side = math.isqrt(patterns.shape[1])
        shape = (side, side, 1)
    size = math.prod(shape)
    # The first cue of every pattern.
    rows = np.arange(0, len(cues), fitted.config.cues)[:MOST_SHOWN]
    named = {"cue": cues, "recalled": recalled, "stored": patterns}
    times = max(1, SMALLEST_SHOWN // shape[0])

    def drawn(part: np.ndarray) -> np.ndarray:
        images = (part[rows, :size].reshape(-1, *shape) + 1) * INK
        return images.repeat(times, axis=1).repeat(times, axis=2)

    return {"recall": figures.image_rows({name: drawn(part) for name, part in named.items()})}


def recall(
    app: App, *files: Path, output: Path = Path("recalled.png"), exports: Exports = Exports()
) -> None:
    """Recall the stored pictures that some pictures are parts of.

    Args:
        files: Image files of any size.
        output: Image file that shows the pictures above what they recall.
    """
    writable_picture(output)
    exported, images = pictures.read_files(app, files, exports)
    answers = exported.call(images, "image")
    cues = np.where(images > INK, 255.0, 0.0)
    rows = np.concatenate([cues, answers["reconstruction"]])
    write_picture(tiled(rows, len(files)), output)
    numbers = answers["index"].tolist()
    names: Sequence[Any] = [name.decode() for name in answers.get("name", [])] or numbers
    print(f"{output}: {', '.join(map(str, names))}")


def measure_capacity(
    app: App,
    *,
    num_units: Units = 500,
    rule: Rule = "hebb",
    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
    sweeps: Sweeps = 50,
) -> None:
    """Store more and more random patterns, and count how many are recalled.

    Args:
        num_units: Units of a pattern.
        rule: How they are stored.
        noise: Share of the units of a cue that are the other way round.
        sweeps: How often all units are updated.
    """
    for load in LOADS:
        patterns = random_patterns(max(1, round(load * num_units)), num_units)
        memory: Hopfield | ModernHopfield
        if rule == "modern":
            memory = ModernHopfield(len(patterns), sweeps=sweeps)
        else:
            memory = Hopfield(rule, sweeps=sweeps)
        share = recalled_share(memory, patterns, noise=noise)
        print(f"{len(patterns)} patterns, {load:.2f} for each unit: {share:.1%} recalled")


app = App(
    name="hopfield",
    topic="unsupervised",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=no_compilation,
    objective="val_recalled",
    objective_mode="max",
    phases=phases,
    endpoints=endpoints,
    evaluate=evaluate,
    figures=draw,
    commands={"recall": recall, "capacity": measure_capacity},
    recipes={
        "digits": {"dataset": "mnist", "rule": "pseudo_inverse", "patterns": 30, "erased": 0.5}
        | {"noise": 0.0},
        "modern": {"rule": "modern", "patterns": 1000},
    },
    data_layouts=pictures.DATA_LAYOUTS,
    tiny={"num_units": 64, "patterns": 8, "cues": 8},
)

if __name__ == "__main__":
    main(app)
