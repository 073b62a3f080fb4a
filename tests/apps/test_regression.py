import dataclasses
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from apps.regression import (
    CURVES,
    app,
    build_model,
    coefficients,
    compile_model,
    standardized_terms,
    terms_of,
)
from suite import InputError, Run, cli, train
from suite.app import Fitted

QUIET = Run(data="embedded", quiet=True, figures=False)


def solved(**knobs):
    return train(app, app.recipe(**knobs), QUIET, until="judge")


def splits_of(trained):
    return trained.data.splits["train"], trained.data.splits["test"]


def close(values, expected, tolerance=1e-5):
    """Within a share of the largest of the expected values."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance * abs(expected).max())


# --- the closed form ------------------------------------------------------------------------


def test_line_is_recovered():
    trained = solved()

    line = coefficients(trained.model, ["x"])
    assert line["x"] == pytest.approx(2.5, abs=0.02) and line["1"] == pytest.approx(2, abs=0.02)


def test_cubic_is_recovered_and_equals_scikit_learn_s():
    trained = train(app, "cubic", QUIET, until="judge")
    rows, _ = splits_of(trained)
    peer = LinearRegression().fit(
        PolynomialFeatures(3, include_bias=False).fit_transform(rows.inputs.astype(float)),
        rows.targets.astype(float),
    )

    cubic = coefficients(trained.model, ["x"])

    assert list(cubic) == ["1", "x", "x^2", "x^3"]
    close(list(cubic.values()), [peer.intercept_, *peer.coef_])
    np.testing.assert_allclose(list(cubic.values()), CURVES["cubic"][0], atol=0.2)


def test_least_squares_are_scikit_learn_s():
    trained = solved(dataset="diabetes")
    rows, _ = splits_of(trained)
    peer = LinearRegression().fit(rows.inputs.astype(float), rows.targets.astype(float))

    ours = coefficients(trained.model, trained.data.description.feature_names)

    assert ours.pop("1") == pytest.approx(peer.intercept_, rel=1e-5)
    close(list(ours.values()), peer.coef_)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("l2", [1e-3, 0.3])
def test_ridge_is_scikit_learn_s(l2, degree):
    trained = solved(dataset="diabetes", l2=l2, degree=degree)
    rows, test = splits_of(trained)
    inputs, targets = rows.inputs.astype(float), rows.targets.astype(float)
    peer = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(degree, include_bias=False),
        Ridge(alpha=l2 * len(targets), solver="svd"),
    ).fit(inputs, targets)

    ours = trained.model.get_layer("location").get_weights()[0][:, 0] * targets.std()

    close(ours, peer[-1].coef_)
    predicted = trained.model.predict(test.inputs, verbose=0)[:, 0]
    close(predicted, peer.predict(test.inputs.astype(float)))


def test_redundant_columns_have_a_solution():
    x = np.random.default_rng(0).normal(size=(60, 2))
    inputs = np.column_stack([x, x.sum(axis=1), np.full(60, 3.0)])
    targets = x @ [1.0, -2.0] + 5

    trained = train(app, app.recipe(), Run(quiet=True), until="judge", data=(inputs, targets))

    assert trained.metrics["test_r2"] == pytest.approx(1, abs=1e-6)


def test_the_interval_is_as_wide_as_the_errors_of_rows_left_out():
    random = np.random.default_rng(1)
    inputs = random.normal(size=(30, 2)).astype("float32")
    targets = (inputs @ [1.0, 2.0] + random.standard_t(3, size=30)).astype("float32")
    knobs = {"l2": 0.1, "interval": 0.8}
    trained = train(app, app.recipe(**knobs), Run(quiet=True), until="fit", data=(inputs, targets))
    rows, _ = splits_of(trained)
    terms = standardized_terms(trained.model, rows.inputs)
    count = len(terms)
    errors = []
    for row in range(count):
        kept = np.arange(count) != row
        # The penalty stays as it is for all rows.
        peer = Ridge(alpha=0.1 * count).fit(terms[kept], rows.targets[kept])
        errors.append(abs(peer.predict(terms[[row]])[0] - rows.targets[row]))
    expected = np.sort(errors)[int(np.ceil((count + 1) * 0.8)) - 1]

    serve = app.endpoints(fitted_of(trained, **knobs))["serve"]
    outputs = {name: n.numpy() for name, n in serve.function(rows.inputs).items()}

    np.testing.assert_allclose(outputs["upper"] - outputs["mean"], expected, rtol=1e-4)


def fitted_of(trained, **knobs):
    return Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=app.recipe(**knobs).config,
        folder=trained.folder,
    )


@pytest.mark.parametrize("dataset", CURVES)
@pytest.mark.parametrize("distribution", ["normal", "student_t"])
def test_intervals_hold_as_many_unseen_points_as_they_say(dataset, distribution):
    trained = solved(dataset=dataset, degree=3, distribution=distribution)

    assert trained.data.description.test == 10_000
    assert 0.88 < trained.metrics["test_coverage"] < 0.92


def test_noise_of_nothing_is_a_narrow_interval():
    trained = solved(noise_scale=0.0)

    assert trained.metrics["test_interval_width"] < 1e-3
    assert np.isfinite(list(trained.metrics.values())).all()


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"units": (4,)}, "`units` must be left out with `solver` exact"),
        ({"noise": "varying"}, "`noise` must be constant with `solver` exact"),
        ({"l1": 0.1}, "`l1` must be 0 with `solver` exact"),
    ],
)
def test_what_has_no_closed_form_is_refused(knobs, sentence):
    with pytest.raises(InputError, match=sentence):
        train(app, app.recipe(**knobs), QUIET, until="open")


# --- the builder ----------------------------------------------------------------------------


@pytest.mark.parametrize(("num_features", "degree"), [(1, 4), (3, 3)])
def test_terms_are_those_of_scikit_learn(num_features, degree):
    x = np.random.default_rng(0).normal(size=(5, num_features)).astype("float32")
    model = build_model(num_features, degree=degree)
    terms = keras.Model(model.input, model.get_layer("terms").output)

    expected = PolynomialFeatures(degree, include_bias=False).fit_transform(x)

    np.testing.assert_allclose(terms(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(standardized_terms(model, x), expected, rtol=1e-5, atol=1e-6)


def test_coefficients_are_those_of_the_function_that_the_model_is():
    random = np.random.default_rng(0)
    model = build_model(
        2, np.array([3.0, -1.0]), np.array([2.0, 0.5]), np.array([7.0]), np.array([4.0]), degree=3
    )
    location = model.get_layer("location")
    location.set_weights([random.normal(size=(9, 1)), np.array([0.5])])
    x = random.normal(size=(6, 2)).astype("float32")

    polynomial = coefficients(model, ["a", "b"])
    terms = np.stack([x[:, list(term)].prod(axis=1) for term in terms_of(2, 3)], axis=1)
    names = ["a", "b", "a^2", "a b", "b^2", "a^3", "a^2 b", "a b^2", "b^3"]
    values = terms @ [polynomial[name] for name in names] + polynomial["1"]

    close(model(x)[:, 0], values)


def test_too_many_terms_are_refused():
    with pytest.raises(InputError, match="`degree` must be lower for 30 features"):
        build_model(30, degree=3)


def test_outputs_stay_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")

    assert build_model(units=(4,), noise="varying").output.dtype == "float32"


def test_the_gradient_of_the_mean_does_not_depend_on_the_scale_at_a_weight_of_one():
    """It is that of the squared error; of the likelihood it is smaller where the scale is large."""

    def gradients(mean_weight):
        config = app.recipe(solver="adam", mean_weight=mean_weight).config
        model = compile_model(build_model(noise="varying"), config, 1)
        outputs = keras.ops.convert_to_tensor([[0.0, 1.0], [0.0, 3.0]])
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(outputs)
            loss = keras.ops.sum(model.loss(keras.ops.ones((2,)), outputs))
        return tape.gradient(loss, outputs)[:, 0].numpy()

    np.testing.assert_allclose(gradients(1.0), [-1, -1], rtol=1e-5)
    np.testing.assert_allclose(gradients(0.0), [-1, -1 / 9], rtol=1e-5)


# --- Adam -----------------------------------------------------------------------------------


NETWORK = {"solver": "adam", "units": (16,), "noise": "varying", "batch_size": 64}


def test_a_network_learns_the_cubic_and_its_intervals_hold():
    trained = solved(
        **NETWORK, dataset="cubic", rows=4000, validation_split=0.25, epochs=10, learning_rate=0.03
    )

    assert trained.metrics["test_r2"] > 0.97
    assert 0.87 < trained.metrics["test_coverage"] < 0.93


def test_intervals_are_wider_where_there_is_more_noise():
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (2000, 1))
    y = x[:, 0] + random.normal(size=2000) * np.where(x[:, 0] > 0, 1.0, 0.1)
    knobs = {**NETWORK, "epochs": 8, "learning_rate": 0.03, "distribution": "student_t"}

    trained = train(app, app.recipe(**knobs), Run(quiet=True), until="judge", data=(x, y))
    serve = app.endpoints(fitted_of(trained, **knobs))["serve"]
    outputs = serve.function(np.array([[-0.7], [0.7]], "float32"))
    narrow, wide = (outputs["upper"] - outputs["lower"]).numpy()

    assert wide > 4 * narrow
    assert 0.85 < trained.metrics["test_coverage"] < 0.95


def test_l1_makes_weights_small():
    knobs = {"solver": "adam", "dataset": "diabetes", "epochs": 2}

    weights = [
        abs(solved(**knobs, l1=l1).model.get_layer("location").get_weights()[0]).sum()
        for l1 in (0.0, 1.0)
    ]

    assert weights[1] < 0.2 * weights[0]


def test_it_stops_early():
    trained = solved(
        solver="adam", rows=60, epochs=50, patience=2, min_steps_per_epoch=5, learning_rate=0.1
    )

    errors = trained.history["val_rmse"]
    assert len(errors) < 50
    model, rows = trained.model, trained.data.splits["validation"]
    best = root_mean_squared_error(rows.targets, model.predict(rows.inputs, verbose=0)[:, 0])
    assert best == pytest.approx(min(errors), rel=1e-4)


# --- metrics, commands and the user's own data ----------------------------------------------


def test_metrics_are_scikit_learn_s():
    trained = solved(dataset="diabetes")
    _, test = splits_of(trained)
    predicted = trained.model.predict(test.inputs, verbose=0)[:, 0]

    metrics = trained.metrics

    assert metrics["test_r2"] == pytest.approx(r2_score(test.targets, predicted), rel=1e-5)
    assert metrics["test_mae"] == pytest.approx(
        mean_absolute_error(test.targets, predicted), rel=1e-5
    )
    assert metrics["test_rmse"] == pytest.approx(
        root_mean_squared_error(test.targets, predicted), rel=1e-5
    )


HOUSES = "\n".join(
    ["size,near,rooms,price"]
    + [
        f"{40 + 2 * n},{('sea', 'town', '')[n % 3]},{'' if n % 7 == 0 else n % 5},"
        f"{(1000 + 50 * n + 300 * (n % 3 == 0)) / 4}"
        for n in range(120)
    ]
)


def test_own_table_with_texts_and_missing_cells(capsys):
    Path("houses.csv").write_text(HOUSES)
    words = "--data houses.csv --label price --missing fill --leave-out rooms --quiet"

    assert cli.run(app, words.split()) == 0
    out = capsys.readouterr().out
    assert float(re.search(r"test_r2 +(\S+)", out)[1]) > 0.999

    assert cli.run(app, ["predict", "160", "sea"]) == 0
    answer = capsys.readouterr().out
    mean, share, lower, upper = re.fullmatch(
        r"(\S+), with (\d+%) from (\S+) to (\S+)\n", answer
    ).groups()
    assert share == "90%" and float(lower) <= float(mean) <= float(upper)
    assert float(mean) == pytest.approx((1000 + 50 * 60 + 300) / 4, rel=0.01)

    assert cli.run(app, ["evaluate"]) == 0
    again, at_export = capsys.readouterr().out.split("At export")
    values = [re.search(r"test_r2 +(\S+)", part)[1] for part in (again, at_export)]
    assert values[0] == values[1]


def test_evaluate_makes_the_curve_again(capsys):
    assert cli.run(app, ["--quiet", "--recipe", "cubic"]) == 0
    capsys.readouterr()

    assert cli.run(app, ["evaluate"]) == 0
    again, at_export = capsys.readouterr().out.split("At export")
    assert "synthetic:cubic" in again
    values = [re.search(r"test_rmse +(\S+)", part)[1] for part in (again, at_export)]
    assert values[0] == values[1]


FILES = {
    "one_row.csv": "size,price\n1,2\n",
    "texts.csv": "size,rooms,price\n1,2,cheap\n3,4,dear\n5,6,cheap\n",
    "alike.csv": "size,price\n1,7\n3,7\n5,7\n2,7\n",
    "two_rows.csv": "size,price\n1,7\n3,8\n",
}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--data one_row.csv", "two different numbers or more in price. Received: 2"),
        ("--data two_rows.csv", "at least 3 examples to hold some out. Received: 2"),
        ("--data texts.csv", "--label must be a column of numbers from -1e15 to 1e15, such as "
         "size, rooms. Received: 'cheap' in row 2 of column price of texts.csv"),
        ("--data alike.csv", "two different numbers or more in price. Received: 7"),
        ("--data none.csv", "or the path of a file or folder. Received: none.csv"),
        ("--data alike.csv --label cost", "--label must be a column of alike.csv: size, price"),
        ("--units 0", "--units"),
        ("--units 4", "--units must be left out with --solver exact"),
        ("--l1 0.1", "--l1 must be 0 with --solver exact"),
        ("--degree 0", "--degree should be greater than or equal to 1"),
        ("--interval 1", "--interval should be less than 1"),
        ("--recipe square", "--recipe"),
        ("predict 1 2", "none under saved_models/regression"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(words, sentence, capsys):
    for name, content in FILES.items():
        Path(name).write_text(content)

    assert cli.run(app, words.split()) == 2

    error = capsys.readouterr().err
    assert sentence in " ".join(error.split()), error
    assert "Traceback" not in error


def test_other_seed_same_rows():
    data = [app.data(app.config(), dataclasses.replace(QUIET, seed=seed)) for seed in (0, 1)]

    assert data[0].description.fingerprint == data[1].description.fingerprint
