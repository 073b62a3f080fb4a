"""Models whose operations are tensorflow-text's, and texts of unequal lengths in one batch."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.suite.serve.conftest import serve, stop
from tests.suite.serve.toys import save_words

pytest.importorskip("tensorflow_text", reason="tensorflow-text is not installed")


def test_clients_with_texts_of_unequal_lengths_share_batches(tmp_path):
    save_words(tmp_path / "models/words")
    server = serve(tmp_path / "models", "--batch-timeout-ms", "500")
    counts = range(0, 1600, 100)
    try:
        with ThreadPoolExecutor(len(counts)) as clients:
            texts = ["雨 " * count for count in counts]
            responses = clients.map(lambda text: server.post("words:predict", inputs=[text]), texts)
            outputs = [response.json()["outputs"] for response in responses]
    finally:
        assert stop(server) == 0

    assert [answer["words"] for answer in outputs] == [[count] for count in counts]
    assert max(answer["together"][0] for answer in outputs) > 1
