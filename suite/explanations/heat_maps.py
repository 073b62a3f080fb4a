"""Heat maps: which pixels of a picture the logit of a class depends on.

Every function takes a functional network from `image` `(batch, height, width, channels)`, values in
0..255, to logits `(batch, classes)`, and the index of a class for every picture. They run on
TensorFlow, eagerly or in a graph, so that an export can hold them.
"""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from suite.errors import InputError
from suite.export.endpoints import to_logits

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
SMALLEST_SIDE = 4  # of the features of Grad-CAM; on fewer pixels nothing can be located
PATCHES_PER_SIDE = 7  # that occlusion covers one after the other
STEPS = 128  # on the path of integrated gradients


def grad_cam(model: keras.Model, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Features, weighted by the mean gradient of the logit with respect to them, and rectified.

    The features are the input of the global average pooling, if one dense layer comes after it.
    Otherwise they are the last ones of at least 4 x 4 pixels behind a convolution and its
    activation, or the largest ones.

    Args:
        model: A network with a convolution.
        images: `(batch, height, width, channels)`, values in 0..255.
        classes: Indices of classes, `(batch,)`.

    Returns:
        `(batch, height, width)`, float32, at least 0.

    Raises:
        InputError: The network has no convolution.

    Reference:
        Selvaraju et al., 2016, Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
        Localization, https://arxiv.org/abs/1610.02391
        Differs from the paper: rectified after the resizing and not before, so that it is the
        positive part of `cam`, up to scale, where there is global average pooling.
    """
    network = to_logits(model)
    features, logits = _features(network), network.output
    both = keras.Model(network.input, [features, logits])
    images = tf.cast(images, network.inputs[0].dtype)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        features, logits = both(images, training=False)
        chosen = _of_classes(logits, classes)
    weights = tf.reduce_mean(tape.gradient(chosen, features), axis=(1, 2), keepdims=True)
    return tf.nn.relu(_resized(_weighted(features, weights), images))


def cam(model: keras.Model, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """What the features at every place contribute to the logit, before a global average pooling.

    Args:
        model: A network that ends in global average pooling and one dense layer.
        images: `(batch, height, width, channels)`, values in 0..255.
        classes: Indices of classes, `(batch,)`.

    Returns:
        `(batch, height, width)`, float32, negative where the picture speaks against the class.

    Raises:
        InputError: The network does not end so.

    Reference:
        Zhou, Khosla, Lapedriza, Oliva and Torralba, 2015, Learning Deep Features for Discriminative
        Localization, https://arxiv.org/abs/1512.04150
    """
    network = to_logits(model)
    end = _pooled_features_and_dense(network)
    if end is None:
        raise InputError(
            "`method` must not be cam for a network without global average pooling before one "
            "dense layer",
            model.name,
        )
    pooled, dense = end
    images = tf.cast(images, network.inputs[0].dtype)
    features = keras.Model(network.input, pooled)(images, training=False)
    weights = tf.gather(tf.transpose(tf.convert_to_tensor(dense.kernel)), classes)
    return _resized(_weighted(features, weights[:, None, None]), images)


def saliency(model: keras.Model, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """The absolute gradient of the logit with respect to every pixel, the largest over channels.

    Args:
        model: Any network.
        images: `(batch, height, width, channels)`, values in 0..255.
        classes: Indices of classes, `(batch,)`.

    Returns:
        `(batch, height, width)`, float32, at least 0.

    Reference:
        Simonyan, Vedaldi and Zisserman, 2013, Deep Inside Convolutional Networks: Visualising Image
        Classification Models and Saliency Maps, https://arxiv.org/abs/1312.6034
    """
    network = to_logits(model)
    images = tf.cast(images, network.inputs[0].dtype)
    gradients = tf.cast(_gradients(network, images, classes), tf.float32)
    return tf.reduce_max(tf.abs(gradients), axis=-1)


def integrated_gradients(
    model: keras.Model,
    images: tf.Tensor,
    classes: tf.Tensor,
    background: tf.Tensor | float = 0.0,
    steps: int = STEPS,
) -> tf.Tensor:
    """The change of the logit on the straight path from a background, shared among the pixels.

    The sum over the pixels is the logit of the image minus that of the background, up to the error
    of the midpoint rule.

    Args:
        model: Any network.
        images: `(batch, height, width, channels)`, values in 0..255.
        classes: Indices of classes, `(batch,)`.
        background: Where the path begins: a picture without content, of a shape that broadcasts to
            that of the images.
        steps: Number of points on the path at which the gradient is taken.

    Returns:
        `(batch, height, width)`, float32, summed over channels.

    Reference:
        Sundararajan, Taly and Yan, 2017, Axiomatic Attribution for Deep Networks,
        https://arxiv.org/abs/1703.01365
    """
    network = to_logits(model)
    images = tf.cast(images, network.inputs[0].dtype)
    difference = images - tf.cast(background, images.dtype)

    def add(total: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        point = images - tf.cast(1 - share, images.dtype) * difference
        return total + tf.cast(_gradients(network, point, classes), tf.float32)

    shares = (tf.range(steps, dtype=tf.float32) + 0.5) / steps
    total = tf.foldl(add, shares, tf.zeros_like(images, tf.float32))
    return tf.reduce_sum(tf.cast(difference, tf.float32) * total / steps, axis=-1)


def occlusion(
    model: keras.Model,
    images: tf.Tensor,
    classes: tf.Tensor,
    background: tf.Tensor | float = 0.0,
) -> tf.Tensor:
    """How far the logit falls when a square patch is covered: the mean over patches on a pixel.

    Patches have a seventh of the height and width, and overlap by half.

    Args:
        model: Any network.
        images: `(batch, height, width, channels)`, values in 0..255; height and width are known.
        classes: Indices of classes, `(batch,)`.
        background: What a patch is covered with, of a shape that broadcasts to that of the images.

    Returns:
        `(batch, height, width)`, float32, negative where the logit rises.

    Reference:
        Zeiler and Fergus, 2013, Visualizing and Understanding Convolutional Networks,
        https://arxiv.org/abs/1311.2901
        Differs from the paper: logits instead of probabilities, which hardly change for a picture
        that is recognised with certainty.
    """
    network = to_logits(model)
    images = tf.cast(images, network.inputs[0].dtype)
    background = tf.cast(background, images.dtype)
    rows, columns = (_bands(side) for side in images.shape[1:3])
    patches = tf.reshape(
        rows[:, None, :, None] * columns[None, :, None, :],
        (-1, rows.shape[1], columns.shape[1]),
    )
    before = _of_classes(network(images, training=False), classes)

    def fall(patch: tf.Tensor) -> tf.Tensor:
        covered = tf.where(patch[..., None] > 0, background, images)
        return before - _of_classes(network(covered, training=False), classes)

    falls = tf.map_fn(fall, patches, fn_output_signature=tf.float32)  # (patches, batch)
    return tf.einsum("pb,phw->bhw", falls, patches) / tf.reduce_sum(patches, axis=0)


def normalized(maps: tf.Tensor) -> tf.Tensor:
    """Heat maps `(batch, height, width)` divided by the largest absolute value in each of them."""
    largest = tf.reduce_max(tf.abs(maps), axis=(1, 2), keepdims=True)
    return tf.math.divide_no_nan(maps, largest)


def has_convolution(model: keras.Model) -> bool:
    """Whether a network, or a network within it, has a convolution."""
    return any(_convolves(layer) for layer in model.layers)


def _convolves(operation: Any) -> bool:
    if isinstance(operation, keras.Model):
        return has_convolution(operation)
    return isinstance(operation, CONVOLUTIONS)


def _nodes(network: keras.Model) -> Iterator[Any]:
    """The calls of layers and operations in a network, from the input to the output."""
    for depth in sorted(network._nodes_by_depth, reverse=True):
        yield from network._nodes_by_depth[depth]


def _features(network: keras.Model) -> keras.KerasTensor:
    """The features `(batch, height, width, filters)` that Grad-CAM weights."""
    if end := _pooled_features_and_dense(network):
        return end[0]
    everything: list[keras.KerasTensor] = []
    activated: list[keras.KerasTensor] = []
    convolved = False
    for node in _nodes(network):
        convolved = convolved or _convolves(node.operation)
        if convolved:
            maps = [tensor for tensor in node.output_tensors if len(tensor.shape) == 4]
            everything += maps
            activated += [] if _is_linear_convolution(node.operation) else maps
    if not convolved:
        raise InputError(
            "`method` must not be grad_cam for a network without convolutions", network.name
        )
    maps = activated or everything
    large = [tensor for tensor in maps if _smallest_side(tensor) >= SMALLEST_SIDE]
    return large[-1] if large else max(maps, key=_smallest_side)


def _is_linear_convolution(operation: Any) -> bool:
    """Whether a layer is a convolution without activation, of whose outputs 0 means nothing yet."""
    return isinstance(operation, CONVOLUTIONS) and operation.activation is keras.activations.linear


def _smallest_side(tensor: keras.KerasTensor) -> int:
    """The smaller of height and width; a side that may be of any length is taken to be long."""
    return min(SMALLEST_SIDE if side is None else side for side in tensor.shape[1:3])


def _pooled_features_and_dense(
    network: keras.Model,
) -> tuple[keras.KerasTensor, layers.Dense] | None:
    """The input of the global average pooling, and the dense layer behind it, if these are the end.

    Dropout may lie between them.
    """
    makers = {id(tensor): node for node in _nodes(network) for tensor in node.output_tensors}
    last = makers[id(network.output)]
    if not isinstance(last.operation, layers.Dense):
        return None
    node = makers[id(last.input_tensors[0])]
    while isinstance(node.operation, layers.Dropout):
        node = makers[id(node.input_tensors[0])]
    if not isinstance(node.operation, layers.GlobalAveragePooling2D):
        return None
    return node.input_tensors[0], last.operation


def _of_classes(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """The logit of a class for every picture, `(batch,)`, float32."""
    return tf.gather(tf.cast(logits, tf.float32), classes, axis=1, batch_dims=1)


def _gradients(network: keras.Model, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """The gradients of the logits of some classes with respect to the pixels."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        chosen = _of_classes(network(images, training=False), classes)
    return tape.gradient(chosen, images)


def _weighted(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The sum of features over the filters, weighted, `(batch, height, width)`, float32."""
    return tf.reduce_sum(tf.cast(features, tf.float32) * tf.cast(weights, tf.float32), axis=-1)


def _resized(maps: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Maps `(batch, height, width)`, interpolated to the size of the images."""
    return tf.image.resize(maps[..., None], tf.shape(images)[1:3])[..., 0]


def _bands(side: int) -> tf.Tensor:
    """The pixels along a side that the patches of one row cover, `(patches, side)`, 0 or 1."""
    width = max(1, side // PATCHES_PER_SIDE)
    starts = sorted({*range(0, side - width, max(1, width // 2)), side - width})
    first = tf.constant(starts)[:, None]
    pixels = tf.range(side)[None]
    return tf.cast((pixels >= first) & (pixels < first + width), tf.float32)
