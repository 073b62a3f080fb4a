"""How good is the U-Net on pets and on membranes?

    pip install '.[benchmark]'
    python -m benchmarks.pictures.unet pets --data pets
    python -m benchmarks.pictures.unet membranes --data isbi_membrane

`pets`: a folder of Oxford-IIIT Pet with `images`, `trimaps`, `trainval.txt` and `test.txt`. Ours is
the recipe of that name. The peer is the network of keras.io's "Image segmentation with a U-Net-like
architecture", its optimizer and its batches, on the same split and pictures, and trained for as
long as `fit` of ours took. Both end with the weights of the epoch with the best mean IoU on the
validation pictures (by the validation loss, as the example chooses, the peer's were worse), and are
judged alike, by the confusion matrix of the pixels of the test pictures, once.

`membranes`: a folder with the slices of the ISBI challenge of 2012, `image`, and their membranes,
`label`; the last ten slices are for the test. The floor is the best threshold of the best Gaussian
blur, both chosen on the other slices.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.seeds import run_seeds
from benchmarks.turns import output_of, time_limit
from suite import Run

PET_CLASSES = ("1:pet", "2:ground", "3:border")
MEMBRANE_CLASSES = ("0:membrane", "255:cell")
HELD_OUT = 10  # slices
PEER_BATCH, PEER_RATE = 32, 1e-4
SIDE = 128  # pixels
BLURS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # standard deviations, in pixels

command_line = cyclopts.App(help=__doc__)


@command_line.command
def pets(*, data: Path, seeds: int = 1, precision: str = "float32") -> None:
    """Mean IoU of ours and of keras.io's example after the same time.

    Args:
        data: The folder.
        seeds: Number of seeds, counted from 0.
        precision: Dtype policy of the layers, of both.
    """
    flags = [*flags_of_pets(data), "--precision", precision]
    runs, report = run_seeds("unet", "pets", seeds, flags=flags)
    rows = []
    for run in runs:
        rows.append(
            {
                "contestant": "ours",
                "seed": run["seed"],
                "seconds": run["fit_seconds"],
                "images_per_second": run["examples_per_second"],
                "iou": run["test_iou"],
                "dice": run["test_dice"],
                "accuracy": run["test_accuracy"],
                "parameters": report["parameters"],
            }
        )
        arguments = [str(data), str(run["seed"]), str(run["fit_seconds"]), precision]
        rows.append(output_of("benchmarks.pictures.unet", "peer", *arguments))
    ours, peer = (
        {
            name: float(np.mean([row[name] for row in rows if row["contestant"] == contestant]))
            for name in ("iou", "images_per_second")
        }
        for contestant in ("ours", "keras.io")
    )
    publish(
        "unet_pets",
        rows,
        largest_class=report["metrics"]["test_largest_class"],
        iou_by_class=report["metrics"]["test_iou_by_class"],
        difference_of_iou=ours["iou"] - peer["iou"],
        ratio_of_rates=ours["images_per_second"] / peer["images_per_second"],
        precision=precision,
        config=report["config"],
        architecture=report["architecture"],
    )


def flags_of_pets(data: Path) -> list[str]:
    """The flags by which our command reads the pets."""
    return [
        *("--data", str(data / "images"), "--masks", str(data / "trimaps")),
        *("--train-list", str(data / "trainval.txt"), "--test-list", str(data / "test.txt")),
        *("--classes", *PET_CLASSES),
    ]


@command_line.command
def peer(data: Path, seed: int, seconds: float, precision: str) -> None:
    """Train keras.io's example on the pets, and print the result as JSON.

    Args:
        data: The folder.
        seed: Seed of weights and batches.
        seconds: How long to train, with the validations.
        precision: Dtype policy of the layers.
    """
    import keras

    from apps.unet import app
    from suite.metrics.segmentation import class_scores, confusion_matrix, mean_iou
    from suite.training.callbacks import Throughput

    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    config = app.recipe(
        "pets",
        masks=data / "trimaps",
        classes=PET_CLASSES,
        train_list=data / "trainval.txt",
        test_list=data / "test.txt",
    ).config
    loaded = app.data(config, Run(data=str(data / "images"), quiet=True))
    splits = {name: split.in_memory() for name, split in loaded.splits.items()}
    model = xception_like((SIDE, SIDE), len(PET_CLASSES))
    model.compile(
        keras.optimizers.Adam(PEER_RATE),
        "sparse_categorical_crossentropy",
        metrics=[mean_iou(len(PET_CLASSES))],
    )
    started = time.perf_counter()

    throughput = Throughput(PEER_BATCH)
    with tempfile.TemporaryDirectory() as folder:
        best = Path(folder, "best.weights.h5")
        history = model.fit(
            splits["train"].inputs.astype("float32"),
            splits["train"].targets,
            validation_data=(
                splits["validation"].inputs.astype("float32"),
                splits["validation"].targets,
            ),
            batch_size=PEER_BATCH,
            epochs=100_000,
            verbose=0,
            callbacks=[
                throughput,
                time_limit(seconds),
                keras.callbacks.ModelCheckpoint(
                    str(best), "val_iou", mode="max", save_best_only=True, save_weights_only=True
                ),
            ],
        )
        trained = time.perf_counter() - started
        model.load_weights(best)
    test = splits["test"]
    answers = model.predict(test.inputs.astype("float32"), PEER_BATCH, verbose=0).argmax(axis=-1)
    names = loaded.description.class_names
    scores = class_scores(confusion_matrix([(test.targets, answers)], len(names)), names)
    print(
        json.dumps(
            {
                "contestant": "keras.io",
                "seed": seed,
                "seconds": trained,
                "images_per_second": throughput.examples_per_second,
                **{name: scores[name] for name in ("iou", "dice", "accuracy")},
                "parameters": model.count_params(),
                "epochs": len(history.history["loss"]),
            }
        )
    )


def xception_like(size: tuple[int, int], num_classes: int) -> Any:
    """The network of keras.io's example, from pixels 0..255 to probabilities.

    Args:
        size: Height and width of the pictures.
        num_classes: Number of classes.
    """
    import keras
    from keras import layers

    def normalized(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    image = keras.Input((*size, 3))
    x = normalized(layers.Conv2D(32, 3, strides=2, padding="same")(image))
    x = previous = layers.Activation("relu")(x)
    for filters in (64, 128, 256):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = normalized(layers.SeparableConv2D(filters, 3, padding="same")(x))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        residual = layers.Conv2D(filters, 1, strides=2, padding="same")(previous)
        x = previous = layers.add([x, residual])
    for filters in (256, 128, 64, 32):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = normalized(layers.Conv2DTranspose(filters, 3, padding="same")(x))
        x = layers.UpSampling2D(2)(x)
        residual = layers.UpSampling2D(2)(previous)
        residual = layers.Conv2D(filters, 1, padding="same")(residual)
        x = previous = layers.add([x, residual])
    last = layers.Conv2D(num_classes, 3, activation="softmax", padding="same", dtype="float32")
    return keras.Model(image, last(x))


@command_line.command
def membranes(*, data: Path, seeds: int = 1, precision: str = "float32") -> None:
    """Pixel error of ours, and of the best threshold of a blur.

    Args:
        data: The folder.
        seeds: Number of seeds, counted from 0.
        precision: Dtype policy of the layers.
    """
    names = sorted((path.stem for path in (data / "image").glob("*.png")), key=int)
    lists = {"train_list": names[:-HELD_OUT], "test_list": names[-HELD_OUT:]}
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--data", str(data / "image"), "--masks", str(data / "label")]
        flags += ["--classes", *MEMBRANE_CLASSES, "--precision", precision]
        for knob, listed in lists.items():
            path = Path(folder, f"{knob}.txt")
            path.write_text("\n".join(listed) + "\n")
            flags += [f"--{knob.replace('_', '-')}", str(path)]
        runs, report = run_seeds("unet", "membranes", seeds, flags=flags)
    rows = [
        {
            "contestant": "ours",
            "seed": run["seed"],
            "seconds": run["fit_seconds"],
            "pixel_error": 1 - run["test_accuracy"],
            "iou": run["test_iou"],
        }
        for run in runs
    ]
    error, blur, threshold = blurred_floor(data, *lists.values())
    rows.append(
        {
            "contestant": "threshold of a blur",
            "seed": 0,
            "seconds": 0.0,
            "pixel_error": error,
            "iou": None,
        }
    )
    publish(
        "unet_membranes",
        rows,
        blur=blur,
        threshold=threshold,
        precision=precision,
        largest_class=report["metrics"]["test_largest_class"],
        held_out=lists["test_list"],
        config=report["config"],
        architecture=report["architecture"],
    )


def blurred_floor(
    data: Path, train: Sequence[str], test: Sequence[str]
) -> tuple[float, float, float]:
    """The pixel error of the best threshold of the best Gaussian blur.

    Args:
        data: The folder.
        train: Names of the slices by which blur and threshold are chosen.
        test: Names of the slices by which the two are judged.

    Returns:
        The error on the slices of the test, the standard deviation of the blur, in pixels, and the
        threshold: cells are brighter.
    """
    import PIL.Image
    from scipy.ndimage import gaussian_filter

    def read(folder: str, names: Sequence[str]) -> np.ndarray:
        files = [data / folder / f"{name}.png" for name in names]
        return np.stack([np.asarray(PIL.Image.open(file).convert("L")) for file in files])

    def blurred(pictures: np.ndarray, deviation: float) -> np.ndarray:
        return gaussian_filter(pictures.astype(np.float32), (0, deviation, deviation))

    pictures, cells = read("image", train), read("label", train) > 127
    errors = {
        (deviation, threshold): float(np.mean((smooth > threshold) != cells))
        for deviation in BLURS
        for smooth in [blurred(pictures, deviation)]
        for threshold in range(20, 236)
    }
    deviation, threshold = min(errors, key=errors.__getitem__)
    answers = blurred(read("image", test), deviation) > threshold
    return float(np.mean(answers != (read("label", test) > 127))), deviation, threshold


if __name__ == "__main__":
    command_line()
