"""Damaged files are noticed: an undamaged one is used instead, or the damage is reported."""

import asyncio
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from suite import InputError, Run
from suite.app import load_app
from suite.export.versions import versions
from suite.serve.batching import Limits
from suite.serve.models import Models
from tests.reliability.runs import EPOCHS, SmallRun, differences


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[np.random.default_rng(len(content)).integers(len(content))] ^= 0x10
    path.write_bytes(content)


def remove(path):
    path.unlink()


def copy_of(run, folder):
    """A training of the same app whose folder is a copy."""
    shutil.copytree(run.folder, folder)
    return SmallRun(run.name, folder)


DAMAGE = {
    "data cut off": ("data-00000-of-00001", cut_off),
    "data with a bit flipped": ("data-00000-of-00001", flip_a_bit),
    "data gone": ("data-00000-of-00001", remove),
    "index cut off": ("index", cut_off),
    "index gone": ("index", remove),
}


@pytest.mark.parametrize(
    "kind",
    ["data with a bit flipped"]
    + [pytest.param(kind, marks=pytest.mark.full) for kind in DAMAGE if "flipped" not in kind],
)
def test_damaged_state_gives_way_to_the_one_before(name, kind, undisturbed, tmp_path):
    run = copy_of(undisturbed(name), tmp_path / "damaged")
    ending, damage = DAMAGE[kind]
    newest = f"ckpt-{EPOCHS}"
    damage(run.run_dir / "checkpoints" / f"{newest}.{ending}")

    assert run.finish("--resume") == 0, run.output

    assert f"{newest} is damaged" in run.output and "Traceback" not in run.output
    assert differences(run, undisturbed(name)) == []


@pytest.mark.full
@pytest.mark.parametrize("damage", [cut_off, flip_a_bit])
def test_where_no_state_is_whole_that_is_said(name, damage, undisturbed, tmp_path):
    run = copy_of(undisturbed(name), tmp_path / "damaged")
    for path in (run.run_dir / "checkpoints").glob("*.data-*"):
        damage(path)

    assert run.finish("--resume") == 2

    assert "needs a saved state that is whole" in run.output.splitlines()[-1]
    assert "Traceback" not in run.output


@pytest.mark.full
def test_state_of_another_app_is_refused(name, undisturbed, tmp_path):
    run = copy_of(undisturbed(name), tmp_path / "damaged")
    other = undisturbed("a2c" if name == "iris" else "iris")
    for path in other.states:
        shutil.copy(path, run.run_dir / "checkpoints")

    assert run.finish("--resume") == 2

    assert "of another model" in run.output.splitlines()[-1] and "Traceback" not in run.output


@pytest.mark.full
def test_damaged_record_is_refused(name, undisturbed, tmp_path):
    run = copy_of(undisturbed(name), tmp_path / "damaged")
    cut_off(run.run_dir / "run.json")

    assert run.finish("--resume") == 2

    assert "run.json is damaged" in run.output.splitlines()[-1] and "Traceback" not in run.output


@pytest.mark.full
@pytest.mark.parametrize("what", ["report.json", "log.csv", "figures/learning_curves.png"])
def test_what_the_state_can_tell_again_is_written_anew(name, what, undisturbed, tmp_path):
    if name not in ("a2c", "iris"):
        pytest.skip("the same code for every app")
    run = copy_of(undisturbed(name), tmp_path / "damaged")
    cut_off(run.run_dir / what)

    assert run.finish("--resume") == 0, run.output

    assert differences(run, undisturbed(name)) == []


SAVED = ["saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"]


@pytest.mark.parametrize("damage", [cut_off, flip_a_bit, remove])
@pytest.mark.parametrize("file", SAVED)
def test_server_passes_over_a_damaged_version(
    name, file, damage, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.setattr("suite.serve.models._exempt_from_garbage_collection", lambda: None)  # slow
    exports = tmp_path / "exports"
    shutil.copytree(undisturbed(name).exports, exports)
    shutil.copytree(exports / name / "1", exports / name / "2")
    damage(exports / name / "2" / file)

    assert versions(exports / name) == [1, 2]
    assert served_version(exports, name) == 1


def served_version(exports, name):
    """The number of the version that a server answers with."""

    async def newest():
        models = Models(exports, Limits())
        await models.refresh()
        return await models.version(name, None)

    return asyncio.run(newest()).number


# A flipped bit in a description may go unnoticed; only the records have checksums.
@pytest.mark.parametrize(
    ("file", "damage"),
    [("dataset_info.json", cut_off), ("*.tfrecord-*", cut_off), ("*.tfrecord-*", flip_a_bit)],
)
@pytest.mark.parametrize("dataset", ["iris", "mnist"])
def test_damaged_dataset_is_refused(dataset, file, damage, real_data, tmp_path):
    folder = tmp_path / "tfds"
    shutil.copytree(Path(os.environ["TFDS_DATA_DIR"], dataset), folder / dataset)
    damage(sorted(folder.rglob(file))[0])
    app = load_app("iris" if dataset == "iris" else "mnist_cnn")

    with pytest.raises(InputError, match="is damaged"):
        app.data(app.config(), Run(data="tfds", data_dir=folder))
