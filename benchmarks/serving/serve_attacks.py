"""Does a server survive bad requests, and answer each of them with a clear refusal?

    pip install '.[serve]'
    python -m benchmarks.serving.serve_attacks

Ten thousand requests of which each has something wrong with it: names, methods, signatures, shapes,
types, ragged or deeply nested lists, sizes, JSON, UTF-8. Each must get a code from 400 to 499 and
`{"error": "one line"}`. Meanwhile another client sends good requests, and must get its answers.
"""

import http.client
import json
import random
import struct
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.serving.serve import PORT, PREDICT, RPC_PORT, export, running

LARGEST = 2**20  # bytes of a request that the server accepts
NOT_NUMBERS = ["a", None, True, {}, {"b64": 3}, "\ud7ff", ""]


class Attack(NamedTuple):
    """A request that has something wrong with it.

    Args:
        kind: What is wrong, one of `MAKERS`.
        method: The method of HTTP.
        path: The path of the URL, with quoted characters.
        body: The content of the request.
    """

    kind: str
    method: str
    path: str
    body: bytes


def random_attack(chance: random.Random) -> Attack:
    """A bad request of a random kind."""
    kind = chance.choice(sorted(MAKERS))
    attack = MAKERS[kind](chance)
    return attack if isinstance(attack, Attack) else Attack(kind, "POST", PREDICT, attack)


def _image() -> Any:
    return [[[0]] * 28] * 28


def _encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def _path(chance: random.Random) -> Attack:
    junk = "".join(chance.choices("abc/.:%é\u4e2d \x00-1", k=chance.randint(1, 30)))
    start = chance.choice(["/v1/models/", "/v1/models/mnist_cnn/versions/9", "/v1/", PREDICT])
    return Attack(
        "path", "POST", start + "!" + quote(junk, safe="/:."), _encoded({"instances": [1]})
    )


def _method(chance: random.Random) -> Attack:
    method = chance.choice(["PUT", "DELETE", "PATCH", "OPTIONS"])
    return Attack("method", method, PREDICT, _encoded({"instances": [_image()]}))


def _keys(chance: random.Random) -> bytes:
    good = [_image()]
    return _encoded(
        chance.choice(
            [
                {},
                [],
                "instances",
                {"instances": good, "inputs": good},
                {f"x{chance.random()}": good},
                {"instances": good, "signature_name": chance.choice(["none", 3, None, [1]])},
                {"instances": [{"picture": _image()}]},
                {"inputs": {"image": good, "more": good}},
                {"instances": []},
                {"instances": {}},
            ]
        )
    )


def _shape(chance: random.Random) -> bytes:
    shape = [28, 28, 28, 1]
    while shape[1:] == [28, 28, 1]:
        shape = [chance.randint(0, 30) for _ in range(chance.randint(0, 5))]
    if np.prod(shape, dtype=float) > 100_000:
        shape = shape[:2]
    return _encoded({chance.choice(["instances", "inputs"]): np.zeros(shape).tolist()})


def _types(chance: random.Random) -> bytes:
    image = np.zeros((28, 28, 1)).tolist()
    for _ in range(chance.randint(1, 5)):
        image[chance.randrange(28)][chance.randrange(28)][0] = chance.choice(NOT_NUMBERS)
    return _encoded({"instances": [image]})


def _ragged(chance: random.Random) -> bytes:
    image = np.zeros((28, 28, 1)).tolist()
    row = image[chance.randrange(28)]
    chance.choice([row.pop, lambda: row.append([0]), lambda: row[3].append(1), row[5].pop])()
    return _encoded({"instances": [image]})


def _moved(chance: random.Random) -> bytes:
    """An image with the right number of pixels, of which one is in a wrong row."""
    image = np.zeros((28, 28, 1)).tolist()
    image[chance.randrange(14)].append(image[14 + chance.randrange(14)].pop())
    return _encoded({"instances": [image]})


def _deep(chance: random.Random) -> bytes:
    depth = chance.choice([5, 33, 65, 500, 1000, 1025, 50_000])
    signature, value = chance.choice([(b"serve", b"1"), (b"picture", b'"a"')])
    lists = b"[" * depth + value + b"]" * depth
    return b'{"signature_name": "' + signature + b'", "inputs": ' + lists + b"}"


def _bomb(chance: random.Random) -> bytes:
    """The header of a picture that would take gigabytes."""
    side = chance.randint(10_000, 30_000)
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    gif = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0)
    bmp = b"BM" + struct.pack("<IIIIii", 54, 0, 54, 40, side, -side)
    return chance.choice([png, gif, bmp]) + chance.randbytes(64)


def _large(chance: random.Random) -> bytes:
    return b" " * (LARGEST + chance.randint(1, LARGEST)) + _encoded({"instances": [_image()]})


def _torn(chance: random.Random) -> bytes:
    whole = _encoded({"instances": [_image()]})
    return whole[: chance.randrange(len(whole))]


def _bytes(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randint(0, 300))


def _text(chance: random.Random) -> bytes:
    whole = bytearray(_encoded({"instances": [_image()], "signature_name": "serve"}))
    whole[chance.randrange(len(whole) - 8, len(whole) - 3)] = chance.randint(0x80, 0xFF)
    return bytes(whole)


def _tree(chance: random.Random, depth: int = 4) -> Any:
    if depth == 0 or chance.random() < 0.2:
        return chance.choice([*NOT_NUMBERS, 1.5, 10**40, -(2**63)])
    items = [_tree(chance, depth - 1) for _ in range(chance.randint(0, 4))]
    return items if chance.random() < 0.5 else {f"k{n}": item for n, item in enumerate(items)}


def _nonsense(chance: random.Random) -> bytes:
    return _encoded({chance.choice(["instances", "inputs", "signature_name"]): _tree(chance)})


MAKERS = {
    "path": _path, "method": _method, "keys": _keys, "shape": _shape, "types": _types,
    "ragged": _ragged, "moved": _moved, "deep": _deep, "bomb": _bomb, "large": _large,
    "torn": _torn,
    "bytes": _bytes, "UTF-8": _text, "nonsense": _nonsense,
}  # fmt: skip


def send(host: str, port: int, request: Attack) -> tuple[int, bytes]:
    """Sends a request, and returns the status and the body of the answer."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(request.method, request.path, request.body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def is_refusal(status: int, body: bytes) -> bool:
    """Whether an answer is a clear refusal: a code from 400 to 499, and an error of one line."""
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    one_line = answer.keys() == {"error"} and answer["error"] and "\n" not in answer["error"]
    return 400 <= status < 500 and bool(one_line)


def attack_server(host: str, port: int, count: int, seed: int = 0) -> dict[str, Any]:
    """Sends bad requests, and good ones beside them.

    Returns:
        `sent` and `refused`, the numbers of bad requests by kind; `wrong`, those that were not
        refused clearly; `good` and `good_failed`, the numbers of good requests that were answered,
        and that were not.
    """
    chance, sent, refused, wrong = random.Random(seed), Counter(), Counter(), []
    good, over = Counter(), threading.Event()

    def send_good_requests() -> None:
        request = Attack("good", "POST", PREDICT, _encoded({"instances": [_image()]}))
        while not over.is_set():
            status, body = send(host, port, request)
            probabilities = json.loads(body).get("predictions", [{}])[0].get("probabilities", [])
            good["failed" if status != 200 or len(probabilities) != 10 else "answered"] += 1

    client = threading.Thread(target=send_good_requests)
    client.start()
    try:
        for _ in range(count):
            attack = random_attack(chance)
            status, body = send(host, port, attack)
            sent[attack.kind] += 1
            if is_refusal(status, body):
                refused[attack.kind] += 1
            else:
                wrong.append((attack.kind, attack.path, attack.body[:200], status, body[:200]))
    finally:
        over.set()
        client.join()
    return {
        "sent": sent,
        "refused": refused,
        "wrong": wrong,
        "good": good["answered"],
        "good_failed": good["failed"],
    }


def main(*, count: int = 10_000, seed: int = 0) -> None:
    """Attacks a server.

    Args:
        count: Number of bad requests.
        seed: Seed of the random requests.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "saved_models"
        export(folder)
        command = ["suite.serve", str(folder), "--port", str(PORT), "--grpc-port", str(RPC_PORT)]
        command += ["--max-request-mib", str(LARGEST // 2**20)]
        good = _encoded({"instances": [_image()]})
        with running(command, f"http://127.0.0.1:{PORT}{PREDICT}", good):
            result = attack_server("127.0.0.1", PORT, count, seed)
    rows = [
        {"kind": kind, "sent": result["sent"][kind], "refused": result["refused"][kind]}
        for kind in sorted(MAKERS)
    ]
    for mistake in result["wrong"][:20]:
        print(mistake)
    publish(
        "serve_attacks",
        rows,
        sent=count,
        refused=sum(result["refused"].values()),
        good_requests_beside=result["good"],
        good_requests_failed=result["good_failed"],
    )


if __name__ == "__main__":
    cyclopts.run(main)
