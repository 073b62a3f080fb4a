from typing import get_args

import keras
import numpy as np
import pytest

from suite.trainers.optimizers import OptimizerName, make_optimizer


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_follows_the_gradient_and_decays_weights(name):
    def weight_after(weight_decay, gradient):
        weight = keras.Variable(np.full((4, 4), 2.0, "float32"), name="kernel")
        optimizer = make_optimizer(name, 0.1, weight_decay)
        optimizer.build([weight])
        optimizer.apply([keras.ops.full((4, 4), gradient)])
        return np.asarray(weight).mean()

    assert weight_after(0.0, 1.0) < 2 < weight_after(0.0, -1.0)
    assert weight_after(0.5, 1.0) < weight_after(0.0, 1.0)
