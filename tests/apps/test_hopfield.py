import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from apps.hopfield import Config, app, build_model, in_turn, load_data
from suite import InputError, Run, cli, train

QUIET = Run(data="embedded", quiet=True, figures=False)


def trained(until="judge", recipe=None, **knobs):
    return train(app, app.recipe(recipe, **knobs), QUIET, until=until)


@pytest.mark.parametrize("rule", ["hebb", "pseudo_inverse", "modern"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_builder(rule, asynchronous):
    model = build_model(20, 3, rule=rule, asynchronous=asynchronous, sweeps=2)

    shapes = {name: tensor.shape for name, tensor in model.output.items()}
    assert shapes == {"recalled": (None, 20), "energy": (None,)}
    assert {tensor.dtype for tensor in model.outputs} == {"float32"}


def test_cues_are_of_the_patterns_and_do_not_depend_on_the_seed():
    one, other = (load_data(Config(noise=0.2), Run(seed=seed)) for seed in (0, 1))

    patterns = one.splits["train"].inputs
    test = one.splits["test"]
    assert patterns.shape == (10, 100) and set(np.unique(patterns)) == {-1, 1}
    wrong = (test.inputs != patterns[test.targets]).mean()
    assert wrong == pytest.approx(0.2, abs=0.02) and len(test.inputs) == 100
    np.testing.assert_array_equal(test.inputs, other.splits["test"].inputs)
    assert (test.inputs != one.splits["validation"].inputs).any()


def test_classes_take_turns():
    assert in_turn(np.array([0, 0, 1, 0, 1, 2]), 5).tolist() == [0, 2, 5, 1, 4]


def test_few_patterns_are_recalled_and_many_are_not():
    few, many = trained(patterns=4), trained(patterns=40)

    assert few.metrics["test_recalled"] == 1 and few.metrics["test_right"] == 1
    assert few.metrics["test_right_in_cues"] == pytest.approx(0.9, abs=0.02)
    assert few.metrics["load"] == 0.04
    assert many.metrics["test_recalled"] < 0.1


def test_the_modern_memory_recalls_ten_for_each_unit():
    result = trained(recipe="modern", cues=1)

    assert result.metrics["test_recalled"] == 1 and result.metrics["load"] == 10


def test_digits_are_recalled_from_their_upper_halves(capsys):
    run = Run(data="embedded", quiet=True)

    result = train(app, app.recipe("digits", cues=1, patterns=12), run)

    assert result.report["metrics"]["test_recalled"] > 0.5
    assert (result.folder / "figures" / "recall.png").stat().st_size > 1000
    names = result.report["data"]["class_names"]
    assert names[0] == "0 (1)" and len(names) == len(set(names)) == 12
    hebb = trained(recipe="digits", cues=1, patterns=12, rule="hebb")
    assert hebb.metrics["test_recalled"] < 0.3

    signatures = tf.saved_model.load(str(result.saved_model)).signatures
    assert {"serve", "image", "picture"} <= set(signatures)
    stored = result.data.splits["train"].inputs
    answers = signatures["serve"](pattern=tf.constant(stored))
    assert answers["index"].numpy().tolist() == list(range(12))
    assert [name.decode() for name in answers["name"].numpy()] == names
    np.testing.assert_allclose(answers["overlap"], 1)

    picture = (stored[3].reshape(28, 28) + 1) * 127.5
    PIL.Image.fromarray(picture.astype(np.uint8)).save("three.png")
    capsys.readouterr()
    assert cli.run(app, ["recall", "three.png", "--output", "recalled.png"]) == 0
    assert "recalled.png: " in capsys.readouterr().out
    with PIL.Image.open("recalled.png") as drawn:
        assert drawn.size == (28, 2 * 28)
    assert cli.run(app, ["evaluate"]) == 0


def test_the_capacity_is_measured(capsys):
    assert cli.run(app, ["capacity", "--num-units", "100", "--sweeps", "10"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 patterns, 0.02 for each unit: 100.0% recalled"
    assert lines[-1].startswith("200 patterns, 2.00 for each unit: 0.0%")


def test_pictures_must_differ_and_be_enough():
    picture = np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8)
    alike = (np.repeat(picture, 6, axis=0), np.arange(6) % 2)

    with pytest.raises(InputError, match="pictures must differ once they are black and white"):
        train(app, app.recipe(patterns=2), QUIET, until="open", data=alike)
    with pytest.raises(
        InputError, match=r"`patterns` must be at most the 6 pictures\. Received: 7"
    ):
        train(app, app.recipe(patterns=7), QUIET, until="open", data=alike)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--noise", "0.6"], "--noise "),
        (["--erased", "1"], "--erased "),
        (["--patterns", "1"], "--patterns "),
        (["--num-units", "0"], "--num-units "),
        (["--beta", "0"], "--beta "),
        (["--sweeps", "0"], "--sweeps "),
        (["--rule", "storkey"], "rule"),
        (["--data", "missing.npz"], "--data "),
        (["recall", "missing.png"], "missing.png"),
        (["recall"], "one image file or more"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
