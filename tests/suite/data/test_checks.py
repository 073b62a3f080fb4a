import pytest
import tensorflow as tf

from suite.data.checks import only_if


@tf.function
def summed(numbers):
    is_allowed = tf.size(numbers.flat_values) <= 3
    return tf.reduce_sum(only_if(is_allowed, numbers, "numbers must be 3 at most", 3).to_tensor())


def test_a_graph_goes_on_only_if_the_condition_holds():
    assert int(summed(tf.ragged.constant([[1, 2], [3]]))) == 6
    with pytest.raises(tf.errors.InvalidArgumentError, match="numbers must be 3 at most"):
        summed(tf.ragged.constant([[1, 2], [3, 4]]))
