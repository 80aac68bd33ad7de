"""The least time of each phase of a step: what its operators multiply and move, at the rates that the device measures.

A phase cannot be faster than its multiplies at the rate of a large one, nor, unless caches keep what it reads, than its
bytes at the rate of a large copy. On a GPU the launches of its kernels take the host's time besides.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..precision.presets import Precision
from ..training.phase_timer import PhaseTimer

_aten = torch.ops.aten
# No views by their schema, yet they compute nothing: the first changes a shape, the others allocate.
_FREE = {_aten._unsafe_view, _aten.empty, _aten.empty_like, _aten.empty_strided, _aten.new_empty}
SIDES = {"cuda": 8192, "cpu": 1024}  # of the matrices of a large multiply
COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 28}  # more than caches hold
SMALL_CALLS = 1000


@dataclass(eq=False)
class PhaseWork:
    """What the operators of a phase do."""

    operations: Counter[str] = field(default_factory=Counter)  # of multiplies by number format; a multiply-add is two
    bytes: int = 0  # read and written by each operator
    launches: int = 0  # operators that compute; on a GPU each launches at least one kernel

    def summary(self) -> dict[str, Any]:
        """For profile.json."""
        return {"operations": dict(self.operations), "bytes": self.bytes, "launches": self.launches}


class WorkCounter(TorchDispatchMode):
    """Counts what is dispatched within it, by phase; `timer` is the step's, to name the phases."""

    def __init__(self) -> None:
        super().__init__()
        self.work: dict[str, PhaseWork] = defaultdict(PhaseWork)
        self.timer = _PhaseMarker()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.is_view or func.overloadpacket in _FREE or func.namespace == "prim":
            return result
        work, arguments = self.work[self.timer.phase], func._schema.arguments
        changed = [x for each, x in zip(arguments, args, strict=False) if each.alias_info and each.alias_info.is_write]
        outs = {each.name for each in arguments if each.is_out}  # written without being read
        read = [args, [value for name, value in kwargs.items() if name not in outs]]
        work.launches += 1
        work.bytes += _bytes_of(read) + (_bytes_of(result) or _bytes_of(changed))
        if func.overloadpacket in flop_registry:
            factor = next(leaf for leaf in reversed(tree_leaves(args)) if isinstance(leaf, Tensor))
            count = flop_registry[func.overloadpacket](*args, **kwargs, out_val=result)
            work.operations[_format_of(factor)] += count
        return result


def _format_of(factor: Tensor) -> str:
    if factor.is_cuda and factor.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return str(factor.dtype).removeprefix("torch.")


class _PhaseMarker(PhaseTimer):
    """Times nothing, and remembers the phase; both backward passes are one."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.phase = ""

    def enter(self, phase: str) -> None:
        self.phase = self.phase if phase == "network backward" else phase


@dataclass(frozen=True)
class Rates:
    """What the device measures."""

    copy: float  # bytes a second, read and written, of a large copy
    launch: float  # seconds of an operator on a single number
    multiply: Mapping[str, float]  # operations a second of a large multiply, by number format

    def seconds(self, work: PhaseWork) -> dict[str, float | None]:
        """The limits of a phase: of its multiplies, its bytes and its launches; None where a rate is not known."""
        known = set(work.operations) <= set(self.multiply)
        return {
            "multiplies": sum(n / self.multiply[name] for name, n in work.operations.items()) if known else None,
            "memory": work.bytes / self.copy,
            "launches": work.launches * self.launch,
        }


def limit_of(seconds: Mapping[str, float | None]) -> float | None:
    """The least time of a phase: of its multiplies or its bytes, whichever takes longer. Launches may be recorded."""
    multiplies, memory = seconds["multiplies"], seconds["memory"]
    return None if multiplies is None or memory is None else max(multiplies, memory)


def phase_limits(run: Mapping[str, Any]) -> dict[str, float | None]:
    """The limit of each phase of a run of a profile's document, where there is one, and of a recorded graph."""
    limits = {phase: limit_of(work["limits"]) for phase, work in run.get("work", {}).items()}
    recorded = [limit for phase, limit in limits.items() if phase != "prepare"]
    known = [limit for limit in recorded if limit is not None]
    return {**limits, "graph": sum(known) if recorded and len(known) == len(recorded) else None}


def measure_rates(device: torch.device, formats: Iterable[str]) -> Rates:
    """Measure the device by a large copy, a small operator, and a large multiply in each number format.

    A format that PyTorch cannot multiply by itself, such as float8, has no rate.
    """
    kind = "cuda" if device.type == "cuda" else "cpu"
    source = torch.ones(COPY_BYTES[kind], dtype=torch.uint8, device=device)
    target, one = torch.zeros_like(source), torch.ones(1, device=device)
    copy = 2 * COPY_BYTES[kind] / _seconds(lambda: target.copy_(source), device)
    launch = _seconds(lambda: [one.neg() for _ in range(SMALL_CALLS)], device) / SMALL_CALLS
    del source, target
    dtypes = {name: torch.float32 if name == "tf32" else getattr(torch, name) for name in sorted(formats)}
    multiply = {}
    for name, dtype in dtypes.items():
        if torch.finfo(dtype).bits >= 16:
            matrix = torch.ones(SIDES[kind], SIDES[kind], dtype=dtype, device=device)
            with Precision("tf32" if name == "tf32" else "fp32").tf32_scope(device):
                multiply[name] = 2 * SIDES[kind] ** 3 / _seconds(partial(torch.matmul, matrix, matrix), device)
    return Rates(copy, launch, multiply)


def _seconds(call: Callable[[], object], device: torch.device, rounds: int = 5) -> float:
    """The least time of a warm call, until the device is done."""
    times = []
    for _ in range(1 + rounds):
        start = perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter() - start)
    return min(times[1:])


def _bytes_of(values: Any) -> int:
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
