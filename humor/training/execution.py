"""How a training step runs: operator by operator, compiled, or captured as a CUDA graph and replayed."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from ..errors import SettingError

Execution = Literal["eager", "compile", "cuda-graph"]
Call = Callable[[], Any]  # returns tensors
_assumed_device_type: str | None = None  # set by `assume_device_type`
MAX_GRAPHS = 32  # layouts; where 200 windows are drawn from two genders, most batches have one of so many


def require_execution(execution: str, device: torch.device, processes: int = 1) -> None:
    """Raise SettingError for a way of execution that the device or the number of processes does not allow."""
    if execution == "cuda-graph" and device.type != "cuda":
        raise SettingError(f"execution cuda-graph: needs a CUDA device, not {device.type}; give eager or compile.")
    if execution != "eager" and processes > 1:
        raise SettingError(f"execution {execution}: for one process, not {processes}; give eager with torchrun.")


@contextmanager
def assume_device_type(device_type: str) -> Iterator[None]:
    """Inside, a step splits batches and updates weights as on this type of device, wherever its tensors are.

    E.g. to count on a CPU the operators that a GPU would run.
    """
    global _assumed_device_type
    before, _assumed_device_type = _assumed_device_type, device_type
    try:
        yield
    finally:
        _assumed_device_type = before


def device_type_of(tensor: Tensor) -> str:
    """The type of the device that a tensor is on, or the assumed one."""
    return _assumed_device_type or tensor.device.type


@runtime_checkable
class GraphRecorder(Protocol):
    """Records a call, so that it can be replayed on the same memory."""

    def warm_up(self, call: Call) -> Any:
        """Run a call once, as is required before it is recorded, and return its result."""

    def record(self, call: Call) -> Call:
        """Record a call without running it; the returned function replays it."""


class CudaGraphs:
    """Records calls as CUDA graphs that share one memory pool, since only one replays at a time."""

    def __init__(self, device: torch.device) -> None:
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def warm_up(self, call: Call) -> Any:
        """Run a call on the recording stream, where state of the first call (averages, a scale) must be allocated."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = call()
        current.wait_stream(self.stream)
        return result

    def record(self, call: Call) -> Call:
        """Capture a call of this thread alone, while the thread that prepares batches may use CUDA."""
        graph = torch.cuda.CUDAGraph()
        torch.clear_autocast_cache()  # the graph would read weights that were cast before and are freed
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            result = call()
        torch.clear_autocast_cache()

        def replay() -> Any:
            graph.replay()
            return result

        return replay


def apply_execution(call: Call, execution: str, device: torch.device) -> Call:
    """Wrap a call that is repeated on the same inputs, so that it is compiled or replayed from a CUDA graph.

    Raises SettingError where the device does not allow it.
    """
    require_execution(execution, device)
    if execution == "compile":
        return cast(Call, torch.compile(call, fullgraph=True))
    if execution == "eager":
        return call
    graphs, replays = CudaGraphs(device), list[Call]()

    def run() -> Any:
        if not replays:
            for _ in range(3):
                graphs.warm_up(call)
            replays.append(graphs.record(call))
        return replays[0]()

    return run


def apply_execution_to_parts(call: Call, parts: Sequence[nn.Module], execution: str, device: torch.device) -> Call:
    """Wrap a call of many steps as `apply_execution` does, but compile its modules: all steps would take minutes."""
    if execution != "compile":
        return apply_execution(call, execution, device)
    for part in parts:
        part.compile(fullgraph=True)
    return call


class CudaGraphCache:
    """One graph for each layout of a call's inputs, recorded when the layout comes the second time; an LRU cache.

    A layout is everything about a call except the values of its input tensors: their shapes, and every number that the
    host passes. The first call of a layout runs without recording, so that every call runs exactly once either way.
    """

    def __init__(self, recorder: GraphRecorder, max_graphs: int = MAX_GRAPHS) -> None:
        self.recorder, self.max_graphs = recorder, max_graphs
        self.replays = 0  # calls that replayed a graph that was there before them
        self._cache: OrderedDict[Hashable, tuple[list[Tensor], Call] | None] = OrderedDict()  # None: came once

    def run(self, layout: Hashable, inputs: Sequence[Tensor], call: Callable[[Sequence[Tensor]], Tensor]) -> Tensor:
        """Run the call on these inputs, or replay it. The result is not overwritten by later replays."""
        if layout not in self._cache:
            self._store(layout, None)
            return cast(Tensor, self.recorder.warm_up(lambda: call(inputs)))
        graph = self._cache[layout]
        self.replays += graph is not None
        if graph is None:
            static_inputs = [x.clone() for x in inputs]
            graph = static_inputs, self.recorder.record(lambda: call(static_inputs))
        self._store(layout, graph)
        static_inputs, replay = graph
        torch._foreach_copy_(static_inputs, list(inputs))
        return cast(Tensor, replay()).clone()

    def _store(self, layout: Hashable, graph: tuple[list[Tensor], Call] | None) -> None:
        self._cache[layout] = graph
        self._cache.move_to_end(layout)
        while len(self._cache) > self.max_graphs:
            self._cache.popitem(last=False)
