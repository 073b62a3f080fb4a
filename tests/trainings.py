"""One small training of an app, which the tests of the contract and of the documents share."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import keras

from suite import App, Run, Trained, train
from suite.app import Recipe, app_names, load_app

APPS = app_names()
STRANGERS = app_names("tests.strangers")


def load(name: str) -> App:
    """An application of the suite, or a stranger."""
    return load_app(name, "apps" if name in APPS else "tests.strangers")


def tiny(app: App, **knobs: Any) -> Recipe:
    """The recipe of the tests, with two epochs where an app has epochs."""
    if "epochs" in vars(app.config()):
        knobs.setdefault("epochs", 2)
    return app.recipe(**{**app.tiny, **knobs})


class Training(NamedTuple):
    """A training and what came of it.

    Args:
        app: The application.
        run: Where it was trained.
        trained: What it returned, exported and all.
        after_one_epoch: The run's folder as a kill in the second epoch would leave it; there is
            none if there was no second epoch.
    """

    app: App
    run: Run
    trained: Trained
    after_one_epoch: Path


class CopyAfterOneEpoch(keras.callbacks.Callback):
    """Copies the run's folder when the first epoch has been saved."""

    def __init__(self, folder: Path, copy: Path) -> None:
        super().__init__()
        self.folder, self.copy = folder, copy

    def on_epoch_begin(self, epoch, logs=None):
        if epoch and not self.copy.exists():
            shutil.copytree(self.folder, self.copy)


def train_once(name: str, folder: Path) -> Training:
    """Trains an app into an empty folder."""
    app, copy = load(name), folder / "after_one_epoch"
    run = Run(
        data="embedded" if name in APPS else "auto",
        quiet=True,
        deterministic=True,
        seed=7,
        run_dir=folder / "run",
        export_dir=folder / "exports",
    )
    trained = train(app, tiny(app), run, callbacks=[CopyAfterOneEpoch(run.run_dir, copy)])
    return Training(app, run, trained, copy)
