import keras
import numpy as np
import pytest
import tensorflow as tf

from suite.export import neighbours
from suite.export.endpoints import Endpoint
from suite.export.neighbours import codes_of, nearest
from suite.export.saved_model import write_saved_model


def doubled(rows):
    return {"code": 2 * rows, "sum": tf.reduce_sum(rows, axis=1)}


EMBED = Endpoint(doubled, [tf.TensorSpec((None, 3), tf.float32, "row")])


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(700, 3)).astype("float32")


def test_neighbours_are_those_of_a_search_by_hand(rows):
    names = np.array([f"row {n}" for n in range(len(rows))], object)
    asked = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")

    answer = nearest(EMBED, "code", rows, {"name": names, "row": rows}, count=4).function(asked)

    distances = np.linalg.norm(2 * asked[:, None] - 2 * rows, axis=-1)
    expected = distances.argsort(axis=1)[:, :4]
    np.testing.assert_array_equal(answer["index"], expected)
    np.testing.assert_allclose(
        answer["distance"], np.take_along_axis(distances, expected, 1), rtol=1e-4
    )
    np.testing.assert_array_equal(answer["row"], rows[expected])
    assert answer["name"].numpy()[2, 1] == f"row {expected[2, 1]}".encode()


def test_similarity_is_the_cosine_and_nothing_is_similar_to_zero(rows):
    asked = np.stack([3 * rows[8], np.zeros(3, "float32")])

    answer = nearest(EMBED, "code", rows, {}, measure="cosine", count=2).function(asked)

    lengths = np.linalg.norm(rows, axis=1)
    cosines = rows @ rows[8] / lengths / lengths[8]
    np.testing.assert_array_equal(answer["index"][0], np.argsort(-cosines)[:2])
    np.testing.assert_allclose(answer["similarity"][0], np.sort(cosines)[:-3:-1], rtol=1e-5)
    np.testing.assert_array_equal(answer["similarity"][1], [0, 0])


def test_an_example_is_at_no_distance_from_itself(rows):
    answer = nearest(EMBED, "code", 1000 + rows, {}, count=1).function(1000 + rows[:4])

    np.testing.assert_array_equal(answer["distance"], np.zeros((4, 1)))


def test_few_examples_are_all_neighbours(rows):
    answer = nearest(EMBED, "code", rows[:2], {}, count=8).function(rows[:3])

    assert answer["index"].shape == (3, 2)


def test_codes_are_computed_part_by_part(rows, monkeypatch):
    monkeypatch.setattr(neighbours, "AT_ONCE", 300)

    np.testing.assert_allclose(codes_of(EMBED, "sum", rows), rows.sum(axis=1), atol=1e-5)


def test_rows_are_those_of_the_split(rows):
    answer = nearest(EMBED, "code", rows[::2], {}, rows=np.arange(0, len(rows), 2), count=1)

    assert answer.function(rows[4:5])["index"].numpy().tolist() == [[4]]


def test_the_index_travels_with_the_export(rows, tmp_path):
    row = keras.Input((3,), name="row")
    network = keras.Model(row, {"code": keras.layers.Dense(2)(row)})
    embed = Endpoint(lambda rows: dict(network(rows, training=False)), EMBED.inputs)
    pictures = np.random.default_rng(2).integers(0, 256, (len(rows), 2, 2, 1)).astype("uint8")
    endpoints = {
        "serve": network,
        "nearest": nearest(embed, "code", rows, {"picture": pictures}, count=3),
    }
    expected = endpoints["nearest"].function(rows[:2])

    version, _ = write_saved_model(tmp_path / "toy", network, endpoints, rows[:2], {})

    reloaded = tf.saved_model.load(str(version)).signatures["nearest"](row=tf.constant(rows[:2]))
    for name, value in expected.items():
        np.testing.assert_allclose(reloaded[name], value, atol=1e-5)
    assert reloaded["picture"].shape == (2, 3, 2, 2, 1)
