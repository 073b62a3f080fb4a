"""How good and how fast are SSD, YOLO and Faster R-CNN, and what does their arithmetic cost?

    python -m benchmarks.pictures.detection scenes --seeds 3
    python -m benchmarks.pictures.detection scenes --digit-overlap 0.7 --precision mixed_bfloat16
    python -m benchmarks.pictures.detection blood --data bccd
    python -m benchmarks.pictures.detection loops
    python -m benchmarks.pictures.detection steps

`scenes`: every application is trained on its scenes of digits, and its export answers one picture
at a time, given as an image file, as in a server. Average precision is also reported by overlap:
only digits that others cover by the share of a band count, and all other digits count neither as
missed nor as wrong. Boxes where nothing is count in every band, so contestants can be compared in a
band, but not bands with each other. YOLO is there twice, by default and as its first version.

`blood`: the same on blood cells, by the recipe of that name; a folder such as BCCD, with Pascal
VOC's annotations and the lists of its splits.

`loops`: matching every anchor with a true box, and suppression, for a batch in a TensorFlow graph
and in loops of Python. Both must give the same results.

`steps`: what share of a training step goes into targets, loss and its gradient, without the
network.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.turns import open_app, output_of, rate_of_fit, run_app
from suite import Run
from suite.app import load_app

Precision = Literal["float32", "mixed_bfloat16"]

# The application and its recipe.
CONTESTANTS: dict[str, tuple[str, str | None]] = {
    "ssd": ("ssd", None),
    "yolo": ("yolo", None),
    "yolo, first version": ("yolo", "first"),
    "rcnn": ("rcnn", None),
}
# Shares of a digit that another one covers: more than the first, at most the second.
BANDS = {"alone": (-1.0, 0.0), "covered to 0.2": (0.0, 0.2), "covered more": (0.2, 1.0)}
BATCH = 16
ANCHORS, THINGS, CANDIDATES, CLASSES = 3072, 8, 1024, 10
MOST, OVERLAP, SMALLEST_SCORE = 100, 0.5, 0.02
WARM_UP, CALLS = 10, 200

command_line = cyclopts.App(help=__doc__)


@command_line.command
def scenes(*, seeds: int = 1, digit_overlap: float = 0.4, precision: Precision = "float32") -> None:
    """Average precision, parameters and speed on scenes of digits.

    Args:
        seeds: Number of seeds, counted from 0, of the contestant whose training is the fastest; the
            others have seed 0.
        digit_overlap: Largest area that the boxes of two digits have in common, as a share of the
            smaller one.
        precision: Dtype policy of the trainings.
    """
    flags = ["--digit-overlap", str(digit_overlap), "--precision", precision]

    def row(name: str, seed: int) -> dict[str, Any]:
        return {"contestant": name, **train_and_measure(*CONTESTANTS[name], seed, flags)}

    rows = [row(name, 0) for name in CONTESTANTS]
    fastest = min(rows, key=lambda row: row["fit_seconds"])["contestant"]
    rows += [row(fastest, seed) for seed in range(1, seeds)]
    facts = {"digit_overlap": digit_overlap, "precision": precision, "fastest": fastest}
    publish("detection_scenes", rows, **facts, means=means(rows))


@command_line.command
def blood(
    *,
    data: Path,
    seeds: int = 1,
    weights: Path | None = None,
    precision: Precision = "float32",
) -> None:
    """Average precision and speed on blood cells.

    Args:
        data: The folder of pictures and annotations.
        seeds: Number of seeds, counted from 0.
        weights: Export with whose weights the trainings begin; by default with random ones.
        precision: Dtype policy of the trainings.
    """
    flags = ["--precision", precision, *(["--weights", str(weights)] if weights else [])]
    rows = [
        {"contestant": app, **train_and_measure(app, "blood", seed, flags, str(data))}
        for app in ("ssd", "yolo", "rcnn")
        for seed in range(seeds)
    ]
    publish("detection_blood", rows, weights=weights, precision=precision, means=means(rows))


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The means of AP and speed over the seeds, by contestant, and the number of its seeds."""
    names = dict.fromkeys(row["contestant"] for row in rows)
    columns = ("ap", "ap_50", "pictures_per_second")
    return {
        name: {
            "seeds": sum(row["contestant"] == name for row in rows),
            **{
                column: mean(row[column] for row in rows if row["contestant"] == name)
                for column in columns
            },
        }
        for name in names
    }


def train_and_measure(
    app: str, recipe: str | None, seed: int, flags: Sequence[str], data: str = "auto"
) -> dict[str, Any]:
    """Trains an application, and measures its export, each in a process of its own.

    Args:
        app: The application.
        recipe: Its recipe; None for its own knobs.
        seed: Seed of the run.
        flags: More flags of its command.
        data: Where the pictures come from, those of the measurement as well.
    """
    of_data = ["--data", data]
    with run_app(app, *of_data, *flags, seed=seed, recipe=recipe, quiet=False) as run:
        measured = output_of("benchmarks.pictures.detection", "ask", str(run.exports), *of_data)
    report, metrics = run.report, run.report["metrics"]
    return {
        "seed": seed,
        "ap": metrics["test_ap"],
        "ap_50": metrics["test_ap_50"],
        **measured,
        "parameters": report["parameters"],
        "fit_seconds": report["seconds"]["fit"],
    }


@command_line.command
def ask(export: Path, *, data: str = "auto") -> None:
    """Ask an export about the test pictures, and print its speed and its AP by overlap as JSON.

    Args:
        export: `<export_dir>/<app>`.
        data: Where the pictures come from, as in the training.
    """
    import tensorflow as tf

    from suite.export.endpoints import call
    from suite.export.exported import open_folder

    exported = open_folder(export)
    app = load_app(export.name)
    config = app.config_from_record(exported.metadata()["config"])
    test = app.data(config, Run(data=data, quiet=True)).splits["test"].in_memory()
    picture = exported.signature("picture")
    files = [tf.io.encode_png(pixels).numpy() for pixels in test.inputs[:CALLS]]
    inputs = [np.array([encoded], object) for encoded in files]
    calls = [lambda one=one: call(picture, one) for one in inputs]
    result = {"pictures_per_second": 1 / seconds_of(calls)}
    if data == "auto":
        result |= ap_by_overlap(exported.signature("serve"), test.inputs, test.targets)
    print(json.dumps(result))


def seconds_of(calls: Sequence[Callable[[], Any]]) -> float:
    """The mean seconds of calls, after `WARM_UP` of them."""
    for call in calls[:WARM_UP]:
        call()
    started = time.perf_counter()
    for call in calls:
        call()
    return (time.perf_counter() - started) / len(calls)


def ap_by_overlap(signature: Any, pictures: Any, targets: Any) -> dict[str, float | None]:
    """AP at an overlap of 0.5 of the digits that others cover, by the `BANDS` of that share.

    Args:
        signature: `serve` of an export.
        pictures: `(n, height, width, channels)`.
        targets: The true things, as `suite.data.boxes.annotations.as_targets` has them.
    """
    from suite.data.boxes.annotations import as_truths
    from suite.export.endpoints import call
    from suite.metrics.detection import Detections, box_scores, precision_recall

    truths = [as_truths(rows) for rows in np.asarray(targets)]
    detections = []
    for start in range(0, len(truths), BATCH):
        outputs = call(signature, np.asarray(pictures[start : start + BATCH]))
        parts = (outputs[name] for name in ("boxes", "labels", "scores", "count"))
        for boxes, labels, scores, count in zip(*parts, strict=True):
            detections.append(Detections(boxes[:count], labels[:count], scores[:count]))
    labels = np.concatenate([things.labels for things in truths])
    names = [str(label) for label in range(labels.max(initial=0) + 1)]
    shares = [covered_shares(things.boxes) for things in truths]
    result = {}
    for band, (above, most) in BANDS.items():
        # Things of other bands are treated as crowds, which need not be detected.
        of_band = [
            things._replace(crowd=things.crowd | ~((share > above) & (share <= most)))
            for things, share in zip(truths, shares, strict=True)
        ]
        counted = precision_recall(of_band, detections, len(names))
        result[f"ap_50 {band}"] = box_scores(counted, names)["ap_50"]
    return result


def covered_shares(boxes: np.ndarray) -> np.ndarray:
    """The largest share of every box `(n, 4)` that one box after it, drawn above it, covers."""
    first = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    last = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.prod(np.clip(last - first, 0, None), axis=-1)
    return np.triu(common, 1).max(axis=1, initial=0) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


@command_line.command
def loops(*, repeats: int = 20) -> None:
    """Matching and suppression in a graph, and in loops of Python.

    Args:
        repeats: Measurements in the graph; the loops are run once.
    """
    import tensorflow as tf

    from suite.layers.boxes import match, non_max_suppression

    random = np.random.default_rng(0)
    anchors, truths = random_boxes(random, ANCHORS), random_boxes(random, THINGS)
    candidates = random_boxes(random, CANDIDATES)
    scores = random.uniform(0, 1, (BATCH, CANDIDATES, CLASSES)).astype(np.float32) ** 8

    def matched(anchors: tf.Tensor, truths: tf.Tensor) -> tf.Tensor:
        index, positive, _, overlap = match(anchors, truths)
        return tf.where(positive, tf.cast(index, overlap.dtype), -1.0)

    def suppressed(boxes: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        kept = non_max_suppression(
            boxes, scores, most=MOST, overlap=OVERLAP, smallest_score=SMALLEST_SCORE
        )
        return kept.scores

    rows = []
    for name, vectorized, looped, inputs in (
        ("matching", matched, matched_by_loop, (anchors, truths)),
        ("suppression", suppressed, suppressed_by_loop, (candidates, scores)),
    ):
        tensors = [tf.constant(part) for part in inputs]
        graph = tf.function(vectorized, autograph=False)
        seconds = seconds_of([lambda graph=graph, tensors=tensors: graph(*tensors)] * repeats)
        pictures = list(zip(*(part.tolist() for part in inputs), strict=True))
        started = time.perf_counter()
        answers = [looped(*picture) for picture in pictures]
        of_loop = time.perf_counter() - started
        result = graph(*tensors).numpy()
        padded = [answer + [0.0] * (result.shape[1] - len(answer)) for answer in answers]
        rows.append(
            {
                "work": name,
                "seconds_in_graph": seconds,
                "seconds_in_loop": of_loop,
                "times_faster": of_loop / seconds,
                "difference": float(np.abs(result - padded).max()),
            }
        )
    publish(
        "detection_loops",
        rows,
        batch=BATCH,
        anchors=ANCHORS,
        things=THINGS,
        candidates=CANDIDATES,
        classes=CLASSES,
    )


def random_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    """Boxes in pictures of 128 x 128 pixels, `(BATCH, count, 4)`."""
    corners = random.uniform(0, 100, (BATCH, count, 2))
    sides = random.uniform(8, 48, (BATCH, count, 2))
    return np.concatenate([corners, corners + sides], axis=-1).astype(np.float32)


def overlap_of(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (areas - common)


def matched_by_loop(
    anchors: Sequence[Sequence[float]], truths: Sequence[Sequence[float]]
) -> list[float]:
    """The true box that every anchor of a picture stands for, or -1 for none."""
    matched = []
    for anchor in anchors:
        best, chosen = OVERLAP, -1.0
        for number, truth in enumerate(truths):
            overlap = overlap_of(anchor, truth)
            if overlap >= best and (chosen < 0 or overlap > best):
                best, chosen = overlap, float(number)
        matched.append(chosen)
    return matched


def suppressed_by_loop(
    boxes: Sequence[Sequence[float]], scores: Sequence[Sequence[float]]
) -> list[float]:
    """The scores that are left of one picture, the largest first."""
    left: list[float] = []
    for label in range(CLASSES):
        kept: list[Sequence[float]] = []
        for number in sorted(range(len(boxes)), key=lambda number: -scores[number][label]):
            score = scores[number][label]
            if score <= SMALLEST_SCORE or len(kept) == MOST:
                break
            if all(overlap_of(boxes[number], other) <= OVERLAP for other in kept):
                kept.append(boxes[number])
                left.append(score)
    return sorted(left, reverse=True)[:MOST]


@command_line.command
def steps() -> None:
    """The share of targets, loss and its gradient in a training step."""
    rows = [
        {"contestant": name, **output_of("benchmarks.pictures.detection", "step", name)}
        for name in CONTESTANTS
    ]
    publish("detection_steps", rows, batch=BATCH)


@command_line.command
def step(contestant: str) -> None:
    """Measure one contestant of `steps`, and print its seconds as JSON.

    Args:
        contestant: Its name.
    """
    import tensorflow as tf

    name, recipe = CONTESTANTS[contestant]
    app = load_app(name)
    fitted = open_app(app, app.recipe(recipe, batch_size=BATCH), Run(quiet=True))
    inputs, rows, *_ = next(iter(fitted.data.train(0)))
    outputs = fitted.model(tf.cast(inputs, tf.float32), training=True)

    def gradients(rows: tf.Tensor, outputs: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        flat = list(outputs.values())
        with tf.GradientTape() as tape:
            tape.watch(flat)
            loss = fitted.model.compute_loss(None, rows, outputs)
        return [part for part in tape.gradient(loss, flat) if part is not None]

    graph = tf.function(gradients, autograph=False)
    of_loss = seconds_of([lambda: graph(rows, outputs)] * 50)
    whole = BATCH / rate_of_fit(fitted, BATCH, WARM_UP, 60)
    print(
        json.dumps({"seconds_of_loss": of_loss, "seconds_of_step": whole, "share": of_loss / whole})
    )


if __name__ == "__main__":
    command_line()
