"""A version of the library in this process, beside the one that is imported as usual.

A library that imports itself relatively can be loaded twice, under two names. The suite's files come from the working
tree for both versions: what measures is the same, and only what is measured differs.
"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..case import BenchmarkCall, BenchmarkId, parameters_of
from ..environment.devices import choose_device
from ..project import Project
from .git_versions import VersionError

if TYPE_CHECKING:
    import torch


class LoadedVersion:
    """A version of the library with the suite's benchmarks over it, and with another workload than other versions.

    `tree` is the folder that holds the version, or None for the one that is imported as usual; `options` are those of
    the project's `workload_options`. What benchmarks make is of a `dtype`.
    """

    def __init__(
        self, project: Project, options: Mapping[str, Any], tree: Path | None = None, dtype: str = "float32"
    ) -> None:
        self._project, self._options, self._dtype = project, options, dtype
        self._folders = {} if tree is None else {project.library: tree, project.suite: project.root}
        for name, folder in self._folders.items():
            with self.imported():
                _load(self._alias(name), folder / name, with_submodules=name == project.library)
                if any(_is_in(key, project.library) and sys.modules[key].__name__ == key for key in sys.modules):
                    raise VersionError(f"it imports {project.library} by that name, which is the other version here.")

    @cached_property
    def workload(self) -> Any:
        """What the run works on, made by this version."""
        module = self._project.module.removeprefix(self._project.suite)
        with self.imported():
            project = importlib.import_module(f"{self._alias(self._project.suite)}{module}").PROJECT
            return project.make_workload(self._options.get, self.device)

    @cached_property
    def device(self) -> "torch.device":
        """What the run measures on."""
        return choose_device(self._options.get("--device"), bool(self._options.get("--require-cuda")))

    def build(self, benchmark: BenchmarkId) -> BenchmarkCall:
        """What a benchmark gives to `measure`, its objects made anew. Raises whatever this version raises."""
        found: list[BenchmarkCall] = []

        def measure(
            call: Any, group: str, eager: Any = None, answer: Any = None, phases: Any = None, **info: Any
        ) -> None:
            found.append(BenchmarkCall(call, eager, answer, phases))

        with self.imported():
            module = importlib.import_module(f"{self._alias(self._project.suite)}.{benchmark.module}")
            function = getattr(module, benchmark.function)
            parameters = parameters_of(function, benchmark)
            names = inspect.signature(function).parameters.keys() - parameters.keys() - {"measure"}
            function(measure=measure, **{name: self._fixture(name) for name in names}, **parameters)
        return found[0]

    def _fixture(self, name: str) -> Any:
        """A fixture that a benchmark takes beside `measure`."""
        import torch

        given: dict[str, Callable[[], Any]] = {
            "workload": lambda: self.workload,
            "device": lambda: self.device,
            "dtype": lambda: getattr(torch, self._dtype),
        }
        if name in given:
            return given[name]()
        if name not in self._project.fixtures:
            raise VersionError(f"the benchmark takes {name}, which is none of the project's fixtures.")
        return self._project.fixtures[name](self.workload)

    @contextmanager
    def imported(self) -> Iterator[None]:
        """Inside, importing the library by its name gives this version."""
        if not self._folders:
            yield
            return
        library = self._project.library
        alias = self._alias(library)
        before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_in(name, library)}
        this = {
            library + name.removeprefix(alias): sys.modules[name] for name in list(sys.modules) if _is_in(name, alias)
        }
        sys.modules.update(this)
        try:
            yield
        finally:
            for name in [name for name in sys.modules if _is_in(name, library)]:
                del sys.modules[name]
            sys.modules.update(before)

    def _alias(self, package: str) -> str:
        return f"{package}_base" if self._folders else package


def _load(name: str, folder: Path, with_submodules: bool) -> None:
    """Import a package under a name; with its submodules where what it imports late must be of this version, too."""
    spec = spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert isinstance(spec, ModuleSpec)
    assert spec.loader is not None
    package = module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    if with_submodules:
        for module in pkgutil.walk_packages([str(folder)], f"{name}."):
            if not module.name.endswith("__main__"):
                _import_unless_lacking(module.name, name)


def _import_unless_lacking(module: str, package: str) -> None:
    """Import a module of a package; pass over one that needs another package which is not installed.

    Such a module is imported late by whatever can do without it, and would not be importable then either.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if _is_in(error.name or package, package):
            raise


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
