"""What every application of the suite is made with.

from suite import App, Run, train
"""

from suite.app import App
from suite.errors import Diverged, InputError, Interrupted
from suite.run import Run
from suite.training import Trained, train

__all__ = ["App", "Diverged", "InputError", "Interrupted", "Run", "Trained", "train"]
