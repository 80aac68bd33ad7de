"""Calls of a package's Python functions, graph breaks of torch.compile, and with the operators all counts of a call.

Only what every version of Python counts alike: comprehensions are functions up to 3.11, and generators are entered at
another moment from 3.12 on, so that both are left out.
"""

import gc
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection
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


def count_call(
    function: Callable[[], Any],
    graph_breaks: bool,
    package: Path,  # the folder whose functions are counted
    uncounted_files: Collection[str] = (),  # in it, such as "precision/emulation.py"
) -> Counts:
    """Run a warm call once and count what it does, and once more for its graph breaks if these are asked for."""
    import_module("torch._dynamo.utils")  # PyTorch would in the midst of some calls, and keep their tensors alive

    gc.collect()
    gc.disable()  # what it frees, and when, is no part of the call
    try:
        counted, calls = count_python_calls(lambda: count_operators(function), package, uncounted_files)
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
    """The numbers for a call as a whole; "kernels" are operators that compute, so no views."""
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


def count_python_calls(
    function: Callable[[], Result], package: Path, uncounted_files: Collection[str] = ()
) -> tuple[Result, Counter[str]]:
    """What a call returns, and how often it enters each function of a package, by file and qualified name."""
    entered: Counter[CodeType] = Counter()
    folder, uncounted = str(package) + os.sep, {str(package / file) for file in uncounted_files}

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        counts = code.co_filename.startswith(folder) and code.co_filename not in uncounted
        if event == "call" and counts and not code.co_flags & CO_GENERATOR:
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
    """Run a call once under torch.compile: the number of graphs, and the reasons for graph breaks in PyTorch's words.

    A reason is counted again where a caller's frame is retried without the call.
    """
    from torch._dynamo.utils import counters

    graphs = 0

    def run_eagerly(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        nonlocal graphs
        graphs += 1
        return graph.forward

    torch.compiler.reset()
    counters.clear()
    disabled = logging.root.manager.disable
    logging.disable()  # PyTorch writes a trace for every listener, and pytest is one
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.compile(function, backend=run_eagerly)()
    finally:
        logging.disable(disabled)
        torch.compiler.reset()
    reasons = Counter(counters["graph_break"])
    named: Counter[str] = Counter()
    for reason, times in reasons.items():
        named[reason.partition("\n")[0]] += times
    return graphs, named
