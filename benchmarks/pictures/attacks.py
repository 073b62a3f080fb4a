"""How often is a network fooled, trained against attacks or not?

    python -m benchmarks.pictures.attacks robust
    python -m benchmarks.pictures.attacks universal

Data are MNIST. `robust` trains `mnist_cnn --recipe robust` and attacks every picture of the test
split by projected gradient descent, of 100 steps from 20 points, which takes an hour or more of two
cores. `universal` trains the recipe of the app, which defends nothing, makes one change for all
pictures from training pictures, and adds it to the test split; a picture is fooled if the answer is
another one than before.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cyclopts
import numpy as np

from apps.mnist_cnn import app
from benchmarks.results import publish
from suite import Run, train
from suite.attacks.gradients import pgd, probabilities
from suite.attacks.universal import add_change, universal_perturbation
from suite.studies.attack import NUM_TO_LEARN_FROM
from suite.training.stages import Trained

command_line = cyclopts.App(help=__doc__)


def trained(recipe: str | None, seed: int, folder: str) -> Trained:
    """A network that is trained and tested, without figures."""
    folders = {"run_dir": Path(folder, "run"), "export_dir": Path(folder, "exports")}
    return train(app, app.recipe(recipe), Run(data="tfds", seed=seed, figures=False, **folders))


@command_line.command
def robust(*, epsilon: float = 0.3, steps: int = 100, restarts: int = 20, seed: int = 0) -> None:
    """Attack the recipe `robust`.

    Args:
        epsilon: Largest change of a pixel, as a share of its range.
        steps: Steps of each attempt.
        restarts: Attempts, of which the worst counts.
        seed: Of the training.
    """
    with TemporaryDirectory() as folder:
        finished = trained("robust", seed, folder)
    [network] = finished.networks.values()
    test = finished.data.splits["test"].in_memory()
    started = time.perf_counter()
    changed = pgd(
        network,
        test.inputs,
        test.targets,
        epsilon=epsilon,
        steps=steps,
        restarts=restarts,
    )
    seconds = time.perf_counter() - started
    right = probabilities(network, changed).argmax(axis=1) == test.targets
    publish(
        "attacks_robust",
        [
            {
                "seed": seed,
                "test_accuracy": finished.metrics["test_accuracy"],
                "attacked_accuracy": float(right.mean()),
                "fit_seconds": finished.report["seconds"]["fit"],
                "attack_seconds": seconds,
            }
        ],
        data=finished.report["data"]["source"],
        epsilon=epsilon,
        steps=steps,
        restarts=restarts,
        pictures=test.num_examples,
        parameters=finished.report["parameters"],
        config=finished.report["config"],
    )


@command_line.command
def universal(*epsilons: float, seeds: int = 3) -> None:
    """Make one change for all pictures, against the default recipe.

    Args:
        epsilons: Largest changes of a pixel, as shares of its range; by default 0.1, 0.2 and 0.3.
        seeds: Networks, each with changes of its own.
    """
    rows = []
    for seed in range(seeds):
        with TemporaryDirectory() as folder:
            finished = trained(None, seed, folder)
        [network] = finished.networks.values()
        train_split, test = (finished.data.splits[name] for name in ("train", "test"))
        some = np.random.default_rng(seed).permutation(train_split.num_examples)[:NUM_TO_LEARN_FROM]
        learnt_from, test = train_split.rows(np.sort(some)).in_memory(), test.in_memory()
        before = probabilities(network, test.inputs).argmax(axis=1)
        for epsilon in epsilons or (0.1, 0.2, 0.3):
            change = universal_perturbation(
                network, learnt_from.inputs, learnt_from.targets, epsilon=epsilon, seed=seed
            )
            changed = add_change(np.asarray(test.inputs, np.float32), change).numpy()
            after = probabilities(network, changed).argmax(axis=1)
            rows.append(
                {
                    "change": f"at most {epsilon}",
                    "seed": seed,
                    "fooled": float((after != before).mean()),
                    "accuracy": float((after == test.targets).mean()),
                    "test_accuracy": finished.metrics["test_accuracy"],
                }
            )
    publish(
        "attacks_universal",
        rows,
        data=finished.report["data"]["source"],
        pictures=test.num_examples,
        learnt_from=NUM_TO_LEARN_FROM,
        parameters=finished.report["parameters"],
        config=finished.report["config"],
    )


if __name__ == "__main__":
    command_line()
