"""How many sentences a second does the server translate, for one client and for many?

    pip install '.[serve,text]'
    python -m benchmarks.serving.serve_sentences
    python -m benchmarks.serving.serve_sentences --exports saved_models --sentences test.en

One request is one sentence. One client sends one sentence after the other; so do many clients at
the same time, which begin with different ones, so that sentences of unequal lengths share a batch.
Before, all clients ask at once, time and again, and their answers are compared with those of the
exported model to each sentence alone.
Without an export, `apps.translation` is trained first, by its default recipe.
"""

import contextlib
import json
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.serving.serve import PORT, RPC_PORT, load_server, running
from benchmarks.turns import run_app

NAME = "translation"
ROUNDS = 20  # in which all clients ask at once, before anything is measured
URL = f"http://127.0.0.1:{PORT}/v1/models/{NAME}:predict"


@contextlib.contextmanager
def exported(exports: Path | None) -> Iterator[Path]:
    """The folder of all exports: the one that is given, or one with a network trained for this."""
    if exports is not None:
        yield exports
        return
    with run_app(NAME) as run:
        yield run.exports.parent


def spread(sentences: Sequence[str], count: int) -> list[str]:
    """So many of different lengths, from the shortest to the longest, in random order."""
    by_length = sorted(dict.fromkeys(sentences), key=lambda sentence: len(sentence.split()))
    places = np.linspace(0, len(by_length) - 1, count).round().astype(int)
    return np.random.default_rng(0).permutation([by_length[place] for place in places]).tolist()


def body_of(sentence: str) -> bytes:
    """The content of a request."""
    return json.dumps({"instances": [sentence]}).encode()


def served(sentence: str) -> str:
    """The server's translation of one sentence."""
    request = urllib.request.Request(URL, body_of(sentence), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["predictions"][0]["translation"]


def served_at_once(sentences: Sequence[str]) -> list[str]:
    """The server's translations of sentences that all arrive at the same moment."""
    start = threading.Barrier(len(sentences))

    def ask(sentence: str) -> str:
        start.wait()
        return served(sentence)

    with ThreadPoolExecutor(len(sentences)) as clients:
        return list(clients.map(ask, sentences))


def alone(exports: Path, sentences: Sequence[str]) -> list[str]:
    """The exported model's translations, one call for each sentence."""
    from suite.export.exported import Exports

    model = Exports(export_dir=exports).open(NAME)
    return [model.call(np.array([text]))["translation"][0].decode() for text in sentences]


def main(
    *,
    clients: int = 16,
    seconds: float = 20.0,
    exports: Path | None = None,
    sentences: Path | None = None,
) -> None:
    """Compares the answers, then measures one client and many.

    Args:
        clients: How many ask at the same time; as many different sentences are asked for.
        seconds: Length of each measurement.
        exports: Folder with a folder `translation` of exported versions.
        sentences: Text file with a sentence in each line. Defaults to numbers in words.
    """
    from suite.data.text.numerals import pairs

    lines = sentences.read_text().splitlines() if sentences else [text for text, _ in pairs(2000)]
    texts = spread(lines, clients)
    with exported(exports) as folder, tempfile.TemporaryDirectory() as temporary:
        bodies = [Path(temporary, f"{number}.json") for number in range(len(texts))]
        for body, text in zip(bodies, texts, strict=True):
            body.write_bytes(body_of(text))
        command = ["suite.serve", str(folder), "--port", str(PORT), "--grpc-port", str(RPC_PORT)]
        with running(command, URL, body_of(texts[0])):
            together = [served_at_once(texts) for _ in range(ROUNDS)]
            rows = [
                {"clients": count, **load_server(URL, *bodies, clients=count, seconds=seconds)}
                for count in (1, clients)
            ]
        expected = alone(folder, texts)
    differing = sum(
        answer != right
        for answers in together
        for answer, right in zip(answers, expected, strict=True)
    )
    lengths = [len(text.split()) for text in texts]
    publish(
        "serve_sentences",
        rows,
        ratio=rows[1]["requests_per_second"] / rows[0]["requests_per_second"],
        answers=ROUNDS * len(texts),
        differing_answers=differing,
        shortest=min(lengths),
        longest=max(lengths),
    )


if __name__ == "__main__":
    cyclopts.run(main)
