"""How and where a training runs: the flags shared by all apps, and the run's own folder."""

import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from suite.errors import InputError
from suite.files import claimed, write_whole
from suite.knobs import Seed, settings
from suite.placement.strategy import StrategyName

if TYPE_CHECKING:
    from suite.app import App, Recipe

RUNS = Path("runs")
RECORD = "run.json"
TRIAL = ".trial-"  # begins the name of what is made in a folder to see whether it can be written
PACKAGES = (
    "keras", "tensorflow", "tensorflow-datasets", "tensorflow-probability", "numpy", "scikit-learn",
    "gymnasium",
)  # fmt: skip


@settings
class Run:
    """How and where: shared by all apps.

    Args:
        data: Where examples come from: `auto` takes prepared TFDS data, else a download, else
            the embedded set; `tfds`; `embedded`; or the path of your own data.
        data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
        seed: Decides initial weights, data order, augmentation and dropout.
        deterministic: Same bytes every time, by slower kernels where there is a choice.
        run_dir: Folder for logs, checkpoints, figures and report. Defaults to
            `runs/<app>/<time>`.
        resume: Go on from the last saved state of `run_dir`, or of the app's newest run.
        strategy: Placement: `mirrored` over the devices of this host, `multi_worker` over the
            hosts of a cluster, `tpu`, or `one_device`; `auto` finds out what there is.
        precision: Dtype policy of the layers.
        jit: Compile the training step with XLA.
        export_dir: Folder that gets `<app>/<version>/`, a SavedModel each time.
        quiet: Print warnings and the final answer only.
    """

    data: str = "auto"
    data_dir: Path | None = None
    seed: Seed = 0
    deterministic: bool = False
    run_dir: Path | None = None
    resume: bool = False
    strategy: StrategyName = "auto"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    jit: bool = False
    export_dir: Path = Path("saved_models")
    quiet: bool = False


# What must stay as it was for a resumed run to be the same run.
SAME_RUN = ("data", "seed", "deterministic", "precision")
# What a resumed run takes over where it is not told otherwise.
TAKEN_OVER = ("data_dir", "export_dir")


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide a result."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": sys.version.split()[0], **found}


def plain(value: Any) -> Any:
    """The value as JSON spells it: dataclasses as objects, tuples as lists, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return json.loads(json.dumps(value, default=str))


def writable(folder: Path, flag: str) -> None:
    """Refuses a folder that could not be made or written, without making it.

    Raises:
        InputError: The path, or the nearest parent that exists, is no writable folder.
    """
    nearest = folder
    try:
        while not (nearest.exists() or nearest.is_symlink()) and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir():
            raise InputError(f"{flag} must be a folder. Received: {folder}, but {nearest} is none")
        # Asking for permission is not enough: root has it on a read-only file system, too.
        tempfile.TemporaryDirectory(prefix=TRIAL, dir=nearest).cleanup()
    except OSError as error:
        raise InputError(
            f"{flag} must be writable. Received: {folder}, but {nearest}: {error.strerror}"
        ) from None


def new_folder(app: "App", run: Run) -> Path:
    """Makes the folder of a new run."""
    if run.run_dir is None:
        return _timed_folder(RUNS / app.name)
    run.run_dir.mkdir(parents=True, exist_ok=True)
    return run.run_dir


def claim(folder: Path, stack: ExitStack) -> None:
    """Keeps other runs out of the folder, until the end.

    Raises:
        InputError: One is in it.
    """
    if not stack.enter_context(claimed(folder)):
        raise InputError(
            f"--run-dir must be of no run that is under way. Received: {folder}, where one is"
        )


def write_record(
    folder: Path,
    app: "App",
    config: Any,
    architecture: dict[str, Any],
    run: Run,
    fingerprint: str,
) -> None:
    """Writes down what makes a new run.

    Raises:
        InputError: Another run has come and gone since its folder was found empty.
    """
    refuse_folder_in_use(folder)
    record = {
        "app": app.name,
        "config": plain(config),
        "architecture": plain(architecture),
        "run": plain(run),
        "fingerprint": fingerprint,
        "versions": versions(),
    }
    write_whole(folder / RECORD, json.dumps(signed(record), indent=2) + "\n")


def signed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run, and the SHA-256 of what it says."""
    said = {name: value for name, value in record.items() if name != "sha256"}
    return {**said, "sha256": hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()}


def _timed_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now()
    while True:
        folder = parent / now.strftime("%Y%m%d-%H%M%S")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:  # another run of this app began in the same second
            now += datetime.timedelta(seconds=1)


def refuse_folder_in_use(folder: Path) -> None:
    """Refuses to start a new run over something else, or where nothing can be written.

    Raises:
        InputError: The folder is not empty, or could not be made or written.
    """
    writable(folder, "--run-dir")
    _refuse_name(folder)
    # Another worker may be trying it, too.
    if folder.is_dir() and any(not path.name.startswith(TRIAL) for path in folder.iterdir()):
        run = ", which holds a run already; add --resume to go on with it"
        raise InputError(
            f"--run-dir must be a new or empty folder. Received: {folder}"
            + (run if (folder / RECORD).exists() else ", which is not empty")
        )


def _refuse_name(folder: Path) -> None:
    if set(str(folder)) & set("{}[]*?"):  # Keras formats its paths, and TensorFlow globs them
        raise InputError(f"--run-dir must do without any of {{}}[]*?. Received: {folder}")


def reopen(
    app: "App", config: Any, architecture: dict[str, Any], run: Run
) -> tuple[Path, "Recipe", Run]:
    """Finds the run to go on with, and the settings that made it.

    A knob that is at its default, given or not, takes the recorded value.

    Returns:
        The folder, `(config, architecture)`, and `run` with the recorded seed, data and so on.

    Raises:
        InputError: There is no such run, it is another app's, or a knob was given that differs
            from the recorded one.
    """
    folder = run.run_dir or _newest(app.name)
    _refuse_name(folder)
    if not (folder / RECORD).is_file():
        raise InputError(
            f"--resume needs the folder of a run. Received: {folder}, without {RECORD}"
        )
    damaged = InputError(
        f"--resume needs a run that is whole. Received: {folder}, whose {RECORD} is damaged"
    )
    try:
        record = json.loads((folder / RECORD).read_text())
        recorded_app, recorded_run = record["app"], record["run"]
        recorded_config, recorded_architecture = record["config"], record["architecture"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise damaged from None
    if recorded_app != app.name:
        raise InputError(
            f"--resume needs a run of {app.name}. Received: {folder}, a run of {recorded_app}"
        )
    if record != signed(record):
        raise damaged
    try:
        same = {name: recorded_run[name] for name in SAME_RUN}
        settings = app.recorded(recorded_config), {**recorded_architecture}
        default = Run()
        taken = {
            name: recorded_run[name]
            for name in TAKEN_OVER
            if getattr(run, name) == getattr(default, name)
        }
        again = dataclasses.replace(run, **same, **taken)
    except (ValueError, KeyError, TypeError):
        raise damaged from None
    _same(plain(config), plain(app.config()), plain(settings[0]))
    _same(plain(architecture), {}, settings[1])
    _same({name: plain(run)[name] for name in SAME_RUN}, plain(Run()), same)
    return folder, settings, again


def refuse_other_data(folder: Path, fingerprint: str) -> None:
    """Refuses to go on with a run on other data than it began with.

    Raises:
        InputError: The fingerprints differ.
    """
    recorded = json.loads((folder / RECORD).read_text()).get("fingerprint")
    if recorded != fingerprint:
        raise InputError(
            f"--resume needs the data that {folder} began with, fingerprint {recorded}. "
            f"Received: {fingerprint}"
        )


def _same(given: dict[str, Any], default: dict[str, Any], recorded: dict[str, Any]) -> None:
    for name, value in given.items():
        if value != default.get(name) and value != recorded.get(name):
            raise InputError(
                f"`{name}` must stay as it was when a run is resumed: "
                f"{recorded.get(name, 'the default')}. Received: {value}"
            )


def _newest(name: str) -> Path:
    found = list((RUNS / name).glob(f"*/{RECORD}"))
    if not found:
        raise InputError(f"--resume needs a run of {name}. Received: none under {RUNS / name}")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent
