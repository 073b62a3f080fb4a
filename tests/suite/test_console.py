import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREPARED = "import os, sys; from suite.console import prepare_output; prepare_output()\n"


def shell(script, redirections="", **environment):
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirections}', sys.executable, PREPARED + script],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        encoding="ascii",
    )


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_an_encoding_lacks_is_escaped(stream):
    locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    process = shell(f"print('\\xfc \\u6771', file=sys.{stream})", **locale, PYTHONIOENCODING="")

    assert process.returncode == 0, process.stderr
    assert getattr(process, stream) == "\\xfc \\u6771\n"


@pytest.mark.parametrize("redirections", ["2>&-", ">&-", ">&- 2>&- <&-"])
def test_a_closed_stream_swallows_what_is_written(redirections, tmp_path):
    """And a file that is opened later does not get the number, and so the output, of the stream."""
    process = shell(
        "file = open('data', 'w', encoding='utf-8')\n"
        "print('text', file=sys.stdout); print('text', file=sys.stderr)\n"
        "os.write(1, b'text'); os.write(2, b'text')\n",
        redirections,
    )

    assert process.returncode == 0, process.stderr
    assert (tmp_path / "data").read_bytes() == b""


@pytest.mark.parametrize("script", ["print('x' * 100_000)", "log.warning('x' * 100_000)"])
def test_what_nobody_reads_any_more_is_discarded(script):
    setup = "import logging; log = logging.getLogger('x')\n"
    setup += "log.addHandler(logging.StreamHandler(sys.stdout)); print('first', flush=True)\n"
    ending = "\nprint('more'); print('done', file=sys.stderr)"
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARED + setup + "sys.stdin.read()\n" + script + ending],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "first\n"
    process.stdout.close()
    process.stdin.close()

    assert process.stderr.read() == "done\n"
    assert process.wait(60) == 0
    process.stderr.close()
