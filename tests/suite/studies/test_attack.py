import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from apps.mnist_cnn import app
from suite.app import networks_of
from suite.attacks.gradients import probabilities
from suite.cli import run
from suite.export.exported import open_folder
from suite.tasks.pictures import answering

pytestmark = pytest.mark.xdist_group("studies of pictures")


@pytest.fixture
def digits(of_digits):
    """Two test pictures as files here, with the export beside them, and their classes."""
    shutil.copytree(of_digits.saved_model.parents[1], "saved_models")
    test = of_digits.data.splits["test"]
    for number in range(2):
        PIL.Image.fromarray(test.inputs[number, ..., 0]).save(f"{number}.png")
    return test.targets[:2]


def size(path):
    with PIL.Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("method", ["fgsm", "pgd", "universal"])
def test_files_get_other_answers(method, digits, capsys):
    words = f"attack 0.png 1.png --method {method} --epsilon 0.4"
    words += "" if method == "fgsm" else " --steps 20"

    assert run(app, words.split()) == 0, capsys.readouterr().err

    answer = r"(\d) \(\d+\.\d\d%\)"
    lines = capsys.readouterr().out.splitlines()
    answers = [re.fullmatch(rf"\d.png: {answer}; changed: {answer}", x) for x in lines[:2]]
    assert [int(match[1]) for match in answers] == digits.tolist()
    assert any(match[1] != match[2] for match in answers)
    assert lines[2:] == ["attack.png: the figure"]
    assert size("attack.png")[0] > 500


@pytest.mark.usefixtures("digits")
def test_accuracy_falls_with_epsilon(capsys):
    words = "attack --all --num 100 --epsilon 0.2 --steps 5 --restarts 2 --output curve.png"

    assert run(app, words.split()) == 0, capsys.readouterr().err

    lines = capsys.readouterr().out
    rows = np.float32(re.findall(r"epsilon ([\d.]+)  accuracy ([\d.]+)%", lines))
    np.testing.assert_allclose(rows[:, 0], [0, 0.05, 0.1, 0.15, 0.2])
    assert rows[0, 1] > 80 and rows[-1, 1] < rows[0, 1] - 30
    assert (np.diff(rows[:, 1]) <= 0).all()
    assert size("curve.png")[0] > 300


@pytest.mark.usefixtures("digits")
def test_without_a_change_there_is_one_accuracy(capsys):
    assert run(app, ["attack", "--all", "--epsilon", "0", "--method", "fgsm"]) == 0

    assert capsys.readouterr().out.count("accuracy") == 1


@pytest.mark.usefixtures("digits")
def test_a_class_is_made_out_of_noise(capsys):
    words = "attack --method fooling --label 3 --output fooling.png"

    assert run(app, words.split()) == 0

    sure = re.search(r"made out of noise: 3 \(([\d.]+)%\)", capsys.readouterr().out)
    assert float(sure[1]) >= 99.99
    assert size("fooling.png")[0] > 200


def test_what_answers_after_several_views_is_attacked_so(of_views):
    exported = open_folder(of_views.saved_model)
    images = of_views.data.splits["test"].inputs[:20]

    attacked = probabilities(answering(exported, networks_of(exported.built())), images)

    np.testing.assert_allclose(attacked, exported.call(images)["probabilities"], atol=1e-5)
    [network] = of_views.networks.values()
    assert np.abs(attacked - probabilities(network, images)).max() > 1e-3


BAD = [
    ("attack", "there must be one image file or more, or `all`"),
    ("attack 0.png --all", "there must be one image file or more, or `all`"),
    ("attack nowhere.png", "nowhere.png"),
    ("attack 0.png --epsilon -0.1", "--epsilon should be greater than or equal to 0"),
    ("attack 0.png --epsilon 1.5", "--epsilon should be less than or equal to 1"),
    ("attack 0.png --steps 0", "--steps should be greater than or equal to 1"),
    ("attack 0.png --restarts 0", "--restarts should be greater than or equal to 1"),
    ("attack 0.png --method fgsm --steps 9", "--steps must be left out with --method fgsm"),
    ("attack 0.png --method universal --restarts 2", "--restarts must be left out unless --method"),
    ("attack 0.png --data here", "--data and --data-dir must be left out without"),
    ("attack 0.png --num 3", "--num must be left out without `all`"),
    ("attack 0.png --method magic", "--method should be 'fgsm', 'pgd', 'universal' or 'fooling'"),
    ("attack 0.png --label 3", "--label must be left out unless --method is fooling"),
    ("attack --method fooling", "--label must be a class with --method fooling"),
    ("attack --method fooling --epsilon 0.2", "--epsilon must be left out with --method fooling"),
    ("attack --method fooling --label x", "--label must be one of: 0, 1, 2"),
    ("attack 0.png --method fooling --label 3", "there must be no pictures with --method fooling"),
    ("attack --all --method fooling --label 3", "there must be no pictures with --method fooling"),
    ("attack 0.png --output there.txt", "an image file must end in one of"),
    ("attack --all --data nowhere", "--data must be"),
]


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize(("words", "expected"), BAD, ids=lambda v: v[:40])
def test_bad_input_gets_one_sentence(words, expected, capsys):
    assert run(app, words.split()) == 2

    captured = capsys.readouterr()
    assert expected.replace("`all`", "--all") in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""
    assert not Path("attack.png").exists()
