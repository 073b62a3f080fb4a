"""The folder of a run, and the record in it, `run.json`, from which the run can be resumed."""

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.app import Recipe
from suite.errors import InputError, one_line_message
from suite.files import claimed, refuse_path_for_tensorflow, write_whole
from suite.run import Run

if TYPE_CHECKING:
    from suite.app import App
    from suite.training.session import Session

RUNS = Path("runs")
RECORD = "run.json"
FORMAT = 4  # of the record and of the saved states; runs of another format cannot be resumed
TRIAL = ".trial-"  # prefix of the folder that is created to test whether a folder is writable
PACKAGES = (
    "keras", "tensorflow", "tensorflow-datasets", "tensorflow-probability", "numpy", "scikit-learn",
    "gymnasium",
)  # fmt: skip
# Settings that a resumed run cannot change.
SAME_RUN = (
    "data", "min_per_class", "skip_broken", "seed", "deterministic", "precision", "fused",
)  # fmt: skip
# Settings that a resumed run takes from the record unless they are given.
TAKEN_OVER = ("data_dir", "in_memory", "export_dir", "jit")


def package_versions() -> dict[str, str]:
    """The versions of Python and of the packages on which results depend, by name."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": sys.version.split()[0], **packages}


def plain(value: Any) -> Any:
    """The value as JSON holds it: dataclasses as objects, tuples as lists, paths as text."""
    if isinstance(value, Run):
        value = dataclasses.replace(value, arrays=None)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return json.loads(json.dumps(value, default=_jsonable))


def refuse_unwritable(folder: Path, knob: str) -> None:
    """Refuses a folder that could not be created or written, without creating it.

    Args:
        folder: The folder.
        knob: The knob that names it, for the message.

    Raises:
        InputError: The path, or the nearest parent that exists, is not a writable folder.
    """
    nearest = folder
    try:
        while not (nearest.exists() or nearest.is_symlink()) and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir():
            raise InputError(f"`{knob}` must be a folder", f"{folder}, but {nearest} is none")
        # `os.access` is not enough: root has permission even on a read-only file system.
        tempfile.TemporaryDirectory(prefix=TRIAL, dir=nearest).cleanup()
    except OSError as error:
        raise InputError(
            f"`{knob}` must be writable", f"{folder}, but {nearest}: {error.strerror}"
        ) from None


def new_folder(app: "App", run: Run) -> Path:
    """Creates the folder of a new run, `run_dir` or else `runs/<app>/<time>`."""
    if run.run_dir is None:
        return timed_folder(RUNS / app.name)
    run.run_dir.mkdir(parents=True, exist_ok=True)
    return run.run_dir


def remove_run(folder: Path, *, keep_folder: bool) -> None:
    """Removes what a run writes before its first state, and the folders that are empty then.

    Whatever else lies there, perhaps of somebody else, stays.

    Args:
        folder: The folder of the run.
        keep_folder: Whether the folder itself stays, because it was there before.
    """
    with contextlib.suppress(OSError):
        (folder / RECORD).unlink()
        for name in ("checkpoints", "tensorboard"):
            shutil.rmtree(folder / name, ignore_errors=True)
        if keep_folder:
            return
        folder.rmdir()
        for parent in folder.parents:
            if parent == Path() or parent.parts[:1] != RUNS.parts:
                break
            parent.rmdir()


def claim(folder: Path, stack: ExitStack) -> None:
    """Locks the folder against other runs until the stack is closed.

    Raises:
        InputError: Another run has locked it.
    """
    if not stack.enter_context(claimed(folder)):
        raise InputError("`run_dir` must not be in use by another run", folder)


def write_record(session: "Session") -> None:
    """Writes `run.json` of a run that is new, or has more epochs than before.

    Raises:
        InputError: Another run has used the folder since it was checked.
    """
    if session.resumed_from is None:
        refuse_folder_in_use(session.folder)
    record = {
        "format": FORMAT,
        "app": session.app.name,
        "config": plain(session.config),
        "architecture": plain(session.recipe.architecture),
        "run": plain(session.run),
        "fingerprint": session.data.description.fingerprint,
        "versions": package_versions(),
    }
    text = json.dumps(with_checksum(record), indent=2, ensure_ascii=False)
    write_whole(session.folder / RECORD, text + "\n")


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run with the SHA-256 of its content as `sha256`."""
    content = {name: value for name, value in record.items() if name != "sha256"}
    text = json.dumps(content, sort_keys=True)
    return {**content, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def refuse_folder_in_use(folder: Path) -> None:
    """Refuses a folder for a new run that has other files, or cannot be written.

    Raises:
        InputError: The folder is not empty, or could not be created or written.
    """
    refuse_unwritable(folder, "run_dir")
    refuse_path_for_tensorflow(folder, "run_dir")
    # Another worker may be testing the folder at the same time, and a run was perhaps killed while
    # its record was written.
    passing = (TRIAL, f".{RECORD}")
    if folder.is_dir() and any(not path.name.startswith(passing) for path in folder.iterdir()):
        if (folder / RECORD).exists():
            raise InputError(
                "`run_dir` must be a new or empty folder; with `resume` the run in it goes on",
                f"{folder}, which holds a run already",
            )
        raise InputError("`run_dir` must be a new or empty folder", f"{folder}, which is not empty")


def reopen(app: "App", recipe: Recipe, run: Run) -> tuple[Path, Recipe, Run, bool]:
    """Finds the run to resume, and its settings.

    A knob that was not given takes the recorded value. More epochs prolong the run, if they are
    those of its last phase.

    Args:
        app: The app, whose newest run is resumed if `run.run_dir` is None.
        recipe: The knobs; those in `given` must agree with the record.
        run: The settings of this process.

    Returns:
        The folder, the recipe, `run` with the recorded seed, data and so on, and whether the run
        is prolonged.

    Raises:
        InputError: There is no such run, it belongs to another app or version, or a given knob
            differs from the recorded one.
    """
    folder = run.run_dir or _newest(app.name)
    refuse_path_for_tensorflow(folder, "run_dir")
    if not (folder / RECORD).is_file():
        raise InputError("`resume` needs the folder of a run", f"{folder}, without {RECORD}")
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        recorded_app, recorded_run = record["app"], {**record["run"]}
        recorded_config, architecture = {**record["config"]}, {**record["architecture"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise _damaged(folder) from None
    if recorded_app != app.name:
        raise InputError(
            f"`resume` needs a run of {app.name}", f"{folder}, a run of {recorded_app}"
        )
    if record != with_checksum(record):
        raise _damaged(folder)
    if record.get("format") != FORMAT:
        raise InputError(
            "`resume` needs a run of this version of the suite", f"{folder}, of an earlier one"
        )
    try:
        config = app.config_from_record(recorded_config)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`resume` needs a run of this version of {app.name}",
            f"{folder}: {one_line_message(error)}",
        ) from None
    given = recipe.given or _changed(app, recipe)
    chosen = {**plain(recipe.config), **plain(recipe.architecture)}
    defaults = {name: knob.default for name, knob in app.architecture_knobs().items()}
    recorded = {**plain(config), **plain(defaults), **architecture}
    epochs, more = recorded.get("epochs"), chosen.get("epochs")
    prolonged = "epochs" in given and more is not None and epochs is not None and more > epochs
    for name in given & chosen.keys():
        if chosen[name] != recorded.get(name) and not (prolonged and name == "epochs"):
            raise _differs(name, recorded.get(name), chosen[name])
    if prolonged:
        longer = dataclasses.replace(config, epochs=more)
        (*before, last), (*still, longest) = (
            [phase.epochs for phase in app.phases(settings)] for settings in (config, longer)
        )
        # Phases that come after what is prolonged have seen, and changed, what it left.
        if before != still or last >= longest:
            raise _differs("epochs", epochs, more)
        config = longer
    resumed = _same_run(run, recorded_run, given, folder)
    return folder, Recipe(config=config, architecture=architecture), resumed, prolonged


def refuse_other_data(folder: Path, fingerprint: str) -> None:
    """Refuses to resume a run on other data than it began with.

    Raises:
        InputError: The fingerprints differ.
    """
    recorded = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("fingerprint")
    if recorded != fingerprint:
        raise InputError(
            f"`resume` needs the examples that {folder} began with", "examples that have changed"
        )


def _same_run(run: Run, recorded: Mapping[str, Any], given: frozenset[str], folder: Path) -> Run:
    """The settings of a resumed run.

    Raises:
        InputError: A setting differs from the recorded one, or the record in `folder` is damaged.
    """
    default, settings = plain(Run()), plain(run)
    for name in SAME_RUN:
        if name not in recorded:
            raise _damaged(folder)
        chosen = name in given or settings[name] != default[name]
        if chosen and settings[name] != recorded[name]:
            raise _differs(name, recorded[name], settings[name])
    same = {name: recorded[name] for name in SAME_RUN}
    taken = {
        name: recorded[name]
        for name in TAKEN_OVER
        if name in recorded and name not in given and settings[name] == default[name]
    }
    try:
        return dataclasses.replace(run, **same, **taken)
    except (ValueError, TypeError):
        raise _damaged(folder) from None


def _damaged(folder: Path) -> InputError:
    return InputError("`resume` needs a run that is whole", f"{folder}, whose {RECORD} is damaged")


def _changed(app: "App", recipe: Recipe) -> frozenset[str]:
    """The names of the knobs that differ from their defaults, for a recipe made in Python."""
    default = plain(app.config())
    values = plain(recipe.config)
    return frozenset(
        {name for name, value in values.items() if value != default.get(name)}
        | recipe.architecture.keys()
    )


def _differs(name: str, recorded: Any, received: Any) -> InputError:
    return InputError(f"`{name}` must stay as it was when a run is resumed: {recorded}", received)


def timed_folder(parent: Path) -> Path:
    """Creates `<parent>/<time>`, a folder that nobody else has."""
    parent.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now()
    while True:
        folder = parent / now.strftime("%Y%m%d-%H%M%S")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:  # another run of this app began in the same second
            now += datetime.timedelta(seconds=1)


def _newest(name: str) -> Path:
    records = list((RUNS / name).glob(f"*/{RECORD}"))
    if not records:
        raise InputError(f"`resume` needs a run of {name}", f"none under {RUNS / name}")
    return max(records, key=lambda path: path.stat().st_mtime_ns).parent


def _jsonable(value: Any) -> Any:
    """Converts values for `json`: mappings of other classes than dict, NumPy's values, paths."""
    if isinstance(value, Mapping):
        return dict(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)
