import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
WHO = "import json, os; task = json.loads(os.environ['TF_CONFIG'])['task']['index']; "


def words(script, workers=2):
    own = [sys.executable, "-m", "suite.cluster", "--workers", str(workers)]
    return [*own, "--", sys.executable, "-uc", WHO + script]


def lives(process):
    """Whether there is one of that number; the dead wait in `/proc` to be asked for."""
    status = Path("/proc", str(process), "stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def run(script, workers=2):
    return subprocess.run(
        words(script, workers), env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )


def test_every_worker_knows_its_number_and_its_lines_begin_with_it():
    done = run("print('this is', task)", workers=3)

    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == [f"[worker {n}] this is {n}" for n in range(3)]


def test_the_launcher_does_without_tensorflow():
    check = "import suite.cluster, sys; raise SystemExit('tensorflow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], env=ENVIRONMENT).returncode == 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be shared out")
def test_workers_share_the_cores_out_and_have_all_of_them_where_there_are_too_few():
    all_cores = os.sched_getaffinity(0)
    said = "print(*sorted(os.sched_getaffinity(0)))"

    shares = [set(map(int, line.split()[2:])) for line in run(said).stdout.splitlines()]
    many = run(said, workers=len(all_cores) + 1).stdout.splitlines()

    assert len(shares) == 2
    assert shares[0] | shares[1] == all_cores
    assert not shares[0] & shares[1]
    assert {tuple(line.split()[2:]) for line in many} == {tuple(map(str, sorted(all_cores)))}


@pytest.mark.parametrize(
    ("end", "code", "how"),
    [
        ("raise SystemExit(7)", 7, "with exit code 7"),
        ("os.kill(os.getpid(), 9)", 137, "by SIGKILL"),
    ],
)
def test_one_that_fails_ends_all(end, code, how, tmp_path):
    done = run(
        f"import time; open(f'{{task}}.{{os.getpid()}}', 'w')\nif task: {end}\ntime.sleep(100)"
    )

    assert done.returncode == code
    assert done.stderr.splitlines()[-1] == f"worker 1 ended {how}: all were stopped"
    assert not any(lives(path.suffix[1:]) for path in tmp_path.iterdir())


def test_what_a_failed_worker_began_ends_with_it(tmp_path):
    done = run(
        "import subprocess, sys, time\nif task:\n"
        "    began = subprocess.Popen(['sleep', '100'])\n"
        "    open(f'{began.pid}', 'w'); sys.exit(7)\n"
        "time.sleep(100)"
    )

    assert done.returncode == 7
    assert not any(lives(path.name) for path in tmp_path.iterdir())


def test_a_signal_reaches_all():
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (print('heard'), sys.exit(130)))\n"
        "print('ready'); time.sleep(100)"
    )
    begun = subprocess.Popen(words(script), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    lines = [begun.stdout.readline() for _ in range(2)]
    begun.send_signal(signal.SIGINT)
    rest, _ = begun.communicate(timeout=30)

    assert sorted(lines) == ["[worker 0] ready\n", "[worker 1] ready\n"]
    assert sorted(rest.splitlines()) == ["[worker 0] heard", "[worker 1] heard"]
    assert begun.returncode == 130


def test_none_outlives_a_launcher_that_is_killed(tmp_path):
    begun = subprocess.Popen(
        words("import time; print(os.getpid()); time.sleep(100)"),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    children = [begun.stdout.readline().split()[-1] for _ in range(2)]
    begun.kill()
    begun.communicate()
    until = time.monotonic() + 10
    while any(map(lives, children)):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_workers_go_on_though_nobody_listens(tmp_path):
    script = "print('begun', flush=True); print(2**20 * 'more ', flush=True); open('over', 'w')"
    speaking = subprocess.Popen(
        words(script, 1), env=ENVIRONMENT, stdout=subprocess.PIPE, cwd=tmp_path
    )
    speaking.stdout.readline()
    speaking.stdout.close()

    speaking.wait(60)

    assert (tmp_path / "over").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--workers", "2"], "a program must follow, such as -- python -m apps.mnist_cnn. Rec"),
        (["--", "no_such_program"], "a program must follow"),
        (["--workers", "0", "--", "true"], "Must be >= 1."),
        (["--", "./no_script"], "Exec format error: './no_script'"),
    ],
)
def test_bad_input_is_one_sentence(given, message):
    Path("no_script").write_text("")
    Path("no_script").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "suite.cluster", *given],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
