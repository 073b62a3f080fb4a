"""Makes the classifier that judges generated digits: `suite/metrics/fidelity.keras`.

    python -m benchmarks.pictures.fidelity

It is the default recipe of `mnist_cnn` with seed 0 on the real MNIST. With another classifier all
figures of merit would be others: it was made once, and is made again only where all of them are
measured again.
"""

import shutil
import tempfile
from pathlib import Path

import cyclopts
import keras

from suite.data import Examples
from suite.metrics.fidelity import CLASSIFIER


def main(seed: int = 0) -> None:
    """Trains the classifier, replaces its file, and prints the fingerprint of its weights.

    The fingerprint belongs into `suite/metrics/fidelity.py`.

    Args:
        seed: Seed of the training.
    """
    from apps.mnist_cnn import app
    from suite import Run, train

    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            data="tfds", seed=seed, run_dir=Path(folder, "run"), export_dir=Path(folder, "exports")
        )
        trained = train(app, run=run)
        shutil.copy(trained.saved_model / "assets.extra" / "model.keras", CLASSIFIER)
    print(f"test_accuracy {trained.report['metrics']['test_accuracy']:.4f}")
    print(Examples(keras.models.load_model(CLASSIFIER).get_weights()).digest())


if __name__ == "__main__":
    cyclopts.run(main)
