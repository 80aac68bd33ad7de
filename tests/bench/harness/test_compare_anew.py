"""A saved run is compared by measuring its commit anew, where that commit can be had as it was."""

import json

import pytest

from tests.support.git_repository import Repository

NAME = "bench_tiny.py::bench_place[study]"
COARSE = ["--slower-than", "90%", "--error-rate", "20%", "--budget", "60s", "--benchmark-max-time", "0.05"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A repository with a saved run of its first commit, and a slower commit."""
    made = Repository(tmp_path_factory.mktemp("repository"))
    saved = made.pytest("bench", "--benchmark-autosave", "--benchmark-max-time", "0.05")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    made.slow_down()
    made.commit("slow", tag="slow")
    made.restore()
    return made


@pytest.fixture
def repository(shared):
    """The repository at its slower commit."""
    shared.git("checkout", "-q", "slow")
    yield shared
    shared.restore()


@pytest.fixture
def saved(shared):
    """Changes what the saved run says of its commit."""
    (file,) = shared.folder.rglob("0001*.json")
    before = file.read_text()

    def change(**commit_info):
        content = json.loads(before)
        content["commit_info"] |= commit_info
        file.write_text(json.dumps(content))

    yield change
    file.write_text(before)


def compare(repository, *arguments):
    return repository.pytest("bench", "--benchmark-compare", *COARSE, *arguments)


@pytest.mark.slow
def test_a_slower_commit_is_found_beside_the_saved_table_and_not_saved(repository):
    result = compare(repository, "--benchmark-autosave")
    assert result.returncode == 1, result.stdout + result.stderr
    commit = repository.git("rev-parse", "whole")
    assert f"measured anew, alternated with {commit[:10]}, which the saved run is of:\n" in result.stdout
    assert f"slower   {NAME}" in result.stdout
    assert "bench_place[study] (0001_" in result.stdout  # pytest-benchmark's table
    assert "warning: this run is not saved" in result.stdout
    assert len(list(repository.folder.rglob("0*.json"))) == 1


def test_the_same_code_is_untouched(repository):
    repository.restore()
    result = compare(repository)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "untouched: 1 case, which run nothing that differs\n" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("commit_info", "why"),
    [
        ({"id": "0123456789" * 4}, "the saved run's commit 0123456789 is not to be had here"),
        pytest.param(
            {"dirty": True}, "the saved run was of changes that are not in its commit ", marks=pytest.mark.slow
        ),
        pytest.param({"id": None}, "the saved run names no commit", marks=pytest.mark.slow),
    ],
    ids=["gone", "dirty", "none"],
)
def test_a_commit_that_cannot_be_had_gives_no_verdict_and_says_why(repository, saved, monkeypatch, commit_info, why):
    monkeypatch.setenv("CI", "")
    saved(**commit_info)
    result = compare(repository)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"no verdict: {why}" in result.stdout
    assert "bench_place[study] (0001_" in result.stdout


@pytest.mark.slow
def test_without_git_there_is_no_verdict(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("CI", "")
    hidden = repository.folder / ".git"
    hidden.rename(tmp_path / "hidden")
    try:
        result = compare(repository)
    finally:
        (tmp_path / "hidden").rename(hidden)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "is not to be had here (" in result.stdout
    assert "is no git repository; clone it with git, or give a folder that is another checkout)" in result.stdout


@pytest.mark.slow
def test_a_mistake_in_an_option_of_the_gate_is_refused_in_a_sentence(repository):
    result = compare(repository, "--budget", "long")
    assert result.returncode == 4, result.stdout + result.stderr
    assert 'refused: --budget "long" is no time; give, say, 90s, 5min or 1h.' in result.stdout
