"""The suite that applications are built with: their contract, their knobs, their training.

from suite import App, Run, train
"""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "App",
    "Diverged",
    "InputError",
    "Interrupted",
    "Run",
    "Trained",
    "Unwritable",
    "WorkerLost",
    "checked",
    "settings",
    "train",
    "train_aside",
]

if TYPE_CHECKING:
    from suite.app import App
    from suite.errors import Diverged, InputError, Interrupted, Unwritable, WorkerLost
    from suite.knobs import checked, settings
    from suite.run import Run
    from suite.training.stages import Trained, train, train_aside
else:
    # Imported on first use: `suite.cluster` needs no TensorFlow.
    MODULES = {
        "App": "suite.app",
        "Diverged": "suite.errors",
        "InputError": "suite.errors",
        "Interrupted": "suite.errors",
        "Run": "suite.run",
        "Trained": "suite.training.stages",
        "Unwritable": "suite.errors",
        "WorkerLost": "suite.errors",
        "checked": "suite.knobs",
        "settings": "suite.knobs",
        "train": "suite.training.stages",
        "train_aside": "suite.training.stages",
    }

    def __getattr__(name: str) -> Any:
        if name not in MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(MODULES[name]), name)
