import keras
import pytest

from apps.inception import app as inception
from apps.vae import app as vae
from apps.yolo import app as yolo
from suite import Run, train
from tests.suite.small import app as small


@pytest.mark.parametrize("app", [vae, yolo, inception], ids=lambda app: app.name)
def test_the_loss_is_scaled_where_the_networks_compute_in_half_precision(app):
    recipe = app.recipe(**app.tiny)
    for precision, scaled in (("mixed_float16", True), ("float32", False)):
        keras.config.set_dtype_policy(precision)
        model = app.compile(app.build(**recipe.architecture), recipe.config, 10)

        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) is scaled


def test_an_optimizer_of_the_caller_is_scaled_as_the_app_s():
    for precision, scaled in (("mixed_float16", True), ("float32", False)):
        run = Run(precision=precision, quiet=True)
        model = train(small, run=run, until="open", optimizer="sgd").model

        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) is scaled
        inner = model.optimizer.inner_optimizer if scaled else model.optimizer
        assert isinstance(inner, keras.optimizers.SGD)
