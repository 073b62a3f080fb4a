"""Tensors in JSON, as TensorFlow Serving's REST interface has them.

A request gives `instances`, a list with an entry for each example, or `inputs`, all examples
together; the answer has `predictions` or `outputs` accordingly. Bytes are `{"b64": "..."}`.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import binascii
import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import simdjson
import tensorflow as tf

from suite.serve.status import RequestError

Specs = Mapping[str, tf.TensorSpec]
# Kinds of NumPy's types that may stand for those of a kind of tensor: nobody loses digits.
MAY_STAND_FOR = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}


class Request(NamedTuple):
    """What was asked.

    Args:
        signature_name: Of the endpoint.
        by_row: Whether examples came, and go, one by one.
        value: Of `instances` or of `inputs`.
    """

    signature_name: str
    by_row: bool
    value: Any


def read(body: bytes) -> Request:
    """Takes a request apart.

    Raises:
        RequestError: It is no such request.
    """
    asked = _numbers(body) or _parsed(body)
    if not isinstance(asked, dict):
        raise RequestError("the body must be a JSON object")
    unknown = asked.keys() - {"signature_name", "instances", "inputs"}
    if unknown:
        raise RequestError(
            "the body may have signature_name, and instances or inputs. Received: "
            f"{_shown(sorted(unknown))}"
        )
    if ("instances" in asked) == ("inputs" in asked):
        raise RequestError("the body must have either instances or inputs")
    name = asked.get("signature_name", "serving_default")
    if not isinstance(name, str):
        raise RequestError(f"signature_name must be a string. Received: {_shown(name)}")
    by_row = "instances" in asked
    value = asked["instances" if by_row else "inputs"]
    if by_row and (not isinstance(value, (list, np.ndarray)) or not len(value)):
        raise RequestError("instances must be a list with an entry for each example")
    return Request(name, by_row, value)


def arrays(request: Request, specs: Specs) -> dict[str, np.ndarray]:
    """The inputs of a signature.

    Args:
        request: By rows or not.
        specs: Of the inputs, by name.

    Raises:
        RequestError: They do not fit.
    """
    columns = _columns(request.value, list(specs)) if request.by_row else request.value
    alone = not isinstance(columns, dict) or "b64" in columns
    if alone and len(specs) == 1:
        columns = {next(iter(specs)): columns}
    if not isinstance(columns, dict) or columns.keys() != specs.keys():
        given = sorted(columns) if isinstance(columns, dict) else columns
        raise RequestError(
            f"the inputs must be named {', '.join(specs)}. Received: {_shown(given)}"
        )
    found = {name: array(columns[name], spec) for name, spec in specs.items()}
    if request.by_row:
        for name, each in found.items():
            if each.shape[:1] != (len(request.value),):
                raise RequestError(f"{name} takes no examples one by one: use inputs")
    return found


def array(value: Any, spec: tf.TensorSpec) -> np.ndarray:
    """One input.

    Raises:
        RequestError: The value is of another shape or type.
    """
    dtype = spec.dtype
    if dtype == tf.string:
        return fitting(np.asarray(_bytes_of(value), object), spec)
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError):
        raise RequestError(
            f"{spec.name} must be numbers in lists of equal lengths. Received: {_shown(value)}"
        ) from None
    wanted = np.dtype(dtype.as_numpy_dtype)
    kind = "f" if dtype.is_floating else wanted.kind
    fits = found.dtype.kind in MAY_STAND_FOR.get(kind, "")
    # Among numbers NumPy would take true for 1.
    if found.size and not (fits and (kind == "b" or not _holds_truth(value))):
        raise RequestError(f"{spec.name} must be {dtype.name}. Received: {_shown(value)}")
    if kind in "iu" and found.size:
        limits = np.iinfo(wanted)
        if found.min() < limits.min or found.max() > limits.max:
            raise RequestError(
                f"{spec.name} must be {dtype.name}, from {limits.min} to {limits.max}. Received: "
                f"{_shown(value)}"
            )
    with np.errstate(over="ignore"):
        return fitting(found.astype(wanted), spec)


def fitting(found: np.ndarray, spec: tf.TensorSpec) -> np.ndarray:
    """The array, if it has the shape.

    Raises:
        RequestError: It has another.
    """
    if not spec.shape.is_compatible_with(found.shape):
        raise RequestError(
            f"{spec.name} must have the shape {_shape(spec.shape)}. Received: {found.shape}"
        )
    return found


def write(outputs: Mapping[str, np.ndarray], request: Request) -> bytes:
    """The answer.

    Raises:
        RequestError: Examples were asked for one by one, and there are not as many.
    """
    alone = len(outputs) == 1
    if not request.by_row:
        value = next(iter(outputs.values())) if alone else dict(outputs)
        return _dumped({"outputs": value}, outputs)
    count = len(request.value)
    if any(each.shape[:1] != (count,) for each in outputs.values()):
        raise RequestError("this signature answers for no examples one by one: use inputs")
    if alone:
        return _dumped({"predictions": next(iter(outputs.values()))}, outputs)
    rows = zip(*(list(each) for each in outputs.values()), strict=True)
    return _dumped({"predictions": [dict(zip(outputs, row, strict=True)) for row in rows]}, outputs)


def _numbers(body: bytes) -> dict[str, Any] | None:
    """A request for numbers in lists of equal lengths, whose value is an array; None for others.

    It is read without a Python object for every number, of which there are thousands in an image.
    """
    try:
        document: Any = simdjson.Parser().parse(body)
        keys = list(document.keys())
        [name] = {"instances", "inputs"} & set(keys)
        value = document[name]
        shape = []
        while isinstance(value, simdjson.Array):
            shape.append(len(value))
            value = value[0]
        begin, end = body.find(b"["), body.rfind(b"]") + 1
        if not shape or len(keys) > 2 or not _regular(body[begin:end], shape):
            return None
        whole = all(mark not in body[begin:end] for mark in (b".", b"e", b"E"))
        flat = document[name].as_buffer(of_type="i" if whole else "d")
        numbers = np.frombuffer(flat, np.int64 if whole else np.float64).reshape(shape)
        return {key: document[key] for key in keys} | {name: numbers}
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError):
        return None


def _regular(lists: bytes, shape: Sequence[int]) -> bool:
    """Whether lists of numbers, as JSON has them, are of this shape."""
    marks = lists.translate(None, b"0123456789+-.eE \t\r\n")
    length = 0
    for size in reversed(shape):
        length = size * length + size + 1
    if len(marks) != length:  # and so may be far from it
        return False
    pattern = b""
    for size in reversed(shape):
        pattern = b"[" + b",".join([pattern] * size) + b"]"
    return marks == pattern


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # What is no JSON, but TensorFlow Serving reads and writes it.
        if b"NaN" not in body and b"Infinity" not in body:
            raise RequestError(f"the body must be JSON: {error}") from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body must be JSON: {error}") from None


def _columns(rows: Any, names: list[str]) -> Any:
    """Rows put together: a list for each name, or just one."""
    if isinstance(rows, np.ndarray):
        return rows
    named = [isinstance(row, dict) and "b64" not in row for row in rows]
    if not any(named):
        return rows
    if not all(named) or any(row.keys() != set(names) for row in rows):
        raise RequestError(
            f"every instance must be an object with {', '.join(names)}"
            + (", or the value alone" if len(names) == 1 else "")
        )
    return {name: [row[name] for row in rows] for name in names}


def _holds_truth(value: Any) -> bool:
    """Whether true or false is somewhere in these lists."""
    if isinstance(value, list):
        return any(map(_holds_truth, value))
    return isinstance(value, bool)


def _bytes_of(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes_of(each) for each in value]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error:
            pass
    raise RequestError(f'strings must be text or {{"b64": ...}}. Received: {_shown(value)}')


def _dumped(answer: dict[str, Any], outputs: Mapping[str, np.ndarray]) -> bytes:
    plain = all(
        each.dtype.kind in "iub" or (each.dtype.kind == "f" and np.isfinite(each).all())
        for each in outputs.values()
    )
    if plain:
        return orjson.dumps(answer, default=_listed, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(answer, default=_listed).encode()


def _listed(value: Any) -> Any:
    """What JSON has no word for: arrays, numbers of NumPy's, bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value.tolist()


def _shape(shape: tf.TensorShape) -> str:
    sizes = ["any" if size is None else str(size) for size in shape.as_list()]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"


def _shown(value: Any) -> str:
    return reprlib.repr(value)  # however large, or deep, it is
