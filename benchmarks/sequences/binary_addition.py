"""How soon is binary addition exact, and which cells get there?

    pip install '.[benchmark]'
    python -m benchmarks.sequences.binary_addition race
    python -m benchmarks.sequences.binary_addition cells

`race`: seconds of wall time from the call of `fit`, compilation included, until all 65,536 pairs
of 8-bit numbers are added right. Ours is the default recipe, which sees none of these pairs; it
is looked at when its training ends. The peer is the recipe of keras.io's "Sequence to sequence
learning for performing number addition", given binary digits: an LSTM of 128 units reads the
reversed, one-hot question, its state is repeated, another LSTM of 128 units answers, Adam, batches
of 32. It may train on 50,000 of the very pairs, is looked at after each epoch with the clock
stopped, and is given a limit of seconds; where it has not arrived by then, the limit counts.

`cells`: every cell and seed with the default recipe, in processes of their own, two at a time, so
that their seconds are upper bounds.
"""

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.turns import open_app, output_of, time_limit
from suite import Run

CELLS = ("simple_rnn", "lstm", "gru")
EXACT = ("exact_8bit", "exact_1024bit", "exact_100000bit")
command_line = cyclopts.App(help=__doc__)


def ours(cell: str, seed: int) -> dict[str, Any]:
    """Trains the default recipe with the functions of the application.

    Returns:
        Seconds of `fit`, the number of parameters, and what the application measures.
    """
    from apps.binary_addition import app

    fitted = open_app(app, app.recipe(cell=cell), Run(seed=seed, quiet=True))
    started = time.perf_counter()
    fitted.model.fit(
        fitted.data.train(0),
        steps_per_epoch=fitted.data.steps_per_epoch,
        epochs=fitted.config.epochs,
        callbacks=app.callbacks(fitted),
        shuffle=False,
        verbose=0,
    )
    return {
        "seconds": time.perf_counter() - started,
        "parameters": fitted.model.count_params(),
        **app.evaluate(fitted),
        **app.findings(fitted),
    }


def keras_io(seed: int, limit: float) -> dict[str, Any]:
    """Trains the network of keras.io's `addition_rnn` on binary digits, epoch by epoch.

    Args:
        seed: Of the weights, and of the choice of 50,000 training pairs.
        limit: Seconds of training after which it is stopped.

    Returns:
        `seconds` of training, and `exact_8bit`, the share of all pairs that are added right.
    """
    import keras
    from keras import layers

    from suite.data.pipelines import MOST_AT_ONCE

    keras.utils.set_random_seed(seed)
    symbols, digits, places = "01+ ", 8, 9
    table = {symbol: number for number, symbol in enumerate(symbols)}
    one_hot = np.eye(len(symbols), dtype="float32")

    def encoded(texts: list[str]) -> np.ndarray:
        return one_hot[np.array([[table[symbol] for symbol in text] for text in texts])]

    pairs = [(a, b) for a in range(2**digits) for b in range(2**digits)]
    questions = encoded([f"{a:b}+{b:b}".ljust(2 * digits + 1)[::-1] for a, b in pairs])
    answers = encoded([f"{a + b:b}".ljust(places) for a, b in pairs])
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:50_000]
    model = keras.Sequential(
        [
            keras.Input(questions.shape[1:]),
            layers.LSTM(128),
            layers.RepeatVector(places),
            layers.LSTM(128, return_sequences=True),
            layers.Dense(len(symbols), activation="softmax"),
        ]
    )
    model.compile(
        "adam",
        "categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=MOST_AT_ONCE,
    )
    seconds, exact = 0.0, 0.0

    while exact < 1 and seconds < limit:
        started = time.perf_counter()
        model.fit(
            questions[chosen],
            answers[chosen],
            batch_size=32,
            verbose=0,
            callbacks=[time_limit(limit - seconds)],
        )
        seconds += time.perf_counter() - started
        predicted = model.predict(questions, batch_size=4096, verbose=0).argmax(-1)
        exact = float((predicted == answers.argmax(-1)).all(axis=1).mean())
    return {"seconds": seconds, "exact_8bit": exact}


def _train(*arguments: str) -> dict[str, Any]:
    """Runs the command `contestant` in a process of its own, and returns its result."""
    result = output_of("benchmarks.sequences.binary_addition", "contestant", *arguments)
    print(*arguments, result, flush=True)
    return result


@command_line.command
def contestant(name: str, seed: int, limit: float = 0.0) -> None:
    """Train a cell of ours or the peer once, and print the result as JSON."""
    print(json.dumps(ours(name, seed) if name in CELLS else keras_io(seed, limit)))


@command_line.command
def race(*, repeats: int = 3, limit: float = 150.0) -> None:
    """Time to the first exact 8-bit addition, in turns.

    Args:
        repeats: Runs of each contestant, with seeds counted from 0.
        limit: Seconds given to the peer.
    """
    results: dict[str, list[dict[str, Any]]] = {"ours": [], "keras.io": []}
    for seed in map(str, range(repeats)):
        results["ours"].append(_train(CELLS[0], seed))
        results["keras.io"].append(_train("keras.io", seed, str(limit)))
    for result in results["ours"]:
        if result["exact_8bit"] < 1:
            result["seconds"] = float("inf")
    medians = {n: statistics.median(r["seconds"] for r in rows) for n, rows in results.items()}
    publish(
        "binary_addition_race",
        [
            {
                "contestant": name,
                "seconds_median": medians[name],
                "seconds": [round(result["seconds"], 1) for result in rows],
                "exact_8bit": [round(result["exact_8bit"], 5) for result in rows],
            }
            for name, rows in results.items()
        ],
        limit_of_the_peer=limit,
        ratio_at_most=medians["ours"] / medians["keras.io"],
    )


@command_line.command
def cells(*, seeds: int = 10) -> None:
    """Exactness and certificates of the three cells.

    Args:
        seeds: Number of seeds, counted from 0.
    """
    rows = []
    with ThreadPoolExecutor(2) as pool:
        for cell in CELLS:
            results = list(pool.map(lambda n, c=cell: _train(c, str(n)), range(seeds)))
            margins = [result["certificate"]["margin"] for result in results]
            rows.append(
                {
                    "cell": cell,
                    "parameters": results[0]["parameters"],
                    "seconds_median": statistics.median(r["seconds"] for r in results),
                    **{n: statistics.mean(r[n] for r in results) for n in EXACT},
                    "seeds_all_exact": sum(all(r[n] == 1 for n in EXACT) for r in results),
                    "certificates": sum(r["certificate"]["holds"] for r in results),
                    "margins": [round(margin, 2) for margin in margins],
                }
            )
    publish("binary_addition_cells", rows, seeds=seeds, source="synthetic:sums")


if __name__ == "__main__":
    command_line()
