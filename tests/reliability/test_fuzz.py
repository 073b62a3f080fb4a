"""Random input is accepted, or refused in one sentence; nothing hangs, and no data is executed."""

import copy
import dataclasses
import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from apps.iris import app as iris
from suite import InputError, Run, cli, train
from suite.app import app_names, load_app
from suite.data.images.files import read_picture
from suite.data.images.preparation import Preparation
from suite.data.images.sources import load_pictures
from suite.data.tables.sources import load_table
from suite.errors import one_line_message
from suite.training import stages
from suite.training.record import refuse_other_data, reopen, with_checksum
from suite.training.session import build
from suite.training.state import Progress, TrainingState

# Every case of a test writes its files anew, so all cases may share the folder of the test.
fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def cases(record_property):
    record_property("tried", settings().max_examples)


ANYTHING = st.one_of(
    st.text(max_size=40),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", "-1", "0", "1e400", "nan", "inf", "../..", "/dev/zero", "/proc/self/mem"]),
)
NAMES = app_names()


@st.composite
def command_lines(draw):
    """An app, and arguments of its command line, of which many are its flags."""
    app = load_app(draw(st.sampled_from(NAMES)))
    knobs = [*vars(app.config()), *app.architecture_knobs(), *vars(Run()), "recipe"]
    flags = st.sampled_from([f"--{knob.replace('_', '-')}" for knob in knobs])
    standard = ["evaluate", "cross-validate", "--help", "--version"]
    commands = st.sampled_from([*standard, *app.commands])
    words = st.lists(st.one_of(flags, ANYTHING, commands), max_size=8)
    return app, draw(words)


def refused(*arguments, **options):
    raise InputError("nothing must be trained here", "a training")


@fuzz
@given(case=command_lines())
def test_flags(case, monkeypatch, capsys):
    app, words = case
    # Nothing is trained: the test is about the parsing of flags.
    trained = SimpleNamespace(report={})
    monkeypatch.setattr(cli.commands, "train", lambda *arguments: trained)
    monkeypatch.setattr(cli.commands, "cross_validate", lambda *arguments, **options: {"folds": 2})
    monkeypatch.setattr(stages, "train", refused)  # of the commands that compare trainings

    code = cli.run(app, words)

    captured = capsys.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in captured.out + captured.err
    assert (code == 0) == (captured.err == "")
    assert len(captured.err.splitlines()) <= 1


def damaged(draw, content):
    """The content of a file with some bytes changed, cut off, inserted or removed."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["flip", "cut", "insert", "remove", "zero"])):
            case "flip" if content:
                content[position] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[position:]
            case "insert":
                content[position:position] = draw(st.binary(max_size=64))
            case "remove":
                del content[position : position + draw(st.integers(1, 64))]
            case "zero":
                end = min(position + 64, len(content))
                content[position:end] = bytes(end - position)
    return bytes(content)


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


WHOLE_NPZ = npz(
    x_train=np.arange(4 * 784, dtype=np.uint8).reshape(4, 28, 28) % 251,
    y_train=np.arange(4),
    x_test=np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28) % 251,
    y_test=np.arange(2),
)
ARRAYS = st_numpy.arrays(
    st.one_of(
        st_numpy.integer_dtypes(), st_numpy.floating_dtypes(), st_numpy.unicode_string_dtypes(),
        st_numpy.boolean_dtypes(), st_numpy.datetime64_dtypes(), st_numpy.complex_number_dtypes(),
    ),
    st.one_of(
        st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
        st.sampled_from([(2, 28, 28), (2, 28, 28, 1), (2,), (0, 28, 28)]),
    ),
)  # fmt: skip


@st.composite
def npz_files(draw):
    if draw(st.booleans()):
        return damaged(draw, WHOLE_NPZ)
    names = ("x_train", "y_train", "x_test", "y_test", "other")
    return npz(**{name: draw(ARRAYS) for name in names if draw(st.integers(0, 9))})


@fuzz
@given(content=st.one_of(npz_files(), st.binary(max_size=200)))
def test_npz(content, tmp_path):
    path = tmp_path / "digits.npz"
    path.write_bytes(content)

    try:
        examples = load_pictures(Run(data=str(path)))
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert examples.train.inputs.dtype == np.uint8
        assert examples.train.inputs.shape[1:] == (28, 28, 1)


@st.composite
def pictures(draw):
    """Image files of any format, mode and size, whole or damaged."""
    mode = draw(st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"]))
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    length = len(PIL.Image.new(mode, size).tobytes())
    noise = draw(st.binary(min_size=8, max_size=8))
    pixels = (noise * (length // 8 + 1))[:length]
    content = io.BytesIO()
    kind = draw(st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"]))
    try:
        PIL.Image.frombytes(mode, size, pixels).save(content, kind)
    except (OSError, ValueError):  # not every format has every mode
        return noise
    whole = content.getvalue()
    return damaged(draw, whole) if draw(st.booleans()) else whole


@fuzz
@given(content=st.one_of(pictures(), st.binary(max_size=200)))
def test_pictures(content, tmp_path):
    path = tmp_path / "digit.png"
    path.write_bytes(content)

    try:
        digit = read_picture(path, Preparation())
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert digit.shape == (28, 28, 1) and digit.dtype == np.uint8


CELLS = st.one_of(
    st.floats().map(str), st.integers().map(str), st.text(max_size=8), st.sampled_from(["a", "b"])
)


@fuzz
@given(
    content=st.one_of(
        st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=6)
        .map("\n".join)
        .map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.binary(max_size=200),
    )
)
def test_csv(content, tmp_path):
    path = tmp_path / "flowers.csv"
    path.write_bytes(content)

    try:
        examples = load_table(Run(data=str(path)))
    except InputError as error:
        assert len(str(error)) < 10_000
    else:
        assert np.isfinite(examples.train.inputs).all()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def iris_run(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    recipe = iris.recipe(**{**iris.tiny, "epochs": 2})
    run = Run(data="embedded", quiet=True, run_dir=folder, export_dir=folder / "exports")
    train(iris, recipe, run)
    return folder


@st.composite
def records(draw, whole):
    """A `run.json` with damaged bytes, or with any value in one place of it."""
    if draw(st.booleans()):
        return damaged(draw, json.dumps(whole).encode())
    record = copy.deepcopy(whole)
    holder = record
    while True:
        key = draw(st.sampled_from([*holder, "more"]))
        if not isinstance(holder.get(key), dict) or not holder[key] or draw(st.booleans()):
            break
        holder = holder[key]
    holder[key] = draw(JSON)
    return json.dumps(with_checksum(record) if draw(st.booleans()) else record).encode()


@fuzz
@given(data=st.data())
def test_run_folders(data, iris_run, tmp_path):
    whole = json.loads((iris_run / "run.json").read_text())
    (tmp_path / "run.json").write_bytes(data.draw(records(whole)))
    given_run = Run(run_dir=tmp_path, resume=True)

    try:
        folder, recipe, run, _ = reopen(iris, iris.recipe(), given_run)
        refuse_other_data(folder, whole["fingerprint"])
        examples = iris.data(recipe.config, dataclasses.replace(run, data="embedded"))
        iris.compile(build(iris, recipe, examples), recipe.config, 1)
    except InputError as error:
        assert "\n" not in one_line_message(error)


@fuzz
@given(data=st.data())
def test_saved_states(data, iris_run, tmp_path):
    """A damaged state is restored exactly as it was saved, or not at all."""
    whole = max((iris_run / "checkpoints").glob("*.index"))
    files = {path.name: path.read_bytes() for path in whole.parent.glob(f"{whole.stem}.*")}
    name = data.draw(st.sampled_from(sorted(files)))
    files[name] = damaged(data.draw, files[name])
    shutil.rmtree(tmp_path / "states", ignore_errors=True)
    (tmp_path / "states").mkdir()
    for file, content in files.items():
        (tmp_path / "states" / file).write_bytes(content)
    state = TrainingState(tmp_path / "states")

    progress = state.find()

    assert progress in (Progress(), TrainingState(iris_run / "checkpoints").find())
