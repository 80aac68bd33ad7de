"""How a training step runs: operator by operator, compiled, or recorded as a CUDA graph and played again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from ..errors import SettingError

Execution = Literal["eager", "compile", "cuda-graph"]
Call = Callable[[], Any]  # tells tensors
MOST_RECORDINGS = 32  # of layouts; where 200 windows are drawn from two genders, most batches have one of so many


def require_execution(execution: str, device: torch.device, processes: int = 1) -> None:
    """Raise SettingError where a step cannot run like that."""
    if execution == "cuda-graph" and device.type != "cuda":
        raise SettingError(f"execution cuda-graph: needs a CUDA device, not {device.type}; give eager or compile.")
    if execution != "eager" and processes > 1:
        raise SettingError(f"execution {execution}: for one process, not {processes}; give eager with torchrun.")


@runtime_checkable
class Recorder(Protocol):
    """What a device offers to record work."""

    def warm_up(self, call: Call) -> Any:
        """Run a call as it must have run once before it is recorded."""

    def record(self, call: Call) -> Call:
        """Record a call without running it; what is returned runs it, on the same memory."""


class CudaGraphs:
    """Calls recorded as CUDA graphs, which share one pool of memory: only one plays at a time."""

    def __init__(self, device: torch.device) -> None:
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def warm_up(self, call: Call) -> Any:
        """On the stream that records, so that what is made at the first call (averages, a scale) is made there."""
        own = torch.cuda.current_stream()
        self.stream.wait_stream(own)
        with torch.cuda.stream(self.stream):
            told = call()
        own.wait_stream(self.stream)
        return told

    def record(self, call: Call) -> Call:
        """Of this thread alone: the one that prepares batches may go on."""
        graph = torch.cuda.CUDAGraph()
        torch.clear_autocast_cache()  # weights cast before would be read when they are gone
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            told = call()
        torch.clear_autocast_cache()

        def play() -> Any:
            graph.replay()
            return told

        return play


def executed(call: Call, execution: str, device: torch.device) -> Call:
    """A call that is made again and again on the same inputs, run in one of the ways."""
    require_execution(execution, device)
    if execution == "compile":
        return cast(Call, torch.compile(call, fullgraph=True))
    if execution == "eager":
        return call
    graphs, played = CudaGraphs(device), list[Call]()

    def run() -> Any:
        if not played:
            for _ in range(3):
                graphs.warm_up(call)
            played.append(graphs.record(call))
        return played[0]()

    return run


def executed_in_parts(call: Call, parts: Sequence[nn.Module], execution: str, device: torch.device) -> Call:
    """The same of a call of many steps, of which the parts are compiled: a graph of all steps would take minutes."""
    if execution != "compile":
        return executed(call, execution, device)
    for part in parts:
        part.compile(fullgraph=True)
    return call


class Recordings:
    """One recording for each layout of a call's inputs: made when a layout comes the second time, the latest kept.

    A layout says everything about a call but the values of its input tensors: shapes, and every number that the host
    puts in. The first call of a layout runs as it is, so every call is made exactly once, recorded or not, and no
    batch is refused: a layout that is rare is slow.
    """

    def __init__(self, recorder: Recorder, most: int = MOST_RECORDINGS) -> None:
        self.recorder, self.most = recorder, most
        self.played = 0  # calls that were not run operator by operator
        self._known: OrderedDict[Hashable, tuple[list[Tensor], Call] | None] = OrderedDict()  # None: came once

    def run(self, layout: Hashable, inputs: Sequence[Tensor], call: Callable[[Sequence[Tensor]], Tensor]) -> Tensor:
        """What the call tells of these inputs, in memory of its own."""
        if layout not in self._known:
            self._keep(layout, None)
            return cast(Tensor, self.recorder.warm_up(lambda: call(inputs)))
        recording = self._known[layout]
        if recording is None:
            own = [x.clone() for x in inputs]
            recording = own, self.recorder.record(lambda: call(own))
        self._keep(layout, recording)
        held, play = recording
        torch._foreach_copy_(held, list(inputs))
        self.played += 1
        return cast(Tensor, play()).clone()

    def _keep(self, layout: Hashable, recording: tuple[list[Tensor], Call] | None) -> None:
        self._known[layout] = recording
        self._known.move_to_end(layout)
        while len(self._known) > self.most:
            self._known.popitem(last=False)
