import re

import pytest
import tensorflow as tf

from suite.errors import InputError
from suite.export.loading import load_saved_model
from tests.forks import Fork, script
from tests.suite.serve.toys import save_words

pytest.importorskip("tensorflow_text", reason="tensorflow-text is not installed")

# What a process prints that has not imported tensorflow-text.
LOADS = """
import sys, tensorflow as tf
from pathlib import Path
from suite.export.loading import load_saved_model

assert "tensorflow_text" not in sys.modules
loaded = load_saved_model(Path("words/1"))
print(loaded.signatures["serving_default"](text=tf.constant(["one two"]))["words"].numpy())
"""
LACKS_THE_PACKAGE = """
import asyncio, sys
sys.modules["tensorflow_text"] = None
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from suite.errors import InputError
from suite.export.exported import ExportedModel
from suite.serve.batching import Limits
from suite.serve.models import Model

try:
    ExportedModel(Path("words/1")).call(["text"])
except InputError as error:
    print(error)
model = Model(Path("words"), Limits(), ThreadPoolExecutor())
asyncio.run(model.refresh())
print(model.states()[1][1])
"""


def printed(source, folder):
    output = folder / "output.txt"
    output.touch()
    assert Fork(script(source), output, folder).wait(60) == 0, output.read_text()
    return output.read_text().splitlines()


def test_operations_of_tensorflow_text_are_known_where_they_are_needed(tmp_path):
    save_words(tmp_path / "words")

    assert printed(LOADS, tmp_path) == ["[2]"]


def test_the_package_is_asked_for_in_one_sentence(tmp_path):
    save_words(tmp_path / "words")

    [by_command, _log, by_server] = printed(LACKS_THE_PACKAGE, tmp_path)

    assert by_command == by_server
    assert by_server.startswith(
        f"tensorflow-text for TensorFlow {tf.__version__} must be installed"
    )
    assert "pip install '.[text]'" in by_server
    assert re.search(r"Received: the operation TFText>\w+$", by_server)


def test_an_operation_that_nobody_has_is_named(tmp_path):
    save_words(tmp_path / "words")
    file = tmp_path / "words/1/saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"TFText>White", b"TFText>Black"))

    with pytest.raises(InputError, match=r"or tensorflow-text's\. Received: TFText>Black\w+$"):
        load_saved_model(tmp_path / "words/1")


def test_other_errors_of_loading_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match="does not exist"):
        load_saved_model(tmp_path)
