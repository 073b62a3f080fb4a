"""REST requests and responses that are not plain numbers: pictures, forms, gzip, text, metadata."""

import base64
import gzip
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from PIL import Image

from tests.suite.serve.toys import LETTERS, TOYS

PACKED = gzip.compress(b"{}", mtime=0)  # the same bytes, and so the same name, each time

GREY = {"A": 42, "B": 128, "Ç": 213}


def encoded(letter="B", kind="PNG", size=(40, 30)):
    file = io.BytesIO()
    Image.new("RGB", size, (GREY[letter],) * 3).save(file, kind)
    return file.getvalue()


def post(server, model, content, **options):
    url = f"{server.url}/v1/models/{model}:predict"
    return requests.post(url, data=content, timeout=60, **options)


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
@pytest.mark.parametrize(
    "content_type",
    ["image/x", "application/octet-stream", "application/x-www-form-urlencoded", None],
)
def test_a_picture_as_the_body_is_answered_by_name(kind, content_type, toy_server):
    headers = {"Content-Type": content_type} if content_type else {}

    response = post(toy_server, "letters", encoded("Ç", kind), headers=headers)

    assert response.status_code == 200, response.text
    [answer] = response.json()["predictions"]
    assert (answer["name"], answer["label"]) == ("Ç", 2)
    assert np.argmax(answer["probabilities"]) == 2


def test_every_file_of_a_form_is_answered_in_order(toy_server):
    url = f"{toy_server.url}/v1/models/letters/versions/1:predict"
    # Larger than any buffer, and with the bytes in it that end lines.
    large = encoded("A", "BMP", (700, 700))
    files = [("picture", ("a.bmp", large)), ("x", encoded("Ç")), ("picture", encoded("B", "JPEG"))]

    response = requests.post(url, files=files, data={"note": "no file"}, timeout=60)

    assert [answer["name"] for answer in response.json()["predictions"]] == ["A", "Ç", "B"]


@pytest.mark.parametrize("words", [{}, {"signature_name": ""}, {"signature_name": "picture"}])
def test_pictures_in_json_are_answered_by_their_signature(words, toy_server):
    rows = [b64(encoded("Ç")), b64(encoded("A", "JPEG"))]

    response = toy_server.post("letters:predict", instances=rows, **words)

    assert [answer["name"] for answer in response.json()["predictions"]] == ["Ç", "A"]


@pytest.mark.parametrize(
    ("model", "content", "headers", "words"),
    [
        ("table", encoded(), {}, "table takes no pictures, since no signature has only"),
        ("letters", b"", {"Content-Type": "image/png"}, "image/png must hold a picture"),
        ("letters", b"\x00\x01", {}, "must be JSON, or a picture"),
        ("letters", b"no", {"Content-Type": "image/png"}, "the model refuses: "),
        (
            "letters",
            b"--x",
            {"Content-Type": "multipart/form-data"},
            "a form as multipart",
        ),
        (
            "letters",
            b"--x--\r\n",
            {"Content-Type": "multipart/form-data; boundary=x"},
            "must hold a picture. Received: none",
        ),
        ("table", b"{}", {"Content-Encoding": "br"}, "Content-Encoding must be gzip. Received: br"),
        ("table", b"{}", {"Content-Encoding": "gzip"}, "must be gzip. Received: "),
        (
            "table",
            PACKED[:-3],
            {"Content-Encoding": "gzip"},
            "must be gzip, whole",
        ),
        (
            "table",
            PACKED + b"x",
            {"Content-Encoding": "gzip"},
            "nothing behind it",
        ),
    ],
)
def test_what_cannot_be_read_gets_one_sentence(model, content, headers, words, toy_server):
    response = post(toy_server, model, content, headers=headers)

    assert response.status_code == 400
    assert words in response.json()["error"]
    assert "\n" not in response.json()["error"]


def test_one_file_that_is_no_picture_does_no_harm_to_other_clients(toy_server):
    with requests.Session() as session:
        url = f"{toy_server.url}/v1/models/letters:predict"
        png = {"Content-Type": "image/png"}
        codes = [
            session.post(url, data=content, headers=png, timeout=60).status_code
            for content in (encoded(), b"no", encoded("A"))
        ]
    assert codes == [200, 400, 200]


def test_pictures_that_arrive_together_keep_their_answers(toy_server):
    letters = [*LETTERS] * 8

    with ThreadPoolExecutor(8) as clients:
        contents = [encoded(letter, size=(20 + n, 30)) for n, letter in enumerate(letters)]
        answers = clients.map(lambda content: post(toy_server, "letters", content).json(), contents)

    assert [answer["predictions"][0]["name"] for answer in answers] == letters


def test_a_packed_body_is_unpacked(toy_server):
    packed = gzip.compress(b'{"instances": [[1, 2, 0]], "signature_name": "", "id": [7]}', mtime=0)

    response = post(toy_server, "table", packed, headers={"Content-Encoding": "gzip"})

    assert response.json()["predictions"][0]["name"] == "middle"


def test_a_form_of_very_many_parts_is_refused(toy_server):
    url = f"{toy_server.url}/v1/models/letters:predict"

    response = requests.post(url, files=[("x", b"x")] * 1001, timeout=60)

    assert response.status_code == 413
    assert response.json()["error"] == "a form must have at most 1000 parts"


def test_what_is_unpacked_counts_for_the_limit(toy_server):
    bomb = gzip.compress(b" " * 65 * 2**20, mtime=0)
    assert len(bomb) < 2**20

    response = post(toy_server, "table", bomb, headers={"Content-Encoding": "gzip"})

    assert response.status_code == 413


def test_text_bytes_and_several_inputs_go_both_ways(toy_server):
    rows = [{"question": "é?", "times": 3}, {"question": "b", "times": 4}]
    answers = toy_server.post("pair:predict", instances=rows).json()["predictions"]
    assert answers == [{"answer": "é?3", "half": 1.5}, {"answer": "b4", "half": 2.0}]

    columns = toy_server.post("text:predict", inputs=["é", b64(b"raw")]).json()["outputs"]
    assert columns == {
        "text": ["é", "RAW"],
        "bytes": [b64("é".encode() + b"\xff"), b64(b"raw\xff")],
    }


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://example.com"}, 200),  # --cors-origin
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://example.org"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://example.org"}, 403),  # of an older browser, or without TLS
    ],
)
def test_pages_of_other_origins_cannot_make_it_work(headers, code, toy_server):
    headers = {"Content-Type": "text/plain", **headers}

    response = post(toy_server, "table", b'{"instances": [[1, 3, 2]]}', headers=headers)

    assert response.status_code == code


def test_json_may_be_sent_as_bytes(toy_server):
    headers = {"Content-Type": "application/octet-stream"}

    response = post(toy_server, "table", b' {"instances": [[1, 3, 2]]}', headers=headers)

    assert response.status_code == 200


def test_a_string_alone_is_an_input_and_an_output(toy_server):
    response = toy_server.post("pair:predict", signature_name="greet", inputs={"name": "you"})

    assert response.json() == {"outputs": "Hello you\x00"}


def test_more_rows_than_were_given_come_whole(toy_server):
    response = toy_server.post("pair:predict", signature_name="count", inputs=["one two", "three"])

    assert response.json() == {"outputs": ["one", "two", "three"]}


def test_metadata_of_the_export_is_passed_on(toy_server):
    metadata = toy_server.get("letters/metadata").json()["metadata"]

    assert metadata["suite"]["class_names"] == list(LETTERS)
    assert metadata["suite"]["metrics"] == {"loss": None}
    assert metadata["signature_def"]["signature_def"]["picture"]["inputs"].keys() == {"picture"}
    assert toy_server.get("foreign/metadata").json()["metadata"].keys() == {"signature_def"}


def test_all_models_are_listed_with_their_versions(toy_server):
    answer = requests.get(f"{toy_server.url}/v1/models", timeout=60).json()

    assert [model["name"] for model in answer["models"]] == sorted(TOYS)
    for model in answer["models"]:
        name = model.pop("name")
        assert model == toy_server.get(name).json()
        assert model["model_version_status"][0]["state"] == "AVAILABLE"


def test_pages_of_named_origins_may_ask(toy_server):
    url = f"{toy_server.url}/v1/models/table:predict"
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    for origin, allowed in (("https://example.com", True), ("https://example.org", False)):
        headers = {"Origin": origin}
        permission = requests.options(url, headers=headers | preflight, timeout=60)
        answered = requests.post(url, json={"instances": [[1, 2, 0]]}, headers=headers, timeout=60)
        refused = requests.post(url, data="{", headers=headers, timeout=60)

        assert permission.ok == allowed
        for response in (permission, answered, refused):
            origin_header = response.headers.get("Access-Control-Allow-Origin")
            assert origin_header == (origin if allowed else None)


def test_nobody_else_s_pages_may_ask_by_default(server):
    headers = {"Origin": "https://example.com"}

    response = requests.get(f"{server.url}/v1/models", headers=headers, timeout=60)

    assert "Access-Control-Allow-Origin" not in response.headers
