"""The state of Python objects as plain data, and back into objects that were made alike.

Unlike a pickle, a snapshot names no code: whoever wrote it decides values, never what is run.
"""

import base64
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


def snapshot(thing: Any) -> Any:
    """A state as JSON can hold it, to be given to `restored`.

    Args:
        thing: A number, text, an array, a generator of random numbers, or a list, tuple, deque,
            dict or object of these, of any depth.

    Raises:
        Opaque: There is something else in it.
    """
    try:
        return _snapshot(thing, {})
    except RecursionError:
        raise Opaque("a list that holds itself") from None


def _snapshot(thing: Any, seen: dict[int, Any]) -> Any:
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return thing
    if isinstance(thing, FIXED) or id(thing) in seen:
        return {"made": True}
    if isinstance(thing, (np.ndarray, np.generic)) and not thing.dtype.hasobject:
        kind = "array" if isinstance(thing, np.ndarray) else "scalar"
        content = base64.b64encode(thing.tobytes()).decode()
        return {kind: content, "dtype": thing.dtype.str, "shape": list(thing.shape)}
    if isinstance(thing, (list, tuple, deque)):
        kind = "tuple" if isinstance(thing, tuple) else "list"
        return {kind: [_snapshot(each, seen) for each in thing]}
    if isinstance(thing, dict):
        return {"dict": [[_snapshot(part, seen) for part in item] for item in thing.items()]}
    seen[id(thing)] = thing  # kept, so that nothing else takes its place in memory
    if isinstance(thing, np.random.Generator):
        return {"random": _snapshot(thing.bit_generator.state, seen)}
    of_python = type(thing).__module__.partition(".")[0] in sys.stdlib_module_names
    if of_python or not hasattr(thing, "__dict__"):
        raise Opaque(f"{type(thing).__module__}.{type(thing).__qualname__}")
    return {"object": {key: _snapshot(each, seen) for key, each in vars(thing).items()}}


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
            array = np.frombuffer(base64.b64decode(content), np.dtype(saved["dtype"]))
            array = array.reshape(saved["shape"])
            return array.copy() if kind == "array" else array[()]
        case "list" | "tuple":
            alike = isinstance(made, (list, tuple, deque)) and len(made) == len(content)
            others = list(made) if alike else [None] * len(content)
            items = [restored(*pair) for pair in zip(others, content, strict=True)]
            if isinstance(made, deque):
                return deque(items, made.maxlen)
            if hasattr(made, "_make"):
                return made._make(items)
            return items if kind == "list" else tuple(items)
        case "dict":
            known = made if isinstance(made, dict) else {}
            keys = [restored(None, key) for key, _ in content]
            values = [each for _, each in content]
            pairs = zip(keys, values, strict=True)
            return {key: restored(known.get(key), each) for key, each in pairs}
        case "random":
            made.bit_generator.state = restored(None, content)
            return made
        case "object" if hasattr(made, "__dict__") and not isinstance(made, FIXED):
            for key, each in content.items():
                vars(made)[key] = restored(vars(made).get(key), each)
            return made
    raise ValueError(f"no snapshot of {type(made).__name__}: {kind}")
