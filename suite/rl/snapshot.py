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
import itertools
import sys
import types
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np

# Types of objects that do not change, so that a snapshot leaves them out.
CONSTANT_TYPES = (
    type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType,
    np.dtype, gymnasium.Space, gymnasium.envs.registration.EnvSpec,
)  # fmt: skip


class Opaque(TypeError):
    """The state of an object cannot be read in Python, such as that of a process or a window."""


def snapshot(value: Any) -> Any:
    """The state of a value as dicts, lists, arrays and values of JSON, for `restore_into`.

    What is reached in several ways is saved once, and is one object again after the restoration.

    Args:
        value: A number, text, an array, a generator of random numbers, a member of an enumeration,
            or a list, tuple, deque, dict or object of these, of any depth.

    Raises:
        Opaque: The value contains anything else, a list within itself, or different arrays that
            share memory.
    """
    reached = _Reached({}, [], set())
    try:
        state = _snapshot(value, reached)
    except RecursionError:
        raise Opaque("a tuple that holds itself") from None
    _refuse_shared_memory([part for part in reached.values if isinstance(part, np.ndarray)])
    return state


class _Reached(NamedTuple):
    """What a snapshot has come across so far, in the order in which it came to it.

    Args:
        numbers: The number of every object that can change, by its id.
        values: The objects; a reference keeps an id from being used again.
        unfinished: The numbers of lists and dicts whose content is being read.
    """

    numbers: dict[int, int]
    values: list[Any]
    unfinished: set[int]


def _snapshot(value: Any, reached: _Reached) -> Any:
    if isinstance(value, enum.Enum):
        return {"member": value.name}
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return _bytes_of("scalar", value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, CONSTANT_TYPES):
        return {"made": True}
    if isinstance(value, tuple):
        return {"tuple": [_snapshot(item, reached) for item in value]}
    if id(value) in reached.numbers:
        number = reached.numbers[id(value)]
        if number in reached.unfinished:
            raise Opaque("a list that holds itself")
        return {"same": number}
    number = reached.numbers[id(value)] = len(reached.values)
    reached.values.append(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return _bytes_of("array", value)
    if isinstance(value, (list, deque, dict)):
        reached.unfinished.add(number)
        if isinstance(value, dict):
            pairs = [[_snapshot(part, reached) for part in item] for item in value.items()]
            state = {"dict" if type(value) is dict else "mapping": pairs}
        else:
            state = {"list": [_snapshot(item, reached) for item in value]}
        reached.unfinished.remove(number)
        return state
    if isinstance(value, np.random.Generator):
        return {"random": _snapshot(value.bit_generator.state, reached)}
    if isinstance(value, np.random.RandomState):
        return {"legacy_random": _snapshot(value.get_state(), reached)}
    # Types that SWIG makes, as Box2D has them, name no module.
    module = getattr(type(value), "__module__", "builtins")
    is_stdlib = module.partition(".")[0] in sys.stdlib_module_names
    if is_stdlib or not hasattr(value, "__dict__"):
        raise Opaque(f"{module}.{type(value).__qualname__}")
    return {"object": {name: _snapshot(part, reached) for name, part in vars(value).items()}}


def _bytes_of(kind: str, value: Any) -> dict[str, Any]:
    """An array or a NumPy number by its bytes, which any type has, text included."""
    content = np.frombuffer(value.tobytes(), np.uint8)
    return {kind: content, "dtype": value.dtype.str, "shape": list(value.shape)}


def _refuse_shared_memory(arrays: Sequence[np.ndarray]) -> None:
    """Refuses views of each other: as arrays of their own, one would not follow the other."""
    bounds = sorted(np.lib.array_utils.byte_bounds(array) for array in arrays if array.size)
    for (_, end), (begin, _) in itertools.pairwise(bounds):
        if begin < end:
            raise Opaque("arrays that share memory")


def restore_into(fresh: Any, saved: Any) -> Any:
    """Restores a snapshot into an object that was created in the same way as the original.

    Args:
        fresh: The new object, which is changed in place if it has attributes.
        saved: The snapshot.

    Returns:
        The object, or a new one in its place.

    Raises:
        Exception: Any error, if the snapshot is not one of such an object.
    """
    return _restore(fresh, saved, [])


def _restore(fresh: Any, saved: Any, restored: list[Any]) -> Any:
    """Restores a part of a snapshot.

    Args:
        fresh: As in `restore_into`.
        saved: The part.
        restored: What `_Reached.values` were, as far as they are restored; gets those of the part.
    """
    if not isinstance(saved, dict):
        return saved
    kind = next(iter(saved))
    content = saved[kind]
    match kind:
        case "made":
            return fresh
        case "member" if isinstance(fresh, enum.Enum):
            return type(fresh)[content]
        case "scalar":
            return _of_bytes(saved, "scalar")[()]
        case "tuple":
            items = _restore_items(fresh, content, restored)
            return fresh._make(items) if hasattr(fresh, "_make") else tuple(items)
        case "same":
            return restored[content]
    number = len(restored)
    restored.append(fresh)
    restored[number] = _restore_changeable(fresh, kind, saved, restored)
    return restored[number]


def _restore_changeable(fresh: Any, kind: str, saved: dict[str, Any], restored: list[Any]) -> Any:
    """Restores a part that can change, which other parts may be the same as."""
    content = saved[kind]
    match kind:
        case "array":
            return _of_bytes(saved, "array").copy()
        case "list":
            items = _restore_items(fresh, content, restored)
            return deque(items, fresh.maxlen) if isinstance(fresh, deque) else items
        case "dict" | "mapping":
            known = fresh if isinstance(fresh, dict) else {}
            pairs = []
            for key, part in content:
                key = _restore(None, key, restored)
                pairs.append((key, _restore(known.get(key), part, restored)))
            if kind == "dict":
                return dict(pairs)
            mapping = fresh.copy()  # with its default, if it has one
            mapping.clear()
            for key, part in pairs:
                mapping[key] = part
            return mapping
        case "random":
            fresh.bit_generator.state = _restore(None, content, restored)
            return fresh
        case "legacy_random":
            fresh.set_state(_restore(None, content, restored))
            return fresh
        case "object" if hasattr(fresh, "__dict__") and not isinstance(fresh, CONSTANT_TYPES):
            for name, part in content.items():
                vars(fresh)[name] = _restore(vars(fresh).get(name), part, restored)
            return fresh
    raise ValueError(f"no snapshot of {type(fresh).__name__}: {kind}")


def _restore_items(fresh: Any, content: Sequence[Any], restored: list[Any]) -> list[Any]:
    """The items of a list, tuple or deque."""
    same_length = isinstance(fresh, (list, tuple, deque)) and len(fresh) == len(content)
    present = list(fresh) if same_length else [None] * len(content)
    return [_restore(*pair, restored) for pair in zip(present, content, strict=True)]


def _of_bytes(saved: dict[str, Any], kind: str) -> np.ndarray:
    """The array that `_bytes_of` has read, which cannot be written."""
    flat = np.frombuffer(np.asarray(saved[kind], np.uint8).tobytes(), saved["dtype"])
    return flat.reshape(saved["shape"])
