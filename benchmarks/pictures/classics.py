"""What do the classic networks reach on CIFAR-10, and at what cost?

    python -m benchmarks.pictures.classics
    python -m benchmarks.pictures.classics vgg inception --precision mixed_bfloat16

Each network trains with its recipe `cifar10`, in a process of its own, one after the other; the
test split is used once. A multiplication and an addition are two operations. They are counted, as
in the papers, for one view of a picture, without auxiliary classifiers; the recipes answer by the
mean of six views.
"""

from typing import Any

import cyclopts

from benchmarks.results import publish
from benchmarks.seeds import run_seeds
from suite.app import load_app
from suite.export.endpoints import to_logits

CLASSICS = ("lenet", "alexnet", "vgg", "inception", "highway", "resnet")
RECIPE = "cifar10"


def operations(model: Any) -> int:
    """The floating-point operations of a network for one picture, as TensorFlow counts them.

    Args:
        model: A functional model, from pictures of known size.
    """
    import tensorflow as tf

    function = tf.function(lambda image: model(image, training=False))
    graph = function.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]))).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    counted = tf.compat.v1.profiler.profile(graph, options={**options, "output": "none"})
    return counted.total_float_ops


def main(*names: str, precision: str = "float32") -> None:
    """Trains the networks, and writes a record for each of them.

    Args:
        names: Applications; by default all classics.
        precision: Dtype policy of the layers.
    """
    for name in names or CLASSICS:
        app = load_app(name)
        architecture = app.recipe(RECIPE).architecture
        gigaflop = operations(to_logits(app.build((32, 32, 3), 10, **architecture))) / 1e9
        rows, report = run_seeds(name, RECIPE, 1, flags=["--precision", precision])
        publish(
            f"classics_{name}",
            rows,
            parameters=report["parameters"],
            gflop_a_picture=gigaflop,
            precision=precision,
            data=report["data"]["source"],
            config=report["config"],
            architecture=report["architecture"],
        )


if __name__ == "__main__":
    cyclopts.run(main)
