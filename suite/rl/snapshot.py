"""Saves the state of Python objects as plain data, and restores it into similar objects.

A training that was killed must continue in the middle of its episodes and end with the same bytes,
but Gymnasium's environments have no function that returns their state. A snapshot reads the
attributes of their objects, not those of classes, modules or closures. That works for environments
written in Python and NumPy, such as CartPole. Others (simulators and emulators in C, processes,
open windows) are `Opaque`: they begin new episodes after a resume.

Unlike a pickle, a snapshot cannot name code: a file from an untrusted source can set wrong values,
but not run anything.
"""

import enum
import sys
import types
from collections import deque
from typing import Any

import gymnasium
import numpy as np

# Types of objects that do not change, so that a snapshot leaves them out.
CONSTANT_TYPES = (
    type, enum.Enum, types.FunctionType, types.BuiltinFunctionType, types.MethodType,
    types.ModuleType, np.dtype, gymnasium.Space, gymnasium.envs.registration.EnvSpec,
)  # fmt: skip


class Opaque(TypeError):
    """The state of an object cannot be read in Python, such as that of a process or a window."""


def snapshot(value: Any) -> Any:
    """The state of a value as dicts, lists, arrays and values of JSON, for `restore_into`.

    Args:
        value: A number, text, an array, a generator of random numbers, or a list, tuple, deque,
            dict or object of these, of any depth.

    Raises:
        Opaque: The value contains anything else.
    """
    try:
        return _snapshot(value, {})
    except RecursionError:
        raise Opaque("a list that holds itself") from None


def _snapshot(value: Any, visited: dict[int, Any]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, CONSTANT_TYPES) or id(value) in visited:
        return {"made": True}
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        content = np.frombuffer(value.tobytes(), np.uint8)  # the bytes of any type, text included
        return {kind: content, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, (list, tuple, deque)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_snapshot(item, visited) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_snapshot(part, visited) for part in item] for item in value.items()]}
    visited[id(value)] = value  # the reference keeps the id from being used again
    if isinstance(value, np.random.Generator):
        return {"random": _snapshot(value.bit_generator.state, visited)}
    if isinstance(value, np.random.RandomState):
        return {"legacy_random": _snapshot(value.get_state(), visited)}
    # Types that SWIG makes, as Box2D has them, name no module.
    module = getattr(type(value), "__module__", "builtins")
    is_stdlib = module.partition(".")[0] in sys.stdlib_module_names
    if is_stdlib or not hasattr(value, "__dict__"):
        raise Opaque(f"{module}.{type(value).__qualname__}")
    return {"object": {name: _snapshot(part, visited) for name, part in vars(value).items()}}


def restore_into(fresh: Any, saved: Any) -> Any:
    """Restores a snapshot into an object that was created in the same way as the original.

    Args:
        fresh: The new object, which is changed in place if it is mutable.
        saved: The snapshot.

    Returns:
        The object, or a new one in its place.

    Raises:
        Exception: Any error, if the snapshot is not one of such an object.
    """
    if not isinstance(saved, dict):
        return saved
    kind = next(iter(saved))
    content = saved[kind]
    match kind:
        case "made":
            return fresh
        case "array" | "scalar":
            flat = np.frombuffer(np.asarray(content, np.uint8).tobytes(), saved["dtype"])
            array = flat.reshape(saved["shape"]).copy()
            return array if kind == "array" else array[()]
        case "list" | "tuple":
            same_length = isinstance(fresh, (list, tuple, deque)) and len(fresh) == len(content)
            present = list(fresh) if same_length else [None] * len(content)
            items = [restore_into(*pair) for pair in zip(present, content, strict=True)]
            if isinstance(fresh, deque):
                return deque(items, fresh.maxlen)
            if hasattr(fresh, "_make"):
                return fresh._make(items)
            return items if kind == "list" else tuple(items)
        case "dict":
            known = fresh if isinstance(fresh, dict) else {}
            keys = [restore_into(None, key) for key, _ in content]
            parts = [part for _, part in content]
            pairs = zip(keys, parts, strict=True)
            return {key: restore_into(known.get(key), part) for key, part in pairs}
        case "random":
            fresh.bit_generator.state = restore_into(None, content)
            return fresh
        case "legacy_random":
            fresh.set_state(restore_into(None, content))
            return fresh
        case "object" if hasattr(fresh, "__dict__") and not isinstance(fresh, CONSTANT_TYPES):
            for name, part in content.items():
                vars(fresh)[name] = restore_into(vars(fresh).get(name), part)
            return fresh
    raise ValueError(f"no snapshot of {type(fresh).__name__}: {kind}")
