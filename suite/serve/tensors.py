"""Converts tensors from and to JSON, in the format of TensorFlow Serving's REST interface.

A request has `instances`, a list with one entry for each example, or `inputs`, which holds all
examples together. Its response has `predictions` or `outputs` in the same form. Bytes are
`{"b64": "..."}`.

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
MOST_AXES = 32  # of an array whose elements NumPy goes through
# The kinds of NumPy dtypes (`dtype.kind`) that may be converted to an input of each kind: those
# that lose no digits.
COMPATIBLE = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}


class PredictBody(NamedTuple):
    """The body of a request to predict.

    Args:
        signature_name: The signature to call; empty for the default one.
        by_row: Whether the body has `instances`, and so its response has `predictions`.
        value: The value of `instances` or `inputs`.
    """

    signature_name: str
    by_row: bool
    value: Any

    @property
    def only_bytes(self) -> bool:
        """Whether every example is an object with nothing but `b64`."""
        return self.by_row and all(
            isinstance(row, dict) and row.keys() == {"b64"} for row in self.value
        )


def read(content: bytes) -> PredictBody:
    """Parses the JSON of a request, and ignores unknown keys.

    Raises:
        RequestError: The body is not JSON, or not of that format.
    """
    body = _read_numbers(content) or _read_json(content)
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    if ("instances" in body) == ("inputs" in body):
        raise RequestError("the body must have either instances or inputs")
    name = body.get("signature_name", "")
    if not isinstance(name, str):
        raise RequestError(f"signature_name must be a string. Received: {_brief(name)}")
    by_row = "instances" in body
    value = body["instances" if by_row else "inputs"]
    if by_row and (not isinstance(value, (list, np.ndarray)) or not len(value)):
        raise RequestError("instances must be a list with an entry for each example")
    return PredictBody(name, by_row, value)


def arrays(body: PredictBody, specs: Specs) -> dict[str, np.ndarray]:
    """Converts a body into the inputs of a signature.

    Args:
        body: The body of the request.
        specs: The inputs of the signature, by name.

    Raises:
        RequestError: The body does not fit the inputs.
    """
    columns = _columns(body.value, list(specs)) if body.by_row else body.value
    unnamed = not isinstance(columns, dict) or "b64" in columns
    if unnamed and len(specs) == 1:
        columns = {next(iter(specs)): columns}
    if not isinstance(columns, dict) or columns.keys() != specs.keys():
        received = sorted(columns) if isinstance(columns, dict) else columns
        raise RequestError(
            f"the inputs must be named {', '.join(specs)}. Received: {_brief(received)}"
        )
    inputs = {name: array(columns[name], spec) for name, spec in specs.items()}
    if body.by_row:
        for name, value in inputs.items():
            if value.shape[:1] != (len(body.value),):
                raise RequestError(f"{name} takes no examples one by one: use inputs")
    return inputs


def array(value: Any, spec: tf.TensorSpec) -> np.ndarray:
    """Converts the value of one input into an array.

    Raises:
        RequestError: The value has another shape or type.
    """
    if spec.dtype == tf.string:
        return check_shape(_strings(value, spec), spec)
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    types = set() if isinstance(value, np.ndarray) else _leaf_types(value)
    # NumPy would make every number a text that is as long as the longest.
    if not types <= {int, float, bool}:
        raise RequestError(f"{spec.name} must be {spec.dtype.name}. Received: {_brief(value)}")
    try:
        numbers = np.asarray(value)
    except (ValueError, OverflowError):
        raise RequestError(
            f"{spec.name} must be numbers in lists of equal lengths. Received: {_brief(value)}"
        ) from None
    code = "f" if spec.dtype.is_floating else dtype.kind
    fits = numbers.dtype.kind in COMPATIBLE.get(code, "")
    # NumPy converts true to 1 in a list that also holds numbers.
    if numbers.size and not (fits and (code == "b" or bool not in types)):
        raise RequestError(f"{spec.name} must be {spec.dtype.name}. Received: {_brief(value)}")
    if code in "iu" and numbers.size:
        limits = np.iinfo(dtype)
        if numbers.min() < limits.min or numbers.max() > limits.max:
            raise RequestError(
                f"{spec.name} must be {spec.dtype.name}, from {limits.min} to {limits.max}. "
                f"Received: {_brief(value)}"
            )
    with np.errstate(over="ignore"):
        return check_shape(numbers.astype(dtype), spec)


def check_shape(value: np.ndarray, spec: tf.TensorSpec) -> np.ndarray:
    """Returns the array if its shape fits the input.

    Raises:
        RequestError: The shape does not fit.
    """
    if not spec.shape.is_compatible_with(value.shape):
        raise RequestError(
            f"{spec.name} must have the shape {_shape(spec.shape)}. Received: {value.shape}"
        )
    return value


def write(outputs: Mapping[str, np.ndarray], body: PredictBody) -> bytes:
    """Converts outputs into the JSON of a response.

    Raises:
        RequestError: The request has `instances`, and an output has another number of rows.
    """
    single = len(outputs) == 1
    if not body.by_row:
        value = next(iter(outputs.values())) if single else dict(outputs)
        return _to_json({"outputs": value}, outputs)
    if any(value.shape[:1] != (len(body.value),) for value in outputs.values()):
        raise RequestError("this signature does not answer example by example: use inputs")
    if single:
        return _to_json({"predictions": next(iter(outputs.values()))}, outputs)
    rows = zip(*(list(value) for value in outputs.values()), strict=True)
    predictions = [dict(zip(outputs, row, strict=True)) for row in rows]
    return _to_json({"predictions": predictions}, outputs)


def _read_numbers(content: bytes) -> dict[str, Any] | None:
    """Parses a body whose value is numbers in lists of equal lengths; None for any other body.

    The numbers go straight into an array, without a Python object for each of them: 32 images of
    28 x 28 pixels take 1 ms rather than 10.
    """
    try:
        document: Any = simdjson.Parser().parse(content)
        keys = list(document.keys())
        [name] = {"instances", "inputs"} & set(keys)
        value = document[name]
        shape = []
        while isinstance(value, simdjson.Array):
            shape.append(len(value))
            value = value[0]
        begin, end = content.find(b"["), content.rfind(b"]") + 1
        if not shape or not _has_shape(content[begin:end], shape):
            return None
        integers = all(mark not in content[begin:end] for mark in (b".", b"e", b"E"))
        buffer = document[name].as_buffer(of_type="i" if integers else "d")
        numbers = np.frombuffer(buffer, np.int64 if integers else np.float64).reshape(shape)
        named = {"signature_name"} & set(keys)
        return {key: document[key] for key in named} | {name: numbers}
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError):
        return None


def _has_shape(lists: bytes, shape: Sequence[int]) -> bool:
    """Whether nested JSON lists of numbers have a shape."""
    marks = lists.translate(None, b"0123456789+-.eE \t\r\n")
    length = 0
    for size in reversed(shape):
        length = size * length + size + 1
    if len(marks) != length:  # before the pattern, which may be huge for another shape
        return False
    pattern = b""
    for size in reversed(shape):
        pattern = b"[" + b",".join([pattern] * size) + b"]"
    return marks == pattern


def _read_json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        # NaN and Infinity are not JSON, but TensorFlow Serving reads and writes them.
        if b"NaN" not in content and b"Infinity" not in content:
            raise RequestError(
                f"the body must be JSON, or a picture as PNG, JPEG, GIF or BMP: {error}"
            ) from None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body must be JSON: {error}") from None


def _columns(rows: Any, names: list[str]) -> Any:
    """Converts rows with names into one list for each name; rows without names are returned."""
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


def _leaf_types(value: Any, axes: int = MOST_AXES) -> set[type]:
    """The types of what lists hold that are nested up to `axes` deep; what is deeper is a list."""
    if not isinstance(value, list):
        return {type(value)}
    types = set(map(type, value))
    if list in types and axes > 1:
        types.remove(list)
        for item in value:
            if isinstance(item, list):
                types |= _leaf_types(item, axes - 1)
    return types


def _strings(value: Any, spec: tf.TensorSpec) -> np.ndarray:
    strings = np.asarray(_encoded(value, spec, MOST_AXES), object)
    if any(isinstance(string, list) for string in strings.flat):
        raise RequestError(
            f"{spec.name} must be strings in lists of equal lengths. Received: {_brief(value)}"
        )
    return strings


def _encoded(value: Any, spec: tf.TensorSpec, axes: int) -> Any:
    """Replaces every string and every `{"b64": ...}` by bytes, in lists up to `axes` deep."""
    if isinstance(value, list):
        if not axes:
            raise RequestError(f"{spec.name} must be strings in lists that are nested less deeply")
        return [_encoded(item, spec, axes - 1) for item in value]
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
            return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, UnicodeEncodeError):
        pass
    raise RequestError(
        f'{spec.name} must be strings: text, or {{"b64": ...}}. Received: {_brief(value)}'
    )


def _to_json(response: dict[str, Any], outputs: Mapping[str, np.ndarray]) -> bytes:
    if all(value.dtype.kind != "f" or np.isfinite(value).all() for value in outputs.values()):
        return orjson.dumps(response, default=_jsonable, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(response, default=_jsonable).encode()  # orjson would write null for NaN


def _jsonable(value: Any) -> Any:
    """Converts an array, a NumPy number or bytes into a value that JSON can hold."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value.tolist()


def _shape(shape: tf.TensorShape) -> str:
    sizes = ["any" if size is None else str(size) for size in shape.as_list()]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"


def _brief(value: Any) -> str:
    return reprlib.repr(value)  # abbreviates large and deep values
