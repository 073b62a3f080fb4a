"""PSNR of ours and of keras.io's sub-pixel network after the same time, for three times the size.

    python -m benchmarks.pictures.super_resolution --data pictures/
    python -m benchmarks.pictures.super_resolution --data pictures/ --seconds 300 --scale 2
    python -m benchmarks.pictures.super_resolution --data pictures/ --judge saved_models/vgg

The folder of `--data` holds what papers train and test on, pictures alone: `yang91` and `bsd200` to
train on, `set5` and `bsd100` to test on. All contestants train on the same patches, made smaller
alike, for the same seconds of `fit`, compilation included, and are judged alike, on the luma of
whole pictures without as many pixels at every border as the times they are enlarged. Each is a
process of its own.

`deeper` is a recipe of ours; `espcn` is the paper's two hidden layers, which here add to the
bicubic enlargement. Their schedules are as long as the time allows, judged by the speed of the
first steps. The peer is the network of keras.io's "Image Super-Resolution using an Efficient
Sub-Pixel CNN" under its loss and its optimizer; a batch of patches has as many pixels as its 8
pictures of 100 x 100. As there, the weights of the pass with the least loss are kept, and ten
passes without a smaller one end the training.

With `--judge`, the folder of an exported classifier of pictures in colour, something else is
measured: four times larger, SRResNet with and without the adversary, for as many epochs, by PSNR
and by the distance of the judge's features; `--features` names another export, by which SRGAN
learns.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyclopts

from apps.super_resolution import Config, open_features
from benchmarks.results import publish
from benchmarks.turns import output_of
from suite import InputError

TRAIN, TEST = ("yang91", "bsd200"), ("set5", "bsd100")
PEER, PATCH = "keras.io", Config().patch_size
RECIPES: dict[str, dict[str, Any]] = {
    "deeper": {"filters": (64, 32, 32, 32)},
    "espcn": {},
    PEER: {"batch_size": 8 * 100**2 // PATCH**2},
}
STEPS_PER_EXECUTION = 20
PATIENCE, MOST_PASSES = 10, 10_000  # of the peer
# SRResNet and its adversary as two cores can train them; the smallest picture of `yang91` has 78
# pixels along a side.
SRRESNET = {
    "scale": 4,
    "patch_size": 18,
    "width": 32,
    "blocks": 6,
    "network": "srresnet",
    "learning_rate": 5e-4,
}
ADVERSARY = {"discriminator_filters": (16, 32, 64, 128)}


def linked(data: Path, folder: Path) -> None:
    """Fills a folder with links to the pictures, in `train` and `test`, as the suite reads them."""
    for split, names in (("train", TRAIN), ("test", TEST[:1])):
        (folder / split).mkdir()
        for name in names:
            for picture in sorted((data / name).iterdir()):
                (folder / split / f"{name}-{picture.name}").symlink_to(picture.resolve())


def keras_io(scale: int) -> Any:
    """The example's network, which enlarges the luma; the colours are enlarged by interpolation."""
    import keras
    from keras import layers, ops

    from suite.layers.colours import to_rgb, to_ycbcr
    from suite.layers.enlargement import enlarge

    image = keras.Input((None, None, 3), name="image")
    ycbcr = to_ycbcr(image)
    x = ycbcr[..., :1] / 255
    for filters, size in ((64, 5), (64, 3), (32, 3), (scale**2, 3)):
        x = layers.Conv2D(
            filters, size, padding="same", activation="relu", kernel_initializer="orthogonal"
        )(x)
    luma = 255 * ops.depth_to_space(x, scale)
    colours = enlarge(ycbcr, scale)[..., 1:]
    return keras.Model(image, to_rgb(ops.concatenate([luma, colours], axis=-1)), name="keras_io")


def contestant(name: str, data: Path, seconds: float, seed: int, scale: int) -> dict[str, Any]:
    """Trains one contestant for the given seconds, and judges it on all test sets."""
    import keras

    from apps.super_resolution import app, mse, psnr_metric
    from suite import Run
    from suite.training.session import build

    recipe = app.recipe(scale=scale, **RECIPES[name])
    with tempfile.TemporaryDirectory() as folder:
        linked(data, Path(folder))
        examples = app.data(recipe.config, Run(data=folder, seed=seed))

    def fit(
        steps: int, after_step: Callable[[keras.Model, float], None], passes: int = 1
    ) -> keras.Model:
        started = time.perf_counter()
        keras.utils.set_random_seed(seed)
        if name == PEER:
            model = keras_io(scale)
            model.compile(keras.optimizers.Adam(1e-3), mse, metrics=[psnr_metric(scale)])
        else:
            model = app.compile(build(app, recipe, examples), recipe.config, steps)
        model.steps_per_execution = STEPS_PER_EXECUTION
        clock = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: after_step(model, time.perf_counter() - started)
        )
        best = keras.callbacks.EarlyStopping("loss", patience=PATIENCE, restore_best_weights=True)
        model.fit(
            examples.train(0),
            steps_per_epoch=steps,
            epochs=passes,
            shuffle=False,
            verbose=0,
            callbacks=[clock] if passes == 1 else [clock, best],
        )
        return model

    def stop_in_time(model: keras.Model, now: float) -> None:
        model.stop_training = now >= seconds

    # A short training, which is then discarded, measures how many steps there is time for.
    ends: list[float] = []
    fit(10 * STEPS_PER_EXECUTION, lambda model, now: ends.append(now))
    executions = (seconds - ends[0]) * (len(ends) - 1) / (ends[-1] - ends[0])
    steps = max(1, round(executions)) * STEPS_PER_EXECUTION
    started = time.perf_counter()
    if name == PEER:  # it has no schedule to finish: the clock stops it
        executions = math.ceil(examples.steps_per_epoch / STEPS_PER_EXECUTION)
        model = fit(executions * STEPS_PER_EXECUTION, stop_in_time, MOST_PASSES)
    else:
        model = fit(steps, stop_in_time)
    return {
        "seconds": time.perf_counter() - started,
        "steps": int(model.optimizer.iterations.numpy()),
        "parameters": model.count_params(),
        **judged(model, data, scale),
    }


def judged(network: Any, data: Path, scale: int, judge: str | None = None) -> dict[str, float]:
    """The metrics on all test sets.

    Args:
        network: Enlarges pictures; None for bicubic interpolation.
        data: The folder of the sets.
        scale: How many times it enlarges.
        judge: Folder of the export by whose features pictures are compared.
    """
    from apps.super_resolution import bicubic, enlarger, measure
    from suite.data.pairs.patches import (
        pictures_of,
        read_whole_pictures,
        unstacked,
        whole_pairs,
    )

    if network is None:

        def enlarged(small: Any) -> Any:
            return bicubic(small, scale)
    else:
        in_graph = enlarger(network, scale)

        def enlarged(small: Any) -> Any:
            return in_graph(small).numpy()

    features = open_features(judge) if judge else None
    metrics = {}
    for name in TEST:
        pairs = whole_pairs(pictures_of(read_whole_pictures(data / name).train), scale)
        both = zip(unstacked(pairs.inputs), unstacked(pairs.targets), strict=True)
        for merit, value in measure(both, enlarged, scale, features).items():
            metrics[f"{name}_{merit}"] = value
    return metrics


def against_adversary(
    name: str,
    data: Path,
    judge: str,
    features: str | None,
    epochs: int,
    adversarial_epochs: int,
    seed: int,
) -> dict[str, Any]:
    """Trains SRResNet, alone or then against the adversary, for as many epochs, and judges it."""
    from apps.super_resolution import app, generator_of
    from suite import Run, train

    knobs: dict[str, Any] = {"epochs": epochs + adversarial_epochs}
    if name == "srgan":
        knobs = {"epochs": epochs, "adversarial_epochs": adversarial_epochs, **ADVERSARY}
        knobs |= {"features": features}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        linked(data, pictures)
        run = Run(data=str(pictures), seed=seed, run_dir=Path(folder) / "run", quiet=True)
        started = time.perf_counter()
        trained = train(app, app.recipe(**SRRESNET, **knobs), run, until="fit")
        seconds = time.perf_counter() - started
    network = generator_of(trained.networks)
    return {
        "seconds": seconds,
        "parameters": network.count_params(),
        **judged(network, data, SRRESNET["scale"], judge),
    }


def main(
    *,
    data: Path,
    seconds: float = 1100,
    scale: int = 3,
    seed: int = 0,
    judge: str | None = None,
    features: str | None = None,
    epochs: int = 3,
    adversarial_epochs: int = 2,
    only: str | None = None,
) -> None:
    """Measures all, one after the other.

    Args:
        data: The folder of the sets of pictures.
        seconds: Seconds of training for each.
        scale: How many times pictures are enlarged.
        seed: Seed of all contestants.
        judge: Measure SRGAN instead, by the features of this export.
        features: The export by whose features SRGAN learns.
        epochs: Epochs in which SRGAN compares pixels.
        adversarial_epochs: Epochs of SRGAN against its adversary after that; SRResNet compares
            pixels in these, too.
        only: Measure this one only, and print its result as JSON.
    """
    if only and judge:
        print(
            json.dumps(
                against_adversary(only, data, judge, features, epochs, adversarial_epochs, seed)
            )
        )
        return
    if only:
        print(json.dumps(contestant(only, data, seconds, seed, scale)))
        return
    if judge:
        if features in (None, judge):
            raise InputError("`features` must be another export than `judge`", features)
        scale = SRRESNET["scale"]
        for folder in (judge, features):
            open_features(folder)
    plain = judged(None, data, scale, judge)
    rows: list[dict[str, Any]] = [
        {"contestant": "bicubic", "seconds": None, "parameters": None, **plain}
    ]
    flags = {"data": data, "seconds": seconds, "scale": scale, "seed": seed, "epochs": epochs}
    flags |= {"adversarial-epochs": adversarial_epochs, "judge": judge, "features": features}
    arguments = [
        argument
        for flag, value in flags.items()
        if value is not None
        for argument in (f"--{flag}", str(value))
    ]
    for name in ("srresnet", "srgan") if judge else RECIPES:
        result = output_of("benchmarks.pictures.super_resolution", *arguments, "--only", name)
        rows.append({"contestant": name, **{key: result[key] for key in rows[0] if key in result}})
    publish(
        "super_resolution_adversary" if judge else f"super_resolution_x{scale}",
        rows,
        scale=scale,
        seed=seed,
        seconds=None if judge else seconds,
        epochs=epochs if judge else None,
        adversarial_epochs=adversarial_epochs if judge else None,
        judge=judge and Path(judge).name,
        features=features and Path(features).name,
    )


if __name__ == "__main__":
    cyclopts.run(main)
