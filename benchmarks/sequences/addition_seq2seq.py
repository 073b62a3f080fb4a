"""How many of a million sums are right after equal time?

    python -m benchmarks.sequences.addition_seq2seq

Ours is the default recipe, which never sees half of the sums. Seconds are those of `fit`,
compilation and validations included. The peer is the recipe of keras.io's "Sequence to sequence
learning for performing number addition", written anew: an LSTM of 128 units reads the reversed,
one-hot question, its state is repeated, another LSTM of 128 units answers, Adam, batches of 32, on
45,000 sums of numbers of any length; it trains for as long as ours. Both are judged by whole sums,
on all 1,000,000 pairs of numbers of up to three digits.
"""

import json
import time
from typing import Any

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.turns import open_app, output_of, time_limit
from suite import Run

DIGITS = 3
TRAINED_ON = 45_000  # sums of the peer
command_line = cyclopts.App(help=__doc__)


def ours(seed: int) -> dict[str, Any]:
    """Trains the default recipe."""
    from apps.addition_seq2seq import app

    fitted = open_app(app, app.recipe(), Run(seed=seed, quiet=True))
    started = time.perf_counter()
    fitted.model.fit(
        fitted.data.train(0),
        steps_per_epoch=fitted.data.steps_per_epoch,
        epochs=fitted.config.epochs,
        validation_data=fitted.data.validation,
        callbacks=app.callbacks(fitted),
        shuffle=False,
        verbose=0,
    )
    seconds = time.perf_counter() - started
    metrics = app.evaluate(fitted)
    return {
        "seconds": seconds,
        "parameters": fitted.model.count_params(),
        "wrong": metrics["wrong_sums"],
        "unseen": sum(fitted.data.splits[split].num_examples for split in ("validation", "test")),
        "wrong_unseen": metrics["wrong_unseen_sums"],
        "characters": None,
    }


def keras_io(seed: int, limit: float) -> dict[str, Any]:
    """Trains the network of keras.io's `addition_rnn` for some seconds.

    Args:
        seed: Of the weights, and of the choice of the training sums.
        limit: Seconds of training.

    Returns:
        The wrong sums, as ours are counted, and the share of right `characters`.
    """
    import keras
    from keras import layers

    from suite.data.pipelines import MOST_AT_ONCE

    keras.utils.set_random_seed(seed)
    symbols, length = "0123456789+ ", 2 * DIGITS + 1
    table = {symbol: number for number, symbol in enumerate(symbols)}
    one_hot = np.eye(len(symbols), dtype="float32")

    def numbers(texts: list[str]) -> np.ndarray:
        return np.array([[table[symbol] for symbol in text] for text in texts])

    count = 10**DIGITS
    pairs = [(a, b) for a in range(count) for b in range(count)]
    questions = numbers([f"{a}+{b}".ljust(length)[::-1] for a, b in pairs])
    answers = numbers([str(a + b).ljust(DIGITS + 1) for a, b in pairs])
    # As in the example: all lengths as often, and no sum twice, in whichever order.
    random, chosen = np.random.default_rng(seed), {}
    while len(chosen) < TRAINED_ON:
        a, b = (int(random.integers(10 ** random.integers(1, DIGITS + 1))) for _ in range(2))
        chosen.setdefault((min(a, b), max(a, b)), count * a + b)
    rows = np.array(list(chosen.values()))
    model = keras.Sequential(
        [
            keras.Input((length, len(symbols))),
            layers.LSTM(128),
            layers.RepeatVector(DIGITS + 1),
            layers.LSTM(128, return_sequences=True),
            layers.Dense(len(symbols), activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", steps_per_execution=MOST_AT_ONCE)
    started = time.perf_counter()

    model.fit(
        one_hot[questions[rows]],
        one_hot[answers[rows]],
        batch_size=32,
        epochs=100_000,
        verbose=0,
        callbacks=[time_limit(limit)],
    )
    seconds = time.perf_counter() - started
    right = []
    for begin in range(0, len(pairs), 2000):
        part = slice(begin, begin + 2000)
        predicted = np.asarray(model.predict_on_batch(one_hot[questions[part]])).argmax(-1)
        right.append(predicted == answers[part])
    matches = np.concatenate(right)
    wrong = ~matches.all(axis=1)
    unseen = np.ones(len(pairs), bool)
    unseen[rows] = unseen[count * (rows % count) + rows // count] = False  # b+a as a+b
    return {
        "seconds": seconds,
        "parameters": model.count_params(),
        "wrong": int(wrong.sum()),
        "unseen": int(unseen.sum()),
        "wrong_unseen": int(wrong[unseen].sum()),
        "characters": float(matches.mean()),
    }


@command_line.command
def contestant(name: str, seed: int, limit: float = 0.0) -> None:
    """Train one contestant, and print the result as JSON."""
    print(json.dumps(ours(seed) if name == "ours" else keras_io(seed, limit)))


@command_line.default
def main(*, repeats: int = 3) -> None:
    """Train ours, then the peer for as long, for each seed.

    Args:
        repeats: Number of seeds, counted from 0.
    """
    rows = []
    for seed in map(str, range(repeats)):
        limit = 0.0
        for name in ("ours", "keras.io"):
            result = output_of(
                "benchmarks.sequences.addition_seq2seq",
                "contestant",
                name,
                seed,
                "--limit",
                str(limit),
            )
            limit = result["seconds"]
            rows.append({"contestant": name, "seed": int(seed), **result})
            print(rows[-1], flush=True)
    ours_of = [row for row in rows if row["contestant"] == "ours"]
    publish(
        "addition_seq2seq",
        rows,
        sums=10 ** (2 * DIGITS),
        seeds=repeats,
        seeds_all_right=sum(row["wrong"] == 0 for row in ours_of),
        source="synthetic:sums",
    )


if __name__ == "__main__":
    command_line()
