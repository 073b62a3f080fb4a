import json
from pathlib import Path

import pytest

from apps.iris import app
from suite import InputError, Run, run


def recorded(**changes):
    config, architecture = app.config(epochs=2), {"units": 8}
    settings = Run(seed=3, **changes)
    folder = run.new_folder(app, settings)
    run.write_record(folder, app, config, architecture, settings, "abc")
    return folder


def test_new_folders_never_meet():
    folders = {recorded() for _ in range(3)}

    assert len(folders) == 3
    assert all(folder.parent == Path("runs/iris") for folder in folders)


def test_record_says_what_made_the_run():
    record = json.loads((recorded() / "run.json").read_text())

    assert record["app"] == "iris"
    assert record["config"]["epochs"] == 2
    assert record["architecture"] == {"units": 8}
    assert record["run"]["seed"] == 3
    assert "tensorflow" in record["versions"]


def test_reopening_finds_the_newest_run_and_its_settings():
    recorded()
    newest = recorded()

    folder, (config, architecture), again = run.reopen(app, app.config(), {}, Run(resume=True))

    assert folder == newest
    assert (config, architecture, again.seed) == (app.config(epochs=2), {"units": 8}, 3)


def test_reopening_takes_over_where_things_are():
    recorded(export_dir=Path("models"), data_dir=Path("prepared"))

    *_, again = run.reopen(app, app.config(), {}, Run(resume=True))
    *_, moved = run.reopen(app, app.config(), {}, Run(resume=True, export_dir=Path("elsewhere")))

    assert (again.export_dir, again.data_dir) == (Path("models"), Path("prepared"))
    assert (moved.export_dir, moved.data_dir) == (Path("elsewhere"), Path("prepared"))


def test_a_name_that_is_too_long_is_refused():
    with pytest.raises(InputError, match=r"--run-dir must be writable.*File name too long"):
        run.writable(Path("n" * 300), "--run-dir")


@pytest.mark.parametrize(
    ("config", "architecture", "given"),
    [
        (app.config(epochs=5), {}, Run()),
        (app.config(), {"units": 9}, Run()),
        (app.config(), {}, Run(seed=4)),
    ],
)
def test_reopening_with_another_knob_is_refused(config, architecture, given):
    recorded()

    with pytest.raises(InputError, match="must stay as it was when a run is resumed"):
        run.reopen(app, config, architecture, given)


def test_reopening_with_the_same_knobs_is_fine():
    recorded()

    run.reopen(app, app.config(epochs=2), {"units": 8}, Run(seed=3))


@pytest.mark.parametrize("part", ["config", "architecture", "run"])
@pytest.mark.parametrize("value", [[[None, None]], None, 1])
def test_record_of_another_form_is_refused(part, value):
    path = recorded() / "run.json"
    path.write_text(json.dumps(run.signed(json.loads(path.read_text()) | {part: value})))

    with pytest.raises(InputError, match=r"run\.json is damaged"):
        run.reopen(app, app.config(), {}, Run())


def test_record_that_says_something_else_is_refused():
    path = recorded() / "run.json"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 3'))

    with pytest.raises(InputError, match=r"run\.json is damaged"):
        run.reopen(app, app.config(), {}, Run())


@pytest.mark.parametrize("change", [{"more": 1}, {"epochs": ...}])
def test_record_of_another_version_s_recipe_is_refused(change):
    path = recorded() / "run.json"
    record = json.loads(path.read_text())
    recipe = {k: v for k, v in (record["config"] | change).items() if v is not ...}
    path.write_text(json.dumps(run.signed(record | {"config": recipe})))

    with pytest.raises(InputError, match=r"run\.json is damaged"):
        run.reopen(app, app.config(), {}, Run())


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_a_link_to_no_folder_is_refused(target):
    Path("link").symlink_to(target)

    with pytest.raises(InputError, match=r"must be a folder. Received: link/inner, but link is"):
        run.writable(Path("link/inner"), "--run-dir")


def test_a_folder_that_another_worker_tries_is_not_in_use(tmp_path):
    (tmp_path / f"{run.TRIAL}1").mkdir()

    run.refuse_folder_in_use(tmp_path)


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    for name, reason in (("used", "which is not empty"), ("a{b}", "must do without")):
        with pytest.raises(InputError, match=reason):
            run.refuse_folder_in_use(tmp_path / name)


def test_other_data_is_refused():
    folder = recorded()

    run.refuse_other_data(folder, "abc")
    with pytest.raises(InputError, match=r"fingerprint abc\. Received: xyz"):
        run.refuse_other_data(folder, "xyz")
