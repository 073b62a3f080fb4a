import dataclasses

import numpy as np
import pytest

from apps.nmf import app, build_model
from suite import InputError, Run, cli, train
from suite.export.exported import ExportedModel
from suite.export.reopened import reopen

QUIET = Run(data="embedded", quiet=True, figures=False)
SMALL = {"epochs": 1, "steps_per_epoch": 20, "components": 6, "code_steps": 100}


def factored(run=QUIET, until="judge", data=None, **knobs):
    return train(app, app.recipe(**{**SMALL, **knobs}), run, until=until, data=data)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"start": "random"},
        {"solver": "coordinate"},
        {"divergence": "kullback_leibler", "code_steps": 20},
    ],
)
def test_more_steps_leave_less(knobs):
    few, many = (factored(steps_per_epoch=steps, **knobs) for steps in (1, 25))

    # The Kullback-Leibler divergence falls; the residual, which is not it, falls along.
    assert many.metrics["train_residual"] < few.metrics["train_residual"]
    assert many.metrics["kkt_violation"] < few.metrics["kkt_violation"]


def test_test_rows_are_described_as_well_as_training_rows():
    metrics = factored(solver="coordinate", steps_per_epoch=40).metrics

    assert metrics["test_residual"] == pytest.approx(metrics["train_residual"], abs=0.03)
    assert 0 < metrics["sparsity"] < 1


def test_codes_and_parts_are_not_negative():
    trained = factored()

    for network in trained.networks.values():
        assert all(weights.min() >= 0 for weights in network.get_weights())
    outputs = trained.networks["nmf"].predict(trained.data.splits["test"].inputs, verbose=0)
    assert outputs["code"].min() >= 0 and outputs["reconstruction"].min() >= 0


def test_two_replicas_come_to_the_same_as_one():
    one, two = (
        factored(dataclasses.replace(QUIET, strategy=strategy), "fit")
        for strategy in ("one_device", "mirrored")
    )

    for name, network in one.networks.items():
        for a, b in zip(network.get_weights(), two.networks[name].get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * a.max())


def test_a_training_row_has_the_code_of_its_number():
    trained = factored(solver="coordinate", steps_per_epoch=60, code_steps=1000)
    train_rows = trained.data.splits["train"].inputs[:20]

    remembered = trained.networks["memory"](np.arange(20))
    again = trained.networks["nmf"](train_rows)["code"]

    np.testing.assert_allclose(remembered, again, atol=0.05 * np.max(again))


def test_codes_of_other_rows_are_not_taken_for_theirs(tmp_path):
    """Also if there are as many of them."""
    files = [tmp_path / "january.csv", tmp_path / "february.csv"]
    for seed, file in enumerate(files):
        rows = np.random.default_rng(seed).random((60, 4)).tolist()
        lines = ["a,b,c,d", *(",".join(map(str, row)) for row in rows)]
        file.write_text("\n".join(lines) + "\n")
    run = dataclasses.replace(QUIET, data=str(files[0]), export_dir=tmp_path / "exports")
    factored(run, "publish", dataset="wine", components=2)
    exported = ExportedModel(tmp_path / "exports" / "nmf" / "1")

    same, other = (app.evaluate(reopen(app, exported, data)) for data in (None, str(files[1])))

    assert same["train_residual"] is not None
    assert other["train_residual"] is None and other["test_residual"] is not None


def test_a_table_has_parts_of_its_columns():
    trained = train(app, app.recipe("table", epochs=1), dataclasses.replace(QUIET, figures=True))

    parts = trained.report["parts"]
    assert len(parts) == 3 and "alcohol" in parts["part_1"]
    assert sum(parts["part_1"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"components": 785}, "`components` must be at most the number of columns, 784"),
        (
            {"solver": "coordinate", "divergence": "kullback_leibler"},
            "`divergence` must be frobenius with `solver` coordinate",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(knobs, sentence):
    with pytest.raises(InputError, match=sentence):
        factored(until="open", **knobs)


def test_negative_numbers_are_refused():
    rows = np.random.default_rng(0).random((40, 8))
    rows[:, 2] -= 0.9

    with pytest.raises(InputError, match=r"`data` must have no negative numbers\. .*column x2"):
        factored(Run(quiet=True), "open", data=(rows, np.arange(40) % 2), components=2)


def test_negative_numbers_of_held_out_rows_are_refused():
    rows = np.random.default_rng(0).random((40, 8))
    worse = rows - 0.9

    with pytest.raises(InputError, match="`data` must have no negative numbers"):
        splits = {"train": (rows, np.arange(40) % 2), "test": (worse, np.arange(40) % 2)}
        factored(Run(quiet=True), "open", data=splits, components=2)


def test_errors_end_with_exit_code_2(capsys):
    assert cli.run(app, ["--components", "785", "--data", "embedded"]) == 2
    assert "--components must be at most" in capsys.readouterr().err


def test_the_networks_are_named():
    networks = build_model((8,), 5, components=3)

    assert list(networks) == ["nmf", "memory"]
    assert networks["nmf"].input.name == "features" and networks["memory"].input.name == "row"
    assert networks["memory"].output_shape == (None, 3)


def test_counts_of_words_have_topics_for_parts():
    random = np.random.default_rng(0)
    topic = np.arange(120) % 2
    words = ["goal", "team", "match", "bread", "oven", "flour"]
    rates = np.array([[4, 4, 4, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 4, 4, 4]])
    counts = random.poisson(rates[topic])
    columns = {word: counts[:, number] for number, word in enumerate(words)}

    trained = train(
        app,
        app.recipe(
            components=2, divergence="kullback_leibler", epochs=1, steps_per_epoch=50
        ),
        dataclasses.replace(QUIET, data="auto"),
        data=(columns, topic),
    )  # fmt: skip

    tops = {frozenset(sorted(part, key=part.get)[-3:]) for part in trained.report["parts"].values()}
    assert tops == {frozenset(words[:3]), frozenset(words[3:])}
