import types

import numpy as np
import tensorflow as tf

from suite.data import Examples
from suite.export.endpoints import Endpoint
from suite.tasks.neighbours import of_pictures


def flat(images):
    return {"code": tf.reshape(images, [-1, 4])}


EMBED = Endpoint(flat, [tf.TensorSpec((None, 2, 2, 1), tf.float32, "image")])
PICTURES = np.random.default_rng(0).integers(0, 256, (20, 2, 2, 1)).astype("uint8")


def fitted(targets, names):
    return types.SimpleNamespace(
        data=types.SimpleNamespace(
            splits={"train": Examples(PICTURES, targets)},
            description=types.SimpleNamespace(class_names=names),
        )
    )


def test_a_training_picture_finds_itself_first_with_its_class():
    labels = np.arange(20, dtype="int32") % 2

    answer = of_pictures(EMBED, "code", fitted(labels, ("even", "odd"))).function(
        tf.constant(PICTURES[3:5], tf.float32)
    )

    np.testing.assert_array_equal(answer["index"][:, 0], [3, 4])
    np.testing.assert_array_equal(answer["picture"][:, 0], PICTURES[3:5])
    assert answer["name"][:, 0].numpy().tolist() == [b"odd", b"even"]
    assert answer["picture"].dtype == tf.uint8


def test_pictures_without_classes_have_no_names():
    answer = of_pictures(EMBED, "code", fitted(None, ())).function(
        tf.constant(PICTURES[:1], tf.float32)
    )

    assert set(answer) == {"index", "distance", "picture"}
