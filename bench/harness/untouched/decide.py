"""Whether a change can affect a case: two source indexes and what the case enters, in; a reason or None, out."""

import builtins
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from .source_index import ModuleSource, SourceIndex, Unit


@dataclass(frozen=True)
class Change:
    """The difference between two versions."""

    base: SourceIndex
    head: SourceIndex

    @cached_property
    def everywhere(self) -> str | None:
        """Why every case may be affected, or None."""
        if self.base.dependencies != self.head.dependencies:
            return "the packages that pyproject.toml asks for"
        for file in sorted(self.base.data.keys() | self.head.data.keys()):
            if self.base.data.get(file) != self.head.data.get(file):
                return f"the file {file}"
        for name, (old, new) in self._modules().items():
            if old.effects != new.effects:
                return f"statements of {name} that may act beyond it"
        return None

    @cached_property
    def functions(self) -> list[Unit]:
        """Functions that were changed, removed or added."""
        return [
            (name, function)
            for name, (old, new) in self._modules().items()
            for function in sorted(old.functions.keys() | new.functions.keys())
            if old.functions.get(function) != new.functions.get(function)
        ]

    @cached_property
    def bodies(self) -> set[str]:
        """Modules of which an import executes something else."""
        modules = self._modules()
        return {
            name
            for name, (old, new) in modules.items()
            if old.body != new.body or _takes_a_name(name, old, new, modules.keys())
        }

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all can behave differently."""
        return not (self.everywhere or self.functions or self.bodies)

    def reason(self, entered: Iterable[Unit], shared: Sequence[Unit] = ()) -> str | None:
        """The first thing that changed of what a case runs, in the base; None where it is untouched."""
        if self.everywhere:
            return self.everywhere
        units, changed = [*entered, *shared], set(self.functions)
        first = next((unit for unit in units if unit in changed), None)
        if first is not None:
            return ".".join(first)
        modules = {module for module, _ in units}
        # In the head, too: what it imports where it is there, and does without where it is not, may be new.
        reached = (self.base.closure(modules) | self.head.closure(modules)) & self.bodies
        return f"statements of {min(reached)}" if reached else None

    def _modules(self) -> dict[str, tuple[ModuleSource, ModuleSource]]:
        """Each module of either version, in both; one that is not there is empty."""
        names = sorted(self.base.modules.keys() | self.head.modules.keys())
        nothing = ModuleSource()
        return {name: (self.base.modules.get(name, nothing), self.head.modules.get(name, nothing)) for name in names}


def _takes_a_name(module: str, old: ModuleSource, new: ModuleSource, modules: Collection[str]) -> bool:
    """Whether a function that was added or removed hides another meaning of its name, or is one that Python calls."""
    changed = {name for name in old.functions.keys() ^ new.functions.keys() if "." not in name}
    bound = old.bound | new.bound  # which "*" of an import may be any name of
    return any(
        name in bound or "*" in bound or hasattr(builtins, name) or name[:2] == "__" or f"{module}.{name}" in modules
        for name in changed
    )
