"""The two versions of a comparison: taken out of git or a folder, opened, and described."""

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..case import name_of
from ..output.verdict_table import Findings
from ..project import Project
from ..session import COLLECTED, project_of, threads_of, workload_options
from ..untouched.selection import source_digest
from ..versions.git_versions import GitRepository, VersionError, dependencies
from ..versions.version_pair import PairOf, in_processes, side_by_side

SELECTION = ("--quick", "--full")


class ComparedVersions:
    """The base, of a ref or a folder, and the working tree. Raises UsageError where there is no base."""

    def __init__(self, config: pytest.Config, ref: str, resources: ExitStack) -> None:
        self._config, self._ref, self._resources = config, ref, resources
        self._project: Project = project_of(config)
        self._repository = GitRepository(self._project)
        self.isolated = bool(config.getoption("--isolate") or config.getoption("--against-python") is not None)
        self.commit: str | None  # of the base
        self.tree: Path
        try:
            self.commit, self.tree = resources.enter_context(self._repository.version(ref))
        except VersionError as error:
            raise pytest.UsageError(f"--against: {error}") from None

    def pairs(self, findings: Findings) -> PairOf:
        """What builds the two versions of a case for each round; in processes where they do not fit into one."""
        option, options = self._config.getoption, workload_options(self._config)
        if not self.isolated:
            try:
                return side_by_side(self._project, options, self.tree)
            except Exception as error:  # whatever the base does when it is imported beside the head
                self.isolated = True
                findings.warnings.append(
                    f"the base version does not load beside the head ({why(error)}): each got its own processes."
                )
        python, launches, threads = option("--against-python"), option("--launches"), threads_of(self._config)
        rng = random.Random()
        return in_processes(self._project, options, self.tree, threads, python, launches, rng, self._resources)

    def note_differences(self, findings: Findings) -> None:
        """Warn of what comparing the library alone would hide: other dependencies, and benchmarks that are gone."""
        one_python = self._config.getoption("--against-python") is None
        if one_python and dependencies(self.tree) != dependencies(self._project.root):
            findings.warnings.append(
                "the two versions require different packages, and both were measured with those installed here; "
                "--against-python EXE runs the base with others."
            )
        if self._repository.has_suite_of(self.tree):
            return
        known = self._config.stash.get(COLLECTED, set())
        chosen = [name for name in SELECTION if self._config.getoption(name)]
        if self._config.option.keyword:
            chosen += ["-k", self._config.option.keyword]
        try:
            listed = self._repository.collected(self.tree, self._config.args, chosen)
            findings.only_base += [name_of(each) for each in listed if each not in known]
        except VersionError as error:
            findings.warnings.append(f"which benchmarks the base version had is not known: {error}")

    def as_json(self) -> dict[str, Any]:
        """Both, for the verdicts document."""
        base = {"ref": self._ref, "commit": self.commit, "source": source_digest(self._project, self.tree)}
        head = self._repository.working_tree() | {"source": source_digest(self._project, self._project.root)}
        return {"base": base, "head": head}


def why(error: BaseException) -> str:
    """An error in one line."""
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
