"""A digest of what a call computes: its operators, with the form of all that each is given, and the numbers it returns.

Two calls that run the same functions and have the same digest do the same work on the same numbers.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_PLAIN = (int, float, complex, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


class CallDigest(TorchDispatchMode):
    """Takes in the operators that are dispatched within it, and then a result."""

    def __init__(self) -> None:
        super().__init__()
        self._hash = hashlib.sha256()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        forms = [_form(leaf) for leaf in tree_leaves((args, kwargs))]
        self._hash.update(f"{func}{forms}".encode())
        return func(*args, **(kwargs or {}))

    def of(self, result: Any) -> str:
        """The digest with a call's result; empty where that holds no numbers, or what they are is not known."""
        known = result is not None and _visit(result, self._hash.update)
        return self._hash.hexdigest()[:32] if known else ""


def _form(value: Any) -> str:
    """What decides how an operator computes, but for a tensor's numbers."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)}{value.stride()}{value.dtype}{value.device}"
    return repr(value) if isinstance(value, _PLAIN) else type(value).__name__


def _visit(value: Any, take: Callable[[bytes], object]) -> bool:
    """Take in all numbers of a result; whether there was nothing else in it."""
    if isinstance(value, Tensor):
        take(_form(value).encode())
        take(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return True
    if isinstance(value, np.ndarray):
        take(f"{value.shape}{value.dtype}".encode() + value.tobytes())
        return not value.dtype.hasobject
    if isinstance(value, Mapping):
        return all(_visit(key, take) and _visit(each, take) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(_visit(each, take) for each in value)
    if hasattr(value, "__dataclass_fields__"):
        return all(_visit(each, take) for each in vars(value).values())
    take(repr(value).encode())
    return isinstance(value, _PLAIN)
