"""A full disk is reported and damages no saved file; with more room the training goes on."""

import contextlib
import resource
import subprocess
from functools import partial

import pytest

from tests.reliability.runs import SmallRun, differences

SHARES = [0.1, 0.2, 0.3, 0.45, 0.6]  # of the bytes that a training needs


@pytest.fixture
def disk(tmp_path):
    """Mounts a file system of a given size in memory: `disk(size, *options)` returns its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size, *options):
        process = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", folder],
            capture_output=True,
            text=True,
        )
        if process.returncode:
            pytest.skip(f"file systems cannot be mounted here: {process.stderr}")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True)


def enlarge(folder):
    subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True)


def disk_usage(folder):
    """The bytes that the files of a folder take on a file system with pages of 4,096 bytes."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(-(-size // 4096) * 4096 for size in sizes)


def assert_full_disk_is_reported(run):
    last = run.output.splitlines()[-1]
    assert "cannot be written" in last and "needs about" in last, run.output
    assert "Traceback" not in run.output


def go_on(run):
    """Runs the training again in the way that its last line proposes."""
    started = (run.run_dir / "run.json").exists()
    assert ("--resume" in run.output.splitlines()[-1]) == started
    with contextlib.suppress(FileNotFoundError):
        assert not list(run.run_dir.rglob("*.part"))
    assert run.finish(*["--resume"] * started) == 0, run.output


@pytest.mark.parametrize(
    "share", [0.3, *(pytest.param(s, marks=pytest.mark.full) for s in SHARES if s != 0.3)]
)
def test_full_disk(name, share, undisturbed, disk):
    needed = disk_usage(undisturbed(name).run_dir) + disk_usage(undisturbed(name).exports)
    folder = disk(int(share * needed))
    run = SmallRun(name, folder / "small")
    run.output_path = folder.parent / "output.txt"

    assert run.finish() == 1, run.output
    assert_full_disk_is_reported(run)

    enlarge(folder)
    go_on(run)
    assert differences(run, undisturbed(name)) == []


@pytest.mark.full
def test_quota(name, undisturbed, tmp_path):
    run = SmallRun(name, tmp_path / "small")
    largest = max(path.stat().st_size for path in undisturbed(name).states)
    limit = (largest // 2, resource.RLIM_INFINITY)

    code = run.finish(setup=partial(resource.setrlimit, resource.RLIMIT_FSIZE, limit))

    assert code == 1, run.output
    assert_full_disk_is_reported(run)
    go_on(run)
    assert differences(run, undisturbed(name)) == []


@pytest.mark.parametrize("flag", ["--run-dir", "--export-dir"])
def test_read_only_folder_is_refused(flag, disk, tmp_path):
    run = SmallRun("iris", tmp_path / "small")
    folder = disk("1m", "ro")
    setattr(run, {"--run-dir": "run_dir", "--export-dir": "exports"}[flag], folder / "here")

    assert run.finish() == 2

    assert f"{flag} must be writable" in run.output
    assert not any(folder.iterdir()) and not run.run_dir.exists()
