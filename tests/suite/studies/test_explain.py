import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_digits

from apps.iris import app as iris
from apps.mnist_cnn import app as mnist_cnn
from suite import Run, cli, train
from suite.export.exported import Exports
from suite.studies import explain as study

pytestmark = pytest.mark.xdist_group("studies of pictures")
METHODS = ("grad_cam", "cam", "occlusion", "saliency", "integrated_gradients", "lime", "shap")
QUIET = Run(data="embedded", quiet=True, figures=False)


@pytest.fixture(scope="module")
def exports(of_digits, tmp_path_factory):
    """Exports of both applications, and the drawing of a digit."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TFDS_DATA_DIR", str(folder / "none"))
        shutil.copytree(of_digits.saved_model.parents[1], "saved_models")
        train(iris, iris.recipe(), QUIET)
        digits = load_digits()
        drawing = np.kron(255 - digits.images[0].astype(np.uint8) * 15, np.ones((8, 8), np.uint8))
        PIL.Image.fromarray(drawing).save("digit.png")
        Path("text.png").write_text("text")
    return folder


@pytest.fixture(autouse=True)
def in_folder(exports, monkeypatch):
    monkeypatch.chdir(exports)


def run(app, words, capsys):
    code = cli.run(app, ["explain", *words.split()])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("method", [m for m in METHODS if m != "cam"])
def test_a_picture_and_its_map_are_drawn_and_the_class_is_told(method, capsys):
    code, out, err = run(mnist_cnn, f"digit.png --method {method} --output {method}.png", capsys)

    assert (code, err) == (0, "")
    assert re.fullmatch(rf"digit\.png: \d \(\d+\.\d%\)\n{method}\.png\n", out)
    with PIL.Image.open(f"{method}.png") as figure:
        pixels = np.asarray(figure.convert("RGB")).astype(int)
    colour = np.abs(pixels[..., 0] - pixels[..., 2])
    # Red or blue, somewhere in the map; that of Grad-CAM may be 0 after a short training.
    assert method == "grad_cam" or (colour > 60).sum() > 100


def test_methods_that_look_at_answers_alone_see_those_of_all_views(of_views, monkeypatch, capsys):
    folder = of_views.saved_model.parents[1]
    heat_maps, explained = study._heat_maps, {}

    def recorded(method, model, *rest):
        explained[method] = model
        return heat_maps(method, model, *rest)

    monkeypatch.setattr(study, "_heat_maps", recorded)
    for method in ("grad_cam", "saliency"):
        words = f"digit.png --method {method} --export-dir {folder}"
        assert run(mnist_cnn, words, capsys)[0] == 0

    pictures = np.random.default_rng(0).uniform(0, 255, (3, 28, 28, 1)).astype("float32")
    served = Exports(export_dir=folder).open("mnist_cnn").call(pictures)["logits"]
    np.testing.assert_allclose(explained["saliency"](pictures), served, atol=1e-4)
    assert np.abs(explained["grad_cam"](pictures) - served).max() > 1e-2


def test_several_pictures_are_explained_for_a_class_by_its_name(capsys):
    code, out, _ = run(mnist_cnn, "digit.png digit.png --label 7", capsys)

    assert code == 0
    assert re.fullmatch(r"(digit\.png: 7 \(\d+\.\d%\)\n){2}explanation\.png\n", out)


def test_the_shares_of_a_row_add_up(capsys):
    code, out, err = run(iris, "5.1 3.5 1.4 0.2 --output iris.png", capsys)

    assert (code, err) == (0, "")
    first, *lines, path = out.splitlines()
    answer = re.match(r"setosa \((.+)%\); (.+)% on average over 100 rows of embedded:", first)
    probability, average = map(float, answer.groups())
    names = [line.split(" = ")[0] for line in lines]
    assert names == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    points = [float(line.split()[-1]) for line in lines]
    assert sum(points) == pytest.approx(probability - average, abs=0.4)  # each is rounded
    assert max(points) == max(points[2:])  # petals tell setosa from the others
    assert path == "iris.png"
    with PIL.Image.open(path) as figure:
        assert figure.width > 300


def test_a_class_of_a_row_can_be_chosen(capsys):
    _, chosen, _ = run(iris, "5.1 3.5 1.4 0.2 --label virginica", capsys)

    assert chosen.startswith("virginica (")
    assert float(chosen.splitlines()[3].split()[-1]) < 0


def test_a_column_of_texts_is_one_player(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"{'abc'[n % 3]},{n % 11},{'no' if n % 3 else 'yes'}" for n in range(60)]
    Path("letters.csv").write_text("\n".join(["letter,number,answer", *rows]))
    words = ["--data", "letters.csv", "--quiet", "--no-figures"]
    assert cli.run(iris, words) == 0
    capsys.readouterr()

    code, out, _ = run(iris, "a 3 --label yes", capsys)

    assert code == 0
    assert [line.split(" = ")[0] for line in out.splitlines()[1:-1]] == ["letter", "number"]
    letter, number = (float(line.split()[-1]) for line in out.splitlines()[1:-1])
    assert letter > 30 and letter > abs(number)


BAD = [
    (mnist_cnn, "digit.png --method cam", "--method must not be cam for a network without global"),
    (mnist_cnn, "digit.png --label ten", "--label must be one of: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9. R"),
    (mnist_cnn, "text.png", "text.png, not a readable image"),
    (mnist_cnn, "nothing.png", "nothing.png, which is not there"),
    (mnist_cnn, "", "there must be one image file or more"),
    (
        mnist_cnn,
        "digit.png --method no",
        'Invalid value "no" for --method. Choose from: "grad_cam"',
    ),
    (mnist_cnn, "digit.png --output map.pdf", "an image file must end in one of: "),
    (
        mnist_cnn,
        "digit.png --output no/map.png",
        "in a folder that exists. Received: no/map.png",
    ),
    (iris, "1 2 3", "a row must have 4 values (sepal_length, "),
    (iris, "1 2 3 x", "petal_width must be a number. Received: 'x'"),
    (iris, "1 2 3 4 --label rose", "--label must be one of: setosa, versicolor, virginica. Rec"),
    (iris, "1 2 3 4 --method lime", "--method must be shap for a table. Received: lime"),
    (iris, "1 2 3 4 --export-dir none", "none under none/iris"),
]


@pytest.mark.parametrize(("app", "words", "expected"), BAD, ids=lambda v: str(v)[:40])
def test_bad_input_gets_one_sentence(app, words, expected, exports, capsys):
    before = sorted(exports.rglob("*"))

    code, out, err = run(app, words, capsys)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert expected in err
    assert sorted(exports.rglob("*")) == before


def test_the_methods_of_the_flag_are_those_of_the_tests():
    assert set(study.Method.__args__) == set(METHODS)
