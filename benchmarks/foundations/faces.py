"""How often do the linear methods of `apps.faces` recognise a face?

    python -m benchmarks.foundations.faces
    python -m benchmarks.foundations.faces --data att_faces --splits 100

Of every person, half of the pictures are to learn from, 5 of AT&T's 10, and the others to test on;
the split is drawn at random, again and again. Every setting of every method learns from the same
pictures. For each split one of them is chosen, without a look at the pictures to test on: one
picture of each person is held out of those to learn from, as often as `--folds`, and the setting
that is best on these is fitted to all pictures to learn from, and tested.

`--data` is a folder with a folder of pictures for every person, all of one size. AT&T's Database of
Faces is one (credit: Olivetti Research Laboratory). Without it, the faces are made by code.
"""

import itertools
import statistics
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from benchmarks.results import publish

commands = cyclopts.App()

# Settings by method: what `suite.linear.recognition` takes.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "eigenfaces": [
        {"components": components, "similarity": similarity}
        for components, similarity in itertools.product((50, None), ("euclidean", "cosine"))
    ],
    "fisherfaces": [
        {"shrinkage": shrinkage, "compared_with": compared_with, "similarity": "cosine"}
        for shrinkage, compared_with in itertools.product(
            (0.001, 0.01, 0.03, 0.1, 0.3), ("pictures", "means")
        )
    ],
    "subspaces": [
        {"dimensions": dimensions, "similarity": similarity}
        for dimensions, similarity in itertools.product((1, 2, 3, 4), ("euclidean", "cosine"))
    ],
}


@commands.default
def main(*, data: Path | None = None, splits: int = 100, folds: int = 3, seed: int = 0) -> None:
    """Measures all methods.

    Args:
        data: A folder with a folder of pictures for every person; by default made faces.
        splits: Random splits.
        folds: Times that pictures are held out of those to learn from, to choose a setting.
        seed: Decides the splits.
    """
    rows, labels = load(data)
    random = np.random.default_rng(seed)
    accuracies: dict[str, list[float]] = {name: [] for name in [*SETTINGS, "all"]}
    chosen: dict[str, list[str]] = {name: [] for name in accuracies}
    for _ in range(splits):
        learnt = half_per_person(labels, random)
        codes = in_their_span(rows, learnt)
        held_out = [one_per_person(labels, learnt, random) for _ in range(folds)]
        judged = {
            (method, number): statistics.mean(
                accuracy(codes, labels, learnt & ~out, out, method, setting) for out in held_out
            )
            for method, settings in SETTINGS.items()
            for number, setting in enumerate(settings)
        }
        for name in accuracies:
            among = [key for key in judged if name in ("all", key[0])]
            method, number = max(among, key=judged.__getitem__)
            setting = SETTINGS[method][number]
            accuracies[name].append(accuracy(codes, labels, learnt, ~learnt, method, setting))
            chosen[name].append(f"{method} {setting}")
    publish(
        "faces",
        [
            {
                "method": name,
                "accuracy": statistics.mean(values),
                "deviation": statistics.pstdev(values),
                "lowest": min(values),
                "highest": max(values),
                "most_often": max(set(chosen[name]), key=chosen[name].count),
            }
            for name, values in accuracies.items()
        ],
        data="made faces" if data is None else data.name,
        people=len(np.unique(labels)),
        pictures=len(labels),
        splits=splits,
        folds=folds,
    )


def load(folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Pictures `(n, columns)`, values in 0..1, and who they show `(n,)`."""
    from suite.data.faces import generate_faces
    from suite.data.folders import files_in, folders_in
    from suite.data.images.files import read

    if folder is None:
        images, labels = generate_faces(40, 10).train
        return images.reshape(len(images), -1) / 255, labels
    pictures, people = [], []
    for person, inside in enumerate(folders_in(folder)):
        for file in files_in(inside):
            pictures.append(read(file).pixels[..., :3].mean(axis=2).ravel() / 255)
            people.append(person)
    return np.stack(pictures), np.array(people)


def half_per_person(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Which pictures are to learn from, `(n,)`: half of every person's, drawn at random."""
    learnt = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        theirs = random.permutation(np.flatnonzero(labels == label))
        learnt[theirs[: len(theirs) // 2]] = True
    return learnt


def one_per_person(
    labels: np.ndarray, among: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """One picture of every person, `(n,)`, drawn among some."""
    drawn = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        drawn[random.choice(np.flatnonzero(among & (labels == label)))] = True
    return drawn


def in_their_span(rows: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    """All pictures by their coordinates in the span of those to learn from.

    All that the methods learn lies in it, so that this changes no answer, and saves much time.
    """
    from suite.linear.components import of_rows

    components = of_rows(rows[learnt], min(int(learnt.sum()) - 1, rows.shape[1]))
    return (rows - components.mean) @ components.axes


def accuracy(
    rows: np.ndarray,
    labels: np.ndarray,
    learnt: np.ndarray,
    tested: np.ndarray,
    method: Any,
    setting: dict[str, Any],
) -> float:
    """The share of tested pictures that are recognised.

    Args:
        rows: Pictures, `(n, columns)`.
        labels: Who they show, `(n,)`.
        learnt: Which are to learn from, `(n,)`.
        tested: Which are tested, `(n,)`.
        method: A method of `suite.linear.recognition`.
        setting: One of its `SETTINGS`.
    """
    from suite.linear.recognition import fit_recognizer, scores, sizes_of

    count, people = int(learnt.sum()), len(np.unique(labels))
    components = setting.get("components")
    similarity = setting.get("similarity", "euclidean")
    sizes = sizes_of(
        method,
        setting.get("compared_with", "pictures"),
        components=None if components is None else min(components, rows.shape[1], count - 1),
        dimensions=setting.get("dimensions", 1),
        columns=rows.shape[1],
        num_rows=count,
        num_classes=people,
    )
    recognizer = fit_recognizer(
        rows[learnt],
        labels[learnt],
        sizes,
        similarity=similarity,
        shrinkage=setting.get("shrinkage", 0.1),
    )
    answers = scores(recognizer, rows[tested], people, similarity).argmax(axis=1)
    return float((answers == labels[tested]).mean())


if __name__ == "__main__":
    commands()
