import numpy as np
import pytest

from suite.data.faces import PERSON, PICTURE, draw_faces, generate_faces


def test_faces_are_pictures_of_people():
    source = generate_faces(4, 3, 24)

    images, labels = source.train
    assert images.shape == (12, 24, 24, 1) and images.dtype == np.uint8
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert len(source.class_names) == 4 and source.preparation.shape == (24, 24, 1)
    assert images.std(axis=(1, 2, 3)).min() > 20


def test_they_are_the_same_each_time():
    np.testing.assert_array_equal(
        generate_faces(3, 2).train.inputs, generate_faces(3, 2).train.inputs
    )


def test_people_differ_more_than_their_pictures():
    images, labels = generate_faces(8, 6).train
    rows = images.reshape(len(images), -1).astype(float)
    distances = np.linalg.norm(rows[:, None] - rows, axis=2)
    same = (labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool)

    assert distances[same].mean() < distances[labels[:, None] != labels].mean()
    assert distances[same].min() > 0


@pytest.mark.parametrize("trait", PERSON | PICTURE)
def test_every_trait_is_seen(trait):
    traits = {name: np.full(2, np.mean(ends)) for name, ends in (PERSON | PICTURE).items()}

    one, other = draw_faces(traits | {trait: np.array((PERSON | PICTURE)[trait])}, 24)

    assert np.abs(one - other).max() > 1
