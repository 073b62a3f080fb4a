import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
WHO = "import json, os; task = json.loads(os.environ['TF_CONFIG'])['task']['index']; "


def command(script, workers=2):
    """The command line that runs a script on workers, each of which knows its number as `task`."""
    launcher = [sys.executable, "-m", "suite.cluster", "--workers", str(workers)]
    return [*launcher, "--", sys.executable, "-uc", WHO + script]


def lives(number):
    """Whether a process with this number runs; one that ended may stay in `/proc` as a zombie."""
    status = Path("/proc", str(number), "stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def run(script, workers=2):
    return subprocess.run(
        command(script, workers), env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )


def test_every_worker_knows_its_number_and_its_lines_begin_with_it():
    process = run("print('this is', task)", workers=3)

    assert process.returncode == 0
    assert sorted(process.stdout.splitlines()) == [f"[worker {n}] this is {n}" for n in range(3)]


def test_the_launcher_does_without_tensorflow():
    check = "import suite.cluster, sys; raise SystemExit('tensorflow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], env=ENVIRONMENT).returncode == 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be shared out")
def test_workers_share_the_cores_out_and_have_all_of_them_where_there_are_too_few():
    all_cores = os.sched_getaffinity(0)
    script = "print(*sorted(os.sched_getaffinity(0)))"

    shares = [set(map(int, line.split()[2:])) for line in run(script).stdout.splitlines()]
    crowded = run(script, workers=len(all_cores) + 1).stdout.splitlines()

    assert len(shares) == 2
    assert shares[0] | shares[1] == all_cores
    assert not shares[0] & shares[1]
    assert {tuple(line.split()[2:]) for line in crowded} == {tuple(map(str, sorted(all_cores)))}


@pytest.mark.parametrize(
    ("end", "code", "cause"),
    [
        ("os.kill(os.getpid(), 9)", 137, "by SIGKILL"),
        ("os.kill(os.getpid(), 37)", 165, "by signal 37"),
    ],
)
def test_how_a_worker_ended_is_told(end, code, cause):
    process = run(f"import time\nif task: {end}\ntime.sleep(0.5)")

    assert process.returncode == code
    assert process.stderr.splitlines()[-1] == f"worker 1 ended {cause}: all were stopped"


def test_one_that_fails_ends_all(tmp_path):
    process = run(
        "import time; open(f'{task}.{os.getpid()}', 'w')\n"
        "if task: raise SystemExit(7)\n"
        "time.sleep(100)"
    )

    assert process.returncode == 7
    assert process.stderr.splitlines()[-1] == "worker 1 ended with exit code 7: all were stopped"
    assert not any(lives(path.suffix[1:]) for path in tmp_path.iterdir())


@pytest.mark.parametrize("code", [0, 7])
@pytest.mark.parametrize("apart", [False, True])
def test_what_a_worker_began_ends_with_it(apart, code, tmp_path):
    """Even a process in a session of its own, which keeps the output of the worker open."""
    process = run(
        f"import subprocess, sys\nif task:\n"
        f"    began = subprocess.Popen(['sleep', '100'], start_new_session={apart})\n"
        f"    open(f'{{began.pid}}', 'w'); sys.exit({code})"
    )

    assert process.returncode == code
    assert not any(lives(path.name) for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGTERM")],
)
def test_a_signal_reaches_all(sent, arrives):
    if signal.getsignal(sent) == signal.SIG_IGN:
        pytest.skip("it is ignored, as nohup has it")
    script = (
        "import signal, sys, time\n"
        f"signal.signal(signal.{arrives}, lambda *_: (print('heard'), sys.exit(130)))\n"
        "print('ready'); time.sleep(100)"
    )
    process = subprocess.Popen(
        command(script),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(sent)
    output, errors = process.communicate(timeout=30)

    assert sorted(lines) == ["[worker 0] ready\n", "[worker 1] ready\n"]
    assert sorted(output.splitlines()) == ["[worker 0] heard", "[worker 1] heard"]
    assert process.returncode == 130
    assert errors == f"{sent.name} came: all were stopped\n"


def test_none_outlives_a_launcher_that_is_killed(tmp_path):
    process = subprocess.Popen(
        command("import time; print(os.getpid()); time.sleep(100)"),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    children = [process.stdout.readline().split()[-1] for _ in range(2)]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while any(map(lives, children)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("output", "encoding"), [("/dev/full", "utf-8"), ("output.txt", "ascii"), (None, "utf-8")]
)
def test_workers_go_on_though_what_they_say_cannot_be_written(output, encoding, tmp_path):
    script = (
        "import sys; sys.stdout.buffer.write(2**20 * 'é '.encode()); sys.stdout.flush()\n"
        "open(f'over {task}', 'w')"
    )
    process = subprocess.run(
        ["sh", "-c", f'exec "$@" > {output}' if output else 'exec "$@" >&-', "-", *command(script)],
        env={**ENVIRONMENT, "PYTHONIOENCODING": encoding},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )

    assert (process.returncode, process.stderr) == (0, "")
    assert len(list(tmp_path.glob("over *"))) == 2


def test_workers_go_on_though_nobody_listens(tmp_path):
    script = "print('begun', flush=True); print(2**20 * 'more ', flush=True); open('over', 'w')"
    process = subprocess.Popen(
        command(script, 1), env=ENVIRONMENT, stdout=subprocess.PIPE, cwd=tmp_path
    )
    process.stdout.readline()
    process.stdout.close()

    process.wait(60)

    assert (tmp_path / "over").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "2"], "a program must follow, such as -- python -m apps.mnist_cnn. Rec"),
        (["--worker", "2", "--", "true"], "the only option is --workers. Received: --worker"),
        (["--", "no_such_program"], "of that name must exist. Received: no_such_program"),
        (["--workers", "0", "--", "true"], "Must be >= 1."),
        (["--", "./no_script"], "Exec format error: './no_script'"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message):
    Path("no_script").write_text("")
    Path("no_script").chmod(0o755)
    process = subprocess.run(
        [sys.executable, "-m", "suite.cluster", *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )

    assert process.returncode == 2
    assert message in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr
