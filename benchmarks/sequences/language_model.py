"""How well do language models predict Shakespeare after equal time, and how well do counts?

    python -m benchmarks.sequences.language_model --data input.txt --minutes 30

An LSTM and a Transformer are trained on the first 90 % of a text, each for the same time. At the
end they are judged by the rest, as nanoGPT does on the same file: the mean negative log-likelihood
of a character, in nats; also by the second half of the rest alone, since the first half is the
validation split, by which the recipes were chosen and the curves are drawn. Seconds are those of
`fit`, compilation and validations included; how many steps fit into them is measured before. The
Transformer's recipe was chosen for this text and this time, the LSTM's was not. Beside them stands
a model that counts five characters at a time, with interpolated Kneser-Ney smoothing.
"""

import json
import time
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.turns import open_app, output_of, seconds_of_step, whole_executions
from suite import Run

RECIPES = {"transformer": "shakespeare", "lstm": "lstm"}
ORDER = 5  # characters that are counted together
NO_SINGLES = 0.5  # the discount where nothing occurs once, by which it would be estimated
VALIDATIONS = 10
command_line = cyclopts.App(help=__doc__)


def ours(network: str, data: str, minutes: float, precision: str, seed: int) -> dict[str, Any]:
    """Trains a recipe of the application for some minutes.

    Returns:
        The number of parameters; `seconds` and `validation_nats` after each validation; and
        `held_out_nats` and `test_nats` at the end.
    """
    import keras

    from apps.language_model import app

    run = Run(data=data, precision=precision, seed=seed, quiet=True)

    class Clock(keras.callbacks.Callback):
        """Notes the seconds since the call of `fit` after each epoch."""

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            seconds.append(time.perf_counter() - started)

    seconds: list[float] = []
    fitted = open_app(app, app.recipe(RECIPES[network]), run)
    per_step = seconds_of_step(fitted, app.callbacks(fitted))
    for _ in range(2):  # the first one compiles
        started = time.perf_counter()
        fitted.model.evaluate(fitted.data.validation, verbose=0)
        per_validation = time.perf_counter() - started
    # A part of the time is for what `fit` compiles.
    steps = whole_executions((60 * minutes * 0.95 / VALIDATIONS - per_validation) / per_step)
    recipe = app.recipe(RECIPES[network], epochs=VALIDATIONS, steps_per_epoch=steps)
    fitted = open_app(app, recipe, run)
    started = time.perf_counter()
    history = fitted.model.fit(
        fitted.data.train(0),
        steps_per_epoch=steps,
        epochs=VALIDATIONS,
        validation_data=fitted.data.validation,
        callbacks=[*app.callbacks(fitted), Clock()],
        shuffle=False,
        verbose=0,
    ).history
    metrics = app.evaluate(fitted)
    return {
        "parameters": sum(network.count_params() for network in fitted.networks.values()),
        "seconds": seconds,
        "validation_nats": history["val_nats"],
        "held_out_nats": metrics["held_out_nats"],
        "test_nats": metrics["test_nats"],
    }


def counted(data: str) -> dict[str, Any]:
    """Counts the training text, and predicts the rest by it."""
    from suite.data.text.tokenizers import fit_tokenizer
    from suite.tasks.language_modeling import encoded, load_texts

    texts, _ = load_texts(Run(data=data, quiet=True))
    started = time.perf_counter()
    tokenizer = fit_tokenizer("characters", [texts["train"]], 2**16)
    train, validation, test = (
        encoded(tokenizer, texts[name]) for name in ("train", "validation", "test")
    )
    nats = -np.log(kneser_ney(train, np.concatenate([validation, test]), tokenizer.size))
    return {
        "parameters": None,
        "seconds": [time.perf_counter() - started],
        "validation_nats": [float(nats[: len(validation) - 1].mean())],
        "held_out_nats": float(nats.mean()),
        "test_nats": float(nats[len(validation) - 1 :].mean()),
    }


def kneser_ney(train: np.ndarray, rest: np.ndarray, size: int, order: int = ORDER) -> np.ndarray:
    """Probabilities of the tokens of a text but the first, by interpolated Kneser-Ney smoothing.

    What follows a history of `order - 1` tokens is counted. What is taken off these counts goes to
    shorter histories, in which a token counts once for every token before the history.

    Args:
        train: The text that is counted, `(tokens,)`, integers below `size`.
        rest: The text that goes on from it, `(tokens,)`.
        size: Number of tokens in the vocabulary; `size ** order` must fit into an int64.
        order: Tokens that are counted together.

    Reference:
        Kneser and Ney, 1995, Improved Backing-Off for M-Gram Language Modeling,
        https://doi.org/10.1109/ICASSP.1995.479394
        Chen and Goodman, 1999, An Empirical Study of Smoothing Techniques for Language Modeling,
        https://doi.org/10.1006/csla.1999.0128
    """
    text = np.concatenate([train[len(train) - order + 1 :], rest])
    probabilities = np.full(len(rest) - 1, 1 / size)
    whole, counts = np.unique(_grams(train, order, size), return_counts=True)
    for length in range(1, order + 1):
        grams = whole
        if length < order:
            # Every gram counts once for each token that comes before it.
            longer = np.unique(_grams(train, length + 1, size))
            grams, counts_of = np.unique(longer % size**length, return_counts=True)
        else:
            counts_of = counts
        once, twice = ((counts_of == n).sum() for n in (1, 2))
        discount = once / (once + 2 * twice) if once else NO_SINGLES
        histories, rows = np.unique(grams // size, return_inverse=True)
        totals = np.bincount(rows, counts_of)
        kinds = np.bincount(rows)
        asked = _grams(text[order - length :], length, size)[1:]
        count = _looked_up(grams, counts_of, asked)
        total = _looked_up(histories, totals, asked // size)
        kind = _looked_up(histories, kinds, asked // size)
        mixed = np.maximum(count - discount, 0) + discount * kind * probabilities
        probabilities = np.where(total > 0, mixed / np.maximum(total, 1), probabilities)
    return probabilities


def _grams(ids: np.ndarray, length: int, size: int) -> np.ndarray:
    """Every `length` consecutive tokens as one number."""
    count = len(ids) - length + 1
    grams = np.zeros(count, np.int64)
    for offset in range(length):
        grams = grams * size + ids[offset : offset + count]
    return grams


def _looked_up(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The values of some keys, which are sorted; 0 where there is no such key."""
    places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[places] == asked, values[places], 0)


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draws the validation nats over the time of training, a line for each network."""
    from matplotlib.figure import Figure

    from suite.figures import curves

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, result in results.items():
        if len(result["seconds"]) > 1:
            minutes = np.array(result["seconds"]) / 60
            axes.plot(minutes, result["validation_nats"], marker=".", label=name)
        else:
            axes.axhline(result["validation_nats"][0], color="grey", linestyle=":", label=name)
    axes.set(xlabel="minutes of training", ylabel="nats of a character, validation")
    axes.legend(frameon=False)
    curves.write(figure, path)


@command_line.command
def contestant(name: str, data: str, minutes: float, precision: str, seed: int) -> None:
    """Train a network or count once, and print the result as JSON."""
    known = name in RECIPES
    print(json.dumps(ours(name, data, minutes, precision, seed) if known else counted(data)))


@command_line.default
def race(
    *,
    data: str = "auto",
    minutes: float = 30.0,
    precision: str = "float32",
    seed: int = 0,
    output: Path = Path("docs/pictures/language_model.png"),
) -> None:
    """Train both networks one after the other, and count.

    Args:
        data: The text, as in a training.
        minutes: Time of each network.
        precision: Dtype policy of the layers.
        seed: Seed of both.
        output: Image file that shows how they learn.
    """
    results = {}
    for name in (*RECIPES, f"{ORDER}-gram, Kneser-Ney"):
        arguments = ("contestant", name, data, str(minutes), precision, str(seed))
        results[name] = output_of("benchmarks.sequences.language_model", *arguments)
        print(name, results[name], flush=True)
    draw(results, output)
    publish(
        "language_model",
        [
            {
                "contestant": name,
                "parameters": result["parameters"],
                "seconds": round(result["seconds"][-1], 1),
                "held_out_nats": result["held_out_nats"],
                "test_nats": result["test_nats"],
            }
            for name, result in results.items()
        ],
        data=Path(data).name,
        minutes_of_each=minutes,
        precision=precision,
        seed=seed,
        curves={name: results[name] for name in RECIPES},
    )


if __name__ == "__main__":
    command_line()
