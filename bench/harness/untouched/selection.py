"""Which of a run's cases a change can affect, which are measured along with them as controls, and what no case runs."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..case import BenchmarkCase, BenchmarkId
from ..project import Project
from ..versions.git_versions import VersionError
from .decide import Change
from .source_index import HARNESS, SourceIndex, dependencies_of, package_files
from .traces import TraceJob, Traces, load_traces

CONTROLS = 3


@dataclass
class Selection:
    """The cases of a run, by what a change does to them."""

    reasons: dict[str, str] = field(default_factory=dict)  # of touched cases: the first change that each runs
    untouched: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)  # of the untouched: measured, and expected to be unchanged
    not_run: list[str] = field(default_factory=list)  # changed functions that no case runs
    seconds: dict[str, float] = field(default_factory=dict)  # of building a case and calling it, where it is known


def select(
    job: TraceJob,
    cases: Sequence[BenchmarkCase],
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, all_of_them: None,
) -> Selection:
    """Compare the version of a job with the working tree; traces are kept in a folder."""
    project, names = job.project, [case.name for case in cases]
    if source_digest(project, job.tree) == source_digest(project, project.root):
        return Selection(untouched=names)  # the answer to most questions, without reading any source
    try:
        change = Change(read_index(project, job.tree), read_index(project, project.root))
        if change.is_empty:
            return Selection(untouched=names)
        reason = harness_reason(change) or change.everywhere
        if reason:
            return Selection(dict.fromkeys(names, reason))
        ids = {case.name: case.id for case in cases}
        traces = load_traces(job, change.base, ids, folder, progress)
    except (VersionError, SyntaxError) as error:
        return Selection(dict.fromkeys(names, f"the base cannot be traced ({error})"))
    alike = given_the_same(job, change, traces, ids, folder, progress)
    return selection_of(change, traces, names, project.library, alike)


def given_the_same(
    job: TraceJob,
    change: Change,
    base: Traces,
    cases: Mapping[str, BenchmarkId],
    folder: Path,
    progress: Callable[[int, int], None],
) -> set[str]:
    """Cases that are built by what changed, but whose calls run the same functions on the same objects."""
    doubtful = {
        name: case
        for name, case in cases.items()
        if base.digests.get(name)
        and change.reason(base.entered[name], base.shared)
        and not change.reason(base.called[name])
    }
    if not doubtful:
        return set()
    try:
        head = load_traces(replace(job, tree=job.project.root), change.head, doubtful, folder, progress)
    except VersionError:  # it is measured, and what is wrong is shown
        return set()
    found = {name: (head.digests.get(name), head.called.get(name)) for name in doubtful}
    return {name for name, of_head in found.items() if of_head == (base.digests[name], base.called[name])}


def read_index(project: Project, root: Path) -> SourceIndex:
    """The source of a version, the suite that came with it included."""
    files = [file for file in _files(project, root) if file.parent == root or file.is_relative_to(root / project.suite)]
    return SourceIndex.of(root, [project.library], files)


def source_digest(project: Project, root: Path) -> str:
    """A digest of all files that count, to the byte, and of the packages that are asked for."""
    digest = hashlib.sha256(dependencies_of(root).encode())
    for file in _files(project, root):
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _files(project: Project, root: Path) -> list[Path]:
    """The files of library and suite, without the accepted counts, which no comparison of times reads."""
    counts = root / project.counts_folder.relative_to(project.root)
    packages = [file for package in (project.library, project.suite) for file in package_files(root / package)]
    files = [file for file in packages if counts not in file.parents]
    return [*files, *(file for file in [root / "conftest.py"] if file.exists())]


def harness_reason(change: Change) -> str | None:
    """What changed of the harness, which measures every case, or None."""
    changed = sorted({name for name, _ in change.functions} | change.bodies)
    everywhere = [name for name in changed if name == "conftest" or f"{name}.".startswith(f"{HARNESS}.")]
    return f"the harness ({everywhere[0]})" if everywhere else None


def selection_of(
    change: Change, traces: Traces, names: Sequence[str], library: str, alike: Collection[str] = ()
) -> Selection:
    """What a change does to each case; to those that are `alike` in both versions, nothing."""
    reasons: dict[str, str] = {}
    for name in names:
        if name not in traces.entered:
            reasons[name] = f"it does not run in the base ({traces.failed[name]})"
        elif name not in alike and (reason := change.reason(traces.entered[name], traces.shared)):
            reasons[name] = reason
    untouched = [name for name in names if name not in reasons]
    changed = [unit for unit in change.functions if unit[0].partition(".")[0] == library]
    not_run = [".".join(unit) for unit in changed if unit not in traces.units]
    return Selection(reasons, untouched, controls_of(untouched, traces) if reasons else [], not_run, traces.seconds)


def controls_of(untouched: Sequence[str], traces: Traces) -> list[str]:
    """A few untouched cases: of each file of benchmarks the one that takes least, the quickest files first."""
    quickest: dict[str, str] = {}
    for name in sorted(untouched, key=lambda name: (traces.seconds[name], name)):
        quickest.setdefault(name.partition("::")[0], name)
    return list(quickest.values())[:CONTROLS]
