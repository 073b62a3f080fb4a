"""How many labels does a network save that has learnt on other pictures?

    python -m benchmarks.pictures.transfer
    python -m benchmarks.pictures.transfer fashion_mnist --precision mixed_bfloat16

A residual network learns the first eight classes of CIFAR-10, and is transferred to what is like
that, the last two classes, and to what is not, the clothes of Fashion-MNIST, framed to the same
size. Four ways to train see 1, 5, 10 and 100 labels of each class, with five seeds, and choose
their rates by 50 more labels of each class, whatever they learn from. Draws
`docs/pictures/transfer_<task>.png`.
"""

import tempfile
from pathlib import Path
from typing import Literal

import cyclopts
import numpy as np

from apps import resnet, transfer
from benchmarks.results import PICTURES, publish
from suite import Run, train
from suite.figures.comparisons import deviation
from suite.figures.curves import write

LABELS = (1, 5, 10, 100)
EPOCHS, SEEDS = 20, 5
# Enough steps for few labels, too; and clothes on black are no drawings to be centred.
KNOBS = {
    "batch_size": 50,
    "min_steps_per_epoch": 20,
    "zoom": 0.0,
    "rotation": 0.0,
    "layout": "photo",
}
SOURCE_CLASSES = 8  # of CIFAR-10; the others are transferred to
BACKBONE = {"filters": 32, "epochs": 15}
TRAINING_PICTURES = 500  # of each class of the task, from which labels and validation are drawn
Task = Literal["cifar10", "fashion_mnist"]
Arrays = dict[str, np.ndarray]


def pictures_of(dataset: str) -> Arrays:
    """All pictures of a dataset, as an `.npz` names them, and the names of its classes."""
    data = resnet.app.data(resnet.app.config(dataset=dataset), Run(quiet=True))
    splits = {name: split.in_memory() for name, split in data.splits.items()}
    learnt = [splits["train"], splits["validation"]]
    return {
        "x_train": np.concatenate([split.inputs for split in learnt]),
        "y_train": np.concatenate([split.targets for split in learnt]),
        "x_test": splits["test"].inputs,
        "y_test": splits["test"].targets,
        "class_names": np.array(data.description.class_names),
    }


def with_classes(arrays: Arrays, first: int, last: int, most: int | None = None) -> Arrays:
    """The pictures of the classes from `first` to before `last`, numbered anew.

    Args:
        arrays: As `pictures_of` returns them.
        first: The first class.
        last: The class after the last one.
        most: Largest number of training pictures of each class.
    """
    chosen: Arrays = {"class_names": arrays["class_names"][first:last]}
    for split in ("train", "test"):
        labels = arrays[f"y_{split}"]
        count = most if split == "train" else None
        rows = [np.flatnonzero(labels == label)[:count] for label in range(first, last)]
        chosen[f"x_{split}"] = arrays[f"x_{split}"][np.concatenate(rows)]
        chosen[f"y_{split}"] = labels[np.concatenate(rows)] - first
    return chosen


def framed(images: np.ndarray) -> np.ndarray:
    """Grey pictures of 28 x 28 in the middle of black colour pictures of 32 x 32."""
    return np.repeat(np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)]), 3, axis=-1)


def target_of(task: Task, cifar: Arrays) -> Arrays:
    """The pictures of a task, colours of 32 x 32; `cifar` are those of CIFAR-10."""
    if task == "cifar10":
        return with_classes(cifar, SOURCE_CLASSES, 10, TRAINING_PICTURES)
    clothes = with_classes(pictures_of(task), 0, 10, TRAINING_PICTURES)
    return clothes | {name: framed(clothes[name]) for name in ("x_train", "x_test")}


def main(*tasks: Task, seeds: int = SEEDS, precision: str = "float32") -> None:
    """Trains the backbone, transfers it, and draws the accuracies.

    Args:
        tasks: What it is transferred to; by default both, one after the other.
        seeds: Trainings of every way with every number of labels.
        precision: Dtype policy of the backbone's training.
    """
    cifar = pictures_of("cifar10")
    with tempfile.TemporaryDirectory() as folder:
        source, exports = Path(folder, "source.npz"), Path(folder, "exports")
        np.savez(source, **with_classes(cifar, 0, SOURCE_CLASSES))
        recipe = resnet.app.recipe("fast", layout="photo", label_smoothing=0.0, **BACKBONE)
        run = Run(
            data=str(source),
            precision=precision,
            run_dir=Path(folder, "run"),
            export_dir=exports,
            figures=False,
        )
        trained = train(resnet.app, recipe, run)
        print(f"backbone: {trained.metrics['test_accuracy']:.1%}", flush=True)
        for task in tasks or ("cifar10", "fashion_mnist"):
            pictures = target_of(task, cifar)
            target = Path(folder, f"{task}.npz")
            np.savez(target, **pictures)
            knobs = {"backbone": str(exports / "resnet"), **KNOBS}
            accuracies = transfer.accuracies_by_labels(
                transfer.app, knobs, Run(data=str(target), quiet=True), LABELS, EPOCHS, seeds
            )
            publish(
                f"transfer_{task}",
                [
                    {
                        "way": way,
                        "labels": count,
                        "accuracy": row.mean(),
                        "std": deviation(row),
                    }
                    for way, values in accuracies.items()
                    for count, row in zip(LABELS, values, strict=True)
                ],
                seeds=seeds,
                epochs=EPOCHS,
                backbone_accuracy=trained.metrics["test_accuracy"],
                backbone_precision=precision,
                parameters=trained.report["parameters"],
                data=task,
                classes=len(pictures["class_names"]),
                knobs=KNOBS,
                rates=transfer.RATES,
                backbone=trained.report["config"],
            )
            drawn = transfer.draw_accuracies(accuracies, LABELS)
            write(drawn, PICTURES / f"transfer_{task}.png")


if __name__ == "__main__":
    cyclopts.run(main)
