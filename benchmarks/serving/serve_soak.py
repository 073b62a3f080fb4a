"""Is anything lost while exports are replaced under load, and does memory grow?

    pip install '.[serve]'
    python -m benchmarks.serving.serve_soak

64 clients ask for ten minutes. Every 30 seconds a new version appears and the oldest is taken
away. No request may fail; the server's memory is read every ten seconds.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.serving.serve import PORT, PREDICT, RPC_PORT, export, load_server, running

SECONDS_BETWEEN_READINGS = 10.0


def main(*, minutes: float = 10.0, seconds_between_exports: float = 30.0) -> None:
    """Measures failed requests and the growth of memory.

    Args:
        minutes: How long the clients ask.
        seconds_between_exports: Time from one version to the next.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "saved_models"
        version = export(folder)
        original = Path(name) / "version"
        shutil.copytree(version, original)
        body = Path(name) / "one.json"
        image = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1))
        body.write_text(json.dumps({"instances": image.tolist()}))
        command = ["suite.serve", str(folder), "--port", str(PORT), "--grpc-port", str(RPC_PORT)]
        url = f"http://127.0.0.1:{PORT}{PREDICT}"
        answers, memory, exports = {}, [], 1
        with running(command, url, body.read_bytes()):
            load = threading.Thread(
                target=lambda: answers.update(
                    load_server(url, body, clients=64, seconds=60 * minutes)
                )
            )
            load.start()
            began = time.monotonic()
            while load.is_alive():
                load.join(SECONDS_BETWEEN_READINGS)
                memory.append(_resident())
                print(f"{time.monotonic() - began:4.0f} s  {memory[-1]:.1f} MiB", flush=True)
                if (time.monotonic() - began) / seconds_between_exports > exports:
                    exports += 1
                    aside = Path(name) / "aside"
                    shutil.copytree(original, aside)
                    aside.rename(version.with_name(str(exports)))
                    shutil.rmtree(version.with_name(str(exports - 1)))
    # In the first minute the server fills caches that grow only once.
    settled = memory[int(60 / SECONDS_BETWEEN_READINGS) :] or memory
    half = len(settled) // 2 or 1
    growth = statistics.mean(settled[-half:]) / statistics.mean(settled[:half]) - 1
    row = {"clients": 64, **answers, "exports": exports, "growth": growth}
    publish("serve_soak", [row], memory_mib=[round(reading) for reading in memory])


def _resident() -> float:
    """The resident memory of the server, in MiB."""
    command = ["pgrep", "-f", f"{sys.executable} -m suite.serve .*--port {PORT}"]
    [process] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    status = Path(f"/proc/{process}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    cyclopts.run(main)
