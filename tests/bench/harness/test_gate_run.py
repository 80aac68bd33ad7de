"""`--against` measures what a change can affect, and nothing else: on a repository with two benchmarks."""

import json
import re
import shutil

import pytest

from tests.support.git_repository import TINY, Repository

PLACE, TURN = "bench_tiny.py::bench_place[study]", "bench_tiny.py::bench_turn"
TWO = (
    TINY
    + """

def bench_turn(device, measure):
    from humor.rotations import rotmat_to_rotvec, rotvec_to_rotmat

    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], device=device)
    rotvecs = rotmat_to_rotvec(turn.expand(50, 3, 3))
    measure(lambda: rotvec_to_rotmat(rotvecs), "tiny")
"""
)
COARSE = ["--slower-than", "90%", "--error-rate", "20%", "--budget", "60s"]
PLACE_JOINTS = "def place_joints("
PROJECT = '[project]\nname = "b"\ndependencies = []\n'


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A repository whose commit `whole` has two benchmarks, and whose traces are kept from one test to the next."""
    made = Repository(tmp_path_factory.mktemp("repository"))
    made.git("tag", "-d", "whole")
    made.write("bench/bench_tiny.py", TWO)
    made.commit("two benchmarks", tag="whole")
    return made


@pytest.fixture
def repository(shared):
    yield shared
    shared.restore()


@pytest.fixture
def against(repository, tmp_path):
    """Runs the gate against a ref; its result, and the verdicts."""

    def run(*arguments, code=0, ref="whole"):
        file = tmp_path / "v.json"
        result = repository.pytest("bench", "--against", ref, *COARSE, "--verdicts", str(file), *arguments)
        assert result.returncode == code, result.stdout + result.stderr
        return result, json.loads(file.read_text())

    return run


def cases_of(content, key="cases"):
    return [case["case"] for case in content[key]]


def insert(repository, path, function, line):
    """A line at the beginning of a function, after its docstring."""
    text = (repository.folder / path).read_text()
    pattern = rf'({re.escape(function)}(?s:.)*?-> .*:\n(?:    """(?s:.)*?"""\n)?)'
    assert re.search(pattern, text), f"{path}: {function}"
    repository.write(path, re.sub(pattern, rf"\g<1>    {line}\n", text, count=1))


def test_a_change_of_nothing_that_runs_is_untouched_and_nothing_is_measured(repository, against):
    repository.append("humor/kinematics.py", "\n# a comment\n")
    repository.replace("humor/rotations.py", '"""', '"""Anew. ')
    repository.write("README.md", "# Anew\n")
    repository.write("bench/counts/bench_tiny.json", "{}\n")
    result, content = against()
    assert "untouched: 2 cases, which run nothing that differs\n" in result.stdout
    assert content["verdict"] == "untouched"
    assert sorted(content["untouched"]) == [PLACE, TURN]
    assert (content["cases"], content["controls"]) == ([], [])


@pytest.mark.slow
def test_a_function_that_one_benchmark_runs_has_it_measured_and_the_other_as_a_control(repository, against):
    insert(repository, "humor/kinematics.py", PLACE_JOINTS, "pass")
    repository.append("humor/errors.py", "\n\ndef unused() -> None:\n    pass\n")
    result, content = against("-p", "counted_time")
    assert f"passes   {PLACE}" in result.stdout
    assert f"control  {TURN}" in result.stdout
    assert "changed, and run by none of the benchmarks: humor.errors.unused\n" in result.stdout
    assert (cases_of(content), cases_of(content, "controls")) == ([PLACE], [TURN])
    assert content["cases"][0]["touched_by"] == "humor.kinematics.place_joints"
    assert content["not_run"] == ["humor.errors.unused"]


@pytest.mark.slow
def test_a_function_that_only_makes_what_a_call_is_given_touches_it_where_it_makes_something_else(repository, against):
    insert(repository, "humor/rotations.py", "def rotmat_to_rotvec(", "pass")
    _, content = against()
    assert (sorted(content["untouched"]), content["cases"]) == ([PLACE, TURN], [])
    insert(repository, "humor/rotations.py", "def rotmat_to_rotvec(", "rotmat = rotmat.mT")
    _, content = against()
    assert (cases_of(content), cases_of(content, "controls")) == ([TURN], [PLACE])
    assert content["cases"][0]["touched_by"] == "humor.rotations.rotmat_to_rotvec"


@pytest.mark.slow
def test_measuring_all_asks_for_no_trace(repository, against):
    insert(repository, "humor/kinematics.py", PLACE_JOINTS, "pass")
    _, content = against("--measure-all")
    assert cases_of(content) == [PLACE, TURN]
    assert [case["touched_by"] for case in content["cases"]] == ["", ""]
    assert (content["untouched"], content["controls"]) == ([], [])


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("bench/harness/timing/extra.py", "LENGTH = 1\n", "the harness (bench.harness.timing.extra)"),
        pytest.param("humor/table.json", "[1]\n", "the file humor/table.json", marks=pytest.mark.slow),
        pytest.param("pyproject.toml", PROJECT, "the packages that pyproject.toml asks for", marks=pytest.mark.slow),
    ],
    ids=["harness", "data", "packages"],
)
@pytest.mark.slow
def test_data_harness_and_packages_touch_every_case(repository, against, path, text, reason):
    if path == "pyproject.toml":
        text += (repository.folder / path).read_text().partition("\n[tool.pytest")[2].join(["\n[tool.pytest", ""])
    repository.write(path, text)
    _, content = against("--quick")
    assert cases_of(content) == [PLACE, TURN]
    assert {case["touched_by"] for case in content["cases"]} == {reason}


@pytest.mark.slow
def test_a_base_that_cannot_be_imported_is_measured_and_found_missing(repository, against):
    repository.append("humor/kinematics.py", "\nraise RuntimeError('planted')\n")
    repository.git("commit", "-qam", "broken")
    commit = repository.git("rev-parse", "HEAD")
    repository.restore()
    result, content = against(code=4, ref=commit)
    assert "refused: 2 cases could not be compared" in result.stdout
    assert f"{PLACE} (WorkerError: RuntimeError: planted)" in content["only_head"]


@pytest.mark.slow
def test_another_checkout_needs_no_git(repository, against, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(repository.folder, other, ignore=shutil.ignore_patterns(".git", ".benchmarks"))
    insert(repository, "humor/kinematics.py", PLACE_JOINTS, "pass")
    hidden = repository.folder / ".git"
    hidden.rename(tmp_path / "hidden")
    try:
        _, content = against(ref=str(other))
    finally:
        (tmp_path / "hidden").rename(hidden)
    assert cases_of(content) == [PLACE]
    assert content["versions"]["base"]["commit"] is None
    assert content["versions"]["head"]["commit"] is None


@pytest.mark.slow
def test_a_folder_without_the_library_is_refused(repository, tmp_path):
    result = repository.pytest("bench", "--against", str(tmp_path))
    assert result.returncode == 4
    assert f"--against: {tmp_path} has no humor/ to compare with; give a checkout of it." in result.stderr


@pytest.mark.slow
def test_a_control_that_changes_refuses_the_run(repository, against):
    """Planted where no source shows it: a process that only hinders the head's benchmark."""
    insert(repository, "humor/kinematics.py", PLACE_JOINTS, "pass")
    hindered = (
        "    import humor.rotations as r, sys; n = 1 + 40 * (r.__name__ == 'humor.rotations')\n    measure(lambda: "
    )
    repository.replace("bench/bench_tiny.py", "    measure(lambda: rotvec", f"{hindered}[")
    repository.replace(
        "bench/bench_tiny.py", '_to_rotmat(rotvecs), "tiny")', 'rotvec_to_rotmat(rotvecs) for _ in range(n)], "tiny")'
    )
    repository.git("commit", "-qam", "a benchmark that looks at the name of its library")
    commit = repository.git("rev-parse", "HEAD")
    insert(repository, "humor/kinematics.py", PLACE_JOINTS, "pass  # again")
    insert(repository, "humor/kinematics.py", PLACE_JOINTS, "...")
    result, content = against(code=4, ref=commit)
    assert (
        f"refused: the machine was disturbed: {TURN}, whose code is the same in both versions, came out"
        in result.stdout
    )
    assert content["exit"] == 4


@pytest.mark.slow
def test_a_threshold_of_its_own_is_taken_from_the_table_or_a_marker(repository, against):
    repository.replace("bench/bench_tiny.py", '"study": Windows(2)', '"study": Windows(2, slower_than=0.95)')
    repository.replace("bench/bench_tiny.py", "def bench_turn", '@pytest.mark.slower_than("80%")\ndef bench_turn')
    result, content = against("--measure-all")
    assert {case["case"]: case["slower_than"] for case in content["cases"]} == {PLACE: 0.95, TURN: 0.8}
    assert "; 0.95 matters" in result.stdout
    repository.replace("bench/bench_tiny.py", '"80%"', '"much"')
    refused = repository.pytest("bench", "--against", "whole")
    assert refused.returncode == 4
    assert '"much" is no share between 0 and 100 %; give, say, 3%.' in refused.stdout + refused.stderr


@pytest.mark.slow
def test_a_budget_that_ends_early_leaves_cases_unclear(repository, against):
    repository.replace("bench/bench_tiny.py", "    rotmats =", "    import time; time.sleep(1)\n    rotmats =")
    result, content = against(
        "--measure-all", "--budget", "1s", "--slower-than", "0.001%", "--error-rate", "0.1%", code=3
    )
    words = {case["case"]: case["verdict"] for case in content["cases"]}
    assert words == {PLACE: "unclear", TURN: "unclear"}
    assert re.search(rf"unclear  {re.escape(TURN)} .* not reached\n", result.stdout)
    assert "warning: the budget ended before 1 of the cases were measured; give a larger --budget." in result.stdout
    assert content["cases"][1]["base_ms"] is None


@pytest.mark.slow
def test_the_first_slower_case_ends_a_run_that_waits_for_no_more(repository, against):
    repository.slow_down()
    result, content = against("-x", code=1)
    assert "slower" in {case["verdict"] for case in content["cases"]}
    assert "warning: ended by -x or --maxfail: " in result.stdout
