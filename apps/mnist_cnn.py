"""MNIST digits by a convolutional network with batch normalisation.

Stages of 3 x 3 convolutions, with batch normalisation and an activation after each. A stage pools
before its last normalisation, which then has a quarter of the values to normalise. Small random
distortions augment the training images, and the learning rate rises and falls once.
"""

import keras
from keras import layers

from suite import App, InputError, checked
from suite.cli import main
from suite.knobs import Activation, Depths, NumClasses, Rate, Stages
from suite.layers.normalization import Normalization, normalize
from suite.tasks import image_classification as task

EPSILON = 1e-3  # of the normalisations, as Keras's


@checked
def build_model(
    input_shape: task.AnyImageShape = (28, 28, 1),
    num_classes: NumClasses = 10,
    include_top: bool = True,
    pooling: task.Pooling | None = None,
    *,
    filters: Stages = (24, 48, 96),
    convolutions: Depths = (1,),
    normalization: Normalization = "batch",
    activation: Activation = "relu",
    dropout: Rate = 0.1,
) -> keras.Model:
    """Builds the network: from pixels to logits.

    Args:
        input_shape: `(height, width, channels)`; height and width may be None with a `pooling`.
        num_classes: Number of logits.
        include_top: Whether the outputs are logits, or else the features before them.
        pooling: Global pooling, `avg` or `max`, instead of flattening the features.
        filters: Filters of the stages, each of which halves height and width.
        convolutions: Number of convolutions in every stage, or one number for all stages.
        normalization: Normalisation before each activation.
        activation: Keras's name of the activation.
        dropout: Dropout rate after each stage.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32; without `include_top` to features `(batch, filters)`, and
        without `pooling`, too, `(batch, height, width, filters)`.

    Raises:
        InputError: An argument is out of range, or the image is too small for so many stages.

    Reference:
        Ioffe and Szegedy, 2015, Batch Normalization: Accelerating Deep Network Training by
        Reducing Internal Covariate Shift, https://arxiv.org/abs/1502.03167
        Differs from the paper: pooling comes before the normalisation.
    """
    stages = convolutions * len(filters) if len(convolutions) == 1 else convolutions
    if len(stages) != len(filters):
        raise InputError(f"`convolutions` must be 1 or {len(filters)} numbers", convolutions)
    task.refuse_small_images(input_shape, len(filters), "filters", filters)
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255)(image)
    for width, count in zip(filters, stages, strict=True):
        for number in range(1, count + 1):
            x = layers.Conv2D(width, 3, padding="same", use_bias=normalization == "none")(x)
            if number == count:
                x = layers.MaxPooling2D()(x)
            x = layers.Activation(activation)(normalize(x, normalization, EPSILON))
        if dropout:
            x = layers.Dropout(dropout)(x)
    return keras.Model(image, task.head(x, num_classes, include_top, pooling), name="mnist_cnn")


PLAIN = {"weight_decay": 0.0, "rotation": 0.0, "shift": 0.0, "zoom": 0.0, "dropout": 0.0}

app = App(
    name="mnist_cnn",
    topic="images",
    summary=__doc__,
    config=task.Config,
    data=task.load_data,
    build=build_model,
    compile=task.compile_model,
    callbacks=task.callbacks,
    endpoints=task.endpoints,
    evaluate=task.evaluate,
    figures=task.draw,
    commands=task.COMMANDS,
    studies=task.STUDIES,
    try_next="predict your_digit.png",
    recipes={
        "fast": PLAIN
        | {"epochs": 1, "batch_size": 80, "learning_rate": 7e-3, "warmup": 0.1}
        | {"filters": (16, 32, 96)},
        "accurate": {
            "epochs": 27,
            "filters": (32, 64, 128),
            "convolutions": (1, 2, 1),
            "dropout": 0.15,
        },
        "robust": PLAIN
        | {"epochs": 24, "learning_rate": 2e-3, "weight_average": 0.998}
        # A little beyond 0.3, by which it is judged.
        | {"attack_epsilon": 0.32, "attack_steps": 10, "attack_step_size": 0.06},
    },
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY | {"filters": (4, 8)},
)

if __name__ == "__main__":
    main(app)
