"""Handwritten digits by LeNet-5, the convolutional network that read cheques.

Two subsampled convolutions, a third over what remains of the image, and codes for the classes.
"""

import keras
import numpy as np
from keras import layers, ops

from suite import App, checked
from suite.cli import main
from suite.knobs import Activation, NumClasses
from suite.tasks import image_classification as task

# The input maps of every map of the second convolution: table I of the paper.
INPUT_MAPS = [[(n + k) % 6 for k in range(count)] for count in (3, 4) for n in range(6)]
INPUT_MAPS += [[n, n + 1, n + 3, (n + 4) % 6] for n in range(3)] + [[0, 1, 2, 3, 4, 5]]


@checked
def build_model(
    input_shape: task.pictures.ImageShape = (28, 28, 1),
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
        Differs from the paper: codes are random signs; the loss is the cross-entropy of the
        distances; `tanh` is not stretched.
    """
    task.refuse_images_below(input_shape, 12)
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1.275 / 255, offset=-0.1)(layers.ZeroPadding2D(2)(image))
    x = subsample(layers.Conv2D(6, 5, activation=activation)(x), activation)
    # Every pair of an input map and an output map has a kernel, and every output map a bias.
    x = ops.take(x, np.concatenate(INPUT_MAPS), axis=-1)
    one = ops.ones_like(x[:, :1, :1, :1])
    bias = layers.Dense(16, use_bias=False, kernel_initializer="zeros")(one)
    sums = np.repeat(np.eye(16, dtype="float32"), [len(maps) for maps in INPUT_MAPS], axis=0)
    # Keras would scale them as if every output map saw all inputs, so that they begin near zero.
    scale = keras.initializers.RandomNormal(stddev=(25 * len(sums) / 16) ** -0.5)
    x = layers.DepthwiseConv2D(5, use_bias=False, depthwise_initializer=scale)(x) @ sums + bias
    x = subsample(layers.Activation(activation)(x), activation)
    x = layers.Flatten()(layers.Conv2D(120, x.shape[1:3], activation=activation)(x))
    # A negative squared distance to signs is twice the dot product, plus what all classes share.
    code = layers.Dense(num_classes, use_bias=False, dtype=keras.config.floatx(), name="logits")
    code.trainable = False
    model = keras.Model(image, code(layers.Dense(84, activation=activation)(x)), name="lenet")
    code.set_weights([np.random.default_rng(0).choice([-2.0, 2.0], (84, num_classes))])
    return model


def subsample(x: keras.KerasTensor, activation: str) -> keras.KerasTensor:
    """Averages 2 x 2 pixels, then applies a weight and a bias for every map, and the activation."""
    weigh = layers.DepthwiseConv2D(1, depthwise_initializer="ones")
    return layers.Activation(activation)(weigh(layers.AveragePooling2D(2)(x)))


app = App(
    name="lenet",
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
    recipes={
        "cifar10": task.CIFAR10
        | {"epochs": 40, "learning_rate": 0.02, "crop": 2, "activation": "relu"}
    },
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY,
)

if __name__ == "__main__":
    main(app)
