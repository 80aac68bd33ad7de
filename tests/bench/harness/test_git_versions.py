"""Another version is checked out completely, really runs, and leaves this one unchanged."""

import importlib
import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.harness.case import BenchmarkId, case_of, parameters_of
from bench.harness.project import HARNESS_FIXTURES
from bench.harness.versions.git_versions import GitRepository, VersionError, dependencies, sentence_of
from bench.harness.versions.loaded_version import LoadedVersion
from bench.harness.versions.worker import Worker, WorkerError, check_python
from bench.project import PROJECT
from tests.support.git_repository import ROOT, TINY, Repository
from tests.support.pytest_process import run_here

OPTIONS = {"--device": "cpu", "--up": "z", "--execution": "eager"}
WHERE = """

def where() -> tuple[str, str]:
    from .skeleton import SMPLH  # late

    return "PLANTED", type(SMPLH).__module__
"""
BENCH = TINY + "\n\ndef bench_where(measure):\n    measure(lambda: kinematics.where(), 'tiny')\n"
BY_NAME = "import humor.rotations\n"
WHERE_ID = BenchmarkId("bench_tiny", "bench_where", {})


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Commits: whole; old, which plants a word; by_name, which imports itself by its name; broken; gone."""
    made = Repository(tmp_path_factory.mktemp("repository"))
    kinematics = (made.folder / "humor" / "kinematics.py").read_text()
    made.write("bench/bench_tiny.py", BENCH)
    made.write("humor/kinematics.py", kinematics + WHERE.replace("PLANTED", "old"))
    made.commit("old", tag="old")
    made.write("humor/kinematics.py", BY_NAME + kinematics + WHERE.replace("PLANTED", "by name"))
    made.commit("by name", tag="by_name")
    made.write("humor/kinematics.py", "raise RuntimeError('planted')\n")
    made.commit("broken", tag="broken")
    made.git("rm", "-r", "-q", "humor")
    made.commit("gone", tag="gone")
    made.git("checkout", "-q", "old")
    made.write("humor/kinematics.py", kinematics + WHERE.replace("PLANTED", "new"))
    made.commit("new", tag="new")
    return made


@pytest.fixture
def repository(shared):
    """The repository; modules that a version loads are forgotten afterwards."""
    yield shared
    shared.git("checkout", "-q", "-f", "new")
    shared.git("clean", "-q", "-f", "-d")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("humor_base", "bench_base")]:
        del sys.modules[name]


@pytest.fixture
def project(repository):
    """This project, as it would be in that repository."""
    return replace(PROJECT, root=repository.folder)


@pytest.fixture
def versions(project):
    return GitRepository(project)


@pytest.fixture
def tree(versions, tmp_path):
    def checked_out(ref):
        folder = tmp_path / ref
        folder.mkdir()
        versions.check_out(versions.commit_of(ref), folder)
        return folder

    return checked_out


def sentence(call, *arguments):
    with pytest.raises(VersionError) as error:
        call(*arguments)
    return str(error.value)


def test_a_ref_names_a_commit_however_it_is_written(repository, versions):
    commit = repository.git("rev-parse", "old")
    for ref in ("old", "old^{commit}", commit, commit[:12], "new~1"):
        assert versions.commit_of(ref) == commit
    assert versions.commit_of("HEAD") == repository.git("rev-parse", "new")


@pytest.mark.parametrize("ref", ["nowhere", "", "HEAD:humor", "--help", "old..new", "a b"])
def test_what_is_no_commit_is_said(repository, ref, versions):
    expected = f'"{ref}" is no commit of this repository; give a branch, a tag or a commit.'
    assert sentence(versions.commit_of, ref) == expected


def test_a_shallow_clone_is_no_repository_without_that_commit(repository, tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{repository.folder}", str(clone)], check=True)
    versions = GitRepository(replace(PROJECT, root=clone))
    assert versions.commit_of("HEAD") == repository.git("rev-parse", "new")
    assert sentence(versions.commit_of, "HEAD~1") == (
        '"HEAD~1" is no commit of this clone, which is shallow; get the others with git fetch --unshallow, in '
        "actions/checkout with fetch-depth: 0."
    )


def test_a_folder_that_is_no_repository_is_said(tmp_path):
    assert sentence(GitRepository(replace(PROJECT, root=tmp_path)).commit_of, "HEAD") == (
        f"{tmp_path} is no git repository; clone it with git, or give a folder that is another checkout."
    )


def test_a_repository_of_somebody_else_is_said(repository, versions, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert sentence(versions.commit_of, "HEAD") == (
        f"git does not read {repository.folder}, which belongs to somebody else; if you trust it, "
        f"git config --global --add safe.directory {repository.folder}"
    )


def test_a_git_that_cannot_be_run_is_said(tmp_path, versions, monkeypatch):
    (tmp_path / "git").write_text("")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    expected = "git cannot be run (Exec format error); check the program of that name."
    assert sentence(versions.commit_of, "HEAD") == expected


def test_a_folder_with_a_tag_s_name_does_not_hide_what_git_says(repository, versions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    with versions.version("old") as (commit, _):
        assert commit == repository.git("rev-parse", "old")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(VersionError, match="git is not installed"), versions.version("old"):
        pass


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("", ""),
        ("warning: slow\nfatal: bad object x\nhint: mend it", "fatal: bad object x"),
        ("error: one\nerror: two", "error: two"),
    ],
)
def test_git_s_words_are_cut_to_the_line_that_says_what_is_wrong(said, sentence):
    assert sentence_of(said, Path("folder")) == sentence


WITHOUT_PACKAGES = f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n'


@pytest.mark.slow
def test_a_python_that_can_run_the_base_is_accepted(project):
    check_python(sys.executable, replace(project, root=ROOT))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "no such program; give the path of a Python."),
        (
            WITHOUT_PACKAGES,
            "it has no PyTorch; install that for it, or give another Python.",
        ),
        ("#!/bin/sh\nexit 0\n", "it cannot run the base (it is no Python); give another Python."),
        ("#!/bin/sh\necho killed >&2; exit 1\n", "it cannot run the base (killed); give another Python."),
        ("", "it cannot be run (Exec format error); give the path of a Python."),
    ],
    ids=["none", "without PyTorch", "no Python", "fails", "no program"],
)
def test_a_python_that_cannot_run_the_base_is_said(tmp_path, script, reason):
    python = tmp_path / "python"
    if script is not None:
        python.write_text(script)
        python.chmod(0o755)
    with pytest.raises(WorkerError) as error:
        check_python(str(python), PROJECT)
    assert str(error.value) == reason


def test_a_version_without_the_library_is_said(tmp_path, versions):
    commit = versions.commit_of("gone")
    expected = f"{commit[:10]} has no humor/ to compare with; give a later commit."
    assert sentence(versions.check_out, commit, tmp_path) == expected


def test_git_s_own_sentence_is_passed_on(tmp_path, versions):
    assert sentence(versions.check_out, "nowhere", tmp_path) == "fatal: not a valid object name: nowhere"


def test_without_git_it_is_said(versions):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", "")
        said = sentence(versions.git, "status")
    assert said == "git is not installed, and the other version is taken from it."


def test_a_commit_is_checked_out_whole_and_the_working_tree_stays(repository, tree):
    repository.write("humor/untracked.py", "")
    repository.write("humor/errors.py", "changed = True\n")
    folder = tree("old")
    known = repository.git("ls-tree", "-r", "--name-only", "old").splitlines()
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(known)
    for name in known:
        shown = subprocess.run(
            ["git", "-C", str(repository.folder), "show", f"old:{name}"], check=True, capture_output=True
        ).stdout
        assert (folder / name).read_bytes() == shown
    assert (repository.folder / "humor" / "errors.py").read_text() == "changed = True\n"
    assert repository.git("rev-parse", "HEAD") == repository.git("rev-parse", "new")


def test_a_checked_out_folder_is_removed(versions):
    with versions.checked_out(versions.commit_of("old")) as folder:
        assert (folder / "humor" / "__init__.py").exists()
    assert not folder.exists()


def test_changes_of_the_working_tree_are_noticed(repository, versions, tree):
    old = tree("old")
    assert not versions.has_changes()
    assert versions.has_suite_of(old)
    assert not versions.has_suite_of(tree("whole"))
    repository.write("bench/bench_other.py", "")
    assert not versions.has_suite_of(old)
    repository.write("humor/errors.py", "")
    assert versions.has_changes()


def test_the_packages_that_a_version_asks_for_are_read(tree, project):
    folder = tree("old")
    assert dependencies(folder) == dependencies(ROOT)
    (folder / "pyproject.toml").write_text('[project]\nname = "a"\ndependencies = ["b>=1"]\n')
    assert dependencies(folder) == ["b>=1"]


@pytest.mark.slow
def test_a_version_s_own_suite_is_collected(repository, tree, versions):
    folder = tree("whole")
    assert versions.collected(folder, [str(repository.folder / "bench")], []) == [
        "bench/bench_tiny.py::bench_place[study]"
    ]
    (folder / "bench" / "bench_tiny.py").write_text("raise RuntimeError\n")
    assert "error" in sentence(versions.collected, folder, ["bench"], [])


def test_a_loaded_version_runs_its_own_code(tree, project):
    """Its late relative imports too."""
    call = LoadedVersion(project, OPTIONS, tree("old")).build(WHERE_ID).call
    assert call() == ("old", "humor_base.skeleton")


def test_a_table_s_parameter_reaches_the_other_version(tree, project):
    placed = (
        LoadedVersion(project, OPTIONS, tree("old"))
        .build(BenchmarkId("bench_tiny", "bench_place", {"case": "study"}))
        .call()
    )
    assert placed.shape == (3, 4, 52, 20)


def modules():
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("humor", "bench")}


def test_this_version_is_what_it_was_afterwards(tree, project):
    import humor

    before = modules()
    version = LoadedVersion(project, OPTIONS, tree("old"))
    version.build(WHERE_ID).call()
    with version.imported():
        assert version.workload.bodies["neutral"].__class__.__module__ == "humor_base.body"
    after = modules()
    assert after.keys() == before.keys()
    assert all(after[name] is module for name, module in before.items())
    assert sys.modules["humor"] is humor
    assert Path(humor.__file__).parents[1] == ROOT
    with version.imported():
        import humor as theirs

        assert theirs.__name__ == "humor_base"
    with pytest.raises(ZeroDivisionError), version.imported():
        raise ZeroDivisionError
    assert sys.modules["humor"] is humor


def test_a_version_that_imports_itself_by_name_is_not_loaded_beside_another(tree, project):
    before = modules()
    expected = "it imports humor by that name, which is the other version here."
    assert sentence(LoadedVersion, project, OPTIONS, tree("by_name")) == expected
    assert all(modules()[name] is module for name, module in before.items())


def test_what_breaks_an_import_is_passed_on_and_leaves_this_version(tree, project):
    before = modules()
    with pytest.raises(RuntimeError, match="planted"):
        LoadedVersion(project, OPTIONS, tree("broken"))
    assert all(modules()[name] is module for name, module in before.items())


@pytest.mark.parametrize("planted", ["import not_installed", "from . import gone", "import humor_base.gone"])
def test_a_module_that_needs_a_package_that_is_not_installed_is_passed_over(tree, project, planted):
    folder, before = tree("old"), modules()
    (folder / "humor" / "needs_more.py").write_text(f"{planted}\n")
    if "not_installed" in planted:
        assert LoadedVersion(project, OPTIONS, folder).build(WHERE_ID).call() == ("old", "humor_base.skeleton")
    else:
        with pytest.raises(ImportError, match="gone"):
            LoadedVersion(project, OPTIONS, folder)
    assert all(modules()[name] is module for name, module in before.items())


def test_a_process_of_its_own_runs_any_version(tree, monkeypatch, project):
    """One that imports itself by name, late and early, too; and one that cannot be imported says why."""
    monkeypatch.setenv("PYTHONPATH", str(project.root))
    with Worker(project, sys.executable, tree("by_name"), OPTIONS, 1) as worker:
        assert worker.build(BenchmarkId("bench_tiny", "bench_where", {})).seconds(2) > 0
    with Worker(project, sys.executable, tree("broken"), OPTIONS, 1) as worker, pytest.raises(WorkerError) as error:
        worker.build(WHERE_ID)
    assert str(error.value) == "RuntimeError: planted"


@pytest.mark.slow
def test_a_version_that_does_not_load_beside_this_one_is_measured_in_processes(repository):
    short = ["--launches", "1", "--budget", "1s", "--allow-unclear"]
    result = repository.pytest("bench", "-k", "bench_place", "--against", "by_name", *short)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    assert (
        "warning: the base version does not load beside the head (VersionError: it imports humor by that name, which "
        "is the other version here.): each got its own processes."
    ) in result.stdout


class FoundAgain:
    """Benchmarks that were collected, and those that another version would not find by what it is told of them."""

    def pytest_collection_finish(self, session):
        self.count, self.lost = len(session.items), []
        for item in session.items:
            found = case_of(item).id
            found = BenchmarkId(found.module, found.function, json.loads(json.dumps(found.parameters)))
            if parameters_of(item.function, found) != item.callspec.params or found.module != item.path.stem:
                self.lost.append(item.nodeid)


def test_every_benchmark_of_the_suite_is_found_again_with_its_parameters():
    benchmarks = FoundAgain()
    run_here("bench", "--collect-only", "-qq", "--full", plugins=[benchmarks])
    assert benchmarks.count > 100
    assert benchmarks.lost == []


@pytest.mark.parametrize("file", sorted((ROOT / "bench").glob("bench_*.py")), ids=lambda file: file.stem)
def test_a_loaded_version_gives_a_benchmark_all_that_it_takes_beside_its_parameters(file):
    module = importlib.import_module(f"bench.{file.stem}")
    benchmarks = [value for name, value in vars(module).items() if name.startswith("bench_") and callable(value)]
    assert benchmarks
    for benchmark in benchmarks:
        marks = [mark for mark in getattr(benchmark, "pytestmark", ()) if mark.name == "parametrize"]
        parameters = {name.strip() for mark in marks for name in mark.args[0].split(",")} | {"precision"}
        assert inspect.signature(benchmark).parameters.keys() - parameters <= {*PROJECT.fixtures, *HARNESS_FIXTURES}
