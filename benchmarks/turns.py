"""Contestants that take turns, each measurement in a process of its own."""

import contextlib
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from suite.cluster import shares_of_cores

if TYPE_CHECKING:
    from suite import App, Run
    from suite.app import Fitted, Recipe

T = TypeVar("T")


def output_of(module: str, *arguments: str) -> Any:
    """The JSON in the last line that `python -m <module> <arguments>` prints."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def on_shares(calls: Iterable[Callable[[], T]], jobs: int) -> Iterator[T]:
    """What functions return that start processes: several at a time, on separate cores.

    Args:
        calls: The functions; what they return comes in their order.
        jobs: How many are called at a time; each gets an equal share of the cores.

    Raises:
        SystemExit: The cores cannot be divided equally.
    """
    cores = len(os.sched_getaffinity(0))
    if jobs < 1 or cores % jobs:
        raise SystemExit(f"--jobs must divide the {cores} cores. Received: {jobs}")
    shares = shares_of_cores(jobs)
    # A process runs where the thread runs that starts it.
    with ThreadPoolExecutor(
        jobs, initializer=lambda: os.sched_setaffinity(0, shares.pop())
    ) as threads:
        yield from threads.map(lambda call: call(), calls)


class Finished(NamedTuple):
    """What an application has left that was trained in a process of its own.

    Args:
        report: The content of `report.json`.
        log: The rows of `log.csv`, one for each epoch; a metric that an epoch lacks is missing.
        exports: The folder of its exported versions, `<export_dir>/<app>`.
        seconds: Those of the whole process: imports, evaluation, figures and export included.
    """

    report: dict[str, Any]
    log: list[dict[str, float]]
    exports: Path
    seconds: float


@contextlib.contextmanager
def run_app(
    name: str,
    *flags: str,
    seed: int = 0,
    recipe: str | None = None,
    workers: int = 1,
    quiet: bool = True,
) -> Iterator[Finished]:
    """Trains an application by its command, in a process of its own.

    Its folders are removed when the `with` block ends.

    Args:
        name: The application.
        flags: More flags of its command.
        seed: Seed of the run.
        recipe: Named recipe; None for the application's own.
        workers: Processes that train together, as a cluster on this machine.
        quiet: Whether nothing of it is printed.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [sys.executable, "-m", f"apps.{name}", "--seed", str(seed)]
        command += ["--recipe", recipe] if recipe else []
        command += ["--quiet"] if quiet else []
        command += [*flags, "--run-dir", str(run), "--export-dir", f"{folder}/saved_models"]
        if workers > 1:
            cluster = [sys.executable, "-m", "suite.cluster", "--workers", str(workers), "--"]
            command = [*cluster, *command]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL if quiet else None)
        seconds = time.perf_counter() - started
        log = run / "log.csv"  # which a training without epochs does not write
        rows = csv.DictReader(log.read_text().splitlines()) if log.exists() else ()
        yield Finished(
            report=json.loads((run / "report.json").read_text()),
            log=[{key: float(value) for key, value in row.items() if value} for row in rows],
            exports=Path(folder, "saved_models", name),
            seconds=seconds,
        )


def time_limit(seconds: float) -> Any:
    """A callback that stops a training, in the middle of an epoch, when its seconds are over."""
    import keras

    class Limit(keras.callbacks.Callback):
        def on_train_begin(self, logs: dict | None = None) -> None:
            self.started = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            if time.perf_counter() - self.started > seconds:
                self.model.stop_training = True

    return Limit()


def open_app(app: "App", recipe: "Recipe", run: "Run") -> "Fitted":
    """Loads the data and compiles the model of an application, and stops before the training."""
    from suite import train
    from suite.app import Fitted

    prepared = train(app, recipe, run, until="open")
    return Fitted(
        model=prepared.model,
        networks=prepared.networks,
        data=prepared.data,
        config=recipe.config,
        folder=prepared.folder,
    )


def seconds_of_step(fitted: "Fitted", callbacks: Sequence[Any] = (), executions: int = 5) -> float:
    """The seconds of a step of `fit` on the training data, which is not distorted by compilation.

    An execution of the graph has as many steps as in the longest epochs, for which
    `whole_executions` gives their number.

    Args:
        fitted: See `open_app`; it learns in these steps.
        callbacks: Those of the training, whose time is a part of it.
        executions: Executions of the graph that are timed, after one that is not.
    """
    from suite.data.pipelines import MOST_AT_ONCE

    model = fitted.model
    model.steps_per_execution = MOST_AT_ONCE
    for count in (MOST_AT_ONCE, executions * MOST_AT_ONCE):
        before, started = int(model.optimizer.iterations), time.perf_counter()
        model.fit(
            fitted.data.train(0),
            steps_per_epoch=count,
            callbacks=list(callbacks),
            verbose=0,
            shuffle=False,
        )
    return (time.perf_counter() - started) / (int(model.optimizer.iterations) - before)


def whole_executions(steps: float) -> int:
    """The steps, rounded down to whole executions of the graph, if there is one at least."""
    from suite.data.pipelines import MOST_AT_ONCE

    return max(1, int(steps) // MOST_AT_ONCE * MOST_AT_ONCE or int(steps))


def rate_of_fit(fitted: "Fitted", batch: int, warm_up: int, steps: int) -> float:
    """Measures images a second of `fit`, called as an application calls it.

    Args:
        fitted: See `open_app`.
        batch: Images of a step.
        warm_up: Steps before the clock starts.
        steps: Steps that are timed.
    """
    import keras

    from suite.training.batch_norm import fused_batch_normalization

    ends: list[tuple[int, float]] = []
    timer = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append((batch, time.perf_counter()))
    )
    steps += warm_up
    model = fitted.model
    with fused_batch_normalization(model):
        model.fit(
            fitted.data.train(0),
            steps_per_epoch=steps - steps % model.steps_per_execution,
            callbacks=[timer],
            shuffle=False,
            verbose=0,
        )
    first = next(end for end in ends if end[0] + 1 >= warm_up)
    return (ends[-1][0] - first[0]) * batch / (ends[-1][1] - first[1])


def use_all_cores() -> None:
    """Has PyTorch use all cores of this process; by default it may leave some out."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))


def rate_of_pytorch(
    network: Any,
    images: Any,
    labels: Any,
    *,
    batch: int,
    warm_up: int,
    steps: int,
    precision: str,
    mode: str,
) -> float:
    """Measures images a second of a plain training loop in PyTorch, channels last, with AdamW.

    Args:
        network: A `torch.nn.Module`, from images to logits.
        images: `(n, height, width, channels)`, values in 0..255, in memory.
        labels: Their classes, `(n,)`.
        batch: Images of a step.
        warm_up: Steps before the clock starts.
        steps: Steps that are timed.
        precision: `float32` or `bfloat16`.
        mode: `eager` or `compiled`.
    """
    import torch

    use_all_cores()
    x = torch.tensor(images).permute(0, 3, 1, 2).float()
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.tensor(labels, dtype=torch.long)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, fused=True)
    forward = torch.compile(network) if mode == "compiled" else network
    order = torch.randperm(len(y))

    for step in range(warm_up + steps):
        if step == warm_up:
            started = time.perf_counter()
        rows = order[torch.arange(step * batch, (step + 1) * batch) % len(y)]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            inputs = (x[rows] / 255).contiguous(memory_format=torch.channels_last)
            loss = torch.nn.functional.cross_entropy(forward(inputs).float(), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return steps * batch / (time.perf_counter() - started)


def rates(module: str, contestants: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Measures images a second of several contestants, in turns.

    Args:
        module: `python -m <module> --contestant <name>` measures one of them once, and prints its
            rate in the last line.
        contestants: Their names.
        repeats: Measurements of each.

    Returns:
        A row for each contestant: its name, the median of its rates and all of them.
    """
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, values in measured.items():
            values.append(output_of(module, "--contestant", name))
            print(f"{name}: {values[-1]:,.0f} images/s")
    return [
        {
            "contestant": name,
            "images_per_second": statistics.median(values),
            "all": [round(rate) for rate in values],
        }
        for name, values in measured.items()
    ]


def ratio(rows: Sequence[Mapping[str, Any]], ours: str, peers: Sequence[str]) -> float:
    """Our median rate over that of the best peer."""
    medians = {row["contestant"]: row["images_per_second"] for row in rows}
    return medians[ours] / max(medians[peer] for peer in peers)
