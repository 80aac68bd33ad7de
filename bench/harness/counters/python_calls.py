"""All that is counted of a call; here what Python does in it, and where torch.compile would stop.

Only what every version of Python counts alike: comprehensions are functions up to 3.11, and generators are entered at
another moment from 3.12 on, so that both are left out.
"""

import gc
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from inspect import CO_GENERATOR
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

import torch

from .counts_file import Counts
from .operators import OperatorCounter, count_operators

Result = TypeVar("Result")
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")


def count_call(function: Callable[[], Any], graph_breaks: bool) -> Counts:
    """Run a warm call once, and once more for its graph breaks."""
    import humor

    import_module("torch._dynamo.utils")  # PyTorch would in the midst of some calls, and keep their tensors alive

    gc.collect()
    gc.disable()  # what it frees, and when, is no part of the call
    try:
        counted, calls = count_python_calls(lambda: count_operators(function), Path(humor.__file__).parent)
    finally:
        gc.enable()
    graphs, breaks = count_graph_breaks(function) if graph_breaks else (0, Counter())
    counts = {
        "totals": {**totals(counted), "python calls": calls.total(), "graphs": graphs},
        "operators": counted.operators,
        "casts": counted.casts,
        "cast bytes": counted.cast_bytes,
        "host syncs": counted.host_syncs,
        "graph breaks": breaks,
        "python calls": calls,
    }
    return {section: {name: n for name, n in table.items() if n} for section, table in counts.items() if any(table)}


def totals(counted: OperatorCounter) -> dict[str, int]:
    """The numbers that stand for a call as a whole. "kernels": operators that compute, so no views."""
    return {
        "operators": counted.operators.total(),
        "kernels": counted.kernels,
        "flops": counted.flops,
        "bytes read": counted.bytes_read,
        "bytes written": counted.bytes_written,
        "allocations": counted.memory.allocations,
        "peak bytes": counted.memory.peak,
        "host syncs": counted.host_syncs.total(),
    }


def count_python_calls(function: Callable[[], Result], package: Path) -> tuple[Result, Counter[str]]:
    """What a call returns, and how often it enters the functions of a package's folder, by file and qualified name."""
    entered: Counter[CodeType] = Counter()
    folder, stand_in = (
        str(package) + os.sep,
        str(package / "precision" / "cpu_half_emulation.py"),
    )  # which some CPUs need, others not

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        own = code.co_filename.startswith(folder) and code.co_filename != stand_in
        if event == "call" and own and not code.co_flags & CO_GENERATOR:
            entered[code] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        result = function()
    finally:
        sys.setprofile(before)
    named: Counter[str] = Counter()
    for code, times in entered.items():
        if code.co_name not in _COMPREHENSIONS:
            file = Path(code.co_filename).relative_to(package).with_suffix("")
            named[".".join([*file.parts, code.co_qualname])] += times
    return result, named


def count_graph_breaks(function: Callable[[], Any]) -> tuple[int, Counter[str]]:
    """The graphs that torch.compile makes of a call, and the reasons, in PyTorch's words, for what it cannot take.

    A reason is met more than once where a caller's frame is tried again without the call. Runs the call once.
    """
    from torch._dynamo.utils import counters

    graphs = 0

    def run_as_it_is(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        nonlocal graphs
        graphs += 1
        return graph.forward

    torch.compiler.reset()
    counters.clear()
    silenced = logging.root.manager.disable
    logging.disable()  # PyTorch writes a trace for whoever listens, as pytest does
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.compile(function, backend=run_as_it_is)()
    finally:
        logging.disable(silenced)
        torch.compiler.reset()
    reasons = Counter(counters["graph_break"])
    named: Counter[str] = Counter()
    for reason, times in reasons.items():
        named[reason.partition("\n")[0]] += times
    return graphs, named
