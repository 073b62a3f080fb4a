"""Handwritten digits by LeNet-5, the convolutional network that read cheques.

Two convolutions, each followed by a subsampling; a third one over the whole remaining image; and a
fixed code for every class, with which the output of the last layer is compared.
"""

import keras
import numpy as np
from keras import layers, ops

from suite import App, InputError, checked
from suite.cli import main
from suite.knobs import Activation, NumClasses
from suite.tasks import image_classification as task

# The input maps of every map of the second convolution: table I of the paper.
INPUT_MAPS = [[n % 6, (n + 1) % 6, (n + 2) % 6] for n in range(6)]
INPUT_MAPS += [[n % 6, (n + 1) % 6, (n + 2) % 6, (n + 3) % 6] for n in range(6)]
INPUT_MAPS += [[n, n + 1, n + 3, (n + 4) % 6] for n in range(3)] + [[0, 1, 2, 3, 4, 5]]


@checked
def build_model(
    input_shape: task.AnyImageShape = (28, 28, 1),
    num_classes: NumClasses = 10,
    *,
    activation: Activation = "tanh",
) -> keras.Model:
    """Builds LeNet-5, from pixels to logits, with 60,000 trainable weights as in the paper.

    Args:
        input_shape: `(height, width, channels)`, at least 12 x 12; a margin of 2 is added.
        num_classes: Number of logits.
        activation: Keras's name of the activation.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32.

    Raises:
        InputError: An argument is out of range, or the image is too small.

    Reference:
        LeCun, Bottou, Bengio and Haffner, 1998, Gradient-Based Learning Applied to Document
        Recognition, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf
        Differs from the paper: codes are random signs instead of drawings of the characters; the
        loss is the cross-entropy of the negative distances.
    """
    if min(side or 0 for side in input_shape[:2]) < 12:
        raise InputError("`input_shape` must be at least 12 x 12 pixels", input_shape)
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1.275 / 255, offset=-0.1)(image)
    x = layers.Conv2D(6, 5, activation=activation)(layers.ZeroPadding2D(2)(x))
    x = subsample(x, activation)
    maps = [layers.Conv2D(1, 5, activation=activation)(ops.take(x, m, axis=-1)) for m in INPUT_MAPS]
    x = subsample(layers.Concatenate()(maps), activation)
    x = layers.Flatten()(layers.Conv2D(120, x.shape[1:3], activation=activation)(x))
    x = layers.Dense(84, activation=activation)(x)
    # Codes are signs. The negative squared distance to one is twice the dot product, plus terms
    # that all classes share: so the weights are 2 and -2.
    floatx = keras.config.floatx()
    codes = layers.Dense(num_classes, use_bias=False, trainable=False, dtype=floatx, name="logits")
    model = keras.Model(image, codes(x), name="lenet")
    codes.set_weights([np.random.default_rng(0).choice([-2.0, 2.0], (84, num_classes))])
    return model


def subsample(x: keras.KerasTensor, activation: str) -> keras.KerasTensor:
    """Averages 2 x 2 pixels, then applies a weight and a bias for every map, and the activation."""
    x = layers.DepthwiseConv2D(1)(layers.AveragePooling2D(2)(x))
    return layers.Activation(activation)(x)


app = App(
    name="lenet",
    topic="images",
    summary=__doc__,
    config=task.Config,
    data=task.load_data,
    build=build_model,
    compile=task.compile_model,
    endpoints=task.endpoints,
    evaluate=task.evaluate,
    figures=task.draw,
    commands=task.COMMANDS,
    studies=task.STUDIES,
    objective="val_accuracy",
    own_data=task.OWN_DATA,
    tiny=task.TINY,
)

if __name__ == "__main__":
    main(app)
