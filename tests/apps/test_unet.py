import re
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from keras import layers, ops

from apps.unet import app, build_model, lost_pixels
from suite import InputError, Run, train
from suite.cli import run
from suite.data.images.files import read_opaque
from suite.tasks.segmentation import overlay


def test_the_paper_s_tile_loses_184_pixels_at_four_halvings():
    """Figure 1: 572 pixels become 388, and what is kept is cropped by 4, 16, 40 and 88."""
    lost = lost_pixels(4, 2)

    assert lost == [184, 88, 40, 16, 4]
    assert 572 - lost[0] == 388
    assert app.recipes["paper"]["crop"] + lost[0] + 2 * 2 % 2**4 == 572


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("convolutions", [1, 2])
def test_the_answer_has_the_size_of_the_picture(padding, depth, convolutions):
    model = build_model(
        (64, 64, 3), 5, depth=depth, filters=2, convolutions=convolutions, padding=padding
    )

    for shape in ((64, 64), (48, 72)):
        assert model(np.zeros((2, *shape, 3))).shape == (2, *shape, 5)


def test_without_padding_the_answer_in_the_middle_is_that_with_padding():
    """Far from the borders it makes no difference what lies beyond them."""
    knobs = {"depth": 1, "filters": 3, "convolutions": 2, "normalization": "none"}
    same, valid = (build_model((48, 48, 1), 2, padding=p, **knobs) for p in ("same", "valid"))
    valid.set_weights(same.get_weights())
    picture = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 1)).astype(np.float32)

    one, other = (ops.convert_to_numpy(model(picture)) for model in (same, valid))

    np.testing.assert_allclose(one[:, 14:34, 14:34], other[:, 14:34, 14:34], atol=1e-4)
    assert np.abs(one - other)[:, 0].max() > 1e-3


def test_a_level_halves_the_size_and_doubles_the_filters():
    model = build_model((64, 64, 3), depth=3, filters=4, convolutions=3)
    convolutions = [layer for layer in model.layers if type(layer) is layers.Conv2D]

    filters = [layer.filters for layer in convolutions]
    assert filters == [*[4] * 3, *[8] * 3, *[16] * 3, *[32] * 3, *[16] * 3, *[8] * 3, *[4] * 3, 4]
    joined = [layer for layer in model.layers if isinstance(layer, layers.Concatenate)]
    assert [layer.output.shape[-1] for layer in joined] == [32, 16, 8]


def test_without_skips_nothing_is_joined():
    model = build_model(skips=False)

    assert not [layer for layer in model.layers if isinstance(layer, layers.Concatenate)]
    assert model(np.zeros((1, 64, 64, 3))).shape == (1, 64, 64, 4)


@pytest.mark.parametrize(
    ("arguments", "knobs", "message"),
    [
        (
            ((4, 64, 3),),
            {"depth": 3},
            r"multiple of 8, such as 8, or `depth` smaller, .* Received: 4",
        ),
        (((64, 100, 3),), {}, r"`image_size` must be a multiple of 8, such as 96 or 104"),
        (((64, 64, 3), 2, 20), {}, r"`crop` must be a multiple of 8, .* 3 times\. Received: 20"),
        (((64, 64, 3),), {"padding": "valid", "depth": 4}, r"`padding` must be same, .* by 96"),
        (((64, 64, 3), 2, 32), {"padding": "valid"}, r"`padding` must be same, .* of 32 pixels"),
        (((64, 64, 3), 1), {}, r"`num_classes` should be greater than or equal to 2"),
        ((), {"depth": 7}, r"`depth` should be less than or equal to 6"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(arguments, knobs, message):
    with pytest.raises(InputError, match=message):
        build_model(*arguments, **knobs)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_logits_stay_float32_in_mixed_precision(precision):
    keras.config.set_dtype_policy(precision)

    assert build_model().output.dtype == "float32"
    assert build_model((64, 64, 3), depth=2, padding="valid").output.dtype == "float32"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short training on shapes."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = app.recipe(
        epochs=3, min_steps_per_epoch=40, image_size=32, batch_size=8, depth=2, filters=8
    )
    run = Run(
        data="embedded", quiet=True, run_dir=folder / "run", export_dir=folder / "saved_models"
    )
    return train(app, recipe, run)


def test_it_learns_to_tell_shapes_from_the_ground(trained):
    metrics = trained.report["metrics"]

    assert metrics["test_iou"] == pytest.approx(
        np.mean([share for share in metrics["test_iou_by_class"].values() if share is not None])
    )
    # What the answer "all is ground" would reach.
    assert metrics["test_iou"] > metrics["test_largest_class"] / 4 + 0.05
    assert metrics["test_accuracy"] > metrics["test_largest_class"]
    names = {path.name for path in (trained.folder / "figures").iterdir()}
    assert names == {"learning_curves.png", "worst_answers.png", "scores_by_class.png"}
    assert "ground" in trained.report["answered_classes"]


def test_predict_draws_the_answer_at_the_size_of_the_photo(trained, capsys):
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    PIL.Image.fromarray(photo).save("photo.jpg")
    export = ["--export-dir", str(trained.saved_model.parents[1])]

    assert run(app, ["predict", "photo.jpg", *export]) == 0

    printed = capsys.readouterr().out
    assert re.match(r"mask\.png: \w+ \d+\.\d% \(#[0-9a-f]{6}\)", printed)
    with PIL.Image.open("mask.png") as drawn:
        assert drawn.size == (70, 50) and drawn.mode == "RGB"
        coloured = np.asarray(drawn)
    assert run(app, ["predict", "photo.jpg", "--show", "mask", "--output", "m.png", *export]) == 0
    with PIL.Image.open("m.png") as numbers:
        assert numbers.size == (70, 50) and set(np.unique(numbers)) <= set(range(4))
        expected = overlay(read_opaque(Path("photo.jpg")), np.asarray(numbers))
    np.testing.assert_array_equal(coloured, expected)


def test_a_photo_of_one_class_is_warned_of(trained, monkeypatch, caplog):
    PIL.Image.new("RGB", (20, 20)).save("black.png")
    names, colours, shares = [b"a", b"b"], [b"#1f77b4", b"#ff7f0e"], np.array([[0.0, 1.0]])
    png = tf.io.encode_png(np.zeros((20, 20, 1), np.uint8)).numpy()
    answer = {"overlay": [png], "names": [names], "colours": [colours], "shares": shares}
    monkeypatch.setattr("suite.export.exported.ExportedModel.call", lambda *_: answer)

    run(app, ["predict", "black.png", "--export-dir", str(trained.saved_model.parents[1])])

    assert "The whole picture is taken for b." in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--depth", "0"], "--depth "),
        (["--border-width", "0"], "--border-width "),
        (["--flip", "sideways"], "flip"),
        (["--loss", "wishful"], "loss"),
        (["--crop", "9999"], "--crop "),
        (["--image-size", "30", "--data", "embedded"], "--image-size must be a multiple of 8"),
        (["--classes", "1:cat"], "--classes needs a folder of pictures as --data"),
        (["predict", "photo.jpg"], "photo.jpg, which is not there"),
        (["predict", "photo.jpg", "--output", "mask.txt"], "must end in"),
        (["predict", "photo.jpg", "--output", "m.jpg", "--show", "mask"], "--output must end in"),
        (["predict", "there.png"], "an exported model is needed"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    PIL.Image.new("RGB", (20, 20)).save("there.png")
    before = sorted(tmp_path.rglob("*"))

    code = run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
