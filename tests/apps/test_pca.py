import dataclasses

import keras
import numpy as np
import pytest
from sklearn.decomposition import PCA

from apps.pca import app, build_model
from suite import InputError, Run, cli, train
from suite.app import Fitted
from suite.data import Examples, Source
from suite.linear.components import of_rows, with_positive_peaks
from suite.studies.cross_validation import cross_validate

QUIET = Run(data="embedded", quiet=True, figures=False)


def analysed(run=QUIET, until="judge", data=None, callbacks=(), **knobs):
    return train(app, app.recipe(**knobs), run, until=until, data=data, callbacks=callbacks)


def components_of(trained):
    return trained.networks["pca"].get_layer("components").components()


def rows_of(trained, split="train"):
    inputs = trained.data.splits[split].inputs
    return inputs.reshape(len(inputs), -1).astype(float)


def fitted_of(trained, **knobs):
    return Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=app.recipe(**knobs).config,
        folder=trained.folder,
    )


# --- the peers ------------------------------------------------------------------------------


@pytest.mark.parametrize("knobs", [{"solver": "svd"}, {"solver": "covariance", "batch_size": 200}])
def test_components_are_scikit_learn_s(knobs):
    trained = analysed(components=10, **knobs)
    peer = PCA(10, svd_solver="full").fit(rows_of(trained))

    components = components_of(trained)

    cosines = np.linalg.svd(peer.components_ @ components.axes, compute_uv=False)
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    np.testing.assert_allclose(components.variances, peer.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(components.axes, with_positive_peaks(peer.components_.T), atol=1e-4)
    assert trained.metrics["explained_variance"] == pytest.approx(
        peer.explained_variance_ratio_.sum(), rel=1e-5
    )


def test_reconstructions_are_scikit_learn_s():
    trained = analysed(solver="svd", components=10)
    peer = PCA(10, svd_solver="full").fit(rows_of(trained))
    test = rows_of(trained, "test")
    expected = peer.inverse_transform(peer.transform(test))

    outputs = trained.networks["pca"].predict(trained.data.splits["test"].inputs, verbose=0)

    again = outputs["reconstruction"].reshape(expected.shape)
    assert np.linalg.norm(again - expected) < 1e-5 * np.linalg.norm(expected)
    np.testing.assert_allclose(outputs["error"], ((test - expected) ** 2).mean(axis=1), rtol=1e-3)
    assert trained.metrics["test_error"] == pytest.approx(((test - expected) ** 2).mean(), rel=1e-4)


def test_a_power_iteration_comes_to_the_same():
    exact, turned = (
        analysed(components=4, solver=solver, epochs=20) for solver in ("svd", "power")
    )

    cosines = np.linalg.svd(
        components_of(exact).axes.T @ components_of(turned).axes, compute_uv=False
    )
    np.testing.assert_allclose(cosines, 1, atol=1e-5)


def test_a_table_is_standardised():
    trained = train(app, "table", QUIET, until="judge")

    rows = rows_of(trained)
    peer = PCA(2).fit((rows - rows.mean(axis=0)) / rows.std(axis=0))
    assert trained.metrics["explained_variance"] == pytest.approx(
        peer.explained_variance_ratio_.sum(), rel=1e-5
    )


# --- the machine ----------------------------------------------------------------------------


@pytest.mark.parametrize("knobs", [{}, {"solver": "power", "epochs": 3}])
def test_two_replicas_come_to_the_same_as_one(knobs):
    one, two = (
        analysed(dataclasses.replace(QUIET, strategy=strategy), "fit", components=5, **knobs)
        for strategy in ("one_device", "mirrored")
    )

    for a, b in zip(components_of(one), components_of(two), strict=True):
        np.testing.assert_allclose(np.abs(a), np.abs(b), rtol=1e-3, atol=1e-5)


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise Killed


def test_killed_and_resumed_it_ends_with_the_same_bytes(tmp_path):
    knobs = {"solver": "power", "epochs": 4, "components": 5}
    run = dataclasses.replace(QUIET, deterministic=True, run_dir=tmp_path / "one")
    whole = analysed(run, "fit", **knobs)
    run = dataclasses.replace(run, run_dir=tmp_path / "other")

    with pytest.raises(Killed):
        analysed(run, "fit", callbacks=[Kill()], **knobs)
    resumed = analysed(dataclasses.replace(run, resume=True), "fit", **knobs)

    for a, b in zip(
        whole.networks["pca"].get_weights(), resumed.networks["pca"].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("solver", ["covariance", "power", "svd"])
def test_every_fold_is_solved(solver):
    rows = np.random.default_rng(0).normal(size=(60, 6)) @ np.diag([9, 5, 1, 1, 0.5, 0.5])
    source = Source(name="rows", train=Examples(rows.astype("float32")))

    result = cross_validate(
        app, app.recipe(components=2, solver=solver), Run(arrays=source, quiet=True), folds=3
    )

    assert 0.9 < result["cv_explained_variance_mean"] < 0.99
    assert result["cv_error_mean"] < 1


def test_one_row_is_refused():
    with pytest.raises(InputError, match=r"two rows or more to train on. Received: 1"):
        of_rows(np.ones((1, 3)), 1)


def test_codes_are_decoded_and_exported(tmp_path):
    run = dataclasses.replace(QUIET, figures=True, export_dir=tmp_path / "exports")
    trained = train(app, app.recipe(components=6, solver="svd"), run)
    endpoints = app.endpoints(fitted_of(trained, solver="svd"))

    code = trained.networks["pca"](trained.data.splits["test"].inputs[:3])["code"]
    decoded = endpoints["decode"].function(code)["reconstruction"]

    expected = trained.networks["pca"](trained.data.splits["test"].inputs[:3])["reconstruction"]
    np.testing.assert_allclose(decoded, expected, atol=1e-3)
    assert list(endpoints) == ["serve", "picture", "decode"]
    assert len(trained.report["explained_variance_ratio"]) == 6
    assert {path.stem for path in (trained.folder / "figures").iterdir()} == {
        "components", "explained_variance", "plane", "reconstructions",
    }  # fmt: skip


def test_the_row_of_a_table_can_be_served():
    trained = train(app, "table", QUIET, until="fit")
    endpoints = app.endpoints(fitted_of(trained))

    assert list(endpoints) == ["serve", "row", "decode"]
    assert len(endpoints["row"].inputs) == 13


def test_a_picture_is_reconstructed_by_the_command(tmp_path, capsys):
    train(app, app.recipe(**app.tiny), dataclasses.replace(QUIET, run_dir=tmp_path / "run"))
    picture = tmp_path / "white.png"
    keras.utils.save_img(picture, np.random.default_rng(0).integers(0, 255, (28, 28, 1)))

    assert cli.run(app, ["reconstruct", str(picture), "--output", "out.png"]) == 0
    assert "reconstructed below" in capsys.readouterr().out


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"components": 785}, "`components` must be at most the number of columns, 784"),
        ({"standardize": True}, "`standardize` must be off for data with constant columns"),
        ({"solver": "power", "standardize": True}, "`standardize` must be off"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(knobs, sentence):
    with pytest.raises(InputError, match=sentence):
        analysed(until="open", **knobs)


def test_more_components_than_rows_are_refused():
    rows = np.random.default_rng(0).normal(size=(20, 30))

    with pytest.raises(
        InputError, match="`components` must be at most the number of training rows"
    ):
        analysed(Run(quiet=True), "open", data=(rows, np.arange(20) % 2), components=20)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value):
    rows = np.random.default_rng(0).normal(size=(40, 5))
    rows[3, 2] = value

    with pytest.raises(InputError):
        analysed(Run(quiet=True), "open", data=(rows, np.arange(40) % 2), components=2)


def test_errors_end_with_exit_code_2(capsys):
    assert cli.run(app, ["--components", "785", "--data", "embedded"]) == 2
    assert "--components must be at most the number of columns, 784" in capsys.readouterr().err


def test_the_inputs_are_named_by_their_kind():
    assert build_model((4,), components=2).input.name == "features"
    assert build_model((4, 4, 1), components=2).input.name == "image"
