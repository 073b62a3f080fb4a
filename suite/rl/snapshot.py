"""The state of Python objects as plain data, and back into objects that were made alike.

A killed training of an environment must go on to the same bytes, in the middle of its episodes; but
Gymnasium's environments cannot say what state they are in. A snapshot looks it up: it works for
environments written in Python and NumPy, such as CartPole, and reads what their objects hold, not
what lies in classes, modules or closures. Others (simulators and emulators in C, processes, open
windows) are `Opaque`: they begin new episodes after a resume.

Unlike a pickle, a snapshot names no code: whoever wrote it decides values, never what is run.
"""

import enum
import sys
import types
from collections import deque
from typing import Any

import gymnasium
import numpy as np

# What was made alike and does not change.
FIXED = (
    type, enum.Enum, types.FunctionType, types.BuiltinFunctionType, types.MethodType,
    types.ModuleType, np.dtype, gymnasium.Space, gymnasium.envs.registration.EnvSpec,
)  # fmt: skip


class Opaque(TypeError):
    """A state cannot be seen from Python: that of a process or a window, say."""


def snapshot(value: Any) -> Any:
    """A state as dicts, lists, arrays and what JSON holds, to be given to `restored`.

    Args:
        value: A number, text, an array, a generator of random numbers, or a list, tuple, deque,
            dict or object of these, of any depth.

    Raises:
        Opaque: There is something else in it.
    """
    try:
        return _snapshot(value, {})
    except RecursionError:
        raise Opaque("a list that holds itself") from None


def _snapshot(value: Any, visited: dict[int, Any]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, FIXED) or id(value) in visited:
        return {"made": True}
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        content = np.frombuffer(value.tobytes(), np.uint8)  # of whatever type, text included
        return {kind: content, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, (list, tuple, deque)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_snapshot(item, visited) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_snapshot(part, visited) for part in item] for item in value.items()]}
    visited[id(value)] = value  # kept, so that nothing else takes its place in memory
    if isinstance(value, np.random.Generator):
        return {"random": _snapshot(value.bit_generator.state, visited)}
    of_python = type(value).__module__.partition(".")[0] in sys.stdlib_module_names
    if of_python or not hasattr(value, "__dict__"):
        raise Opaque(f"{type(value).__module__}.{type(value).__qualname__}")
    return {"object": {name: _snapshot(part, visited) for name, part in vars(value).items()}}


def restored(made: Any, saved: Any) -> Any:
    """A state put back into an object that was made alike.

    Args:
        made: The object, which is changed where it can be.
        saved: The snapshot.

    Returns:
        The object, or another in its place.

    Raises:
        Exception: It is no snapshot of such an object, and may be anything.
    """
    if not isinstance(saved, dict):
        return saved
    kind = next(iter(saved))
    content = saved[kind]
    match kind:
        case "made":
            return made
        case "array" | "scalar":
            flat = np.frombuffer(np.asarray(content, np.uint8).tobytes(), saved["dtype"])
            array = flat.reshape(saved["shape"]).copy()
            return array if kind == "array" else array[()]
        case "list" | "tuple":
            alike = isinstance(made, (list, tuple, deque)) and len(made) == len(content)
            present = list(made) if alike else [None] * len(content)
            items = [restored(*pair) for pair in zip(present, content, strict=True)]
            if isinstance(made, deque):
                return deque(items, made.maxlen)
            if hasattr(made, "_make"):
                return made._make(items)
            return items if kind == "list" else tuple(items)
        case "dict":
            known = made if isinstance(made, dict) else {}
            keys = [restored(None, key) for key, _ in content]
            parts = [part for _, part in content]
            pairs = zip(keys, parts, strict=True)
            return {key: restored(known.get(key), part) for key, part in pairs}
        case "random":
            made.bit_generator.state = restored(None, content)
            return made
        case "object" if hasattr(made, "__dict__") and not isinstance(made, FIXED):
            for name, part in content.items():
                vars(made)[name] = restored(vars(made).get(name), part)
            return made
    raise ValueError(f"no snapshot of {type(made).__name__}: {kind}")
