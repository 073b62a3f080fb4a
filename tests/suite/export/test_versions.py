from pathlib import Path

from suite.export.versions import network_file, versions


def test_only_numbered_folders_are_versions():
    folder = Path("models/app")
    for name in ("7", "²", "x", "10"):
        (folder / name).mkdir(parents=True)
    (folder / "9").write_text("a file")

    assert versions(folder) == [7, 10]


def test_a_folder_that_is_not_there_has_none():
    assert versions(Path("models/app")) == []


def test_networks_have_files_of_their_own():
    assert network_file(None) == "assets.extra/model.keras"
    assert network_file("model") == "assets.extra/networks/model.keras"
