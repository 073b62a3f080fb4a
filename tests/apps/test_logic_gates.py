import keras
import numpy as np
import pytest

from apps.logic_gates import (
    SIDE,
    Config,
    app,
    build_model,
    load_data,
    rosenblatt_loss,
    single_unit,
    sums_over_plane,
    table,
)
from suite import InputError, Run, cli, train

GATES = ("and", "or", "nand", "xor")
QUIET = Run(quiet=True, figures=False)


def outputs(model, bits):
    return (np.asarray(model(bits))[:, 0] > 0).astype(int)


def test_tables_are_those_of_the_gates():
    assert {gate: table(gate, 2).targets.tolist() for gate in GATES} == {
        "and": [0, 0, 0, 1],
        "or": [0, 1, 1, 1],
        "nand": [1, 1, 1, 0],
        "xor": [0, 1, 1, 0],
    }
    bits, parity = table("xor", 5)
    assert bits.shape == (32, 5) and parity.tolist() == [f"{n:b}".count("1") % 2 for n in range(32)]


@pytest.mark.parametrize("num_bits", [2, 3, 6])
@pytest.mark.parametrize("gate", GATES)
def test_weights_set_by_hand_compute_every_gate(gate, num_bits):
    bits, targets = table(gate, num_bits)
    model = build_model(gate, num_bits, "mcculloch_pitts")

    np.testing.assert_array_equal(outputs(model, bits), targets)
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert len(dense) == (2 if gate == "xor" else 1)


def test_a_step_of_the_loss_is_rosenblatt_s_rule():
    for target in (0, 1):
        for weights in ([0.3, -0.7], [-0.3, 0.1]):
            model = build_model(num_bits=2, unit="rosenblatt")
            model.layers[-1].set_weights([np.array(weights)[:, None], np.array([0.2])])
            model.compile(keras.optimizers.SGD(0.5), rosenblatt_loss)
            answer = weights[1] + 0.2 > 0

            model.train_on_batch(np.array([[0.0, 1.0]]), np.array([target]))

            kernel, bias = model.layers[-1].get_weights()
            change = 0.5 * (target - answer)
            np.testing.assert_allclose(kernel[:, 0], np.add(weights, [0, change]), atol=1e-6)
            np.testing.assert_allclose(bias, [0.2 + change], atol=1e-6)


@pytest.mark.parametrize("num_bits", [2, 7])
@pytest.mark.parametrize("gate", ["and", "or", "nand"])
def test_weights_prove_that_a_unit_is_enough(gate, num_bits):
    bits, targets = table(gate, num_bits)

    proof = single_unit(bits, targets)

    *weights, bias = proof["weights"]
    assert proof["possible"] and proof["holds"] and proof["contradiction"] is None
    np.testing.assert_array_equal(bits @ weights + bias > 0, targets == 1)


def test_no_unit_does_xor():
    proof = single_unit(*table("xor", 2))

    assert not proof["possible"] and proof["holds"] and proof["weights"] is None
    assert proof["contradiction"] == dict.fromkeys(("00", "01", "10", "11"), "1/4")


@pytest.mark.parametrize("num_bits", [3, 7, 10])
def test_no_unit_does_parity(num_bits):
    proof = single_unit(*table("xor", num_bits))

    assert not proof["possible"] and proof["holds"]


def test_a_proof_that_rounds_wrongly_does_not_hold(monkeypatch):
    class Rounded:
        status = 2
        x = np.array([0.3, 0.2, 0.25, 0.25])

    monkeypatch.setattr("scipy.optimize.linprog", lambda *_, **__: Rounded)

    assert not single_unit(*table("xor", 2))["holds"]


@pytest.mark.parametrize("gate", ["and", "or", "nand"])
def test_rosenblatt_s_rule_learns_what_a_unit_can(gate):
    trained = train(app, app.recipe(unit="rosenblatt", gate=gate), QUIET, until="judge")

    assert trained.metrics["test_accuracy"] == 1
    assert len(trained.history["loss"]) < Config().epochs  # it ends when the gate is right
    assert len(trained.model.layers) == 2


def test_rosenblatt_s_rule_does_not_learn_xor():
    recipe = app.recipe(unit="rosenblatt", gate="xor", epochs=3)

    trained = train(app, recipe, QUIET, until="judge")

    assert trained.metrics["test_accuracy"] <= 0.75
    assert len(trained.history["loss"]) == 3


def test_a_hidden_layer_learns_xor_and_its_regions_move(tmp_path):
    run = Run(quiet=True, run_dir=tmp_path / "run")

    trained = train(app, app.recipe(), run, until="judge")

    epochs = len(trained.history["loss"])
    [model] = trained.networks.values()
    paths = sorted((tmp_path / "run" / "regions").iterdir())
    assert trained.metrics["test_accuracy"] == 1 and epochs < Config().epochs
    assert [path.name for path in paths] == [f"epoch-{n:07}.npy" for n in range(epochs + 1)]
    assert not np.allclose(np.load(paths[0]), np.load(paths[-1]))
    np.testing.assert_allclose(np.load(paths[-1]), sums_over_plane(model), atol=1e-5)
    assert (tmp_path / "run" / "figures" / "regions.png").stat().st_size > 1000


def test_the_plane_is_that_of_the_first_two_bits():
    model = build_model("or", 3, "mcculloch_pitts")
    model.layers[-1].set_weights([np.array([[1.0], [10.0], [100.0]]), np.array([0.0])])

    first, second = np.meshgrid(SIDE, SIDE)

    np.testing.assert_allclose(sums_over_plane(model), first + 10 * second, atol=1e-5)


def test_gates_set_by_hand_are_exported_and_asked(tmp_path, capsys):
    run = Run(quiet=True, run_dir=tmp_path / "run", export_dir=tmp_path / "saved_models")

    trained = train(app, app.recipe("by_hand", bits=3), run)

    assert trained.report["metrics"]["test_accuracy"] == 1 and not trained.history
    assert trained.report["single_unit"]["holds"]
    folder = ["--export-dir", str(tmp_path / "saved_models")]
    assert cli.run(app, ["predict", "1", "1", "1", *folder]) == 0
    assert capsys.readouterr().out == "xor of 1 1 1: 1\n"
    assert cli.run(app, ["predict", "1", "2", "1", *folder]) == 2
    assert "predict needs 3 bits, each 0 or 1. Received: 1 2 1" in capsys.readouterr().err


def test_other_data_are_refused():
    with pytest.raises(InputError, match="`data` must be auto: the table is made by the program"):
        load_data(Config(), Run(data="table.csv"))
