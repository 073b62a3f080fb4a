import numpy as np
import pytest
import tensorflow as tf

from suite.export.tiles import in_tiles

REACH = 12  # of three box filters of 9 x 9, in pixels


def blur(padding):
    """A network that looks 12 pixels far: three box filters."""
    kernel = tf.fill((9, 9, 1, 1), 1 / 81)

    def network(pictures):
        for _ in range(3):
            pictures = tf.nn.conv2d(pictures, kernel, 1, padding)
        return pictures

    return network


def picture(height=100, width=150):
    return np.random.default_rng(0).random((height, width, 1)).astype(np.float32)


def whole_answer(values):
    """What the network says about the whole picture, mirrored at its edges."""
    padded = np.pad(values, [(REACH, REACH), (REACH, REACH), (0, 0)], mode="symmetric")
    return blur("VALID")(padded[None])[0]


@pytest.mark.parametrize("size", [(100, 150), (128, 128), (64, 200), (5, 7)])
def test_the_answer_is_that_about_the_whole_picture(size):
    values = picture(*size)

    # A quarter of the overlap is more than the network's reach, so its padding plays no part.
    answer = in_tiles(blur("SAME"), values, tile=128, overlap=64)

    if min(size) >= REACH:
        np.testing.assert_allclose(answer, whole_answer(values), atol=1e-5)
    assert answer.shape == (*size, 1)


def test_no_seam_shows_where_the_network_looks_beyond_its_tiles():
    even = np.ones((90, 130, 1), np.float32)
    network = blur("SAME")

    # Of one tile alone the answer fades at the edges; side by side, such tiles would show seams.
    assert network(even[None, :64, :64]).numpy().min() < 0.6
    answer = in_tiles(network, even, tile=64, overlap=32).numpy()

    assert np.abs(answer - 1).max() < 0.01
    borders = np.abs(np.diff(answer, axis=1)).max(), np.abs(np.diff(answer, axis=0)).max()
    assert max(borders) < 0.005


def test_a_margin_is_what_valid_convolutions_do_not_answer():
    values = picture()

    answer = in_tiles(blur("VALID"), values, tile=32, overlap=8, margin=REACH)

    np.testing.assert_allclose(answer, whole_answer(values), atol=1e-5)


def test_an_answer_may_be_larger_than_the_picture():
    values = picture(40, 50)

    answer = in_tiles(
        lambda tile: tf.image.resize(tile, (96, 96), "nearest"),
        values,
        tile=32,
        overlap=8,
        factor=3,
    )

    np.testing.assert_allclose(answer, values.repeat(3, axis=0).repeat(3, axis=1), atol=1e-5)


def test_a_graph_for_all_sizes_has_one_loop_and_can_be_saved(tmp_path):
    def network(pictures):
        return tf.concat([1 - pictures, pictures], axis=-1)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 1), tf.float32)], autograph=False)
    def answer(values):
        return in_tiles(
            network,
            values,
            tile=32,
            overlap=8,
            finish=lambda scores: tf.cast(tf.argmax(scores, axis=-1), tf.uint8),
        )

    module = tf.Module()
    module.answer = answer
    graph = answer.get_concrete_function().graph
    loops = [node for node in graph.as_graph_def().node if node.op in ("While", "StatelessWhile")]
    tf.saved_model.save(module, str(tmp_path / "saved"))
    saved = tf.saved_model.load(str(tmp_path / "saved"))

    assert len(loops) == 1
    for size in ((40, 50), (33, 100)):
        labels = saved.answer(picture(*size)).numpy()
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, picture(*size)[..., 0] > 0.5)


@pytest.mark.parametrize("overlap", [3, 17])
def test_an_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(ValueError, match="from 4 to half a tile, 16"):
        in_tiles(tf.identity, picture(), tile=32, overlap=overlap)


def test_a_network_that_answers_in_another_size_is_refused():
    with pytest.raises(ValueError, match=r"must answer a tile with \(1, 32, 32, outputs\)"):
        in_tiles(blur("VALID"), picture(), tile=32, overlap=8)
