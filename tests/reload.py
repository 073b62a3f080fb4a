"""Reloads exports in a process in which nothing of the project can be imported.

Reads lines `<version> <inputs.npz> <outputs.npz> <as a layer, 0 or 1>`, and answers with `done` or
with the error. The inputs are named `<signature>/<input>`; every signature is called with the first
1, 3 and 64.
"""

import sys

sys.modules["apps"] = sys.modules["suite"] = sys.modules["tests"] = None  # not importable here

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def reload(version, file, output, as_layer):
    signatures = tf.saved_model.load(version).signatures
    if as_layer == "1":
        layer = keras.layers.TFSMLayer(version, call_endpoint="serving_default")
    inputs = np.load(file, allow_pickle=True)
    outputs = {}
    for name in {key.split("/")[0] for key in inputs.files}:
        specs = signatures[name].structured_input_signature[1]
        for count in (1, 3, 64):
            tensors = {
                key: tf.constant(inputs[f"{name}/{key}"][:count], spec.dtype)
                for key, spec in specs.items()
            }
            for key, value in signatures[name](**tensors).items():
                outputs[f"{name}/{key}/{count}"] = value.numpy()
            if name == "serve" and as_layer == "1":  # Keras's layer takes one input
                for key, value in layer(*tensors.values()).items():
                    outputs[f"layer/{key}/{count}"] = value.numpy()
    np.savez(output, **outputs)


for line in sys.stdin:
    try:
        reload(*line.split())
        print("done", flush=True)
    except Exception as error:
        print(repr(error).replace("\n", " "), flush=True)
