"""How fast is training on pictures that stay on disk, and how much memory does it need?

    python -m benchmarks.pictures.from_disk

Makes colour JPEGs in a temporary folder, and passes over them: decoding alone, by a plain
`tf.data` pipeline on all cores; the batches of the suite's training pipeline, shuffled; and `fit`
of a small network on those. Each measurement is a process of its own; they take turns. It also
checks that batches read from a step in the middle on are the same bytes as in the whole pass.
"""

import hashlib
import io
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import PIL.Image

from benchmarks.results import publish
from benchmarks.turns import output_of

CONTESTANTS = ("decoding alone", "batches", "fit")
SIDE, CLASSES, BATCH = 64, 10, 128
FILES_OF_A_FOLDER = 1000


def make(folder: Path, count: int) -> None:
    """Writes JPEGs that are all different: blurred colours and some noise."""
    random = np.random.default_rng(0)
    for number in range(count):
        if number % FILES_OF_A_FOLDER == 0:
            subfolder = folder / f"{number // FILES_OF_A_FOLDER:04d}"
            subfolder.mkdir()
        colours = PIL.Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(colours.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC), np.int16)
        noisy = smooth + random.integers(-12, 13, (SIDE, SIDE, 1), dtype=np.int16)
        encoded = io.BytesIO()
        PIL.Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=90)
        (subfolder / f"{number:06d}.jpg").write_bytes(encoded.getvalue())


class Meter:
    """Measures images a second and memory while batches go by.

    The clock starts after a tenth of the batches, when all that is built once has been built.

    Args:
        batches: How many batches there will be.
    """

    def __init__(self, batches: int) -> None:
        self.tenth, self.count = batches // 10, 0

    def tick(self) -> None:
        """Counts a batch; to be called after every one."""
        self.count += 1
        if self.count == self.tenth:
            self.started, self.begin = time.perf_counter(), self.count
            self.at_begin = peak_mib()

    def read(self) -> dict[str, Any]:
        """Images a second, peak of the memory in MiB, and its growth since the first tenth."""
        seconds, peak = time.perf_counter() - self.started, peak_mib()
        return {
            "images_per_second": (self.count - self.begin) * BATCH / seconds,
            "peak_mib": peak,
            "growth_mib": peak - self.at_begin,
        }


def peak_mib() -> float:
    """The most memory, in MiB, that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(contestant: str, folder: Path, passes: int) -> dict[str, Any]:
    """Images a second and memory of one contestant."""
    import keras
    import tensorflow as tf

    from suite.data import stored
    from suite.data.examples import Source
    from suite.data.pipelines import steps_per_execution, supervised
    from suite.placement.replicas import distribute

    paths = sorted(folder.glob("*/*.jpg"))
    steps = passes * (len(paths) // BATCH)
    meter = Meter(steps)

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.ensure_shape(image, (SIDE, SIDE, 3))

    if contestant == "decoding alone":
        images = tf.data.Dataset.from_tensor_slices([os.fspath(path) for path in paths]).map(
            lambda path: decode(tf.io.read_file(path)), os.cpu_count(), deterministic=False
        )
        for _ in images.batch(BATCH, drop_remainder=True).repeat(passes).prefetch(2):
            meter.tick()
        return meter.read()

    examples = stored.files(paths, decode, np.arange(len(paths), dtype=np.int32) % CLASSES)
    some = examples.rows(np.arange(BATCH))
    source = Source(name="jpegs", train=examples, validation=some, test=some)
    data = supervised(source, batch_size=BATCH, validation_split=0.1, seed=0)
    feed = distribute(lambda shard: data.train(0, shard), tf.distribute.get_strategy())
    if contestant == "batches":
        middle, digest = int(np.random.default_rng().integers(steps)), ""
        for step, batch in enumerate(feed.take(steps)):
            meter.tick()
            if step == middle:
                digest = content_of(batch)
        same = content_of(next(iter(data.train(middle)))) == digest
        return {**meter.read(), "same_bytes": same}

    model = keras.Sequential(
        [
            keras.layers.Rescaling(1 / 255),
            keras.layers.AveragePooling2D(8),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, steps_per_execution=steps_per_execution(steps, max_steps=8))
    timer = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: meter.tick())
    meter = Meter(steps // model.steps_per_execution)
    model.fit(feed, steps_per_epoch=steps, callbacks=[timer], shuffle=False, verbose=0)
    reading = meter.read()
    reading["images_per_second"] *= model.steps_per_execution
    return reading


def content_of(batch: Any) -> str:
    """SHA-256 of a batch."""
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in batch)).hexdigest()


def main(
    *,
    count: int = 200_000,
    passes: int = 1,
    repeats: int = 3,
    contestant: str | None = None,
    folder: Path | None = None,
) -> None:
    """Measures all, in turns.

    Args:
        count: JPEGs.
        passes: Over all of them, in one measurement.
        repeats: Measurements of each.
        contestant: Measure this one once, and print the result as JSON.
        folder: Where the JPEGs of `contestant` are.
    """
    if contestant and folder:
        print(json.dumps(measure(contestant, folder, passes)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary), count)
        arguments = ("--folder", temporary, "--passes", str(passes))
        readings: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
        for path in Path(temporary).glob("*/*.jpg"):
            path.read_bytes()  # so that the first contestant does not read from a cold disk alone
        for repeat in range(repeats):
            order = (
                CONTESTANTS[repeat % len(CONTESTANTS) :] + CONTESTANTS[: repeat % len(CONTESTANTS)]
            )
            for name in order:
                values = readings[name]
                values.append(
                    output_of("benchmarks.pictures.from_disk", "--contestant", name, *arguments)
                )
                print(name, values[-1], flush=True)
    rows = [
        {
            "contestant": name,
            "images_per_second": statistics.median(r["images_per_second"] for r in values),
            "peak_mib": max(reading["peak_mib"] for reading in values),
            "growth_mib": max(reading["growth_mib"] for reading in values),
            "all": [round(reading["images_per_second"]) for reading in values],
        }
        for name, values in readings.items()
    ]
    rate = {row["contestant"]: row["images_per_second"] for row in rows}
    publish(
        "from_disk",
        rows,
        jpegs=count,
        side=SIDE,
        batch_size=BATCH,
        passes=passes,
        same_bytes_from_a_random_step_on=all(r["same_bytes"] for r in readings["batches"]),
        **{f"{name}_of_decoding": rate[name] / rate["decoding alone"] for name in CONTESTANTS[1:]},
    )


if __name__ == "__main__":
    cyclopts.run(main)
