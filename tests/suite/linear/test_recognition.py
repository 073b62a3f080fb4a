import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from suite.data.faces import generate_faces
from suite.errors import InputError
from suite.linear.components import of_rows
from suite.linear.recognition import (
    NearestSubspaces,
    discriminants,
    fit_recognizer,
    scores,
    sizes_of,
)

PEOPLE, PICTURES = 6, 5


@pytest.fixture(scope="module")
def faces():
    """Pictures `(30, 256)` in 0..1 of six people, and who they show."""
    images, labels = generate_faces(PEOPLE, PICTURES, 16).train
    return images.reshape(len(images), -1) / 255, labels


def sizes(method, compared_with="pictures", **knobs):
    chosen = {"components": None, "dimensions": 2, "columns": 256, "num_rows": PEOPLE * PICTURES}
    return sizes_of(method, compared_with, num_classes=PEOPLE, **{**chosen, **knobs})


def test_discriminants_are_scikit_learn_s():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    codes = random.normal(size=(80, 5)) + 2 * random.normal(size=(4, 5))[labels]
    peer = LinearDiscriminantAnalysis(solver="eigen", n_components=3).fit(codes, labels)

    ours = discriminants(codes, labels, 3, 0.0)

    theirs = peer.scalings_[:, :3]
    cosines = (ours * theirs).sum(axis=0) / (
        np.linalg.norm(ours, axis=0) * np.linalg.norm(theirs, axis=0)
    )
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-8)


def test_copies_of_one_picture_do_not_tell_what_differs():
    labels = np.repeat(np.arange(3), 2)
    codes = np.random.default_rng(0).normal(size=(3, 4))[labels]

    with pytest.raises(InputError, match="must have two different pictures of a person"):
        discriminants(codes, labels, 2, 0.5)


def test_classes_scatter_alike_along_discriminants():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    codes = random.normal(size=(90, 4)) * [1, 5, 0.1, 2]

    along = codes @ discriminants(codes, labels, 2, 0.0)

    centred = along - np.stack([along[labels == n].mean(axis=0) for n in range(3)])[labels]
    np.testing.assert_allclose(centred.T @ centred / 87, np.eye(2), atol=1e-8)


@pytest.mark.parametrize("similarity", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    ("method", "compared_with"),
    [
        ("eigenfaces", "pictures"),
        ("eigenfaces", "means"),
        ("fisherfaces", "pictures"),
        ("fisherfaces", "means"),
        ("subspaces", "means"),
    ],
)
def test_pictures_to_learn_from_are_recognised(method, compared_with, similarity, faces):
    rows, labels = faces

    recognizer = fit_recognizer(rows, labels, sizes(method, compared_with), similarity=similarity)

    answers = scores(recognizer, rows, PEOPLE, similarity).argmax(axis=1)
    assert (answers == labels).mean() >= (1 if compared_with == "pictures" else 0.7)


@pytest.mark.parametrize("method", ["eigenfaces", "fisherfaces", "subspaces"])
@pytest.mark.parametrize("compared_with", ["pictures", "means"])
def test_the_layer_answers_as_the_arithmetic(method, compared_with, faces):
    rows, labels = faces
    learnt = np.arange(len(rows)) % PICTURES < 4
    chosen = sizes(method, compared_with, num_rows=int(learnt.sum()))
    recognizer = fit_recognizer(rows[learnt], labels[learnt], chosen)
    layer = NearestSubspaces(PEOPLE, len(recognizer.centres), recognizer.axes.shape[2])
    layer.build((None, recognizer.centres.shape[1]))
    layer.set_recognizer(recognizer)
    codes = rows @ recognizer.kernel + recognizer.bias
    if recognizer.discriminants is not None:
        codes = codes @ recognizer.discriminants

    answers = np.asarray(layer(codes.astype("float32")))

    expected = scores(recognizer, rows, PEOPLE, "euclidean")
    np.testing.assert_allclose(answers, expected, rtol=1e-3, atol=1e-2 * np.abs(expected).max())
    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.95


def test_eigenfaces_are_principal_components(faces):
    rows, labels = faces

    recognizer = fit_recognizer(rows, labels, sizes("eigenfaces", components=5))

    np.testing.assert_allclose(recognizer.kernel, of_rows(rows, 5).axes, atol=1e-9)
    assert recognizer.centres.shape == (30, 5) and recognizer.discriminants is None


def test_a_picture_in_the_subspace_of_a_person_is_at_no_distance(faces):
    rows, labels = faces
    chosen = sizes("subspaces", dimensions=PICTURES - 1)
    recognizer = fit_recognizer(rows, labels, chosen)
    mixture = 0.3 * rows[0] + 0.7 * rows[3]  # both of the first person

    answers = scores(recognizer, mixture[None], PEOPLE, "euclidean")

    assert answers.argmax() == 0 and answers[0, 0] == pytest.approx(0, abs=1e-6)


def test_sizes():
    assert sizes("fisherfaces") == (29, 5, 30, 0)
    assert sizes("eigenfaces", "means", components=7) == (7, 0, 6, 0)
    assert sizes("subspaces", dimensions=9, components=4) == (4, 0, 6, 4)
