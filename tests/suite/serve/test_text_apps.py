"""The applications that take text, asked by clients."""

import base64

import pytest

from tests.suite.serve.conftest import export_untrained, serve, stop

SETTINGS = {"length": 2, "temperature": 1.0, "top_k": 5, "top_p": 1.0, "seed": 0}


@pytest.fixture(scope="module")
def text_server(tmp_path_factory):
    """A server of applications that take text."""
    folder = tmp_path_factory.mktemp("texts") / "saved_models"
    for name in ("addition_seq2seq", "language_model", "translation"):
        export_untrained(name, folder)
    server = serve(folder)
    yield server
    stop(server)


def generation(text, **knobs):
    return {"text": [text], **{name: [value] for name, value in {**SETTINGS, **knobs}.items()}}


@pytest.mark.parametrize(
    ("signature", "inputs", "requirement"),
    [
        ("translation:serve", [{"b64": base64.b64encode(b"a\xff").decode()}], "UTF-8"),
        ("translation:align", [{"b64": base64.b64encode(b"\xe3\x81").decode()}], "UTF-8"),
        ("translation:serve", ["one"] * 1025, "at most 1,024 texts"),
        ("language_model:generate", generation("a", temperature=0.0), "greater than 0"),
        ("language_model:generate", generation("a", top_k=-1), "`top_k` must"),
        ("language_model:score", ["a" * 10_001], "at most 10,000 tokens"),
    ],
)
def test_text_that_cannot_be_answered_is_refused(signature, inputs, requirement, text_server):
    model, signature = signature.split(":")

    response = text_server.post(f"{model}:predict", signature_name=signature, inputs=inputs)

    assert response.status_code == 400, response.text
    assert requirement in response.json()["error"]
    assert "must" in response.json()["error"]


def test_what_is_cut_and_what_is_unknown_is_told(text_server):
    texts = ["one " * 100_000, "", "雨 \0", "\ufeffone"]

    outputs = text_server.post("translation:predict", inputs=texts).json()["outputs"]

    assert outputs["truncated"] == [True, False, False, False]
    assert outputs["unknown_tokens"] == [0, 0, 2, 1]
    assert outputs["translation"][1] == ""
    outputs = text_server.post("addition_seq2seq:predict", inputs=["1+2", "one+2"]).json()[
        "outputs"
    ]
    assert outputs["valid"] == [True, False]
    assert outputs["answer"][1] == ""
