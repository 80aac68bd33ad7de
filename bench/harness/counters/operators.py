"""The operators that a call dispatches, with their FLOPs, bytes, casts and waits: equal on every machine."""

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
# No views by their schema, yet they compute nothing: the first changes a shape, the others allocate.
_FREE = {_aten._unsafe_view, _aten.empty, _aten.empty_like, _aten.empty_strided, _aten.new_empty}
_COPIES = {_aten._to_copy: 0, _aten.copy_: 1}  # and which argument is copied
_INDEXED = {_aten.index, _aten.index_put, _aten.index_put_}
# Reads of a tensor by the host that no operator shows where the tensor is on the host already.
_READS = {Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.cpu}


@dataclass(frozen=True)
class Work:
    """The totals of one call, forward and backward."""

    flops: int  # of matrix multiplies, a multiply-add counted as two
    bytes: int  # read and written by operators that compute, so without views
    operators: int


@dataclass(frozen=True)
class Operator:
    """One operator that was dispatched."""

    computes: bool = False  # neither a view nor an allocation: it launches a kernel on a GPU
    number_format: str = ""  # of a multiply, such as "float16"
    flops: int = 0  # of a matrix multiply, a multiply-add counted as two
    bytes: int = 0  # read and written
    result: tuple[int, ...] = ()  # shape of a multiply's result


class OperatorCounter(TorchDispatchMode):
    """Counts the operators that are dispatched within it."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()  # by name, views included
        self.records: list[Operator] = []  # the same, in the order of dispatch
        self.kernels = self.flops = self.bytes_read = self.bytes_written = 0  # of operators that compute
        self.multiply_flops: Counter[str] = Counter()  # by number format
        self.casts: Counter[str] = Counter()  # by source and target type
        self.cast_bytes: Counter[str] = Counter()  # read and written
        self.cast_weights = 0  # elements of nn.Parameter that are cast
        self.host_syncs: Counter[str] = Counter()  # operators that would wait for the device if the tensors were on one
        self.memory = Memory()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.namespace == "prim":  # dispatched for tensors without storage only
            return result
        schema = _schema_of(func)
        self.operators[schema.name] += 1
        if schema.is_view:
            self.records.append(Operator())
        else:
            self._count(func, schema, args, kwargs, result)
        return result

    def _count(self, func: Any, schema: "_Schema", args: tuple, kwargs: dict, result: Any) -> None:
        inputs, results = tensors_among([*args, *kwargs.values()]), tensors_among([result])
        self.memory.note(inputs, results)
        if func.overloadpacket in _FREE:
            self.records.append(Operator())
        else:
            self._count_kernel(func, schema, args, kwargs, inputs, results, result)
        if func.overloadpacket in _COPIES:
            self._count_copy(func, args[_COPIES[func.overloadpacket]], result)
        elif _depends_on_values(func, schema, args):
            self.host_syncs[schema.name] += 1

    def _count_kernel(
        self,
        func: Any,
        schema: "_Schema",
        args: tuple,
        kwargs: dict,
        inputs: list[Tensor],
        results: list[Tensor],
        result: Any,
    ) -> None:
        read = _size(inputs) - _size(tensors_among([kwargs[name] for name in schema.outs if name in kwargs]))
        written = _size(results or tensors_among([args[position] for position in schema.changes]))
        multiplies = func.overloadpacket in flop_registry
        flops = flop_registry[func.overloadpacket](*args, **kwargs, out_val=result) if multiplies else 0
        number_format = multiply_format(inputs) if multiplies else ""
        self.kernels += 1
        self.bytes_read += read
        self.bytes_written += written
        self.flops += flops
        if multiplies:
            self.multiply_flops[number_format] += flops
        shape = tuple(results[0].shape) if multiplies and results else ()
        self.records.append(Operator(True, number_format, flops, read + written, shape))

    def _count_copy(self, func: Any, source: Tensor, target: Tensor) -> None:
        if source.dtype != target.dtype:
            name = f"{source.dtype} -> {target.dtype}".replace("torch.", "")
            self.casts[name] += 1
            self.cast_bytes[name] += _size([source, target])
            self.cast_weights += source.numel() if isinstance(source, torch.nn.Parameter) else 0
        if source.device.type != "cpu" and target.device.type == "cpu":
            self.host_syncs[f"{func.overloadpacket} to the host"] += 1


class HostReadCounter(TorchFunctionMode):
    """Counts reads of a tensor by the host that dispatch no operator."""

    def __init__(self, host_syncs: Counter[str]) -> None:
        super().__init__()
        self.host_syncs = host_syncs

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in _READS:
            self.host_syncs[f"Tensor.{func.__name__}"] += 1
        return func(*args, **(kwargs or {}))


class Memory:
    """The storages that operators allocate, and their bytes in use."""

    def __init__(self) -> None:
        self.allocations = self.live = self.peak = 0  # live and peak in bytes, from 0 at the start
        self._known: dict[int, Any] = {}

    def note(self, inputs: Iterable[Tensor], results: Iterable[Tensor]) -> None:
        """Add the results' storages, unless they are an input's."""
        shared = {tensor.untyped_storage()._cdata for tensor in inputs}
        for tensor in results:
            storage = tensor.untyped_storage()
            if storage._cdata not in shared and storage._cdata not in self._known:
                self._add(storage)

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def release(_: Any) -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, release)
        self.allocations += 1
        self.live += size
        self.peak = max(self.peak, self.live)


def multiply_format(factors: Sequence[Tensor]) -> str:
    """The number format of a multiply: the factors', or TF32 where CUDA multiplies float32 in it."""
    factor = factors[-1]
    if factor.is_cuda and factor.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return str(factor.dtype).removeprefix("torch.")


def count_operators(function: Callable[[], Any]) -> OperatorCounter:
    """Run a call once and count the operators that it dispatches."""
    with OperatorCounter() as counted, HostReadCounter(counted.host_syncs):
        function()
    return counted


def count_work(function: Callable[[], Any]) -> Work:
    """Run a call once and return its totals."""
    counted = count_operators(function)
    return Work(counted.flops, counted.bytes_read + counted.bytes_written, counted.kernels)


@dataclass(frozen=True)
class _Schema:
    """The parts of an operator's schema that are used, looked up once."""

    name: str
    is_view: bool
    outs: tuple[str, ...]  # arguments that it writes without reading
    changes: tuple[int, ...]  # positions of those that it changes in place
    depends_on_values: bool


@cache
def _schema_of(func: Any) -> _Schema:
    arguments = func._schema.arguments
    return _Schema(
        str(func.overloadpacket),
        func.is_view,
        tuple(each.name for each in arguments if each.is_out),
        tuple(at for at, each in enumerate(arguments) if each.alias_info and each.alias_info.is_write),
        torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags,
    )


def _depends_on_values(func: Any, schema: _Schema, args: tuple) -> bool:
    """Whether the host must read values before it can continue."""
    if func.overloadpacket in _INDEXED:  # a boolean mask is searched for its indices, except to put one number
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        return bool(masks) and (func.overloadpacket is _aten.index or args[2].numel() != 1)
    return schema.depends_on_values


def tensors_among(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among an operator's arguments or results, and in lists among these."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [each for each in value if isinstance(each, Tensor)]
    return found


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
