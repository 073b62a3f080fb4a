import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def digits():
    """Digits of 8 x 8 pixels, values in 0..255, and their classes."""
    images, labels = load_digits(return_X_y=True)
    return np.float32(images.reshape(-1, 8, 8, 1) * 255 / 16), np.int32(labels)


@pytest.fixture(scope="session")
def network(digits):
    """A small network with batch normalisation that knows the digits."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(layers.Rescaling(1 / 255)(image))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    model = keras.Model(image, layers.Dense(10, name="logits")(x), name="digits")
    model.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(*digits, batch_size=64, epochs=4, verbose=0)
    return model
