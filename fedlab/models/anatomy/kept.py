"""Snapshots of an object's attributes, to detect changes.

Networks and client trainers serve all clients of a process, one after the other: state in an
attribute would leak from client to client, and be lost after a resume.
"""

from __future__ import annotations

import enum
import hashlib
import inspect
import pickle
import random
import warnings
from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from fedlab.errors import is_own_frame

DEEPEST = 12
"""Largest depth of nested containers and objects that are compared."""

PLAIN = (bool, int, float, complex, str, bytes, bytearray, range, slice, type(None), enum.Enum)

OF_MODULES = frozenset(vars(nn.Module())) | {"training"}
"""Attributes of every module: tensors, submodules, hooks, and the mode, which every round sets."""


def kept_by(instance: object, leave_out: frozenset[str] = frozenset()) -> dict[str, Hashable]:
    """The attributes of an object by name, as hashable values that can be compared.

    Includes attributes of its class, if that is a user's own. Values of
    `functools.cached_property` are left out, as they do not depend on the time of access.

    Args:
        instance: Any object.
        leave_out: Names to leave out.
    """
    reader = _HashableValues()
    return {n: reader.value(v) for n, v in _attributes(instance) if n not in leave_out}


def kept_by_modules(model: nn.Module) -> dict[str, Hashable]:
    """The attributes of a network's modules by path, without parameters and buffers."""
    return {
        f"{path}.{name}" if path else name: value
        for path, module in model.named_modules()
        for name, value in kept_by(module, OF_MODULES).items()
    }


def changed(before: Mapping[str, Hashable], after: Mapping[str, Hashable]) -> list[str]:
    """The names of attributes that differ between two snapshots."""
    missing = object()
    every = dict.fromkeys((*before, *after))
    return [name for name in every if before.get(name, missing) != after.get(name, missing)]


def _attributes(instance: object) -> Iterator[tuple[str, Any]]:
    """An object's attributes, and those of its classes that are a user's own."""
    cls = type(instance)
    for owner in reversed(cls.__mro__):
        if _is_users(owner):
            yield from ((n, v) for n, v in vars(owner).items() if not _says_how(n, v))
        for name in vars(owner).get("__slots__", ()):
            if not name.startswith("__"):
                yield name, getattr(instance, name, None)
    private = getattr(instance, "__pydantic_private__", None) or {}
    for name, value in (*getattr(instance, "__dict__", {}).items(), *private.items()):
        owner = next((each for each in cls.__mro__ if name in vars(each)), None)
        if owner is None or not isinstance(vars(owner)[name], cached_property):
            yield name, value


def _says_how(name: str, value: object) -> bool:
    """Whether an attribute of a class is a method, a descriptor or a special name."""
    return name.startswith("__") or callable(value) or hasattr(type(value), "__get__")


def _is_users(cls: type) -> bool:
    """Whether a class was written by a user."""
    if cls.__module__ == "builtins" or cls.__module__.split(".")[0] == "fedlab":
        return False
    try:
        return is_own_frame(inspect.getfile(cls))
    except (TypeError, OSError):  # made in a notebook, or in C
        return cls.__module__ == "__main__"


class _HashableValues:
    """Converts values to hashable ones with the same equality; each object is read once."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[int, object]] = {}

    def value(self, value: Any, depth: int = 0) -> Hashable:
        """The hashable form of any value."""
        if isinstance(value, PLAIN):
            return (type(value).__name__, repr(value))
        if id(value) in self.seen:
            return ("as before", self.seen[id(value)][0])
        self.seen[id(value)] = len(self.seen), value  # held: no other object gets its id meanwhile
        return (type(value).__name__, None if depth > DEEPEST else self._read(value, depth + 1))

    def _read(self, value: Any, depth: int) -> Hashable:
        match value:
            case torch.Tensor():
                return _of_tensor(value)
            case np.ndarray() if not value.dtype.hasobject:
                return (str(value.dtype), value.shape, _digest(np.ascontiguousarray(value)))
            case Mapping():
                pairs = value.items()
                return tuple((self.value(k, depth), self.value(v, depth)) for k, v in pairs)
            case list() | tuple() | deque():
                return tuple(self.value(each, depth) for each in value)
            case set() | frozenset():
                return tuple(sorted(map(repr, value)))
            case nn.Module():
                tensors = dict([*value.named_parameters(), *value.named_buffers()])
                return (self.value(tensors, depth), tuple(kept_by_modules(value).items()))
            case torch.optim.Optimizer():
                return self.value(value.state_dict(), depth)
            case torch.Generator():
                return _of_tensor(value.get_state())
            case np.random.Generator():
                return self.value(value.bit_generator.state, depth)
            case random.Random():
                return repr(value.getstate())
            case _ if _is_users(type(value)):
                return tuple((name, self.value(v, depth)) for name, v in _attributes(value))
            case _:
                ours = type(value).__module__.split(".")[0] == "fedlab"
                return None if ours else _pickled(value)


def _of_tensor(value: torch.Tensor) -> Hashable:
    if value.layout is not torch.strided or value.is_meta or value.is_nested:
        return None
    flat = value.detach().cpu().contiguous().flatten()
    return (str(value.dtype), tuple(value.shape), _digest(flat.view(torch.uint8).numpy()))


def _digest(values: np.ndarray) -> str:
    return hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()


def _pickled(value: object) -> Hashable:
    """A digest of another package's object, or None if it cannot be pickled."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hashlib.blake2b(pickle.dumps(value), digest_size=16).hexdigest()
    except Exception:  # files, locks, loggers: others' code may raise anything
        return None
