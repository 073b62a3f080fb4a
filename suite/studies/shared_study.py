"""An Optuna study in a file or a database, which outlives its processes and is shared by several.

The only module that imports Optuna, which the extra `search` installs.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import keras
import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from suite.errors import InputError, one_line_message
from suite.files import claimed
from suite.studies.spaces import Range, Space
from suite.studies.trials import Trial
from suite.training.record import refuse_unwritable

SamplerName = Literal["tpe", "evolution", "random"]
NAME = "search"  # of the study; a storage holds one
POPULATION = 10  # trials of a generation: a search is too short for Optuna's 50
ABSENT = "left out"  # in place of a knob that one side does not set, for errors
PROCESSES = "processes"  # folder with a locked folder for every process that searches
# A trial stops if its best value so far is worse than the median of the others at that epoch; not
# after the first epoch, which says little where the learning rate has yet to rise.
PRUNER = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A trial to run.

    Args:
        number: Its number in the study, from 0.
        values: The values of the knobs that are searched, by name.
    """

    number: int
    values: Mapping[str, Any]


class SharedStudy:
    """A search in progress: asks Optuna for trials, and tells it what came of them.

    A context manager. Inside of it the trials that this process asked for are its own; those of a
    process that was killed go to the next one that asks.

    Args:
        study: The Optuna study.
        folder: What its processes share; every trial has a folder in it.
        spaces: Where to search, by the name of the knob.
        lock: File that is locked while a process takes a trial. None for a database: two processes
            that ask at the same time may then begin one trial more than was asked for.
    """

    def __init__(
        self, study: optuna.Study, folder: Path, spaces: Mapping[str, Space], lock: Path | None
    ) -> None:
        self.study, self.folder, self.spaces, self._lock = study, folder, spaces, lock
        self._process = folder / PROCESSES / uuid.uuid4().hex
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "SharedStudy":
        self._process.mkdir(parents=True)
        self._stack.enter_context(claimed(self._process))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def ask(self, sampler: SamplerName, seed: int, most: int) -> Asked | None:
        """The next trial: one that a killed process left, else a new one.

        Args:
            sampler: Chooses the values.
            seed: Decides the choices, together with the number of the trial.
            most: Number of trials in the study, after which there is no new one.

        Returns:
            The trial; None if there are as many already.
        """
        with _locked(self._lock):
            trials = self.study.get_trials(deepcopy=False)
            begun = [trial for trial in trials if trial.state != TrialState.WAITING]
            left = next((trial for trial in begun if self._is_left(trial)), None)
            if left is None and len(begun) >= most:
                return None
            # Seeded anew for every trial: a search that was killed goes on as it would have.
            self.study.sampler = _sampler(sampler, seed, len(begun))
            trial = self.study.ask() if left is None else _reopened(self.study, left)
            trial.set_user_attr("process", self._process.name)
            drawn = {name: _suggest(trial, name, space) for name, space in self.spaces.items()}
        return Asked(number=trial.number, values=self.values(drawn))

    def _is_left(self, trial: FrozenTrial) -> bool:
        """Whether a trial belongs to a process that is gone.

        A process without a folder is on another machine, and may well be alive.
        """
        if trial.state != TrialState.RUNNING:
            return False
        name = trial.user_attrs.get("process")
        if name is None:  # killed between two lines of `ask`, which only one process runs at a time
            return self._lock is not None
        process = self.folder / PROCESSES / name
        if not process.is_dir():
            return False
        with claimed(process) as is_gone:
            return is_gone

    def tell(self, number: int, objective: float | None, error: str | None) -> FrozenTrial:
        """Ends a trial, unless it has ended itself as hopeless.

        A trial that failed counts as hopeless, so that the sampler avoids its neighbourhood.

        Args:
            number: The trial.
            objective: What it reached; None if nothing.
            error: Why it failed, in one line; None if it did not.
        """
        trial = self.study.get_trials(deepcopy=False)[number]
        if trial.state != TrialState.RUNNING:
            return trial
        if error is not None:
            _reopened(self.study, trial).set_user_attr("error", error)
        if error is not None or objective is None or not np.isfinite(objective):
            return self.study.tell(number, state=TrialState.PRUNED)
        return self.study.tell(number, objective)

    def finished(self) -> list[FrozenTrial]:
        """The trials that trained to their end."""
        return self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])

    def ended(self) -> list[FrozenTrial]:
        """The trials that trained to their end, were stopped as hopeless, or failed."""
        states = [TrialState.COMPLETE, TrialState.PRUNED]
        return self.study.get_trials(deepcopy=False, states=states)

    def best(self) -> FrozenTrial | None:
        """The trial with the best objective; None if no trial has trained to its end."""
        return self.study.best_trial if self.finished() else None

    def values(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the knobs for what a trial drew, numbers and texts of choices."""
        return {name: space.value(drawn[name]) for name, space in self.spaces.items()}

    def importances(self) -> dict[str, float]:
        """How much each knob decides whether a trial is among the best tenth; they sum to 1.

        Empty if fewer than two different objectives were reached.

        Reference:
            Watanabe, Bansal and Hutter, 2023, PED-ANOVA: Efficiently Quantifying Hyperparameter
            Importance in Arbitrary Subspaces, https://arxiv.org/abs/2304.10255
        """
        if len({trial.value for trial in self.finished()}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of few trials
            return optuna.importance.get_param_importances(self.study)


def open_study(
    storage: str,
    new_folder: Callable[[], Path],
    *,
    larger_is_better: bool,
    spaces: Mapping[str, Space],
    record: Mapping[str, Any],
    first: Mapping[str, Any],
) -> SharedStudy:
    """Begins a search in a storage, or joins the one that is there.

    Args:
        storage: A file, or the URL of a database.
        new_folder: Makes the folder that the processes of a new search share.
        larger_is_better: Whether the best objective is the largest.
        spaces: Where to search, by the name of the knob.
        record: What all processes of the search must agree on, as JSON holds it; one is `app`.
        first: What the first trial tries: numbers, and texts of choices, of some knobs or all.

    Raises:
        InputError: The storage cannot be used, or holds another search.
    """
    opened = open_storage(storage)
    lock = None if "://" in storage else Path(f"{storage}.asking")
    with _locked(lock):
        names = optuna.study.get_all_study_names(opened)
        if names and NAME not in names:
            raise InputError("`storage` must hold a search of this suite", storage)
        study = optuna.create_study(
            study_name=NAME,
            storage=opened,
            direction="maximize" if larger_is_better else "minimize",
            load_if_exists=True,
        )
        if "folder" not in study.user_attrs:
            if first:
                study.enqueue_trial(dict(first), skip_if_exists=True)
            for name, value in record.items():
                study.set_user_attr(name, value)
            study.set_user_attr("folder", str(new_folder().resolve()))  # last: now all is there
        recorded = study.user_attrs
    if recorded["app"] != record["app"]:
        raise InputError(
            f"`storage` must be of a search of {record['app']}", f"{storage}, of {recorded['app']}"
        )
    for name, value in record.items():
        before = recorded[name]
        if before == value:
            continue
        if name in ("knobs", "run"):
            differs = (k for k in before | value if before.get(k, ABSENT) != value.get(k, ABSENT))
            name = next(differs)
            before, value = before.get(name, ABSENT), value.get(name, ABSENT)
        raise InputError(
            f"`{name}` must stay as in `storage`: {json.dumps(before)}", json.dumps(value)
        )
    return SharedStudy(study, Path(recorded["folder"]), spaces, lock)


def open_storage(storage: str) -> optuna.storages.BaseStorage:
    """Opens a journal, which is created if it does not exist, or a database.

    Raises:
        InputError: The file is none that a search wrote, it cannot be written, or the database
            cannot be opened.
    """
    if "://" in storage:
        try:
            return optuna.storages.RDBStorage(storage)
        except Exception as error:  # of the database's own package
            raise InputError(
                "`storage` must be a file, or the URL of a database that can be opened",
                f"{storage}: {one_line_message(error)}",
            ) from None
    path = Path(storage)
    refuse_unwritable(path.parent, "storage")
    requirement = "`storage` must be a new file, one that a search wrote, or the URL of a database"
    try:
        if path.exists():
            with path.open("rb") as file:
                if first := file.readline():
                    json.loads(first)["op_code"]
        path.parent.mkdir(parents=True, exist_ok=True)
        journal = JournalFileBackend(str(path), lock_obj=JournalLock(path))
        return optuna.storages.JournalStorage(journal)
    except OSError as error:
        raise InputError(requirement, f"{storage}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AssertionError):  # of a line that is no entry
        raise InputError(requirement, storage) from None


class JournalLock(JournalFileOpenLock):
    """The lock on a journal, which the kernel opens if the process that holds it is killed.

    Optuna's own would stay closed for half a minute. A line that a killed process wrote by half is
    removed, because the next one would make it unreadable.

    Args:
        path: The journal.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self._held: IO[bytes]

    def acquire(self) -> bool:
        """Waits for the lock."""
        self._held = _lock(self.path.with_name(f"{self.path.name}.lock"))
        with self.path.open("rb+") as journal:
            size = journal.seek(0, os.SEEK_END)
            journal.seek(max(0, size - 1))
            if journal.read() not in (b"", b"\n"):
                journal.seek(0)
                journal.truncate(journal.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Opens the lock."""
        self._held.close()


def _lock(path: Path) -> IO[bytes]:
    """Waits for the lock on a file; closing the file opens it."""
    file = path.open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _locked(path: Path | None) -> contextlib.AbstractContextManager[Any]:
    """Holds the lock on a file inside a `with` block; None has no lock."""
    return contextlib.nullcontext() if path is None else _lock(path)


def _sampler(name: SamplerName, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial."""
    [trial_seed] = np.random.SeedSequence([seed, number]).generate_state(1).tolist()
    match name:
        case "tpe":
            return optuna.samplers.TPESampler(seed=trial_seed)
        case "evolution":
            return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=trial_seed)
        case "random":
            return optuna.samplers.RandomSampler(seed=trial_seed)


def _suggest(trial: optuna.Trial, name: str, space: Space) -> Any:
    """A number of a range, or the text of a choice."""
    if not isinstance(space, Range):
        return trial.suggest_categorical(name, list(space.values))
    if space.whole:
        return trial.suggest_int(name, int(space.low), int(space.high), log=space.log)
    return trial.suggest_float(name, space.low, space.high, log=space.log)


def _reopened(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A running trial of this or another process, to be added to."""
    return optuna.Trial(study, trial._trial_id)


def reports(storage: str, objective: str, trial: Trial) -> Sequence[keras.callbacks.Callback]:
    """The callbacks of a trial, which are made in its process."""
    return [Report(storage, int(trial.folder.name), objective)]


class Report(keras.callbacks.Callback):
    """Reports the objective after each epoch, and stops a hopeless trial.

    A trial that has trained for all its epochs is not stopped: what it reached is known.

    Args:
        storage: Where the study is.
        number: The trial.
        objective: Name of a validation metric in the logs.
    """

    def __init__(self, storage: str, number: int, objective: str) -> None:
        super().__init__()
        self.study = optuna.load_study(
            study_name=NAME,
            storage=open_storage(storage),
            sampler=optuna.samplers.RandomSampler(),  # which samples nothing here
            pruner=PRUNER,
        )
        trial = self.study.get_trials(deepcopy=False)[number]
        self.trial, self.objective = _reopened(self.study, trial), objective
        self._reported = set(trial.intermediate_values)
        self._is_hopeless = False

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._is_hopeless:
            self.model.stop_training = True  # in a later phase of the training, too
            return
        value = (logs or {}).get(self.objective)
        # After a resume, an epoch may be trained again that was reported before.
        if value is None or epoch in self._reported:
            return
        self.trial.report(float(value), epoch)
        if epoch + 1 < self.params["epochs"] and self.trial.should_prune():
            self._is_hopeless = self.model.stop_training = True
            self.study.tell(self.trial.number, state=TrialState.PRUNED)
