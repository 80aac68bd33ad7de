"""Another version of the library, taken out of git, and loaded beside this one under a name of its own.

The library imports itself relatively only, so that a second copy can live in one process. The suite's own files come
from the working tree for both versions: what measures is the same, and only what is measured differs.
"""

import importlib
import inspect
import io
import pkgutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...workload import Workload

if TYPE_CHECKING:
    import pytest
    import torch

ROOT = Path(__file__).parents[3]
LIBRARY, SUITE = "humor", "bench"
WORKLOAD_OPTIONS = (
    "--device",
    "--require-cuda",
    "--body-model",
    "--motion",
    "--fps",
    "--gender",
    "--up",
    "--execution",
)
FIXTURES = {"workload", "device", "dtype", "execution", "make_batch"}  # that a side can give, beside measure


class VersionError(Exception):
    """A version that cannot be had or built; one sentence."""


def git(*arguments: str) -> bytes:
    """What git says in the repository. Raises VersionError with git's own sentence."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise VersionError("git is not installed, and the other version is taken from it.") from None
    if done.returncode:
        raise VersionError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    return done.stdout


def commit_of(ref: str) -> str:
    """The commit that a ref names. Raises VersionError."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()
    except (VersionError, IndexError):
        raise VersionError(f'"{ref}" is no commit of this repository; give a branch, a tag or a commit.') from None


def has_changes() -> bool:
    """Whether the working tree differs from its commit."""
    return bool(git("status", "--porcelain", "--untracked-files=no").strip())


def check_out(commit: str, folder: Path) -> None:
    """Write a commit's files into an empty folder; the working tree stays as it is. Raises VersionError."""
    archive = git("archive", "--format=tar", commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    if not (folder / LIBRARY / "__init__.py").exists():
        raise VersionError(f"{commit[:10]} has no {LIBRARY}/ to compare with; give a later commit.")


def same_suite(commit: str) -> bool:
    """Whether the working tree's benchmarks are those of a commit."""
    return not git("diff", "--name-only", commit, "--", SUITE).strip() and not git(
        "ls-files", "--others", "--exclude-standard", SUITE
    )


def dependencies(tree: Path) -> object:
    """The packages that a version asks for."""
    return tomllib.loads((tree / "pyproject.toml").read_text())["project"].get("dependencies")


def collected(tree: Path, arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """The benchmarks of a version, as its own suite names them. Raises VersionError."""
    # Paths are told from the root, which the tree has in its place.
    paths = [str(Path(path).relative_to(ROOT)) if Path(path).is_absolute() else path for path in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *paths, *options, "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 5):
        raise VersionError((done.stdout.strip() or done.stderr.strip()).splitlines()[-1])
    return [line for line in done.stdout.splitlines() if "::" in line]


@dataclass(frozen=True)
class Spec:
    """One benchmark: where it is written, and its parameters by name."""

    module: str
    function: str
    parameters: Mapping[str, str | int]


@dataclass(frozen=True)
class Built:
    """What a benchmark gives to `measure`, its objects made anew."""

    call: Callable[[], Any]
    eager: Callable[[], Any] | None = None  # the same operator by operator, where `call` hides them
    answer: Callable[[], Any] | None = None  # what is held against float64, by the names of worth.BOUNDS
    phases: Callable[[], Mapping[str, float]] | None = None  # seconds of the phases of a step


class Side:
    """A version of the library with the suite's benchmarks over it.

    `tree` is the folder that holds the version, or None for the one that is imported as usual. What benchmarks build is
    of a `dtype`. Bodies are changed to it in place, so that each has a side of its own.
    """

    def __init__(self, options: Mapping[str, Any], tree: Path | None = None, dtype: str = "float32") -> None:
        self._options, self._dtype = options, dtype
        self._aliases = {} if tree is None else {LIBRARY: tree, SUITE: ROOT}
        for name, place in self._aliases.items():
            with self.in_place():
                _load(name, self._own(name), place / name)
                if any(_is_in(module, LIBRARY) and sys.modules[module].__name__ == module for module in sys.modules):
                    raise VersionError(f"it imports {LIBRARY} by that name, which is the other version here.")

    @cached_property
    def workload(self) -> Workload:
        """The bodies and motion of the run, made by this version."""
        return importlib.import_module(f"{self._own(SUITE)}.workload").Workload(self._options.get)

    @property
    def device(self) -> "torch.device":
        """What the run measures on."""
        return self.workload.device

    def build(self, spec: Spec) -> Callable[[], Any]:
        """A benchmark's call, its objects made anew. Raises whatever this version raises."""
        return self.built(spec).call

    def built(self, spec: Spec) -> Built:
        """The same with all that belongs to the call."""
        import torch

        found: list[Built] = []

        def measure(
            call: Any, group: str, eager: Any = None, answer: Any = None, phases: Any = None, **info: Any
        ) -> None:
            found.append(Built(call, eager, answer, phases))

        with self.in_place():
            function = getattr(importlib.import_module(f"{self._own(SUITE)}.{spec.module}"), spec.function)
            fixtures = {
                "workload": self.workload,
                "device": self.workload.device,
                "dtype": getattr(torch, self._dtype),
                "execution": self._options.get("--execution", "eager"),
                "make_batch": self.workload.make_batch,
            }
            wanted = FIXTURES & inspect.signature(function).parameters.keys()
            function(measure=measure, **{name: fixtures[name] for name in wanted}, **_values(function, spec))
        return found[0]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, `import humor` means this version."""
        if not self._aliases:
            yield
            return
        own = self._own(LIBRARY)
        before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_in(name, LIBRARY)}
        here = {LIBRARY + name.removeprefix(own): sys.modules[name] for name in list(sys.modules) if _is_in(name, own)}
        sys.modules.update(here)
        try:
            yield
        finally:
            for name in [name for name in sys.modules if _is_in(name, LIBRARY)]:
                del sys.modules[name]
            sys.modules.update(before)

    def _own(self, name: str) -> str:
        return f"{name}_base" if self._aliases else name


def name_of(nodeid: str) -> str:
    """A benchmark as it is called in tables."""
    return nodeid.removeprefix(f"{SUITE}/")


def workload_options(config: "pytest.Config") -> dict[str, Any]:
    """What a version's workload reads from the command line."""
    return {name: config.getoption(name) for name in WORKLOAD_OPTIONS}


def taken_over(item: "pytest.Function") -> tuple[str, Spec]:
    """The name and spec of a benchmark that a gate measures in pytest-benchmark's place."""
    unused: Any = item.funcargs["benchmark"]
    unused(lambda: None)  # or pytest-benchmark says that it was not
    return name_of(item.nodeid), spec_of(item.function, item.callspec.params if hasattr(item, "callspec") else {})


def spec_of(function: Callable[..., Any], parameters: Mapping[str, Any]) -> Spec:
    """How another version, or another process, finds the same benchmark."""
    named = {name: value[0] if isinstance(value, tuple) else value for name, value in parameters.items()}
    return Spec(function.__module__.rpartition(".")[2], function.__name__, named)


def _values(function: Callable[..., Any], spec: Spec) -> dict[str, Any]:
    """The parameters' values: those of a table are looked up by their name."""
    tables = {
        mark.args[0]: {value[0] if isinstance(value, tuple) else value: value for value in mark.args[1]}
        for mark in getattr(function, "pytestmark", [])
        if mark.name == "parametrize"
    }
    return {name: tables[name][value] if name in tables else value for name, value in spec.parameters.items()}


def _load(name: str, own: str, folder: Path) -> None:
    """Import a package and all its modules under a name of its own."""
    spec = spec_from_file_location(own, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert isinstance(spec, ModuleSpec)
    assert spec.loader is not None
    package = module_from_spec(spec)
    sys.modules[own] = package
    spec.loader.exec_module(package)
    if name == LIBRARY:  # all of it now: what it imports late must be its own as well
        for module in pkgutil.walk_packages([str(folder)], f"{own}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with a commit's files, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="humor-bench-") as folder:
        check_out(commit, Path(folder))
        yield Path(folder)
