import dataclasses
import json
from pathlib import Path

import pytest

from suite import InputError, Run
from suite.app import Recipe
from suite.data import Description
from suite.training import record
from tests.suite.small import app


@dataclasses.dataclass
class SmallSession:
    """The parts of a session that a record needs."""

    app: object
    recipe: Recipe
    run: Run
    folder: Path
    resumed_from: Path | None = None
    fingerprint: str = "abc"

    @property
    def config(self):
        return self.recipe.config

    @property
    def data(self):
        counts = {"train": 1, "validation": 1, "test": 1}
        return SmallSession.Data(Description(source="s", fingerprint=self.fingerprint, **counts))

    @dataclasses.dataclass
    class Data:
        description: Description


def record_run(**flags):
    """Writes the record of a run with these flags, and returns its folder."""
    run = Run(seed=3, **flags)
    folder = record.new_folder(app, run)
    recipe = app.recipe(epochs=3, units=8)
    record.write_record(SmallSession(app, recipe, run, folder))
    return folder


def reopen(recipe=None, run=None):
    return record.reopen(app, recipe or app.recipe(), run or Run(resume=True))


def rewrite(folder, **changes):
    path = folder / record.RECORD
    content = json.loads(path.read_text()) | changes
    content = {name: value for name, value in content.items() if value is not ...}
    path.write_text(json.dumps(record.with_checksum(content)))


def test_new_folders_never_meet():
    folders = {record_run() for _ in range(3)}

    assert len(folders) == 3
    assert all(folder.parent == Path("runs/small") for folder in folders)


def test_record_says_what_made_the_run():
    content = json.loads((record_run() / "run.json").read_text())

    assert content["format"] == record.FORMAT
    assert content["app"] == "small"
    assert content["config"]["epochs"] == 3
    assert content["architecture"] == {"units": 8}
    assert content["run"]["seed"] == 3
    assert content["fingerprint"] == "abc"
    assert "tensorflow" in content["versions"]


def test_reopening_finds_the_newest_run_and_its_settings():
    record_run()
    newest = record_run()

    folder, recipe, again, prolonged = reopen()

    assert folder == newest
    assert recipe.config == app.config(epochs=3)
    assert (recipe.architecture, again.seed, prolonged) == ({"units": 8}, 3, False)


def test_reopening_takes_over_where_things_are():
    record_run(export_dir=Path("models"), data_dir=Path("prepared"))

    _, _, again, _ = reopen()
    _, _, moved, _ = reopen(run=Run(resume=True, export_dir=Path("elsewhere")))

    assert (again.export_dir, again.data_dir) == (Path("models"), Path("prepared"))
    assert (moved.export_dir, moved.data_dir) == (Path("elsewhere"), Path("prepared"))


@pytest.mark.parametrize(
    ("recipe", "run"),
    [
        (app.recipe(epochs=1), Run()),
        (app.recipe(learning_rate=0.01), Run()),
        (app.recipe(units=9), Run()),
        (app.recipe(dropout=0.5), Run()),
        (app.recipe(), Run(seed=4)),
        (app.recipe(), Run(precision="mixed_bfloat16")),
        (Recipe(config=app.config(learning_rate=0.01)), Run()),
    ],
)
def test_reopening_with_another_knob_is_refused(recipe, run):
    record_run()

    with pytest.raises(InputError, match="must stay as it was when a run is resumed"):
        reopen(recipe, run)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (app.recipe(units=4), "`units` must stay as it was when a run is resumed: 8. Received: 4"),
        (app.recipe(epochs=2), "`epochs` must .*: 3. Received: 2"),
        (dataclasses.replace(app.recipe(), given=frozenset({"seed"})), "`seed` .*: 3. Received: 0"),
    ],
)
def test_a_knob_that_was_given_counts_at_its_default_too(recipe, message):
    record_run()

    with pytest.raises(InputError, match=message):
        reopen(recipe)


def test_reopening_with_the_same_knobs_is_fine():
    record_run()

    _, recipe, again, _ = reopen(app.recipe(epochs=3, units=8, dropout=0.2), Run(seed=3))

    assert (recipe.config.epochs, recipe.architecture["units"], again.seed) == (3, 8, 3)


def test_more_epochs_prolong_a_run():
    record_run()

    _, recipe, _, prolonged = reopen(app.recipe(epochs=5))

    assert (recipe.config, recipe.architecture) == (app.config(epochs=5), {"units": 8})
    assert prolonged


@pytest.mark.parametrize("part", ["config", "architecture", "run"])
@pytest.mark.parametrize("value", [[[None, None]], None, 1])
def test_record_of_another_form_is_refused(part, value):
    rewrite(record_run(), **{part: value})

    with pytest.raises(InputError, match=r"run\.json is damaged"):
        reopen()


def test_record_that_says_something_else_is_refused():
    path = record_run() / "run.json"
    path.write_text(path.read_text().replace('"epochs": 3', '"epochs": 4'))

    with pytest.raises(InputError, match=r"run\.json is damaged"):
        reopen()


@pytest.mark.parametrize("earlier", [1, ...])
def test_run_of_an_earlier_format_is_refused(earlier):
    folder = record_run()
    rewrite(folder, format=earlier)

    with pytest.raises(InputError) as caught:
        reopen()

    assert str(caught.value) == (
        f"`resume` needs a run of this version of the suite. Received: {folder}, of an earlier one"
    )


@pytest.mark.parametrize("change", [{"more": 1}, {"epochs": ...}, {"epochs": 0}])
def test_record_of_another_version_s_recipe_is_refused(change):
    folder = record_run()
    config = json.loads((folder / "run.json").read_text())["config"] | change
    rewrite(folder, config={k: v for k, v in config.items() if v is not ...})

    with pytest.raises(InputError, match="a run of this version of small") as caught:
        reopen()

    assert next(iter(change)) in str(caught.value)


def test_run_of_another_app_is_refused():
    folder = record_run()
    rewrite(folder, app="another")

    with pytest.raises(InputError, match=r"a run of small\. Received: .*, a run of another"):
        reopen()


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_a_link_to_no_folder_is_refused(target):
    Path("link").symlink_to(target)

    with pytest.raises(InputError, match=r"must be a folder. Received: link/inner, but link is"):
        record.refuse_unwritable(Path("link/inner"), "run_dir")


def test_a_name_that_is_too_long_is_refused():
    with pytest.raises(InputError, match=r"`run_dir` must be writable.*File name too long"):
        record.refuse_unwritable(Path("n" * 300), "run_dir")


def test_a_run_that_was_killed_before_its_record_was_whole_can_begin_again(tmp_path):
    (tmp_path / f".{record.RECORD}.part").write_text("{")

    record.refuse_folder_in_use(tmp_path)


def test_a_folder_that_another_worker_tries_is_not_in_use(tmp_path):
    (tmp_path / f"{record.TRIAL}1").mkdir()

    record.refuse_folder_in_use(tmp_path)


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    for name, reason in (("used", "which is not empty"), ("a[b]", "must do without")):
        with pytest.raises(InputError, match=reason):
            record.refuse_folder_in_use(tmp_path / name)


def test_other_data_is_refused():
    folder = record_run()

    record.refuse_other_data(folder, "abc")
    with pytest.raises(InputError, match="Received: examples that have changed"):
        record.refuse_other_data(folder, "xyz")


def test_plain_values_are_what_json_has():
    run = Run(run_dir=Path("here"), arrays=object())

    assert record.plain(run)["run_dir"] == "here"
    assert record.plain(run)["arrays"] is None
    assert record.plain({"a": (1, 2)}) == {"a": [1, 2]}
