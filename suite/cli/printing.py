"""What commands print: messages as they go, and names with values in the end."""

import logging
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from suite.app import App
from suite.data.sources import data_knob_of
from suite.run import Run
from suite.training.stages import Trained

SMALLEST = 1e-3  # number with four digits after the point; smaller ones have three digits


def show_messages(quiet: bool) -> None:
    """Prints the suite's log messages to standard output.

    Args:
        quiet: Whether to print only warnings and errors.
    """
    logger = logging.getLogger("suite")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def summary(app: App, trained: Trained) -> str:
    """The metrics of a training, where everything lies, and a command to go on with."""
    return "\n" + columns(
        {
            **trained.report["metrics"],
            "seconds": trained.report["seconds"]["total"],
            "figures": trained.folder / "figures",
            "report": trained.folder / "REPORT.md",
            "SavedModel": trained.saved_model,
            "try next": f"python -m apps.{app.name} {_try_next(app, trained.report)}",
        }
    )


def _try_next(app: App, report: Mapping[str, Any]) -> str:
    """A command that works with the new export, as typed after the app's name.

    The app's suggestion may not fit a model of the user's own data, but `evaluate` does.
    """
    source, folder = report["data"]["source"], report["run"]["export_dir"]
    suggestion = app.try_next if isinstance(app.try_next, str) else app.try_next(report)
    command = "evaluate" if data_knob_of(source) == source else suggestion
    if folder == str(Run().export_dir):
        return command
    return f"{command} --export-dir {shlex.quote(folder)}"


def columns(values: Mapping[str, Any]) -> str:
    """Names and values in two columns; tables are indented, and None is a dash."""
    lines = list(_lines(values))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:{width}}  {value}".rstrip() for name, value in lines)


def _lines(values: Mapping[str, Any], indent: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}", ""
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{indent}{name}", _cell(value)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value == 0 or abs(value) >= SMALLEST else f"{value:.3g}"
