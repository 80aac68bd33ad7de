"""Which functions of some packages are entered, in every thread that Python starts."""

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from .source_index import SourceIndex, Unit, module_name


class CallTrace:
    """While it is active, the units that are entered, in the order of their first entry.

    By `sys.monitoring` where there is one (Python 3.12), else by `sys.setprofile`, which does not see threads that were
    started before it or that are not Python's own.
    """

    def __init__(self, folders: Mapping[str, Path], index: SourceIndex) -> None:
        self._roots = {str(folder.resolve()) + "/": package for package, folder in folders.items()}
        self._index = index
        self._units: dict[CodeType, Unit | None] = {}
        self.entered: dict[Unit, None] = {}

    def __enter__(self) -> "CallTrace":
        if sys.version_info >= (3, 12):
            events, tool = sys.monitoring.events, sys.monitoring.PROFILER_ID
            sys.monitoring.use_tool_id(tool, "calls")
            sys.monitoring.register_callback(tool, events.PY_START, lambda code, _: self._enter(code))
            sys.monitoring.set_events(tool, events.PY_START)
        else:
            threading.setprofile(self._profile)
            sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(sys.monitoring.PROFILER_ID, 0)
            sys.monitoring.free_tool_id(sys.monitoring.PROFILER_ID)
        else:
            sys.setprofile(None)
            threading.setprofile(None)

    def take(self) -> list[Unit]:
        """What was entered since the last time."""
        taken, self.entered = list(self.entered), {}
        return taken

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            self._enter(frame.f_code)

    def _enter(self, code: CodeType) -> None:
        unit = self.unit_of(code)
        if unit is not None:
            self.entered.setdefault(unit)

    def unit_of(self, code: CodeType) -> Unit | None:
        """The unit that a code object belongs to; None for what is of none of the packages."""
        if code not in self._units:
            self._units[code] = self._find(code)
        return self._units[code]

    def _find(self, code: CodeType) -> Unit | None:
        for root, package in self._roots.items():
            if code.co_filename.startswith(root):
                module = module_name(Path(package, code.co_filename.removeprefix(root)))
                source = self._index.modules.get(module)
                name = code.co_qualname.partition(".<locals>")[0]
                # What is no function of the index belongs to its module's statements, for which the unit "" stands.
                return None if source is None else (module, name if name in source.functions else "")
        return None
