"""What do two workers make of two cores, against one process that has both?

    python -m benchmarks.distribute

Both train the default network of `apps.mnist_cnn` on the same global batches, after the first
execution, which compiles. The launcher keeps each worker on a core of its own. Beside the rates
stand the seconds that the workers take to sum their gradients, measured alone.

`predicted_efficiency` is a calculation: what a ring all-reduce leaves of N times the speed, for
steps of an assumed length, by bandwidth and latency of the network between the hosts.
"""

import json
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import Literal, get_args

import cyclopts

from benchmarks.results import publish
from benchmarks.turns import rates, ratio

Contestant = Literal["one process, two cores", "two workers, a core each"]

STEPS, EPOCHS = 150, 3
BYTES_OF_A_WEIGHT = 4
REPLICAS = (8, 64, 256, 1024)
NETWORKS = {  # bytes a second, and seconds of a message
    "10 Gbit Ethernet": (1.25e9, 20e-6),
    "100 Gbit Ethernet": (12.5e9, 10e-6),
    "400 Gbit InfiniBand": (50e9, 2e-6),
}
MODELS = {  # parameters, and seconds of a step on a GPU of today
    "mnist_cnn, 120 images": (61_378, 0.5e-3),
    "ResNet-50, 256 images": (25_600_000, 0.1),
    "a Transformer, 1.3e9 parameters": (1_300_000_000, 1.0),
}


def efficiency(
    parameters: float, step: float, replicas: int, bandwidth: float, latency: float
) -> float:
    """The speed of `replicas` devices, divided by `replicas` times the speed of one.

    It supposes that nothing overlaps with the all-reduce. A ring passes every gradient on twice, in
    pieces, as 2 (N - 1) messages one after the other; and after them the logs, which are short.

    Args:
        parameters: Number of weights of the model.
        step: Seconds of a step on one device.
        replicas: Number of devices, N.
        bandwidth: Bytes a second of the network.
        latency: Seconds of a message.
    """
    hops = 2 * (replicas - 1)
    message = BYTES_OF_A_WEIGHT * parameters / replicas
    return step / (step + hops * (message / bandwidth + 2 * latency))


def worker() -> tuple[float, float]:
    """Trains as one process, or as one worker of a cluster.

    Returns:
        Images a second over all workers, and the seconds of an all-reduce of all gradients, which
        are 0 for one process.
    """
    import tensorflow as tf

    from apps.mnist_cnn import app
    from suite import Run
    from suite.placement.keras_3_15 import fit_on_replicas
    from suite.placement.replicas import distribute
    from suite.placement.strategy import create_strategy
    from suite.training.batch_norm import fused_batch_normalization
    from suite.training.callbacks import Throughput
    from suite.training.session import build

    placement = create_strategy("auto")
    on_replicas = placement.num_replicas_in_sync > 1
    recipe = app.recipe()
    data = app.data(recipe.config, Run(data="tfds"))
    with placement.scope():
        model = app.compile(build(app, recipe, data), recipe.config, STEPS * EPOCHS)
    model.jit_compile = False
    model.steps_per_execution = 1 if on_replicas else 30  # as `suite.train` does
    throughput = Throughput(data.batch_size)
    with fused_batch_normalization(model), fit_on_replicas(placement):
        model.fit(
            distribute(partial(data.train, 0), placement),
            steps_per_epoch=STEPS,
            epochs=EPOCHS,
            shuffle=False,
            verbose=0,
            callbacks=[throughput],
        )

    def sum_gradients() -> None:
        replica = tf.distribute.get_replica_context()
        gradients = [tf.ones(weight.shape) for weight in model.trainable_variables]
        replica.all_reduce("SUM", gradients)

    all_reduce = tf.function(lambda: placement.run(sum_gradients))
    seconds = []
    for _ in range(100 if on_replicas else 0):
        started = time.perf_counter()
        all_reduce()
        seconds.append(time.perf_counter() - started)
    return throughput.examples_per_second, statistics.median(seconds or [0.0])


def measure(contestant: Contestant) -> tuple[float, float]:
    """Runs `worker` in processes of its own, and returns its result."""
    command = [sys.executable, "-m", "benchmarks.distribute", "--as-worker"]
    if contestant != "one process, two cores":
        command = [sys.executable, "-m", "suite.cluster", "--workers", "2", "--", *command]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    [result] = [
        line.removeprefix("[worker 0] ")
        for line in process.stdout.splitlines()
        if line.startswith(("[worker 0] result", "result"))
    ]
    rate, seconds = result.split()[1:]
    return float(rate), float(seconds)


def main(
    *, repeats: int = 3, contestant: Contestant | None = None, as_worker: bool = False
) -> None:
    """Measures both, in turns.

    Args:
        repeats: Measurements of each.
        contestant: Measure this one once, and print images a second as JSON.
        as_worker: Be one of the processes.
    """
    if as_worker:
        print("result", *worker())
        return
    if contestant:
        print(json.dumps(measure(contestant)[0]))
        return
    one, two = get_args(Contestant)
    rows = rates("benchmarks.distribute", [one, two], repeats)
    _, seconds = measure(two)
    predicted = {
        f"{model} over {network}": {
            replicas: round(efficiency(parameters, step, replicas, *speed), 3)
            for replicas in REPLICAS
        }
        for model, (parameters, step) in MODELS.items()
        for network, speed in NETWORKS.items()
    }
    publish(
        "distribute",
        rows,
        ratio=ratio(rows, two, [one]),
        seconds_of_an_all_reduce=seconds,
        predicted_efficiency=predicted,
    )


if __name__ == "__main__":
    cyclopts.run(main)
