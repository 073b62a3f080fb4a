import base64
import json
import time

import numpy as np
import pytest
import tensorflow as tf

from suite.serve.status import RequestError
from suite.serve.tensors import _read_json, _read_numbers, arrays, read, write

ONE = {"x": tf.TensorSpec((None, 2), tf.float32, "x")}
TWO = {"a": tf.TensorSpec((None,), tf.int64, "a"), "b": tf.TensorSpec((None, 2), tf.float32, "b")}
SCALARS = {"num": tf.TensorSpec((), tf.int32, "num")}
TEXT = {"text": tf.TensorSpec((None,), tf.string, "text")}


def inputs(body, specs):
    return arrays(read(json.dumps(body).encode()), specs)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"x": [[1, 2], [3, 4]]}},
    ],
)
def test_one_input_comes_in_four_ways(body):
    tensors = inputs(body, ONE)

    assert tensors["x"].dtype == np.float32
    np.testing.assert_array_equal(tensors["x"], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"a": 1, "b": [0.5, 1]}, {"b": [2, 3], "a": 2}]},
        {"inputs": {"b": [[0.5, 1], [2, 3]], "a": [1, 2]}},
    ],
)
def test_several_inputs_come_by_name(body):
    tensors = inputs(body, TWO)

    assert tensors["a"].tolist() == [1, 2]
    assert tensors["a"].dtype == np.int64
    assert tensors["b"].tolist() == [[0.5, 1], [2, 3]]


def test_a_number_alone_is_an_input():
    assert inputs({"inputs": {"num": 7}}, SCALARS)["num"] == 7


def test_strings_are_text_or_base64():
    raw = bytes(range(256))
    body = {"instances": ["é", {"b64": base64.b64encode(raw).decode()}]}

    assert inputs(body, TEXT)["text"].tolist() == ["é".encode(), raw]


def test_keys_that_nobody_needs_are_ignored():
    tensors = inputs({"inputs": [[1, 2]], "signature_name": "", "id": [7], "x": {"y": 1}}, ONE)

    assert tensors["x"].tolist() == [[1, 2]]


def test_half_a_character_is_no_text():
    with pytest.raises(RequestError, match="text must be strings"):
        arrays(read(b'{"instances": ["\\ud800"], "x": NaN}'), TEXT)


def test_numbers_that_are_none_go_both_ways():
    values = arrays(read(b'{"inputs": [[NaN, Infinity], [-Infinity, 0]]}'), ONE)["x"]

    assert np.isnan(values[0, 0])
    assert values[1, 0] == -np.inf
    content = write({"y": values}, read(b'{"inputs": 0}'))
    assert content == b'{"outputs": [[NaN, Infinity], [-Infinity, 0.0]]}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([1], "a JSON object"),
        ({}, "either instances or inputs"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "either instances or inputs"),
        ({"instances": []}, "an entry for each example"),
        ({"instances": {"x": [1, 2]}}, "an entry for each example"),
        ({"signature_name": 3, "inputs": 1}, "signature_name must be a string"),
        ({"inputs": [[1, 2], [3]]}, "equal lengths"),
        ({"inputs": [[1, "2"]]}, "must be float32"),
        ({"inputs": [[1, None]]}, "must be float32"),
        ({"inputs": [[True, False]]}, "must be float32"),
        ({"inputs": [[1.5, True]]}, "must be float32"),
        ({"inputs": [1, 2]}, "the shape (any, 2). Received: (2,)"),
        ({"inputs": {"y": [[1, 2]]}}, "named x. Received: ['y']"),
        ({"instances": [{"x": [1, 2]}, [3, 4]]}, "an object with x, or the value alone"),
        ({"instances": [{"x": [1, 2]}, {"y": [3, 4]}]}, "an object with x"),
    ],
)
def test_what_is_wrong_is_said(body, words):
    with pytest.raises(RequestError) as caught:
        inputs(body, ONE)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("body", "specs", "words"),
    [
        ({"inputs": {"num": 2**31}}, SCALARS, "from -2147483648 to 2147483647"),
        ({"inputs": {"num": 1.5}}, SCALARS, "must be int32"),
        ({"inputs": {"num": 2**70}}, SCALARS, "must be int32"),
        ({"instances": [1, 2]}, SCALARS, "shape ()"),
        ({"instances": [1]}, TEXT, "text must be strings"),
        ({"inputs": [["a"], ["b", "c"]]}, TEXT, "strings in lists of equal lengths"),
        ({"instances": [{"b64": "?"}]}, TEXT, "text must be strings"),
        ({"inputs": {"a": [1]}}, TWO, "named a, b"),
        ({"inputs": [[1, 2]]}, TWO, "named a, b"),
    ],
)
def test_what_is_wrong_of_other_types_is_said(body, specs, words):
    with pytest.raises(RequestError) as caught:
        inputs(body, specs)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"{", b'{"inputs": NaN', b"[" * 100_000, b'{"inputs": "\xc3"}']
)
def test_what_is_no_json_is_said(body):
    with pytest.raises(RequestError, match="must be JSON"):
        read(body)


def test_answers_go_as_the_question_came():
    outputs = {"label": np.int64([1, 0]), "probabilities": np.float32([[0.25, 0.75], [1, 0]])}
    rows = [
        {"label": 1, "probabilities": [0.25, 0.75]},
        {"label": 0, "probabilities": [1, 0]},
    ]

    by_row = json.loads(write(outputs, read(b'{"instances": [0, 0]}')))
    together = json.loads(write(outputs, read(b'{"inputs": [0, 0]}')))

    assert by_row == {"predictions": rows}
    assert together == {"outputs": {name: array.tolist() for name, array in outputs.items()}}


def test_an_answer_alone_has_no_name():
    outputs = {"sum": np.int64([3, 4])}

    assert json.loads(write(outputs, read(b'{"instances": [0, 0]}'))) == {"predictions": [3, 4]}
    assert json.loads(write(outputs, read(b'{"inputs": [0, 0]}'))) == {"outputs": [3, 4]}


def test_answers_that_are_not_one_by_one_are_not_given_so():
    with pytest.raises(RequestError, match="use inputs"):
        write({"sum": np.int64([3])}, read(b'{"instances": [0, 0]}'))


def test_float32_comes_back_as_it_went():
    values = np.random.default_rng(0).normal(size=1000).astype("float32")

    answer = json.loads(write({"y": values}, read(b'{"inputs": 0}')))

    np.testing.assert_array_equal(np.float32(answer["outputs"]), values)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "uint8", "bool", "string"])
def test_every_type_has_its_json(dtype):
    tensor = tf.cast([0, 1], dtype) if dtype != "string" else tf.constant(["0", "1"])
    expected = {"bool": [False, True], "string": ["0", "1"]}.get(dtype, [0, 1])
    alone, together = (np.asarray(part.numpy()) for part in (tensor[1], tensor))

    answer = json.loads(write({"one": alone, "all": together}, read(b'{"inputs": 0}')))

    assert answer == {"outputs": {"one": expected[1], "all": expected}}


def test_bytes_are_text_or_base64():
    outputs = {"text": np.array([b"\xff", "é".encode()], object)}

    answer = json.loads(write(outputs, read(b'{"inputs": 0}')))

    assert answer == {"outputs": [{"b64": "/w=="}, "é"]}


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [[1, 2], [3, 4]]}',
        '{"instances": [[1.5, -2e3], [3, 4E-1]]}',
        '{ "signature_name" : "serve" , "inputs" : [ [ 1 , 2 ] , [ 3 , 4 ] ] }',
        '{"inputs": [[[1]], [[2]]]}',
        '{"inputs": [1]}',
        '{"inputs": [9007199254740993, -9223372036854775808]}',
    ],
)
def test_plain_numbers_are_read_at_once_as_anything_is(body):
    fast, slow = _read_numbers(body.encode()), _read_json(body.encode())

    assert fast.keys() == slow.keys()
    for name, value in slow.items():
        both = np.asarray(fast[name]), np.asarray(value)
        np.testing.assert_array_equal(*both)
        assert both[0].dtype == both[1].dtype


@pytest.mark.parametrize(
    "body",
    [
        '{"inputs": [[1, 2], [3]]}',
        '{"inputs": [[1, 2, 3], [4], [5, 6]]}',
        '{"inputs": [[1], 2]}',
        '{"inputs": [[1, [2]], [3, 4]]}',
        '{"inputs": [1, "2"]}',
        '{"inputs": [1, true]}',
        '{"inputs": [1, null]}',
        '{"inputs": [1, NaN]}',
        '{"inputs": []}',
        '{"inputs": [[]]}',
        '{"inputs": [[1], []]}',
        '{"inputs": ' + "[" * 65 + "1" + "]" * 65 + "}",
        '{"inputs": 1}',
        '{"inputs": [18446744073709551616]}',
        '{"inputs": {"x": [1]}}',
        '{"inputs": [1], "instances": [1]}',
        '{"inputs": [1], "inputs": [2]}',
        '{"inputs": [1], "a": [2]}',
        "[1]",
        '{"inputs": [1',
    ],
)
def test_all_others_are_left_to_be_read_slowly(body):
    assert _read_numbers(body.encode()) is None


def test_numbers_beside_a_long_text_take_no_memory():
    """NumPy's array of both would have a text of that length for each number."""
    body = {"inputs": [[0, 1]] * 3000 + [["x" * 1_000_000, 1]]}

    with pytest.raises(RequestError, match=r"^x must be float32\. Received"):
        inputs(body, ONE)


def test_many_keys_that_nobody_needs_take_no_time():
    keys = {f"key {number}": number for number in range(50_000)}
    content = json.dumps({"instances": [[1, 2]], **keys}).encode()
    begun = time.perf_counter()

    assert read(content).value.tolist() == [[1, 2]]

    assert time.perf_counter() - begun < 2  # quadratic, it would be a minute
