"""Another version of the library, taken out of git."""

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..project import Project


class VersionError(Exception):
    """A version that cannot be had or loaded; one sentence."""


class UnknownCommitError(VersionError):
    """A ref that git could look for, and that is none."""


@dataclass(frozen=True)
class GitRepository:
    """The repository of a project."""

    project: Project

    def git(self, *arguments: str) -> bytes:
        """The output of git in the repository. Raises VersionError with git's sentence."""
        try:
            command = ["git", "-C", str(self.project.root), *arguments]
            done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"})
        except FileNotFoundError:
            raise VersionError("git is not installed, and the other version is taken from it.") from None
        except OSError as error:
            raise VersionError(f"git cannot be run ({error.strerror}); check the program of that name.") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise VersionError(sentence_of(said, self.project.root) or f"git {arguments[0]} failed without a word.")
        return done.stdout

    def commit_of(self, ref: str) -> str:
        """The commit that a ref names. Raises VersionError: UnknownCommitError where there is a whole repository."""
        is_shallow = self.git("rev-parse", "--is-shallow-repository").strip() == b"true"  # and git can answer
        try:
            return self.git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()
        except VersionError:
            if not is_shallow:
                what = f'"{ref}" is no commit of this repository; give a branch, a tag or a commit.'
                raise UnknownCommitError(what) from None
            raise VersionError(
                f'"{ref}" is no commit of this clone, which is shallow; get the others with git fetch --unshallow, in '
                "actions/checkout with fetch-depth: 0."
            ) from None

    @contextmanager
    def version(self, ref: str) -> Iterator[tuple[str | None, Path]]:
        """The commit and the files of a ref, or of a folder that is another checkout. Raises VersionError."""
        folder = Path(ref)
        if (folder / self.project.library / "__init__.py").exists():
            yield None, folder.resolve()
            return
        try:
            commit = self.commit_of(ref)
        except VersionError as error:
            is_meant = isinstance(error, UnknownCommitError) or len(folder.parts) > 1
            if not (folder.is_dir() and is_meant):
                raise
            raise VersionError(
                f"{ref} has no {self.project.library}/ to compare with; give a checkout of it."
            ) from None
        with self.checked_out(commit) as tree:
            yield commit, tree

    def working_tree(self) -> dict[str, Any]:
        """What is measured against it; without git its commit is not known."""
        try:
            return {"ref": "working tree", "commit": self.commit_of("HEAD"), "dirty": self.has_changes()}
        except VersionError:
            return {"ref": "working tree", "commit": None, "dirty": None}

    def has_changes(self) -> bool:
        """Whether the working tree differs from its commit."""
        return bool(self.git("status", "--porcelain", "--untracked-files=no").strip())

    def has_suite_of(self, tree: Path) -> bool:
        """Whether the working tree's files of benchmarks are those of a version."""
        ours, theirs = (
            {str(file.relative_to(root)): file.read_bytes() for file in (root / self.project.suite).rglob("*.py")}
            for root in (self.project.root, tree)
        )
        return ours == theirs

    def check_out(self, commit: str, folder: Path) -> None:
        """Write a commit's files into an empty folder; the working tree stays as it is. Raises VersionError."""
        archive = self.git("archive", "--format=tar", commit)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            if hasattr(tarfile, "data_filter"):  # Python 3.11.4
                files.extraction_filter = tarfile.data_filter
            files.extractall(folder)
        if not (folder / self.project.library / "__init__.py").exists():
            raise VersionError(f"{commit[:10]} has no {self.project.library}/ to compare with; give a later commit.")

    @contextmanager
    def checked_out(self, commit: str) -> Iterator[Path]:
        """A folder with a commit's files, for as long as it is needed. Raises VersionError."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            self.check_out(commit, Path(folder))
            yield Path(folder)

    def collected(self, tree: Path, arguments: Sequence[str], options: Sequence[str]) -> list[str]:
        """The benchmarks of a checked out version, as its suite names them. Raises VersionError."""
        root = self.project.root
        paths = [str(Path(path).relative_to(root)) if Path(path).is_absolute() else path for path in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *paths, *options, "--collect-only", "-q", "-p", "no:cacheprovider"],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 5):
            said = (done.stdout.strip() or done.stderr.strip()).splitlines()
            raise VersionError(said[-1] if said else f"pytest ended with {done.returncode}, without a word.")
        return [line for line in done.stdout.splitlines() if "::" in line]


def sentence_of(said: str, folder: Path) -> str:
    """What git says of a folder, in one line, and how to mend it where that is known; nothing where it says nothing."""
    if "not a git repository" in said:
        return f"{folder} is no git repository; clone it with git, or give a folder that is another checkout."
    if owned := re.search(r"dubious ownership in repository at '(.*)'", said):
        return (
            f"git does not read {owned[1]}, which belongs to somebody else; if you trust it, "
            f"git config --global --add safe.directory {owned[1]}"
        )
    lines = said.splitlines()
    return next((line for line in lines if line.startswith("fatal: ")), lines[-1] if lines else "")


def dependencies(tree: Path) -> object:
    """The packages that a version requires; None where no pyproject.toml says so."""
    try:
        return tomllib.loads((tree / "pyproject.toml").read_text()).get("project", {}).get("dependencies")
    except FileNotFoundError:
        return None
