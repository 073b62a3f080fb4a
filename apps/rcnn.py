"""Faster R-CNN: the things in a picture, detected in two stages.

A region proposal network proposes boxes that may hold a thing of any class. The region head takes
the features inside these boxes alone, brought to one size, and predicts the class of each, and
where its borders are. Both share one backbone and are one network, which is trained as a whole, or
part by part.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any

import keras
from keras import layers, ops
from pydantic import Field, PositiveInt

from suite import App, InputError, checked, settings
from suite.app import Phase
from suite.cli import main
from suite.knobs import Filters, Units
from suite.layers.boxes import (
    Anchors,
    Match,
    Proposals,
    RegionFeatures,
    anchor_shapes,
    boxes_to_offsets,
    gather_rows,
    match,
    offset_distances,
    offsets_to_boxes,
    predict_per_anchor,
)
from suite.layers.normalization import Normalization
from suite.layers.residual import feature_maps, feature_pyramid
from suite.tasks import detection as task
from suite.tasks.pictures import ImageShape

FINE, COARSE = 4, 8  # pixels of the picture to a cell of the maps of regions and of proposals
CANDIDATES = 8  # most certain anchors for every proposal, before the suppression
MOST_CANDIDATES = 6000  # as in the paper; the overlaps of all pairs are held in memory
PROPOSAL_OVERLAP = 0.7  # largest overlap of two proposals, if there are enough others
# Overlap with a true box from which an anchor stands for it, and below which it is background.
ANCHOR_POSITIVE, ANCHOR_NEGATIVE = 0.6, 0.4
REGION_POSITIVE, REGION_NEGATIVE = 0.6, 0.5  # the same for proposals
HEAD = "region_"  # prefix of the names of the layers of the region head

Blocks = Annotated[tuple[PositiveInt, ...], Field(min_length=3, max_length=8)]
Sizes = Annotated[tuple[Annotated[float, Field(ge=1, le=4096)], ...], Field(min_length=1)]


@settings
class Config(task.Config):
    """The settings of the training.

    Args:
        alternate: Epochs for which first the backbone with the proposal network, and then the
            region head on fixed features, are trained alone, before the `epochs` of both together.
            0 trains both together from the start.
    """

    alternate: Annotated[int, Field(ge=0, le=1_000_000)] = 0


@checked
def build_model(
    input_shape: ImageShape = (128, 128, 3),
    num_classes: task.NumClasses = 10,
    *,
    blocks: Blocks = (1, 1, 1, 1),
    filters: Filters = 16,
    head_filters: Filters = 48,
    sizes: Sizes = (14.0, 19.0, 26.0, 35.0, 46.0),
    ratios: task.Ratios = (0.45, 0.75),
    proposals: Annotated[int, Field(ge=1, le=2000)] = 32,
    region_side: Annotated[int, Field(ge=1, le=32)] = 7,
    units: Units = 256,
    normalization: Normalization = "batch",
) -> keras.Model:
    """Builds a Faster R-CNN: from pixels to a class and a box for every proposal.

    Args:
        input_shape: `(height, width, channels)`, where height and width can be halved as often as
            there are `blocks`.
        num_classes: Number of classes, without the background.
        blocks: Numbers of residual blocks, one for each stage; every stage halves height and width.
        filters: Filters of the first stage; each further stage has twice as many.
        head_filters: Filters of the feature maps that the proposal network and the region head
            share.
        sizes: Square roots of the areas of the anchors, in pixels: close enough to each other that
            every thing overlaps one of them well.
        ratios: Width divided by height of the anchors; there is one of every size.
        proposals: Number of proposals in a picture, at least the number of things that a picture
            may hold.
        region_side: Height and width to which the features of a proposal are brought.
        units: Units of the two hidden layers of the region head.
        normalization: Normalisation after each convolution of the backbone.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to
        `boxes` `(batch, proposals, 4)` in pixels and `scores` `(batch, proposals, classes)`; and
        what the loss needs. From the proposal network: `anchors` and `anchor_offsets`
        `(batch, n, 4)`, and `objectness` `(batch, n)`, logits. From the region head: `proposals`
        and `offsets` `(batch, proposals, 4)`, and `logits` `(batch, proposals, 1 + classes)`, the
        background first.

    Raises:
        InputError: An argument is out of range, or the picture cannot be halved so often, or has
            fewer anchors than `proposals`.

    Reference:
        Ren, He, Girshick and Sun, 2015, Faster R-CNN: Towards Real-Time Object Detection with
        Region Proposal Networks, https://arxiv.org/abs/1506.01497
        Lin et al., 2016, Feature Pyramid Networks for Object Detection,
        https://arxiv.org/abs/1612.03144
        Differs from the papers: smaller; a small residual network instead of VGG-16; all proposals
        from the map of a stride of 8, and all regions from the one of 4; features of regions are
        interpolated, as in Mask R-CNN; few proposals, of a fixed number; one box for all classes.
    """
    image = keras.Input(input_shape, name="image")
    maps = feature_maps(image, blocks, filters, normalization)
    # Without the map of stride 2, which would cost the most and help the least.
    fine, coarse, *_ = feature_pyramid(maps[1:], head_filters, normalization)
    shapes = anchor_shapes(sizes, ratios)
    height, width, _ = input_shape
    most = (height // COARSE) * (width // COARSE) * len(shapes)
    if proposals > most:
        raise InputError(f"`proposals` must be at most the {most} anchors of a picture", proposals)

    outputs = {"anchors": Anchors(COARSE, shapes, name="anchors")(coarse)}
    x = layers.Conv2D(
        head_filters, 3, padding="same", activation="relu", kernel_initializer="he_normal"
    )(coarse)
    exact = {"dtype": keras.config.floatx()}  # as precise as can be, whatever computes the features
    objectness = layers.Conv2D(len(shapes), 1, name="objectness", **exact)(x)
    outputs["objectness"] = layers.Reshape((most,), **exact)(objectness)
    outputs["anchor_offsets"] = predict_per_anchor(
        x, len(shapes), 4, kernel_initializer=near_zero()
    )
    candidates = min(CANDIDATES * proposals, MOST_CANDIDATES, most)
    choose = Proposals(proposals, candidates, PROPOSAL_OVERLAP, (height, width))
    chosen = choose(outputs["objectness"], outputs["anchor_offsets"], outputs["anchors"])

    x = RegionFeatures(FINE, region_side)(fine, chosen)
    x = layers.Reshape((proposals, region_side**2 * head_filters))(x)
    for number in (1, 2):
        x = layers.Dense(
            units, activation="relu", kernel_initializer="he_normal", name=f"{HEAD}{number}"
        )(x)
    logits = layers.Dense(1 + num_classes, name=f"{HEAD}logits", **exact)(x)
    offsets = layers.Dense(4, kernel_initializer=near_zero(), name=f"{HEAD}offsets", **exact)(x)
    outputs |= {
        "proposals": chosen,
        "logits": logits,
        "offsets": offsets,
        "boxes": offsets_to_boxes(offsets, chosen),
        "scores": ops.softmax(logits)[..., 1:],
    }
    return keras.Model(image, outputs, name="rcnn")


def near_zero() -> keras.initializers.Initializer:
    """Initial weights of offsets, by which boxes begin about where anchors or proposals are."""
    return keras.initializers.RandomNormal(stddev=0.01)


def loss(
    targets: task.Targets,
    outputs: Mapping[str, Any],
    fixed: Mapping[str, Any],
    *,
    of_proposals: bool = True,
    of_regions: bool = True,
) -> Any:
    """The loss of every picture, `(batch,)`: of the proposal network, of the region head, or both.

    Args:
        targets: The true things.
        outputs: The outputs of the network.
        fixed: The same without gradients.
        of_proposals: Whether the loss of the proposal network is included.
        of_regions: Whether the loss of the region head is included.
    """
    parts = []
    if of_proposals:
        parts.append(loss_of_proposals(targets, outputs, fixed))
    if of_regions:
        parts.append(loss_of_regions(targets, outputs, fixed))
    return sum(parts)


def loss_of_proposals(
    targets: task.Targets, outputs: Mapping[str, Any], fixed: Mapping[str, Any]
) -> Any:
    """Cross-entropy of thing against background, and distances of the boxes of things, `(batch,)`.

    Reference:
        Ren, He, Girshick and Sun, 2015, https://arxiv.org/abs/1506.01497
        Differs from the paper: things and background weigh half each, where the paper samples as
        many anchors of the one as of the other. Overlaps of 0.6 and 0.4 instead of 0.7 and 0.3,
        since the anchors are few.
    """
    anchors, logits = fixed["anchors"], outputs["objectness"]
    matched = match(
        anchors,
        targets.boxes,
        positive=ANCHOR_POSITIVE,
        negative=ANCHOR_NEGATIVE,
        crowds=targets.crowd,
        force=True,
    )
    of_things = mean_of(ops.softplus(-logits), matched.positive)
    of_background = mean_of(ops.softplus(logits), matched.negative)
    distances = loss_of_boxes(targets, matched, anchors, outputs["anchor_offsets"])
    return (of_things + of_background) / 2 + distances


def loss_of_regions(
    targets: task.Targets, outputs: Mapping[str, Any], fixed: Mapping[str, Any]
) -> Any:
    """Cross-entropy of the classes, and distances of the boxes of things, `(batch,)`.

    Reference:
        Girshick, 2015, Fast R-CNN, https://arxiv.org/abs/1504.08083
        Differs from the paper: all proposals count, not a random sample, since they are few, but
        for those that overlap a thing by 0.5 to 0.6, so that scores are high where boxes fit well.
    """
    proposals, logits = fixed["proposals"], outputs["logits"]
    matched = match(
        proposals,
        targets.boxes,
        positive=REGION_POSITIVE,
        negative=REGION_NEGATIVE,
        crowds=targets.crowd,
    )
    labels = ops.where(matched.positive, gather_rows(targets.labels, matched.index) + 1, 0)
    truth = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    cross_entropy = -ops.sum(truth * ops.log_softmax(logits), axis=-1)
    counts = ops.logical_or(matched.positive, matched.negative)
    distances = loss_of_boxes(targets, matched, proposals, outputs["offsets"])
    return mean_of(cross_entropy, counts) + distances


def loss_of_boxes(targets: task.Targets, matched: Match, starts: Any, offsets: Any) -> Any:
    """How far the offsets of things are from the true ones, `(batch,)`: quadratic only close by.

    Args:
        targets: The true things.
        matched: Which of them the boxes stand for.
        starts: The boxes that are to be moved, `(batch, n, 4)`.
        offsets: By which the network moves them, `(batch, n, 4)`.
    """
    # A proposal of no area, which stands for nothing, has no offsets.
    anywhere = ops.convert_to_tensor([0, 0, 1, 1], starts.dtype)
    starts = ops.where(ops.expand_dims(matched.positive, -1), starts, anywhere)
    true_offsets = boxes_to_offsets(gather_rows(targets.boxes, matched.index), starts)
    return mean_of(offset_distances(true_offsets, offsets) / 4, matched.positive)


def mean_of(values: Any, counts: Any) -> Any:
    """The mean of those values `(batch, n)` that count, `(batch,)`; 0 where none does."""
    counts = ops.cast(counts, values.dtype)
    return ops.sum(values * counts, axis=-1) / ops.maximum(ops.sum(counts, axis=-1), 1)


def compile_model(
    model: keras.Model,
    config: Config,
    steps: int,
    *,
    of_proposals: bool = True,
    of_regions: bool = True,
) -> keras.Model:
    """Compiles the training of the whole network, or of a part of it.

    Args:
        model: A model from `build_model`.
        config: The settings of the training.
        steps: Number of steps of the training.
        of_proposals: Whether the backbone and the proposal network are trained.
        of_regions: Whether the region head is trained.
    """
    for layer in model.layers:
        # Not trainable, a batch normalisation also leaves its statistics as they are.
        layer.trainable = of_regions if layer.name.startswith(HEAD) else of_proposals
    loss_of_parts = functools.partial(loss, of_proposals=of_proposals, of_regions=of_regions)
    return task.compile_model(model, config, steps, loss_of_parts, held=("proposals",))


def phases(config: Config) -> list[Phase]:
    """One phase, or three if the parts are trained one after the other first.

    Reference:
        Ren, He, Girshick and Sun, 2015, https://arxiv.org/abs/1506.01497
        Differs from the paper: one backbone from the start, and both parts together at the end.
    """
    [both] = task.phases(config)
    if not config.alternate:
        return [both]
    first = dataclasses.replace(
        both,
        name="proposals",
        epochs=config.alternate,
        compile=functools.partial(compile_model, of_regions=False),
    )
    second = Phase(
        name="regions",
        epochs=config.alternate,
        compile=functools.partial(compile_model, of_proposals=False),
    )
    return [first, second, dataclasses.replace(both, name="both", begin=None)]


RATIOS = (0.5, 1.0, 2.0)
BLOOD = task.BLOOD | {"sizes": (20.0, 44.0, 80.0), "ratios": RATIOS, "proposals": 64}
# The paper's number of proposals, and the units of Lin et al.'s with a pyramid, for photos.
LARGE = {
    "image_size": 512,
    "blocks": (2, 2, 2, 2, 2),
    "filters": 32,
    "head_filters": 256,
    "sizes": (48.0, 128.0, 320.0),
    "ratios": RATIOS,
    "proposals": 300,
    "units": 1024,
    "optimizer": "momentum",
    "learning_rate": 1e-2,
    "weight_decay": 5e-4,
    "flip": "horizontal",
    "batch_size": 4,
    "epochs": 60,
}

app = App(
    name="rcnn",
    topic="images",
    summary=__doc__,
    config=Config,
    data=task.load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    callbacks=task.callbacks,
    endpoints=task.endpoints,
    example=task.example,
    evaluate=task.evaluate,
    figures=task.draw,
    commands=task.COMMANDS,
    try_next="predict your_photo.jpg --output boxes.png",
    search={
        "learning_rate": "0.0003..0.01",
        "filters": "8..32",
        "proposals": "16..64",
        "units": "64..512",
    },
    recipes={"blood": BLOOD, "large": LARGE},
    objective="val_ap",
    objective_mode="max",
    keep_best=True,
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY | {"blocks": (1, 1, 1), "sizes": (10.0, 20.0), "proposals": 12, "units": 16},
)

if __name__ == "__main__":
    main(app)
