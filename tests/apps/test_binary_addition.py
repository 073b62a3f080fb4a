import json
import re
import subprocess
import sys

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from apps import binary_addition
from apps.binary_addition import ADDER, app, build_model, compile_model, exact, network
from suite import Run, train, train_aside
from suite.cli import run
from suite.data import sums
from suite.metrics.certificates.automata import certify


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One training with the default recipe."""
    folder = tmp_path_factory.mktemp("trained")
    return train(
        app, run=Run(quiet=True, run_dir=folder / "run", export_dir=folder / "saved_models")
    )


def test_the_automaton_adds():
    for a, b in [(0, 0), (13, 29), (255, 1), (170, 85)]:
        carry, total = 0, 0
        for place in range(9):
            symbol = 2 * (a >> place & 1) + (b >> place & 1)
            total |= int(ADDER.output[carry, symbol]) << place
            carry = ADDER.next_state[carry, symbol]
        assert total == a + b


def test_it_learns_to_add_exactly_at_any_length_and_proves_it(trained):
    metrics, certificate = trained.report["metrics"], trained.report["certificate"]

    for name in ("exact_8bit", "exact_1024bit", "exact_100000bit"):
        assert metrics[name] == 1.0
    assert certificate["holds"] and certificate["margin"] > 0 and certificate["sets"] >= 9
    assert {"accuracy.png", "hidden_states.png", "learning_curves.png"} == {
        path.name for path in (trained.folder / "figures").iterdir()
    }
    # The training ended with the proof.
    assert len(trained.history["loss"]) < app.config().epochs


def test_a_damaged_network_is_refused_its_certificate(trained):
    damaged = build_model()
    weights = trained.model.get_weights()
    assert certify(network(damaged), ADDER).holds is False  # its weights are fresh ones
    damaged.set_weights(weights)
    assert certify(network(damaged), ADDER).holds is True

    pairs = sums.encode_pairs([(a, b) for a in range(64) for b in range(64)], 6)
    exact_sums = []
    for unit in range(len(weights[1])):
        weights[1][unit] = 0.0  # one more unit is no longer remembered
        damaged.set_weights(weights)
        exact_sums.append(bool(np.all(exact(pairs.targets, damaged(pairs.inputs)))))
        assert exact_sums[-1] or not certify(network(damaged), ADDER).holds
    assert not exact_sums[-1]


def test_resuming_a_training_that_ended_with_its_proof_trains_no_further(trained):
    weights = trained.model.get_weights()
    run_dir, export_dir = trained.folder, trained.saved_model.parents[1]

    again = train(app, run=Run(quiet=True, run_dir=run_dir, export_dir=export_dir, resume=True))

    assert again.history == trained.history
    for a, b in zip(weights, again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_add_signature_adds_int64_and_wraps_round(trained):
    add = tf.saved_model.load(str(trained.saved_model)).signatures["add"]
    a = np.array([13, 0, 2**62, -5, 2**63 - 1, -(2**63)], np.int64)
    b = np.array([29, 0, 2**61 - 1, 3, 1, -1], np.int64)

    with np.errstate(over="ignore"):
        expected = a + b  # wraps round, as documented

    np.testing.assert_array_equal(add(a=tf.constant(a), b=tf.constant(b))["sum"], expected)


def test_predict_adds_thousands_of_digits(trained, capsys):
    a, b = "9" * 5000, "1"
    export = ["--export-dir", str(trained.saved_model.parents[1])]

    assert run(app, ["predict", "13", "29", *export]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "13 + 29 = 42"
    assert second.startswith("proven exact at every length: boxes by state")
    assert run(app, ["predict", a, b, *export]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{a} + 1 = 1{'0' * 5000}"


def test_exported_keras_file_loads_compiled_or_not_without_the_project(trained):
    path = trained.saved_model / "assets.extra/model.keras"
    script = f"""
import sys
sys.modules["apps"] = sys.modules["suite"] = None  # not importable here
import keras
print(keras.models.load_model({str(path)!r})(keras.ops.zeros((1, 3, 2))).shape)
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert process.returncode == 0, process.stderr
    assert "(1, 3)" in process.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict 13 -29", "whole numbers, 0 or greater. Received: 13 -29"),
        ("predict 1.5 2", "whole numbers, 0 or greater. Received: 1.5 2"),
        ("predict one two", "whole numbers, 0 or greater. Received: one two"),
        ("predict 13", "two whole numbers, 0 or greater. Received: 13"),
        ("predict", "two whole numbers, 0 or greater. Received: none"),
        ("predict 1 2 3", "two whole numbers, 0 or greater. Received: 1 2 3"),
        ("predict 1 2", "an exported model is needed"),
        ("cells --output cells.txt", "must end in one of"),
        ("cells --seed -1", "--seed "),
        ("--units 0", "--units should be greater than or equal to 1. Received: 0"),
        ("--cell transformer", '"transformer" for --cell. Choose from: "simple_rnn"'),
        ("--training-bits 0", "--training-bits .*greater than 8. Received: 0"),
        ("--training-bits 63", "--training-bits .*less than or equal to 62. Received: 63"),
        ("--activation gelu", '"gelu" for --activation. Choose from: "tanh"'),
        ("--data tfds", "--data must be auto"),
    ],
)
def test_bad_input_is_one_sentence(words, message, capsys, tmp_path):
    assert run(app, words.split()) == 2

    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_cells_are_trained_side_by_side_and_drawn(capsys, monkeypatch, tmp_path):
    recipes = []

    def recorded(app, recipe, run):
        recipes.append(recipe)
        return train_aside(app, recipe, run)

    monkeypatch.setattr(binary_addition, "CURVE_EPOCHS", 1)
    monkeypatch.setattr(binary_addition, "train_aside", recorded)

    assert run(app, ["cells", "--output", "drawn.png"]) == 0

    assert capsys.readouterr().out.splitlines()[-1] == "drawn.png: simple_rnn, lstm, gru"
    with PIL.Image.open("drawn.png") as picture:
        assert picture.width > picture.height > 100
    assert [recipe.architecture["cell"] for recipe in recipes] == ["simple_rnn", "lstm", "gru"]
    assert all(recipe.config.bound_weight == 0 for recipe in recipes)
    assert not (tmp_path / "runs").exists()  # where `--resume` would look


@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru"])
def test_every_cell_reads_any_length(cell):
    model = build_model(cell=cell, units=3)

    assert model(np.zeros((2, 1, 2))).shape == (2, 1)
    assert model(np.zeros((1, 70, 2))).shape == (1, 70)


def test_levers_reach_the_layer():
    layer = build_model(
        cell="gru",
        units=3,
        activation="sigmoid",
        kernel_initializer="he_normal",
        dropout=0.1,
        recurrent_dropout=0.2,
    ).get_layer("recurrent")

    assert (layer.units, layer.dropout, layer.recurrent_dropout) == (3, 0.1, 0.2)
    assert layer.activation is keras.activations.sigmoid
    assert isinstance(layer.kernel_initializer, keras.initializers.HeNormal)


def test_optimizer_and_clipping_come_from_the_recipe():
    config = app.config(optimizer="sgd", learning_rate=0.5, clipnorm=0.1)

    optimizer = compile_model(build_model(), config, 1).optimizer

    assert isinstance(optimizer, keras.optimizers.SGD)
    assert float(optimizer.learning_rate) == 0.5
    assert optimizer.clipnorm == 0.1


def test_a_sum_is_exact_only_as_a_whole():
    logits = np.array([[3.0, -2.0], [3.0, 2.0]])

    np.testing.assert_array_equal(exact(np.array([[1.0, 0.0], [1.0, 0.0]]), logits), [True, False])


def test_report_and_metadata_carry_the_certificate(trained):
    metadata = json.loads((trained.saved_model / "assets.extra/metadata.json").read_text())

    assert metadata["certificate"] == trained.report["certificate"]
    assert set(metadata["certificate"]) == {"holds", "method", "margin", "sets"}
    assert sums.TEST_BITS == 8
