"""What cases enter is recorded apart for each of them, and kept for the next time."""

import json
from dataclasses import replace

import pytest

from bench.harness.case import BenchmarkId
from bench.harness.untouched.selection import read_index
from bench.harness.untouched.traces import TraceJob, load_traces, read_traces
from bench.harness.versions.git_versions import VersionError
from bench.project import PROJECT
from tests.support.git_repository import Repository

OPTIONS = {"--device": "cpu", "--require-cuda": False, "--up": "z", "--execution": "eager"}
LIBRARY = """
from functools import cache

KEPT = {}


@cache
def made_once():
    return inner()


def inner():
    return 1


def kept_in_a_table():
    if "x" not in KEPT:
        KEPT["x"] = inner_of_table()
    return KEPT["x"]


def inner_of_table():
    return 2


def only_in_the_second_call():
    return 3
"""
SUITE = """
import os

from humor import shop


def bench_one(measure):
    measure(lambda: shop.made_once() + shop.kept_in_a_table(), "shop")


def bench_two(measure):
    measure(lambda: shop.made_once() + shop.kept_in_a_table(), "shop")


def bench_second_call(measure):
    calls = []

    def call():
        calls.append(shop.only_in_the_second_call() if calls else 0)

    measure(call, "shop")


def bench_fails(measure):
    raise ZeroDivisionError("planted")


def bench_dies(measure):
    os.abort()
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    made = Repository(tmp_path_factory.mktemp("repository"))
    made.write("humor/shop.py", LIBRARY)
    made.write("bench/bench_shop.py", SUITE)
    return made


@pytest.fixture(scope="module")
def load(repository, tmp_path_factory):
    """Loads the traces of cases; how far it was whenever one was recorded."""
    project, folder = replace(PROJECT, root=repository.folder), tmp_path_factory.mktemp("traces")
    job = TraceJob(project, repository.folder, OPTIONS, "cpu")

    def traces(*names):
        steps = []
        cases = {name: BenchmarkId("bench_shop", f"bench_{name}", {}) for name in names}
        index = read_index(project, repository.folder)
        return load_traces(job, index, cases, folder, lambda *step: steps.append(step)), steps

    traces.folder = folder
    return traces


@pytest.fixture(scope="module")
def first(load):
    return load("one", "two", "second_call", "fails", "dies")


def shop(units):
    return [function for module, function in units if module == "humor.shop" and function]  # "": its statements


@pytest.mark.slow
def test_what_is_made_once_is_entered_by_every_case_that_needs_it(first):
    traces, _ = first
    both = ["made_once", "inner", "kept_in_a_table", "inner_of_table"]
    assert shop(traces.entered["one"]) == shop(traces.entered["two"]) == both
    assert shop(traces.called["one"]) == both  # as nothing of it is built
    assert traces.digests["one"] != ""


@pytest.mark.slow
def test_a_second_call_is_traced_and_what_a_version_imports_is_shared(first):
    traces, _ = first
    assert shop(traces.entered["second_call"]) == ["only_in_the_second_call"]
    assert ("humor.kinematics", "") in traces.shared
    assert ("humor.shop", "") in traces.entered["second_call"]
    assert not any(module.startswith("bench.harness") for module, _ in traces.units)


@pytest.mark.slow
def test_a_case_that_fails_or_ends_its_process_is_named_and_the_others_go_on(first):
    traces, steps = first
    assert traces.failed == {"fails": "ZeroDivisionError: planted", "dies": "its process ended"}
    assert traces.entered.keys() == traces.seconds.keys() == {"one", "two", "second_call"}
    assert steps[-1] == (4, 5)


@pytest.mark.slow
def test_what_is_recorded_is_kept_and_only_the_rest_is_recorded_next_time(first, load):
    before, _ = first
    again, steps = load("one", "two")
    assert steps == []
    assert (again.entered, again.called, again.digests) == (before.entered, before.called, before.digests)
    assert again.shared == before.shared
    (file,) = load.folder.iterdir()
    content = json.loads(file.read_text())
    del content["entered"]["two"]
    file.write_text(json.dumps(content))
    more, steps = load("one", "two")
    assert steps[-1] == (1, 1)
    assert shop(more.entered["two"]) == shop(before.entered["two"])


OUT_OF_RANGE = '{"units": [["a", "b"]], "entered": {"c": [7]}, "called": {}, "shared": [], "seconds": {"c": 1}}'


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{", "[]", '{"units": 1}', OUT_OF_RANGE])
def test_a_damaged_file_holds_no_traces(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    assert read_traces(tmp_path / "t.json").entered == {}


@pytest.mark.slow
def test_a_version_that_cannot_be_imported_is_said_in_a_sentence(repository, load):
    kinematics = (repository.folder / "humor/kinematics.py").read_text()
    repository.append("humor/kinematics.py", "\nraise RuntimeError('planted')\n")
    try:
        with pytest.raises(VersionError) as error:
            load("one")
    finally:
        repository.write("humor/kinematics.py", kinematics)
    assert str(error.value) == "RuntimeError: planted"
