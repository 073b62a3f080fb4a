"""How well do three networks translate after equal time, and how fast do they train?

    pip install '.[benchmark,text]'
    python -m benchmarks.sequences.translation networks --data pairs --recipe enja --minutes 60
    python -m benchmarks.sequences.translation throughput

`networks`: seq2seq, attention and Transformer of the application, and the Transformer of keras.io's
"English-to-Spanish translation with a sequence-to-sequence Transformer", written anew: one block
that reads and one that writes, 256 features, 8 heads, 2048 hidden units, learnt positions, dropout
of 0.5 before the logits, RMSprop, batches of 64, sentences of up to 20 tokens, or as many as nearly
all have, greedy decoding. Ours follow the beams of their recipe; `bleu_greedy` is without them. All
train on the same pairs with the same vocabularies for the same time, of `fit` with compilation, and
are judged by the same BLEU on the same test split. Epochs are shortened so that the time suffices.
Of keras.io's, the weights of the epoch with the best loss on the validation split are kept, for
which the example has no rule. Learning rate, dropout and averages of all three of ours are those of
the recipe, which was made for the Transformer. With `--jobs` they train side by side, each on an
equal share of the cores. `docs/pictures/translation_<recipe>.png` has the BLEU of greedy
translations by the length of the sentence: a single vector should fail long ones.

`throughput`: tokens a second of `fit` of our Transformer, both languages counted, and of a loop
with PyTorch's `nn.Transformer` of the same size in the same batches, eager and compiled with its
loss. The peer has less to do: it has no positions, drops no embeddings, masks no padding and
computes no metrics. Weights of the attention and hidden features are dropped on neither side.
"""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from matplotlib.figure import Figure

from benchmarks.results import PICTURES, publish
from benchmarks.turns import (
    on_shares,
    open_app,
    output_of,
    seconds_of_step,
    time_limit,
    use_all_cores,
    whole_executions,
)
from suite import Run
from suite.figures.curves import write
from suite.metrics.bleu import available

NETWORKS = ("seq2seq", "attention", "transformer")
EPOCHS = 10  # of ours, with a validation after each
FOR_EVER = 100_000  # epochs of the peer, which the clock stops
WARM_UP, TIMED = 10, 40  # steps by which the rate of training is measured
# Tokens that keras.io's example reads and writes: its own number, or more where that would cut more
# than a thousandth of the training sentences.
LEAST_LONGEST, NOT_CUT = 20, 0.999
# The Transformer whose rate is measured: features, heads, hidden units, layers, ids, pairs, tokens.
UNITS, HEADS, HIDDEN, LAYERS, IDS, PAIRS, TOKENS = 256, 4, 1024, 3, 8000, 64, 24
GROUPS = 5  # of test sentences by length, about as many in each
command_line = cyclopts.App(help=__doc__)


def bleu_by_length(
    sentences: Sequence[str], translations: Sequence[str], references: Sequence[str], tokenize: Any
) -> list[dict[str, float]]:
    """BLEU of groups of sentences of similar length, the short ones first.

    Returns:
        For each group the `mean_length`, in words, and `bleu`, of the group as a corpus.
    """
    from suite.metrics.bleu import corpus_bleu

    lengths = np.array([len(sentence.split()) for sentence in sentences])
    groups = []
    for rows in np.array_split(np.argsort(lengths, kind="stable"), GROUPS):
        answers, right = ([side[row] for row in rows] for side in (translations, references))
        score = corpus_bleu(answers, right, tokenize).score
        groups.append({"mean_length": float(lengths[rows].mean()), "bleu": score})
    return groups


def drawn(groups: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Plots BLEU by length, a line for each network."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, points in groups.items():
        lengths, scores = ([point[key] for point in points] for key in ("mean_length", "bleu"))
        axes.plot(lengths, scores, marker="o", markersize=4, label=name)
    axes.set(xlabel="words of the sentence, mean of a fifth of the test", ylabel="BLEU")
    axes.legend(frameon=False)
    return figure


def ours(
    network: str, data: str, recipe: str, minutes: float, precision: str, seed: int
) -> dict[str, Any]:
    """Trains a network of the application for some minutes."""
    from apps.translation import app, bleu_scores, pairs_of, texts_of, translated

    run = Run(data=data, precision=precision, seed=seed, quiet=True)
    knobs: dict[str, Any] = {"network": network, "epochs": EPOCHS}
    if network != "transformer":
        knobs |= {"encoder_layers": 2, "decoder_layers": 2, "units": 256}
    fitted = open_app(app, app.recipe(recipe, **knobs), run)
    per_step = seconds_of_step(fitted, app.callbacks(fitted))
    steps = whole_executions(60 * minutes * 0.95 / EPOCHS / per_step)
    fitted = open_app(app, app.recipe(recipe, **knobs, steps_per_epoch=steps), run)
    started = time.perf_counter()
    history = fitted.model.fit(
        fitted.data.train(0),
        steps_per_epoch=steps,
        epochs=EPOCHS,
        validation_data=fitted.data.validation,
        callbacks=app.callbacks(fitted),
        shuffle=False,
        verbose=0,
    )
    seconds = time.perf_counter() - started
    metrics, signature = app.evaluate(fitted), app.findings(fitted)["bleu_signature"]
    test = pairs_of(fitted).texts["test"]
    greedy = dataclasses.replace(
        fitted, config=dataclasses.replace(fitted.config, beams=1), _outputs={}
    )
    translations = texts_of(translated(greedy))
    scores = bleu_scores(pairs_of(fitted).texts, translations, fitted.config.bleu_tokenizer)
    return {
        "by_length": bleu_by_length(
            test.source, translations, test.target, fitted.config.bleu_tokenizer
        ),
        "seconds": seconds,
        "parameters": fitted.model.count_params(),
        "validation_nats": float(history.history["val_nats"][-1]),
        "validation_bleu": metrics["val_bleu"],
        "bleu": metrics["test_bleu"],
        "bleu_seen": metrics["test_bleu_seen"],
        "bleu_unseen": metrics["test_bleu_unseen"],
        "bleu_greedy": scores["bleu"],
        "signature": signature,
    }


def keras_io(data: str, recipe: str, minutes: float, precision: str, seed: int) -> dict[str, Any]:
    """Trains the Transformer of keras.io's example for some minutes on the same pairs."""
    import keras
    import tensorflow as tf
    from keras import layers, ops

    from apps.translation import app, bleu_scores, load_data
    from suite.data.pipelines import MOST_AT_ONCE
    from suite.data.text.tokenizers import END, PADDING, START
    from suite.metrics.bleu import corpus_bleu
    from suite.tasks.text_to_text import NEVER_WRITTEN

    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(seed)
    config: Any = app.recipe(recipe).config
    loaded = load_data(config, Run(data=data, seed=seed, quiet=True))
    languages: Any = loaded.source.preparation.languages()  # type: ignore[union-attr]
    train = loaded.splits["train"].in_memory()
    sides = (train.inputs["source"], train.targets)
    lengths = np.concatenate([side.row_lengths().numpy() for side in sides])
    longest = max(LEAST_LONGEST, math.ceil(np.quantile(lengths, NOT_CUT)))

    def embedded(ids: Any, size: int) -> Any:
        # Of the ids, so that Keras takes the positions for no constant, which would not learn.
        places = layers.Embedding(longest, 256)(ops.zeros_like(ids) + ops.arange(longest))
        return layers.Embedding(size, 256)(ids) + places

    def attended(query: Any, value: Any, mask: Any) -> Any:
        look = layers.MultiHeadAttention(8, 256)(query, value, attention_mask=mask)
        return layers.LayerNormalization()(query + look)

    def transformed(x: Any) -> Any:
        hidden = layers.Dense(2048, activation="relu")(x)
        return layers.LayerNormalization()(x + layers.Dense(256)(hidden))

    source = keras.Input((longest,), dtype="int32", name="source")
    prefix = keras.Input((longest,), dtype="int32", name="prefix")
    read = ops.expand_dims(ops.not_equal(source, PADDING), 1)
    earlier = ops.expand_dims(ops.tril(ops.ones((longest, longest), "bool")), 0)
    x = embedded(source, languages.source.size)
    memory = transformed(attended(x, x, read))
    y = embedded(prefix, languages.target.size)
    y = attended(y, y, ops.logical_and(earlier, ops.expand_dims(ops.not_equal(prefix, PADDING), 1)))
    y = layers.Dropout(0.5)(transformed(attended(y, memory, read)))
    model = keras.Model([source, prefix], layers.Dense(languages.target.size, dtype="float32")(y))
    model.compile(
        "rmsprop",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PADDING),
        steps_per_execution=MOST_AT_ONCE,
    )

    def fixed(ids: Any) -> np.ndarray:
        return ids.to_tensor(PADDING, shape=(None, longest)).numpy()

    def pairs(examples: Any) -> tuple[list[np.ndarray], np.ndarray]:
        inputs = [fixed(examples.inputs[name]) for name in ("source", "prefix")]
        return inputs, fixed(examples.targets)

    best = keras.callbacks.EarlyStopping(
        "val_loss", patience=FOR_EVER, restore_best_weights=True, mode="min"
    )
    validation = pairs(loaded.splits["validation"].in_memory())
    started = time.perf_counter()
    history = model.fit(
        *pairs(train),
        batch_size=64,
        epochs=FOR_EVER,
        validation_data=validation,
        verbose=0,
        callbacks=[best, time_limit(60 * minutes)],
    ).history
    seconds = time.perf_counter() - started
    texts = loaded.source.texts  # type: ignore[union-attr]
    step = tf.function(lambda *inputs: model(list(inputs), training=False))

    def translated(sentences: Sequence[str]) -> list[str]:
        translations: list[str] = []
        for begin in range(0, len(sentences), 64):
            ids = languages.source.encode(tf.constant(sentences[begin : begin + 64]))
            ids = tf.concat([ids[:, : longest - 1], tf.fill([ids.nrows(), 1], END)], axis=1)
            written = np.full((int(ids.nrows()), longest + 1), PADDING, np.int32)
            written[:, 0] = START
            for place in range(longest):
                logits = step(tf.constant(fixed(ids)), tf.constant(written[:, :longest]))
                next_logits = logits[:, place].numpy()
                next_logits[:, NEVER_WRITTEN] = -np.inf
                written[:, place + 1] = next_logits.argmax(axis=-1)
            answers = languages.target.decode(tf.constant(written[:, 1:])).numpy()
            translations += [answer.decode() for answer in answers]
        return translations

    test, held_out = texts["test"], texts["validation"]
    translations, tokenize = translated(test.source), config.bleu_tokenizer
    scores = bleu_scores(texts, translations, tokenize)
    return {
        "by_length": bleu_by_length(test.source, translations, test.target, tokenize),
        "seconds": seconds,
        "parameters": model.count_params(),
        "epochs": len(history["val_loss"]),
        "best_epoch": int(np.argmin(history["val_loss"])) + 1,
        "validation_nats": min(history["val_loss"]),
        "validation_bleu": corpus_bleu(
            translated(held_out.source), held_out.target, tokenize
        ).score,
        **scores,
        "bleu_greedy": scores["bleu"],
        "signature": corpus_bleu(translations, test.target, config.bleu_tokenizer).signature,
    }


def rate_of_ours(precision: str) -> float:
    """Tokens a second of `fit` of our Transformer, which computes its metrics as well."""
    import keras
    import tensorflow as tf

    from apps.translation import build_model
    from suite.tasks.text_to_text import Config, compile_model

    keras.config.set_dtype_policy(precision)
    sizes = {"encoder_layers": LAYERS, "decoder_layers": LAYERS, "units": UNITS}
    model = build_model(
        IDS, IDS, **sizes, num_heads=HEADS, hidden_factor=HIDDEN // UNITS, dropout=0.1
    )
    compile_model(model, Config(label_smoothing=0.1), WARM_UP + TIMED)
    model.steps_per_execution = WARM_UP
    ids = np.random.default_rng(0).integers(4, IDS, (3, PAIRS, TOKENS)).astype(np.int32)
    batch = {"source": ids[0], "prefix": ids[1]}, ids[2]
    batches = tf.data.Dataset.from_tensors(batch).repeat()
    for steps in (WARM_UP, TIMED):
        started = time.perf_counter()
        model.fit(batches, steps_per_epoch=steps, verbose=0)
    return 2 * PAIRS * TOKENS * TIMED / (time.perf_counter() - started)


def rate_of_pytorch(precision: str, compiled: bool) -> float:
    """Tokens a second of training steps of PyTorch's `nn.Transformer`."""
    import torch
    from torch import nn

    class Network(nn.Module):
        """Embeddings, the Transformer, and logits by the embeddings of the target."""

        def __init__(self) -> None:
            super().__init__()
            self.source, self.target = nn.Embedding(IDS, UNITS), nn.Embedding(IDS, UNITS)
            self.transformer = nn.Transformer(
                UNITS, HEADS, LAYERS, LAYERS, HIDDEN, 0.1, batch_first=True, norm_first=True
            )
            for module in self.transformer.modules():  # ours drops neither of the two
                if isinstance(module, nn.MultiheadAttention):
                    module.dropout = 0.0
                if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                    module.dropout = nn.Identity()

        def forward(self, source: Any, prefix: Any) -> Any:
            mask = nn.Transformer.generate_square_subsequent_mask(prefix.shape[1])
            outputs = self.transformer(
                self.source(source), self.target(prefix), tgt_mask=mask, tgt_is_causal=True
            )
            return outputs @ self.target.weight.T

    use_all_cores()
    torch.manual_seed(0)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    ids = torch.randint(4, IDS, (3, PAIRS, TOKENS))

    def loss_of(source: Any, prefix: Any, target: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            logits = network(source, prefix)
        return nn.functional.cross_entropy(
            logits.float().flatten(0, 1), target.flatten(), label_smoothing=0.1
        )

    run: Any = torch.compile(loss_of) if compiled else loss_of
    for steps in (WARM_UP, TIMED):
        started = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            loss = run(*ids)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            loss.item()
    return 2 * PAIRS * TOKENS * TIMED / (time.perf_counter() - started)


@command_line.command
def contestant(
    name: str, data: str, recipe: str, minutes: float, precision: str, seed: int
) -> None:
    """Train one network, and print the result as JSON."""
    peer = name == "keras.io"
    arguments = (data, recipe, minutes, precision, seed)
    print(json.dumps(keras_io(*arguments) if peer else ours(name, *arguments)))


@command_line.command
def rate(name: str, precision: str) -> None:
    """Measure the tokens a second of one contestant, and print them as JSON."""
    if name == "ours":
        print(json.dumps(rate_of_ours(precision)))
    else:
        print(json.dumps(rate_of_pytorch(precision, compiled=name.endswith("compiled"))))


@command_line.command
def networks(
    *,
    data: Path,
    recipe: str = "enja",
    minutes: float = 60.0,
    precision: str = "float32",
    seed: int = 0,
    jobs: int = 1,
) -> None:
    """BLEU of the three networks and of the peer after equal time.

    Args:
        data: Folder of pairs, as the application reads it.
        recipe: A recipe of the application.
        minutes: Minutes of `fit` for each.
        precision: Dtype policy of the layers.
        seed: Of weights and order.
        jobs: Networks that are trained at a time, each on its share of the cores.
    """
    if not available():
        raise SystemExit("BLEU needs sacrebleu: pip install '.[text]'")
    names = (*NETWORKS, "keras.io")
    arguments = (str(data.resolve()), recipe, str(minutes), precision, str(seed))
    command = ("benchmarks.sequences.translation", "contestant")
    calls = [partial(output_of, *command, name, *arguments) for name in names]
    rows, groups = [], {}
    for name, result in zip(names, on_shares(calls, jobs), strict=True):
        groups[name] = result.pop("by_length")
        rows.append({"network": name, **result})
        print(rows[-1], flush=True)
    publish(
        f"translation_{recipe}",
        rows,
        minutes=minutes,
        precision=precision,
        data=data.name,
        jobs=jobs,
        bleu_by_length=groups,
    )
    write(drawn(groups), PICTURES / f"translation_{recipe}.png")


@command_line.command
def throughput(*, repeats: int = 3) -> None:
    """Tokens a second of training steps, ours and PyTorch's, in turns.

    Args:
        repeats: Measurements of each.
    """
    names = ("ours", "PyTorch", "PyTorch compiled")
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeats):
        for precision in ("float32", "mixed_bfloat16"):
            for name in names:
                measured = output_of("benchmarks.sequences.translation", "rate", name, precision)
                rates.setdefault((name, precision), []).append(measured)
    rows = [
        {"contestant": name, "precision": precision, "tokens_per_second": float(np.median(values))}
        for (name, precision), values in rates.items()
    ]
    best = {
        who: max(r["tokens_per_second"] for r in rows if r["contestant"].startswith(who))
        for who in ("ours", "PyTorch")
    }
    publish(
        "translation_throughput",
        rows,
        ratio=best["ours"] / best["PyTorch"],
        pairs=PAIRS,
        tokens=TOKENS,
        units=UNITS,
        layers=LAYERS,
    )


if __name__ == "__main__":
    command_line()
