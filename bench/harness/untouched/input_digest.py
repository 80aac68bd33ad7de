"""A digest of all that a call is given: the objects that it holds and theirs, down to their numbers, in order."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PLAIN: tuple[type, ...] = (int, float, complex, str, bytes, bool, type(None), slice, Enum, PurePath, torch.Size)
_PLAIN += (torch.dtype, torch.device, torch.layout, torch.memory_format)


def digest_inputs(call: Any) -> str:
    """A digest of what a call holds: its arguments and closure, and what those hold; empty where some is not known."""
    found = _InputDigest()
    try:
        known = found.take(call)
    except (RuntimeError, TypeError, ValueError, RecursionError):  # a tensor without storage, an empty cell
        return ""
    return found.hash.hexdigest()[:32] if known else ""


class _InputDigest:
    """The digest as objects are visited, each once."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._places: dict[int, int] = {}
        self._visited: list[Any] = []  # so that none is freed, and its number taken by another

    def take(self, value: Any) -> bool:
        """Take in an object; whether all of it is known."""
        if isinstance(value, _PLAIN):
            self._note(type(value).__name__, repr(value))
            return True
        if id(value) in self._places:
            self._note("again", str(self._places[id(value)]))
            return True
        self._places[id(value)] = len(self._visited)
        self._visited.append(value)
        self._note(type(value).__module__, type(value).__qualname__)
        if isinstance(value, Tensor):
            return self._take_tensor(value)
        if isinstance(value, np.ndarray):
            self._note(str(value.dtype), str(value.shape))
            self.hash.update(np.ascontiguousarray(value).data)
            return not value.dtype.hasobject
        if isinstance(value, ModuleType | FunctionType | BuiltinFunctionType | type):
            self._note(getattr(value, "__qualname__", value.__name__))
        parts = _parts(value)
        return parts is not None and all(self.take(part) for part in parts)

    def _take_tensor(self, tensor: Tensor) -> bool:
        self._note(f"{tuple(tensor.shape)}{tensor.stride()}{tensor.dtype}{tensor.device}{tensor.requires_grad}")
        self.hash.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return tensor.grad_fn is None and self.take(tensor.grad)

    def _note(self, *words: str) -> None:
        self.hash.update("\0".join(words).encode() + b"\1")


def _parts(value: Any) -> Iterable[Any] | None:
    """What an object consists of, in order; None where that is not known."""
    for types, parts in _PARTS.items():
        if isinstance(value, types):
            return parts(value)
    if isinstance(value, set | frozenset) and all(isinstance(part, _PLAIN) for part in value):
        return sorted(value, key=repr)
    own = type(value).__module__.partition(".")[0] not in ("builtins", "_thread", "weakref")
    return list(vars(value).items()) if own and hasattr(value, "__dict__") else None


_PARTS: dict[tuple[type, ...], Callable[[Any], Iterable[Any]]] = {
    (ModuleType, BuiltinFunctionType, type): lambda value: (),
    (Mapping,): lambda value: [part for item in value.items() for part in item],
    (list, tuple): lambda value: value,
    (FunctionType,): lambda value: [value.__module__, value.__closure__, value.__defaults__, value.__kwdefaults__],
    (CellType,): lambda value: [value.cell_contents],
    (MethodType,): lambda value: [value.__func__, value.__self__],
    (partial,): lambda value: [value.func, value.args, value.keywords],
    (torch.Generator,): lambda value: [value.get_state()],
    (np.random.Generator,): lambda value: [value.bit_generator.state],
}
