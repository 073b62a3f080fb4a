"""Language models: the past alone decides, states are carried over, text goes in and comes out."""

import json
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps import language_model
from apps.language_model import app, build_model, layers_of, read, recurrence, stepper
from suite import InputError, Run, train
from suite.app import Fitted
from suite.cli import run
from suite.data.text.tokenizers import PADDING
from suite.export.endpoints import Endpoint
from suite.tasks import language_modeling as task

NETWORKS = ("rnn", "lstm", "gru", "transformer")
SMALL = {"num_layers": 2, "units": 16, "num_heads": 2}
VERSE = "the cat sat on the mat\n"


def opened(recipe, **run_knobs):
    prepared = train(app, recipe, Run(quiet=True, **run_knobs), until="open")
    return Fitted(
        model=prepared.model,
        networks=prepared.networks,
        data=prepared.data,
        config=recipe.config,
        folder=prepared.folder,
    )


@pytest.fixture(scope="module")
def opened_tiny():
    return opened(app.recipe(**app.tiny), data="embedded")


@pytest.fixture(params=NETWORKS, scope="module")
def fitted(request):
    keras.utils.set_random_seed(0)
    fitted = opened(app.recipe(**{**app.tiny, **SMALL}, network=request.param), data="embedded")
    for weight in fitted.model.trainable_weights:  # so that what comes next is not equally probable
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.2, seed=1))
    return fitted


def ids_of(seed, *shape):
    return np.random.default_rng(seed).integers(4, 60, shape).astype(np.int32)


def call(endpoint: Endpoint, *inputs):
    return {name: value.numpy() for name, value in endpoint.function(*inputs).items()}


@pytest.mark.parametrize("network", NETWORKS)
def test_what_comes_later_and_padding_change_nothing(network):
    model = build_model(network=network, **SMALL)
    ids = ids_of(0, 3, 12)
    others = np.concatenate([ids[:, :7], ids_of(1, 3, 5)], axis=1)
    padded = np.pad(ids, [(0, 0), (0, 9)], constant_values=PADDING)
    logits = model.predict(ids, verbose=0)
    np.testing.assert_allclose(model.predict(others, verbose=0)[:, :7], logits[:, :7], atol=1e-6)
    np.testing.assert_allclose(model.predict(padded, verbose=0)[:, :12], logits, atol=1e-6)
    assert np.abs(model.predict(others, verbose=0)[:, 7:] - logits[:, 7:]).max() > 1e-4


def test_padding_changes_neither_loss_nor_metrics(fitted):
    x, y = next(fitted.data.train(0).as_numpy_iterator())
    plain = fitted.model.test_on_batch(x, y, return_dict=True)
    rows = [(0, 0), (0, 5)]
    padded = fitted.model.test_on_batch(np.pad(x, rows), np.pad(y, rows), return_dict=True)
    for name, value in plain.items():
        np.testing.assert_allclose(padded[name], value, rtol=1e-5)


def test_steps_are_the_forward_pass(fitted):
    [model] = fitted.networks.values()
    ids = ids_of(0, 2, fitted.config.context)
    one_by_one = stepper(fitted)
    state, logits = one_by_one.start(2), []
    for index in range(ids.shape[1]):
        following, state = one_by_one.step(tf.constant(ids[:, index]), tf.constant(index), state)
        logits.append(following)
    np.testing.assert_allclose(np.stack(logits, axis=1), model(ids), atol=1e-5)


@pytest.mark.parametrize("network", ["rnn", "lstm", "gru"])
def test_states_are_carried_from_window_to_window(network):
    recipe = app.recipe(
        **{**app.tiny, "learning_rate": 1e-9, "clip_norm": None}, network=network, carry=True
    )
    fitted = opened(recipe, data="embedded")
    model, [plain] = fitted.model, fitted.networks.values()
    batches = list(fitted.data.train(0).take(3).as_numpy_iterator())
    whole = np.concatenate([inputs["ids"] for inputs, _ in batches], axis=1)
    targets = np.concatenate([y for _, y in batches], axis=1)
    losses = task.nats(targets, plain(whole)).numpy().reshape(len(whole), 3, -1).mean(axis=(0, 2))
    for batch, expected in zip(batches, losses, strict=True):
        model.reset_metrics()
        logs = model.train_step(batch)
        np.testing.assert_allclose(float(logs["nats"]), expected, rtol=1e-4)
    # A row that does not go on begins without a state.
    model.reset_metrics()
    again = {**batches[0][0], "goes_on": np.zeros(len(whole), bool)}
    logs = model.train_step((again, batches[0][1]))
    np.testing.assert_allclose(float(logs["nats"]), losses[0], rtol=1e-4)


def test_a_state_is_carried_by_recurrent_networks_alone():
    recipe = app.recipe(**app.tiny, network="transformer", carry=True)
    with pytest.raises(InputError, match="`carry` must be left out for a network without"):
        opened(recipe, data="embedded")
    with pytest.raises(InputError, match="`carry` must be left out on several replicas"):
        opened(
            app.recipe(**app.tiny, network="gru", carry=True), data="embedded", strategy="mirrored"
        )


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights(tied):
    model = build_model(50, network="gru", num_layers=1, units=8, tied=tied)
    tokens = model.get_layer("tokens")
    assert len(tokens.weights) == (1 if tied else 2)
    x = np.ones((1, 1, 8), np.float32)
    product = x @ np.asarray(tokens.embeddings).T
    assert np.allclose(tokens(x, reverse=True), product) == tied


def test_likelihood_of_a_text(fitted):
    [model] = fitted.networks.values()
    tokenizer = task.tokenizer_of(fitted)
    text = "Speak, speak."
    outputs = call(language_model.endpoints(fitted)["score"], tf.constant([text, "", "a" * 40]))
    ids = task.encoded(tokenizer, "\n" + text)[None]
    expected = -task.nats(ids[:, 1:], model(ids[:, :-1])).numpy().sum()
    np.testing.assert_allclose(outputs["log_likelihood"][0], expected, rtol=1e-5)
    assert outputs["tokens"].tolist() == [len(text), 0, 40]
    perplexity = math.exp(-expected / len(text))
    np.testing.assert_allclose(outputs["perplexity"][:2], [perplexity, 1], rtol=1e-5)


def test_next_tokens(fitted):
    [model] = fitted.networks.values()
    tokenizer = task.tokenizer_of(fitted)
    serve = language_model.endpoints(fitted)["serve"]
    outputs = call(serve, tf.constant(["Spea", "", "雨 is long " + 40 * "a"]))
    ids = task.encoded(tokenizer, "\nSpea")[None]
    probabilities = tf.nn.softmax(model(ids)[0, -1]).numpy()
    np.testing.assert_allclose(
        outputs["probabilities"][0], np.sort(probabilities)[:-11:-1], rtol=1e-4
    )
    best = tokenizer.pieces()[int(probabilities.argmax())]
    assert outputs["next"][0, 0].decode() == best
    assert outputs["tokens_read"].tolist() == [4, 0, fitted.config.context]
    assert outputs["unknown_tokens"].tolist() == [0, 0, 0]


def test_generated_text_is_that_of_its_seed_whatever_else_is_in_the_batch(fitted):
    generate = language_model.endpoints(fitted)["generate"]

    def generated(texts, seeds, **knobs):
        settings = {"length": 12, "temperature": 1.0, "top_k": None, "top_p": 1.0, **knobs}
        inputs = task.generation_inputs(texts, seeds=seeds, **settings)
        return call(generate, *map(tf.constant, inputs.values()))

    both = generated(["To be", "O, " * 20], [5, 2**32 - 1])
    alone = generated(["To be"], [5])
    other = generated(["To be"], [6])
    assert both["text"][0] == alone["text"][0] != other["text"][0]
    assert both["text"][0].startswith(b"To be")
    assert both["text"][0] == b"To be" + both["continuation"][0]
    assert [len(text) for text in both["continuation"]] == [12, 12]
    assert both["tokens_read"].tolist() == [5, fitted.config.context]
    first = [generated(["To be"], [seed], top_k=1)["text"][0] for seed in (5, 6)]
    assert first[0] == first[1] == generated(["To be"], [7], temperature=1e-4)["text"][0]


def test_the_most_probable_text_is_that_of_the_forward_pass(fitted):
    [model] = fitted.networks.values()
    tokenizer = task.tokenizer_of(fitted)
    inputs = task.generation_inputs(
        ["To be"], length=8, temperature=1.0, top_k=1, top_p=1.0, seeds=[0]
    )
    outputs = call(language_model.endpoints(fitted)["generate"], *map(tf.constant, inputs.values()))
    ids = task.encoded(tokenizer, "\nTo be")
    for _ in range(8):
        logits = model(ids[None])[0, -1].numpy()
        logits[:4] = -np.inf
        ids = np.append(ids, np.int32(logits.argmax()))
    assert outputs["text"][0] == tokenizer.decode(tf.constant(ids[None])).numpy()[0][1:]


@pytest.mark.parametrize(
    ("signature", "knobs"),
    [
        ("generate", {"temperature": 0.0}),
        ("generate", {"temperature": -1.0}),
        ("generate", {"temperature": 1e9}),
        ("generate", {"top_k": -1}),
        ("generate", {"top_p": 0.0}),
        ("generate", {"length": 0}),
        ("score", {}),
    ],
)
def test_a_server_refuses(signature, knobs, opened_tiny):
    endpoint = language_model.endpoints(opened_tiny)[signature]
    settings = {"length": 2, "temperature": 1.0, "top_k": 5, "top_p": 1.0, **knobs}
    inputs = task.generation_inputs(["a" * 10_001], seeds=[0], **settings)
    inputs = [tf.constant(inputs[spec.name]) for spec in endpoint.inputs]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{next(iter(knobs), 'text')}` must"):
        endpoint.function(*inputs)


@pytest.mark.parametrize(
    ("tokens", "network"), [("characters", "lstm"), ("words", "gru"), ("pieces", "transformer")]
)
def test_it_learns_a_verse_of_a_file_and_says_it(tokens, network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "verse.txt"
    path.write_text(VERSE * 200)
    words = f"--data {path} --tokens {tokens} --vocabulary-size 30 --network {network} --units 32"
    words += " --num-layers 1 --num-heads 2 --epochs 1 --steps-per-epoch 100 --context 24"
    words += " --batch-size 8 --learning-rate 0.02"
    carry = ["--carry"] if network != "transformer" else []
    assert run(app, words.split() + carry) == 0
    [report] = tmp_path.glob("runs/language_model/*/report.json")
    for figure in ("perplexity_by_position", "embeddings"):
        assert (report.parent / "figures" / f"{figure}.png").exists()
    metrics = json.loads(report.read_text())["metrics"]
    assert metrics["test_bits_per_character"] < 1  # it would be 3.4 if all were equally probable
    assert run(app, ["generate", "the cat", "--temperature", "0.1", "--length", "40"]) == 0
    assert " on the " in capsys.readouterr().out.partition("the cat")[2]
    assert run(app, ["evaluate", "--data", str(path)]) == 0
    assert "test_nats" in capsys.readouterr().out
    path.write_text("猫はマットの上に座った\n" * 200)
    assert run(app, ["evaluate", "--data", str(path)]) == 2
    assert "a test split of which it does not know" in capsys.readouterr().err


def test_it_learns_a_verse_in_japanese(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verse.txt").write_text("猫はマットの上に座った\n" * 200, encoding="utf-8")
    words = "--data verse.txt --num-layers 1 --units 32 --num-heads 2 --epochs 1 --context 24"
    words += " --steps-per-epoch 100 --batch-size 8 --learning-rate 0.02"

    assert run(app, words.split()) == 0
    assert run(app, ["generate", "猫は", "--temperature", "0.1", "--length", "20"]) == 0

    assert "猫はマットの上に座った" in capsys.readouterr().out


@pytest.mark.parametrize("tokens", ["characters", "words", "pieces"])
def test_the_vocabulary_is_that_of_the_training_text(tokens, tmp_path):
    for split, text in {
        "train": "abc cab\n" * 200,
        "valid": "abc cab\n" * 20,
        "test": "abz cab\n" * 20,
    }.items():
        (tmp_path / f"{split}.txt").write_text(text)
    recipe = app.recipe(**app.tiny, tokens=tokens, vocabulary_size=12)
    fitted = opened(recipe, data=str(tmp_path))
    assert not [piece for piece in task.tokenizer_of(fitted).pieces()[4:] if "z" in piece]
    assert fitted.data.source.notes["unknown_tokens"]["test"] == 20
    assert app.evaluate(fitted)["test_bits_per_character"] is None


@pytest.mark.parametrize("signature", ["serve", "score"])
def test_memory_for_many_texts_is_bounded_and_one_is_always_answered(
    signature, opened_tiny, monkeypatch
):
    endpoint = app.endpoints(opened_tiny)[signature]
    monkeypatch.setattr(task, "MOST_ANSWERED", 1)
    answer = endpoint.as_graph()

    assert answer(text=tf.constant(["To be"]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be fewer or shorter texts"):
        answer(text=tf.constant(["To be", "or"]))


def test_metrics_are_of_every_token(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(map(chr, np.random.default_rng(0).integers(97, 105, 3000))))
    fitted = opened(app.recipe(**app.tiny), data=str(path))
    [model] = fitted.networks.values()
    metrics = app.evaluate(fitted)
    text = path.read_text()[2850:]
    ids = task.encoded(task.tokenizer_of(fitted), text)
    losses = []
    for begin in range(0, len(ids) - 1, 16):
        window = ids[begin : begin + 17][None]
        losses.extend(task.nats(window[:, 1:], model(window[:, :-1])).numpy()[0])
    assert len(losses) == 149
    np.testing.assert_allclose(metrics["test_nats"], np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics["test_perplexity"], np.exp(np.mean(losses)), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["test_bits_per_character"], np.sum(losses) / np.log(2) / 150, rtol=1e-5
    )
    assert fitted.data.description.notes["characters"] == {
        "train": 2700,
        "validation": 150,
        "test": 150,
    }


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (b"", "", "--data must hold text to train on"),
        (b"one\n\xff two", "", "every file must be UTF-8 text. Received: .*0xff in line 2"),
        (b"ab" * 30, "--context 64", "--context must be less than the number of tokens"),
        (b"ab" * 30, "--network gru --carry", "--context must be at most the 1 tokens of each"),
        (b"a", "--context 1", "--data must be long enough to be split"),
        (
            VERSE.encode() * 9,
            "--units 20 --num-heads 4",
            "--units must be a multiple of 8, twice --num-heads",
        ),
        (VERSE.encode() * 9, "--tokens syllables", "--tokens"),
        (VERSE.encode() * 9, "--tokens pieces --vocabulary-size 5", "--vocabulary-size must be"),
    ],
)
def test_bad_input_is_told_in_one_sentence(content, words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    assert run(app, ["--data", str(path), *words.split()]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert re.match(message, line), line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "a", "--temperature", "0"], "--temperature "),
        (["generate", "a", "--temperature", "-1"], "--temperature "),
        (["generate", "a", "--top-k", "0"], "--top-k "),
        (["generate", "a", "--top-p", "1.5"], "--top-p "),
        (["generate", "a", "--length", "0"], "--length "),
        (["generate", "a", "--seed", "-1"], "--seed "),
        (["generate", "\udcff"], "the text must be UTF-8"),
        (["generate", "a"], "an exported model is needed"),
    ],
)
def test_bad_requests_are_told_in_one_sentence(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(app, words) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(message)


def test_text_that_the_model_does_not_know(tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(tmp_path)
    train(app, app.recipe(**app.tiny), Run(data="embedded", quiet=True, figures=False))
    assert run(app, ["generate", "雨が"]) == 2
    assert "must have tokens of the model's vocabulary" in capsys.readouterr().err
    assert run(app, ["generate", "雨 rain", "--length", "3"]) == 0
    assert "1 of the text's tokens are not in the model's vocabulary" in caplog.text
    assert "its end is read" not in caplog.text
    assert run(app, ["generate", "rain " * 20_000, "--length", "3"]) == 0
    assert "its end is read" in caplog.text


def test_recurrence_and_reading_agree():
    assert recurrence(build_model(network="transformer", **SMALL)) is None
    model = build_model(network="lstm", **SMALL)
    ids = ids_of(0, 2, 10)
    reading = recurrence(model)
    first, states = reading.read(ids[:, :4], reading.start(2), False)
    second, _ = reading.read(ids[:, 4:], states, False)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), model(ids), atol=1e-5)
    np.testing.assert_allclose(read(layers_of(model), ids)[0], model(ids), atol=1e-6)
