import re
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from apps.logistic_regression import app, build_model
from suite import Run, cli, train

QUIET = Run(data="embedded", quiet=True, figures=False)


@pytest.mark.parametrize("dataset", ["breast_cancer", "wine", "iris"])
@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_coefficients_and_areas_are_scikit_learn_s(dataset, l2):
    trained = train(app, app.recipe(dataset=dataset, l2=l2), QUIET, until="judge")
    rows, test = trained.data.splits["train"], trained.data.splits["test"]
    scaler = StandardScaler().fit(rows.inputs.astype(float))
    peer = LogisticRegression(C=1 / (2 * l2 * rows.num_examples), tol=1e-10, max_iter=20_000)
    peer.fit(scaler.transform(rows.inputs.astype(float)), rows.targets)

    kernel, bias = trained.model.get_layer("log_odds").get_weights()

    np.testing.assert_allclose(kernel.T, peer.coef_, atol=1e-3)
    np.testing.assert_allclose(bias, peer.intercept_, atol=1e-3)
    scores = peer.predict_proba(scaler.transform(test.inputs.astype(float)))
    area = roc_auc_score(
        test.targets, scores if scores.shape[1] > 2 else scores[:, 1], multi_class="ovr"
    )
    assert trained.metrics["test_auc"] == pytest.approx(area, abs=0.002)


def test_odds_ratios_and_coefficients_say_what_the_model_does():
    trained = train(app, app.recipe(), QUIET)
    report, model = trained.report, trained.model
    [(name, ratios)] = report["odds_ratios"].items()
    rows = trained.data.splits["train"].inputs
    feature = trained.data.description.feature_names.index("mean_radius")
    raised = rows[:5].copy()
    raised[:, feature] += rows[:, feature].std()

    log_odds = [
        np.diff(model.predict(x, verbose=0)[:, :], axis=1)[:, 0] for x in (rows[:5], raised)
    ]

    assert name == "benign"
    np.testing.assert_allclose(np.exp(log_odds[1] - log_odds[0]), ratios["mean_radius"], rtol=1e-3)
    by_hand = rows[:5].astype(float) @ list(report["coefficients"][name].values())
    np.testing.assert_allclose(
        by_hand + report["intercepts"][name], log_odds[0], rtol=1e-3, atol=1e-3
    )


def test_odds_are_printed_strongest_first(capsys):
    train(app, app.recipe(dataset="wine"), QUIET)
    capsys.readouterr()

    assert cli.run(app, ["odds"]) == 0

    blocks = capsys.readouterr().out.split("The odds of ")[1:]
    assert [block.split(",")[0] for block in blocks] == ["class_0", "class_1", "class_2"]
    for block in blocks:
        ratios = [float(line.split()[1]) for line in block.splitlines()[1:]]
        strengths = abs(np.log(ratios))
        assert len(ratios) == 13 and (np.diff(strengths) <= 0.01).all()


def test_adam_comes_near_the_optimum():
    metrics = [
        train(app, app.recipe(solver=solver, l2=0.01), QUIET, until="judge").metrics
        for solver in ("lbfgs", "adam")
    ]

    assert metrics[1]["test_auc"] == pytest.approx(metrics[0]["test_auc"], abs=0.01)


def test_a_separable_table_without_a_penalty_ends_and_says_so(caplog):
    x = np.linspace(-1, 1, 60)[:, None]

    trained = train(
        app, app.recipe(l2=0.0), Run(quiet=True), until="judge", data=(x, (x[:, 0] > 0).astype(int))
    )

    assert trained.metrics["test_accuracy"] > 0.9
    assert np.isfinite(trained.metrics["test_loss"])
    assert "a larger --l2 gives the loss a clear minimum" in caplog.text


def test_area_needs_every_class():
    x = np.arange(12.0)[:, None]
    labels = np.array([0, 1] * 6)
    data = {"train": (x, labels), "test": (x[:2], labels[:1].repeat(2))}

    trained = train(app, app.recipe(), Run(quiet=True), until="judge", data=data)

    assert trained.metrics["test_auc"] is None


def test_two_classes_have_one_logit():
    model = build_model(num_features=3)
    logits = model(np.random.default_rng(0).normal(size=(4, 3)))

    assert model.get_layer("log_odds").kernel.shape == (3, 1)
    np.testing.assert_array_equal(logits[:, 0], 0)


def test_logits_stay_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")

    assert build_model().output.dtype == "float32"


def test_own_table_from_training_to_explanation(capsys):
    random = np.random.default_rng(0)
    rows = [
        f"{sex},{'' if n % 9 == 0 else age},{'yes' if (sex == 'f') ^ (n % 10 == 0) else 'no'}"
        for n, (sex, age) in enumerate(
            zip(random.choice(["m", "f"], 200), random.integers(20, 80, 200), strict=True)
        )
    ]
    Path("ship.csv").write_text("\n".join(["sex,age,survived", *rows]))
    words = "--data ship.csv --label survived --missing fill --quiet"

    assert cli.run(app, words.split()) == 0
    capsys.readouterr()
    folder = next(Path("runs/logistic_regression").iterdir()) / "figures"
    drawn = {path.stem for path in folder.iterdir()}
    assert {"roc", "calibration", "odds_ratios", "confusion_matrix"} <= drawn

    assert cli.run(app, ["predict", "f", "NA"]) == 0
    assert re.fullmatch(r"yes \(\d+\.\d%\)\n", capsys.readouterr().out)
    assert cli.run(app, ["explain", "f", "30"]) == 0
    assert "sex = f" in capsys.readouterr().out


FILES = {
    "one_row.csv": "size,kind\n1,oak\n",
    "alike.csv": "size,kind\n1,oak\n3,oak\n5,oak\n",
    "prices.csv": "\n".join(["size,price", *(f"{n % 7},{n / 8}" for n in range(30))]),
}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--data one_row.csv", "two classes or more in kind. Received: oak"),
        ("--data alike.csv", "two classes or more in kind. Received: oak"),
        ("--data prices.csv", "--label must be a column of classes, such as size"),
        ("--l2 -1", "--l2 should be greater than or equal to 0"),
        ("--dataset diabetes --data embedded", "Received: diabetes"),
        ("odds", "none under saved_models/logistic_regression"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence, capsys):
    for name, content in FILES.items():
        Path(name).write_text(content)

    assert cli.run(app, words.split()) == 2

    error = capsys.readouterr().err
    assert sentence in " ".join(error.split()), error
    assert "Traceback" not in error
