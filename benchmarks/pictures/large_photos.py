"""What does a photo of 12 megapixels take, and do the tiles show in the answer?

    python -m benchmarks.pictures.large_photos

`unet predict`, `pix2pix translate --tiles` and `super_resolution enlarge`, each by the export of
its default training, for a photo of 4000 x 3000 and for one of 400 x 300, whose memory is that of
TensorFlow and the network. Each answer is a process of its own.

The photo is noise of all frequencies, without an edge at which a seam could hide. A seam is a row
or a column from which the answer goes on higher or lower: `largest_step` is the largest such step,
in grey levels, and `seam` is it in terms of the median of all lines.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import PIL.Image
from cyclopts import Parameter

from benchmarks.results import publish
from benchmarks.turns import run_app

SMALL, LARGE = (400, 300), (4000, 3000)
FALL, CONTRAST = 1.5, 50.0  # power of the frequency; standard deviation of the values
EDGE, STRETCH = 8, 64  # pixels
COMMANDS = {
    "unet": ("predict",),
    "pix2pix": ("translate", "--tiles"),
    "super_resolution": ("enlarge",),
}
APPS = tuple(COMMANDS)


def photo(width: int, height: int) -> PIL.Image.Image:
    """Noise in three colours whose strength falls with its frequency, as it does in photos."""
    noise = np.fft.rfft2(np.random.default_rng(0).standard_normal((3, height, width)))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequencies = np.maximum(np.hypot(rows, columns), 1 / min(width, height))
    pixels = np.fft.irfft2(noise / frequencies**FALL, (height, width)).transpose(1, 2, 0)
    pixels = 127.5 + CONTRAST * pixels / pixels.std()
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def answered(command: Sequence[str]) -> tuple[float, float]:
    """Runs a command; the seconds that it takes, and the most memory that it holds, in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def seam(answer: np.ndarray) -> dict[str, float]:
    """The `largest_step` from a row or a column to the next one, and that over the median of all.

    A step is the mean difference of neighbours in a stretch of the line, without its sign, and
    the mean of that over all stretches: noise averages out, and tiles may differ either way.

    Args:
        answer: `(height, width, channels)`. The outermost pixels are left out: networks see zeros
            beyond them.
    """
    seams = []
    for picture in (answer, answer.swapaxes(0, 1)):
        inside = picture[EDGE:-EDGE, EDGE:-EDGE].astype(np.float32)
        inside = inside[:, : inside.shape[1] // STRETCH * STRETCH].mean(axis=-1)
        stretches = np.diff(inside, axis=0).reshape(len(inside) - 1, -1, STRETCH)
        steps = np.abs(stretches.mean(axis=-1)).mean(axis=-1)
        largest = float(steps.max())
        seams.append({"seam": largest / float(np.median(steps)), "largest_step": largest})
    return max(seams, key=lambda one: one["seam"])


def main(*, apps: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = APPS) -> None:
    """Trains the applications, and has each answer both photos.

    Args:
        apps: Which of them.
    """
    rows: list[dict[str, Any]] = []
    for name in apps:
        with run_app(name) as run, tempfile.TemporaryDirectory() as folder:
            for size in (SMALL, LARGE):
                file, answer = Path(folder, "photo.jpg"), Path(folder, "answer.png")
                photo(*size).save(file, quality=95)
                command = [sys.executable, "-m", f"apps.{name}", COMMANDS[name][0], str(file)]
                command += [*COMMANDS[name][1:], "--output", str(answer)]
                command += ["--export-dir", str(run.exports.parent)]
                seconds, memory = answered(command)
                values = np.atleast_3d(np.asarray(PIL.Image.open(answer)))
                rows.append(
                    {
                        "application": name,
                        "megapixels": size[0] * size[1] / 1e6,
                        "megapixels_of_answer": values.shape[0] * values.shape[1] / 1e6,
                        "seconds": seconds,
                        "memory_mib": memory,
                        **seam(values),
                    }
                )
                print(rows[-1], flush=True)
                of_photo = seam(np.asarray(PIL.Image.open(file)))
    publish(
        "large_photos",
        rows,
        seam_of_the_photo=of_photo["seam"],
        largest_step_of_the_photo=of_photo["largest_step"],
    )


if __name__ == "__main__":
    PIL.Image.MAX_IMAGE_PIXELS = None  # of the answer, which this process made
    cyclopts.run(main)
