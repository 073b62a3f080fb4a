"""A full disk is said, leaves what was saved whole, and once there is room the training goes on."""

import contextlib
import resource
import subprocess

import pytest

from tests.reliability.runs import SmallRun, differences

SHARES = [0.1, 0.2, 0.3, 0.45, 0.6]  # of the room that is needed


@pytest.fixture
def disk(tmp_path):
    """A file system in memory, of as many bytes as it is told."""
    place = tmp_path / "disk"
    place.mkdir()

    def sized(size, *options):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", place],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"file systems cannot be mounted here: {done.stderr}")
        return place

    yield sized
    subprocess.run(["umount", place], capture_output=True)


def enlarge(place):
    subprocess.run(["mount", "-o", "remount,size=1g", place], check=True)


def room(folder):
    """Bytes that a folder's files take on a file system of pages."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(-(-size // 4096) * 4096 for size in sizes)


def assert_said(run):
    last = run.output.splitlines()[-1]
    assert "cannot be written" in last and "needs about" in last, run.output
    assert "Traceback" not in run.output


def goes_on(run):
    """Takes up the training again, as its last words said."""
    begun = (run.run_dir / "run.json").exists()
    assert ("--resume" in run.output.splitlines()[-1]) == begun
    with contextlib.suppress(FileNotFoundError):
        assert not list(run.run_dir.rglob("*.part"))
    assert run.finish(*["--resume"] * begun) == 0, run.output


@pytest.mark.parametrize(
    "share", [0.3, *(pytest.param(s, marks=pytest.mark.full) for s in SHARES if s != 0.3)]
)
def test_full_disk(name, share, undisturbed, disk):
    needed = room(undisturbed(name).run_dir) + room(undisturbed(name).exports)
    place = disk(int(share * needed))
    run = SmallRun(name, place / "small")
    run.printed = place.parent / "output.txt"

    assert run.finish() == 1, run.output
    assert_said(run)

    enlarge(place)
    goes_on(run)
    assert differences(run, undisturbed(name)) == []


@pytest.mark.full
def test_quota(name, undisturbed, tmp_path):
    run = SmallRun(name, tmp_path / "small")
    largest = max(path.stat().st_size for path in undisturbed(name).states)
    limit = (largest // 2, resource.RLIM_INFINITY)

    code = run.finish(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))

    assert code == 1, run.output
    assert_said(run)
    goes_on(run)
    assert differences(run, undisturbed(name)) == []


@pytest.mark.parametrize("flag", ["--run-dir", "--export-dir"])
def test_read_only_folder_is_refused(flag, disk, tmp_path):
    run = SmallRun("iris", tmp_path / "small")
    place = disk("1m", "ro")
    setattr(run, {"--run-dir": "run_dir", "--export-dir": "exports"}[flag], place / "here")

    assert run.finish() == 2

    assert f"{flag} must be writable" in run.output
    assert not any(place.iterdir()) and not run.run_dir.exists()
