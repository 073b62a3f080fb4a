import dataclasses

import keras
import numpy as np
import pytest

from apps.faces import app, build_model
from suite import InputError, Run, cli, train
from suite.data.faces import generate_faces
from suite.linear.recognition import scores

QUIET = Run(data="embedded", quiet=True, figures=False)
METHODS = ("eigenfaces", "fisherfaces", "subspaces")


def recognised(run=QUIET, until="judge", data=None, **knobs):
    return train(app, app.recipe(**knobs), run, until=until, data=data)


@pytest.mark.parametrize("method", METHODS)
def test_people_are_recognised(method):
    metrics = recognised(method=method).metrics

    assert metrics["test_accuracy"] > 0.7
    assert np.isfinite(metrics["test_loss"])


def test_fisherfaces_see_through_the_light():
    """The light differs more between pictures than people do."""
    eigen, fisher = (
        recognised(method=method, similarity="euclidean").metrics["test_accuracy"]
        for method in ("eigenfaces", "fisherfaces")
    )

    assert fisher >= eigen


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("compared_with", ["pictures", "means"])
@pytest.mark.parametrize("similarity", ["euclidean", "cosine"])
def test_all_ways_fit_together(method, compared_with, similarity):
    model = build_model(
        (8, 6, 1), 4, 20,
        method=method, compared_with=compared_with, similarity=similarity, components=7,
    )  # fmt: skip

    assert model.output_shape == (None, 4)
    assert not model.trainable_variables
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 1))
    assert np.isfinite(keras.ops.convert_to_numpy(model(images))).all()


@pytest.mark.parametrize("precision", ["mixed_bfloat16"])
def test_weights_are_never_of_half_precision(precision):
    keras.config.set_dtype_policy(precision)

    model = build_model(components=5)

    assert {tensor.dtype for tensor in model.outputs} == {"float32"}
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_the_answer_has_a_name_and_a_code():
    trained = train(app, app.recipe(**app.tiny), QUIET, until="fit")
    from suite.app import Fitted

    fitted = Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=app.config(),
        folder=trained.folder,
    )
    endpoints = app.endpoints(fitted)
    images = trained.data.splits["train"].inputs[:4]

    answers = endpoints["serve"].function(images)

    names = trained.data.description.class_names
    labels = trained.data.splits["train"].targets[:4]
    assert [name.decode() for name in answers["name"].numpy()] == [names[n] for n in labels]
    assert list(endpoints) == ["serve", "picture", "encode"]
    assert endpoints["encode"](images)["code"].shape == (4, 29)


def test_the_network_is_the_arithmetic():
    from suite.linear.recognition import fit_recognizer, sizes_of

    trained = recognised(until="fit", method="eigenfaces", similarity="euclidean", components=20)
    train_split, test = (trained.data.splits[name] for name in ("train", "test"))
    rows = train_split.inputs.reshape(len(train_split.inputs), -1) / 255
    sizes = sizes_of(
        "eigenfaces", "pictures",
        components=20, dimensions=3, columns=1024, num_rows=len(rows), num_classes=30,
    )  # fmt: skip
    recognizer = fit_recognizer(rows, train_split.targets, sizes)

    expected = scores(recognizer, test.inputs.reshape(len(test.inputs), -1) / 255, 30, "euclidean")

    answers = trained.networks["faces"].predict(test.inputs, verbose=0)
    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.95
    np.testing.assert_allclose(answers, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())


def test_figures_are_drawn():
    trained = train(app, app.recipe(**app.tiny), dataclasses.replace(QUIET, figures=True))

    figures = {path.stem for path in (trained.folder / "figures").iterdir()}
    assert figures == {"directions", "confusion_matrix", "worst_mistakes"}
    assert trained.report["people"] == 30 and trained.report["code_size"] == 29


# --- bad input ------------------------------------------------------------------------------


def pictures(counts):
    """Pictures of people, so many of each."""
    images, labels = generate_faces(len(counts), max(counts)).train
    number = np.concatenate([np.arange(max(counts)) for _ in counts])
    kept = number < np.asarray(counts)[labels]
    return images[kept], labels[kept]


def test_one_picture_of_a_person_is_refused():
    with pytest.raises(InputError, match="every class must have at least 3 examples"):
        recognised(Run(quiet=True), "open", data=pictures([5, 1, 5]))


def test_one_picture_of_a_person_to_learn_from_is_refused():
    held_out = pictures([2, 2, 2])
    data = {"train": pictures([5, 1, 5]), "validation": held_out, "test": held_out}

    with pytest.raises(InputError, match="`data` must have two pictures or more of every person"):
        recognised(Run(quiet=True), "open", data=data)


def test_one_person_is_refused():
    with pytest.raises(InputError, match="`data` must show two people or more"):
        recognised(Run(quiet=True), "open", data=pictures([6]))


def test_more_components_than_pictures_are_refused(capsys):
    assert cli.run(app, ["--components", "300", "--data", "embedded"]) == 2
    assert "--components must be at most the number of training rows" in capsys.readouterr().err
