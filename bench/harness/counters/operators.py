"""The work that a call asks for, counted as it is dispatched: the same numbers on every machine."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten
# They look as if they computed: the first only tells a shape, the others only take memory.
_FREE = {_aten._unsafe_view, _aten.empty, _aten.empty_like, _aten.empty_strided, _aten.new_empty}
_COPIES = {_aten._to_copy: 0, _aten.copy_: 1}  # and which argument is copied
_INDEXED = {_aten.index, _aten.index_put, _aten.index_put_}
# Reads of a tensor by the host that no operator shows where the tensor is on the host already.
_READS = {Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.cpu}


@dataclass(frozen=True)
class Work:
    """What one call does, forward and backward."""

    flops: int  # of matrix multiplies, a multiply-add counted as two
    bytes: int  # read and written by operators that compute, views left out
    operators: int


@dataclass(frozen=True)
class Operator:
    """One operator that was dispatched."""

    computes: bool = False  # no view, and more than taking memory: a GPU is given a kernel
    number_format: str = ""  # of what is multiplied, such as "float16"
    flops: int = 0  # of a matrix multiply, a multiply-add counted as two
    bytes: int = 0  # read and written
    result: tuple[int, ...] = ()  # shape of what a multiply makes


class OperatorCounter(TorchDispatchMode):
    """Counts what is dispatched inside it, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()  # views too
        self.records: list[Operator] = []  # the same, in the order of dispatch
        self.kernels = self.flops = self.bytes_read = self.bytes_written = 0  # of operators that compute
        self.multiplied: Counter[str] = Counter()  # flops by the format of the factors
        self.casts: Counter[str] = Counter()  # by source and target type
        self.cast_bytes: Counter[str] = Counter()  # read and written
        self.cast_weights = 0  # how many numbers of the casts are a network's weights
        self.host_syncs: Counter[str] = Counter()  # what would wait for a device, were the tensors on one
        self.memory = Memory()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.namespace == "prim":  # a question that only tensors without storage ask
            return result
        known = _facts(func)
        self.operators[known.name] += 1
        if known.is_view:
            self.records.append(Operator())
        else:
            self._count(func, known, args, kwargs, result)
        return result

    def _count(self, func: Any, known: "_Facts", args: tuple, kwargs: dict, result: Any) -> None:
        given, made = tensors_of([*args, *kwargs.values()]), tensors_of([result])
        self.memory.note(given, made)
        if func.overloadpacket in _FREE:
            self.records.append(Operator())
        else:
            self._count_kernel(func, known, args, kwargs, given, made, result)
        if func.overloadpacket in _COPIES:
            self._count_copy(func, args[_COPIES[func.overloadpacket]], result)
        elif _depends_on_values(func, known, args):
            self.host_syncs[known.name] += 1

    def _count_kernel(
        self,
        func: Any,
        known: "_Facts",
        args: tuple,
        kwargs: dict,
        given: list[Tensor],
        made: list[Tensor],
        result: Any,
    ) -> None:
        read = _size(given) - _size(tensors_of([kwargs[name] for name in known.outs if name in kwargs]))
        written = _size(made or tensors_of([args[position] for position in known.changes]))
        multiplies = func.overloadpacket in flop_registry
        flops = flop_registry[func.overloadpacket](*args, **kwargs, out_val=result) if multiplies else 0
        number_format = multiplied_in(given) if multiplies else ""
        self.kernels += 1
        self.bytes_read += read
        self.bytes_written += written
        self.flops += flops
        if multiplies:
            self.multiplied[number_format] += flops
        shape = tuple(made[0].shape) if multiplies and made else ()
        self.records.append(Operator(True, number_format, flops, read + written, shape))

    def _count_copy(self, func: Any, source: Tensor, target: Tensor) -> None:
        if source.dtype != target.dtype:
            name = f"{source.dtype} -> {target.dtype}".replace("torch.", "")
            self.casts[name] += 1
            self.cast_bytes[name] += _size([source, target])
            self.cast_weights += source.numel() if isinstance(source, torch.nn.Parameter) else 0
        if source.device.type != "cpu" and target.device.type == "cpu":
            self.host_syncs[f"{func.overloadpacket} to the host"] += 1


class ReadCounter(TorchFunctionMode):
    """Counts reads by the host that dispatch nothing."""

    def __init__(self, host_syncs: Counter[str]) -> None:
        super().__init__()
        self.host_syncs = host_syncs

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in _READS:
            self.host_syncs[f"Tensor.{func.__name__}"] += 1
        return func(*args, **(kwargs or {}))


class Memory:
    """Storages that operators make, and how many of their bytes live at once."""

    def __init__(self) -> None:
        self.allocations = self.live = self.peak = 0  # the last two in bytes, from nothing at the start
        self._known: dict[int, Any] = {}

    def note(self, inputs: Iterable[Tensor], results: Iterable[Tensor]) -> None:
        """Take up the results' storages, unless they are an input's."""
        old = {tensor.untyped_storage()._cdata for tensor in inputs}
        for tensor in results:
            storage = tensor.untyped_storage()
            if storage._cdata not in old and storage._cdata not in self._known:
                self._take(storage)

    def _take(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def gone(_: Any) -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.allocations += 1
        self.live += size
        self.peak = max(self.peak, self.live)


def multiplied_in(factors: Sequence[Tensor]) -> str:
    """The format that matrices are multiplied in; float32 on CUDA may be TF32, which no tensor's type tells."""
    factor = factors[-1]
    if factor.is_cuda and factor.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return str(factor.dtype).removeprefix("torch.")


def count_operators(function: Callable[[], Any]) -> OperatorCounter:
    """Run a call once and count what it dispatches."""
    with OperatorCounter() as counted, ReadCounter(counted.host_syncs):
        function()
    return counted


def count_work(function: Callable[[], Any]) -> Work:
    """Run a call once and count what it does."""
    counted = count_operators(function)
    return Work(counted.flops, counted.bytes_read + counted.bytes_written, counted.kernels)


@dataclass(frozen=True)
class _Facts:
    """What an operator's schema says, looked up once."""

    name: str
    is_view: bool
    outs: tuple[str, ...]  # arguments that it writes without reading
    changes: tuple[int, ...]  # positions of those that it changes in place
    depends_on_values: bool


@cache
def _facts(func: Any) -> _Facts:
    arguments = func._schema.arguments
    return _Facts(
        str(func.overloadpacket),
        func.is_view,
        tuple(each.name for each in arguments if each.is_out),
        tuple(at for at, each in enumerate(arguments) if each.alias_info and each.alias_info.is_write),
        torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags,
    )


def _depends_on_values(func: Any, known: _Facts, args: tuple) -> bool:
    """Whether the host has to see numbers before it can go on."""
    if func.overloadpacket in _INDEXED:  # by a mask, which has to be searched; but one number is put without searching
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        return bool(masks) and (func.overloadpacket is _aten.index or args[2].numel() != 1)
    return known.depends_on_values


def tensors_of(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among an operator's arguments or results: themselves, or in lists of them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [each for each in value if isinstance(each, Tensor)]
    return found


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
