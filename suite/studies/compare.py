"""The study `compare`: every combination of listed knobs, judged on the validation split."""

import contextlib
import csv
import dataclasses
import difflib
import io
import itertools
import json
import logging
import shlex
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError

from suite.app import App
from suite.errors import InputError, Interrupted, Unwritable, as_input_error
from suite.figures import comparisons, curves
from suite.files import claimed, refuse_path_for_tensorflow, write_whole
from suite.run import Run
from suite.studies.trials import (
    Outcome,
    Trial,
    judge_trial,
    module_of,
    objective_mode,
    refuse_cluster,
    run_trials,
    without_objective,
)
from suite.training.record import (
    RUNS,
    plain,
    refuse_folder_in_use,
    refuse_unwritable,
    timed_folder,
)

log = logging.getLogger(__name__)

RECORD, TESTED = "compare.json", "test.json"
CURVES = "learning_curves"
# Settings of a run that a comparison sets itself, or that change no training.
NOT_LISTED = {"run_dir", "resume", "export_dir", "figures", "quiet", "preparation", "arrays"}
MOST_TRIALS, MOST_JOBS = 10_000, 64

Listed = Mapping[str, Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Line:
    """A combination of knobs, with a trial for each seed.

    Args:
        values: The knobs that vary, without the seed.
        trials: The trials, and what each ended with.
    """

    values: Mapping[str, Any]
    trials: Sequence[tuple[Trial, Outcome]]

    @property
    def label(self) -> str:
        """The knobs in one line."""
        return _words(self.values) or "all seeds"

    @property
    def objectives(self) -> list[float]:
        """The objective of every trial that has one."""
        values = (outcome.objective for _, outcome in self.trials)
        return [value for value in values if value is not None]

    @property
    def mean(self) -> float | None:
        """The mean of the objective; None if no trial has one."""
        return statistics.mean(self.objectives) if self.objectives else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation of the objective; None if fewer than two trials have it."""
        return statistics.stdev(self.objectives) if len(self.objectives) > 1 else None

    @property
    def seconds(self) -> float | None:
        """The mean of the seconds of the trials that were trained to their end; None without."""
        seconds = [outcome.seconds for _, outcome in self.trials if outcome.error is None]
        return round(statistics.mean(seconds), 3) if seconds else None

    @property
    def errors(self) -> list[str]:
        """Why trials failed."""
        return [outcome.error for _, outcome in self.trials if outcome.error is not None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a comparison ends with.

    Args:
        lines: All combinations, in the order in which they were listed.
        best: The line with the best mean of the objective, among those without a failed trial;
            among all, if every line has one.
        table: The lines as a table in Markdown.
        metrics: Of the best line on the test split, `<metric>_mean` and `<metric>_std` over its
            trials; empty unless they were asked for.
        folder: Holds `COMPARISON.md`, `comparison.csv` and `learning_curves.png`; and under
            `trials/` the runs.
    """

    lines: Sequence[Line]
    best: Line
    table: str
    metrics: Mapping[str, float | None]
    folder: Path


def compare(
    app: App,
    listed: Listed,
    *,
    jobs: int = 1,
    test: bool = False,
    run_dir: Path | None = None,
    resume: bool = False,
) -> Comparison:
    """Trains every combination of the listed values, and compares them on the validation split.

    Trials that differ only in their seeds form one line of the table, with the mean and the
    standard deviation of their objectives. A trial that fails is part of its line, with the reason.

    Args:
        app: The application.
        listed: Values by knob of recipe, architecture and run, `seed` and `recipe` among them;
            texts as on a command line are read.
        jobs: Number of trials that run at the same time.
        test: Whether the trials of the best line are evaluated on the test split, once.
        run_dir: A new folder; by default `runs/<app>/compare/<time>`. With `resume` the folder of
            the comparison that goes on, by default the newest.
        resume: Whether an earlier comparison goes on. Its values need not be listed again. Trials
            that ended are not run again.

    Raises:
        InputError: A knob or a value cannot be used, nothing varies, or there is no comparison to
            resume.
        Diverged: No trial has trained to its end.
        Unwritable: A trial could not save what it has learnt.
        Interrupted: SIGINT or SIGTERM came; states are saved.
    """
    refuse_cluster("compare")
    if not 1 <= jobs <= MOST_JOBS:
        raise InputError(f"`jobs` must be from 1 to {MOST_JOBS}", jobs)
    objective_mode(app)
    listed = checked_values(app, listed)
    if resume:
        folder, listed = _reopened(app, listed, run_dir)
    combinations = _combinations(app, listed)
    if not resume:
        folder = _new_folder(app, run_dir)
    with _locked(folder):
        if not resume:
            record = {"app": app.name, "listed": plain(listed)}
            write_whole(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        lines = _trained(app, listed, combinations, folder, jobs, test)
        if not resume and all(o.refused for line in lines for _, o in line.trials):
            shutil.rmtree(folder)
            raise InputError(lines[0].errors[0])
        best = _best(app, lines)
        table = _markdown(app, lines, best)
        _write(app, listed, lines, best, table, folder)
        if best is None:
            errors = [error for line in lines for error in line.errors]
            raise without_objective(app, errors, folder)
        try:
            metrics = _tested(best, folder) if test else {}
        except Interrupted as interrupted:
            raise Interrupted(
                f"stopped before the test; go on with {_again(app, folder, jobs, test)}",
                interrupted.signal_number,
            ) from None
    return Comparison(lines=lines, best=best, table=table, metrics=metrics, folder=folder)


def knob_types(app: App) -> dict[str, Any]:
    """The types of the knobs that can be listed, by name: of recipe, architecture and run."""
    recipes: dict[str, Any] = {"recipe": Literal[tuple(app.recipes)] | None} if app.recipes else {}
    config, run = (get_type_hints(c, include_extras=True) for c in (app.config, Run))
    return {
        **recipes,
        **{field.name: config[field.name] for field in dataclasses.fields(app.config)},
        **{name: knob.annotation for name, knob in app.architecture_knobs().items()},
        **{f.name: run[f.name] for f in dataclasses.fields(Run) if f.name not in NOT_LISTED},
    }


def checked_values(app: App, listed: Listed) -> dict[str, list[Any]]:
    """The listed values, each of the type of its knob.

    A text stands for a value as on a command line; the items of a tuple have commas between them,
    and `none` stands for None and for the empty tuple.

    Raises:
        InputError: There is no such knob, or a value is not of its type, out of range, or listed
            twice.
    """
    types, values = knob_types(app), {}
    for name, given in listed.items():
        if name not in types:
            near = difflib.get_close_matches(name, types) or sorted(types)
            raise InputError(f"a knob must be one of: {', '.join(near)}", name)
        values[name] = [_value(name, types[name], value) for value in given]
        if not values[name]:
            raise InputError(f"`{name}` must have a value", "none")
        for number, value in enumerate(values[name]):
            if value in values[name][:number]:
                raise InputError(f"`{name}` must list every value once", spelled(value))
    return values


def _value(name: str, annotation: Any, given: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    refusals = []
    for reading in _readings(given) if isinstance(given, str) else [given]:
        try:
            return adapter.validate_python(reading)
        except ValidationError as error:
            refusals.append((error, isinstance(reading, tuple)))
    refusal = refusals[0][0]
    if refusal.errors()[0]["type"] == "tuple_type":  # what is wrong with the items says more
        refusal = next((error for error, of_items in refusals if of_items), refusal)
    raise as_input_error(refusal, name) from None


def _readings(text: str) -> Iterator[Any]:
    """What a text may stand for, as pydantic takes it."""
    if text == "none":
        yield None
        yield ()
    yield text
    with contextlib.suppress(ValueError):
        yield int(text)  # one of several numbers, `Literal[1, 3]`
    yield tuple(text.split(","))


def spelled(value: Any) -> str:
    """A value as it is listed on a command line."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else repr(value)
    return ",".join(map(spelled, value)) if isinstance(value, tuple) else str(value)


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={spelled(value)}" for name, value in values.items())


def command(app: App, listed: Listed) -> str:
    """The command that repeats a comparison."""
    words: list[str] = []
    for name, values in listed.items():
        flag, texts = f"--{name.replace('_', '-')}", list(map(spelled, values))
        if any(text.startswith("-") for text in texts):  # which would be taken for flags
            words += [f"{flag}={text}" for text in texts]
        else:
            words += [flag, *texts]
    return f"python -m apps.{app.name} compare {shlex.join(words)}"


def _combinations(app: App, listed: Listed) -> list[dict[str, Any]]:
    """All combinations of the values; the last knob varies the fastest.

    Raises:
        InputError: Nothing varies, there are too many, or the values of one do not fit together.
    """
    if all(len(values) == 1 for values in listed.values()):
        raise InputError(
            "a knob must have two values or more to compare, such as --seed 0 1 2",
            _words({name: value for name, [value] in listed.items()}) or "none",
        )
    combinations = [
        dict(zip(listed, values, strict=True)) for values in itertools.product(*listed.values())
    ]
    if len(combinations) > MOST_TRIALS:
        raise InputError(
            f"a comparison must have {MOST_TRIALS:,} trials at most", len(combinations)
        )
    for values in combinations:
        trial = _trial(app, "", values, Path())
        app.recipe(trial.recipe, **trial.knobs)
        Run(**trial.run)
    return combinations


def _trial(app: App, module: str, values: Mapping[str, Any], folder: Path) -> Trial:
    settings = {field.name for field in dataclasses.fields(Run)}
    return Trial(
        app=module,
        recipe=values.get("recipe"),
        knobs={n: v for n, v in values.items() if n not in settings | {"recipe"}},
        run={n: v for n, v in values.items() if n in settings},
        folder=folder,
    )


def _new_folder(app: App, run_dir: Path | None) -> Path:
    """Creates the folder of a comparison."""
    module_of(app)
    if run_dir is not None:
        refuse_folder_in_use(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
    else:
        refuse_unwritable(RUNS / app.name / "compare", "run_dir")
    return run_dir or timed_folder(RUNS / app.name / "compare")


def _reopened(app: App, listed: Listed, run_dir: Path | None) -> tuple[Path, Listed]:
    """The folder and the values of an earlier comparison.

    Raises:
        InputError: There is none, it is of another application, or has other values.
    """
    folder = run_dir
    if folder is None:
        records = list((RUNS / app.name / "compare").glob(f"*/{RECORD}"))
        if not records:
            raise InputError(
                f"`resume` needs a comparison of {app.name}", f"none under {RUNS / app.name}"
            )
        folder = max(records, key=lambda path: path.stat().st_mtime_ns).parent
    refuse_path_for_tensorflow(folder, "run_dir")
    if not (folder / RECORD).is_file():
        raise InputError("`resume` needs the folder of a comparison", f"{folder}, without {RECORD}")
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        recorded_app, recorded = record["app"], {**record["listed"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            "`resume` needs a comparison that is whole", f"{folder}, whose {RECORD} is damaged"
        ) from None
    if recorded_app != app.name:
        raise InputError(
            f"`resume` needs a comparison of {app.name}", f"{folder}, one of {recorded_app}"
        )
    recorded = checked_values(app, recorded)
    for name, values in listed.items():
        if values != recorded.get(name):
            earlier = " ".join(map(spelled, recorded.get(name, ["not listed"])))
            raise InputError(
                f"`{name}` must stay as it was when a comparison is resumed: {earlier}",
                " ".join(map(spelled, values)),
            )
    return folder, recorded


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with claimed(folder) as alone:
        if not alone:
            raise InputError("`run_dir` must not be in use by another comparison", folder)
        yield


def _trained(
    app: App,
    listed: Listed,
    combinations: Sequence[Mapping[str, Any]],
    folder: Path,
    jobs: int,
    test: bool,
) -> list[Line]:
    """Runs the trials that have not ended yet, and returns all of them as lines."""
    varying = [name for name, values in listed.items() if len(values) > 1]
    width, module = len(str(len(combinations))), module_of(app)
    trials = {
        folder / "trials" / f"{number:0{width}}": values
        for number, values in enumerate(combinations, start=1)
    }
    ended: dict[Path, tuple[Trial, Outcome]] = {}
    log.info("%d trials in %s", len(trials), folder)
    again = _again(app, folder, jobs, test)
    running = run_trials((_trial(app, module, v, path) for path, v in trials.items()), jobs)
    try:
        with contextlib.closing(running):
            for trial, outcome in running:
                if outcome.unwritable:
                    raise Unwritable(f"{outcome.error}; with room made, go on with {again}")
                ended[trial.folder] = trial, outcome
                words = _words({name: trials[trial.folder][name] for name in varying})
                log.info(
                    "%*d/%d  %s  %s", width, len(ended), len(trials), words, _result(app, outcome)
                )
    except Interrupted as interrupted:
        raise Interrupted(
            f"stopped with {len(ended)} of {len(trials)} trials done; go on with {again}",
            interrupted.signal_number,
        ) from None
    lines: dict[str, list[Path]] = {}
    for path, values in trials.items():
        lines.setdefault(_words(_without_seed(values)), []).append(path)
    return [
        Line(
            {name: trials[paths[0]][name] for name in varying if name != "seed"},
            [ended[path] for path in paths],
        )
        for paths in lines.values()
    ]


def _again(app: App, folder: Path, jobs: int, test: bool) -> str:
    """The command that goes on with a comparison."""
    flags = [f"--jobs {jobs}"] * (jobs > 1) + ["--test"] * test
    words = [f"python -m apps.{app.name} compare --resume", *flags]
    return f"{' '.join(words)} --run-dir {shlex.quote(str(folder))}"


def _without_seed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "seed"}


def _result(app: App, outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"failed: {outcome.error}"
    return f"{app.objective} {_number(outcome.objective)}  {outcome.seconds:.1f} s"


def _best(app: App, lines: Sequence[Line]) -> Line | None:
    """The line with the best mean: of those without a failed trial, or else of all."""
    judged = [line for line in lines if line.mean is not None]
    candidates = [line for line in judged if not line.errors] or judged
    choose = max if objective_mode(app) == "max" else min
    return choose(candidates, key=lambda line: line.mean or 0.0, default=None)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _markdown(app: App, lines: Sequence[Line], best: Line | None) -> str:
    """The lines as a table in Markdown that is readable as it is."""
    knobs = list(lines[0].values)
    rows = [[*knobs, "trials", app.objective, "seconds", ""]]
    for line in lines:
        objective = _number(line.mean)
        if line.deviation is not None:
            objective += f" ± {_number(line.deviation)}"
        notes = [*["**best**"] * (line is best), *dict.fromkeys(line.errors)]
        failed = f", {len(line.errors)} failed" if line.errors else ""
        rows.append(
            [
                *map(spelled, line.values.values()),
                f"{len(line.trials)}{failed}",
                objective,
                _number(line.seconds),
                "; ".join(notes).replace("|", "\\|"),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([text[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *text[1:]])


def _csv(app: App, lines: Sequence[Line], best: Line | None) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    objective = (f"{app.objective}_mean", f"{app.objective}_std")
    writer.writerow([*lines[0].values, "trials", "failed", *objective, "seconds", "best", "reason"])
    for line in lines:
        writer.writerow(
            [
                *map(spelled, line.values.values()),
                len(line.trials),
                len(line.errors),
                line.mean,
                line.deviation,
                line.seconds,
                line is best,
                "; ".join(dict.fromkeys(line.errors)),
            ]
        )
    return text.getvalue()


def _write(
    app: App, listed: Listed, lines: Sequence[Line], best: Line | None, table: str, folder: Path
) -> None:
    """Writes the picture and the tables."""
    figure = comparisons.learning_curves(
        {line.label: [outcome.history for _, outcome in line.trials] for line in lines},
        app.objective,
        best.label if best else None,
    )
    curves.save({CURVES: figure}, folder)
    write_whole(folder / "comparison.csv", _csv(app, lines, best))
    parts = [f"# {app.name}: {app.objective}", f"    {command(app, listed)}"]
    if fixed := {name: values[0] for name, values in listed.items() if len(values) == 1}:
        parts += [f"In all: {_words(fixed)}."]
    if len(seeds := listed.get("seed", ())) > 1:
        parts += [f"Means over the seeds {', '.join(map(str, seeds))}, ± one standard deviation."]
    parts += [table, f"![{CURVES}]({CURVES}.png)"]
    write_whole(folder / "COMPARISON.md", "\n\n".join(parts) + "\n")


def _tested(best: Line, folder: Path) -> dict[str, float | None]:
    """Metrics of the best line on the test split, which a resumed comparison does not see again."""
    file = folder / TESTED
    if not file.exists():
        judged = [judge_trial(trial) for trial, outcome in best.trials if outcome.error is None]
        content = {"line": plain(best.values), "metrics": judged}
        write_whole(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    content = json.loads(file.read_text(encoding="utf-8"))
    if content["line"] != plain(best.values):
        raise InputError(
            "`test` must be left out: another line than the best one has been judged already",
            _words(content["line"]),
        )
    judged = content["metrics"]
    columns: dict[str, list[float]] = {}
    for metrics in judged:
        for name, value in metrics.items():
            if isinstance(value, int | float):  # a metric may be missing, where a seed failed
                columns.setdefault(name, []).append(value)
    return {
        f"{name}_{statistic}": value
        for name, column in columns.items()
        for statistic, value in (
            ("mean", statistics.mean(column)),
            ("std", statistics.stdev(column) if len(column) > 1 else None),
        )
    }
