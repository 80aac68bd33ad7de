"""`pytest bench --counts`: the same everywhere, compared exactly, and what changed is named."""

import json
import re
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.case import BenchmarkCase, BenchmarkId
from bench.harness.counters.counts_file import (
    SECTIONS,
    CountsError,
    CountsFile,
    compare_counts,
    describe_changes,
    describe_unmatched,
    merge_counts,
    read_counts,
    torch_version,
    write_counts,
)
from bench.harness.counters.python_calls import count_call
from bench.harness.modes.counts_mode import CHANGED, EQUAL, Tally, torch_here
from bench.project import PROJECT, counts_graph_breaks, not_counted
from humor import HumorModel
from humor.precision import cpu_half_emulation
from tests.support.planting import plant
from tests.support.pytest_process import ROOT, run, run_here

TABLES = st.dictionaries(st.text(max_size=3), st.integers(1, 10**12), max_size=3)
COUNTS = st.dictionaries(st.sampled_from(list(SECTIONS)), TABLES.filter(bool))


@given(COUNTS)
def test_equal_counts_have_no_changes(counts):
    assert compare_counts(counts, json.loads(json.dumps(counts))) == []


@given(COUNTS, COUNTS)
def test_every_changed_number_has_a_sentence(old, new):
    sentences = compare_counts(old, new)
    assert (old == new) == (sentences == [])
    assert (compare_counts(new, old) == sentences) == (sentences == [])
    changed = [
        (section, name)
        for section in SECTIONS
        for name in old.get(section, {}).keys() | new.get(section, {}).keys()
        if old.get(section, {}).get(name) != new.get(section, {}).get(name)
    ]
    with_the_cast = {name for section, name in changed if section == "casts"}
    apart = [each for each in changed if each[0] != "cast bytes" or each[1] not in with_the_cast]
    assert len(sentences) == len(apart)


def test_what_changed_is_named_with_its_factor():
    old = {
        "totals": {"kernels": 1312, "flops": 10},
        "operators": {"aten.sum": 12, "aten.mul": 5000},
        "casts": {"float32 -> float16": 3},
        "cast bytes": {"float32 -> float16": 6},
    }
    new = {
        "totals": {"kernels": 1313},
        "operators": {"aten.sum": 13, "aten.mul": 5001},
        "casts": {"float32 -> float16": 4},
        "cast bytes": {"float32 -> float16": 39_000_006},
        "host syncs": {"aten._local_scalar_dense": 1},
    }
    assert compare_counts(old, new) == [
        "operator aten.mul: 5000 -> 5001 (+1)",
        "operator aten.sum: 12 -> 13 (x1.08)",
        "cast float32 -> float16: 3 -> 4 (x1.33, +39 MB)",
        "host sync aten._local_scalar_dense: 0 -> 1 (new)",
        "flops: 10 -> 0 (gone)",
        "kernels: 1312 -> 1313 (+1)",
    ]


@given(st.dictionaries(st.text(max_size=3), COUNTS))
def test_a_file_gives_back_what_was_written(tmp_path_factory, cases):
    path = tmp_path_factory.mktemp("counts") / "new" / "bench_x.json"
    write_counts(path, CountsFile("2.13.0", cases))
    assert read_counts(path, "2.13.0") == CountsFile("2.13.0", cases)
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "b.json: no such file in counts/; run pytest bench --accept-counts to make it."),
        ("{", "b.json: cannot be read (Expecting property name enclosed in double quotes: line 1 column 2 (char 1));"),
        ("[]", "b.json: not a table of cases' counts; restore it, or delete it and run pytest bench --accept-counts."),
        (
            '{"kind": "counts", "torch": "2", "cases": {"a": {"operators": {"x": 1.5}}}}',
            "b.json: not a table of cases' counts;",
        ),
        (
            '{"kind": "counts", "torch": "2", "cases": {"a": {"times": {"x": 1}}}}',
            "b.json: not a table of cases' counts;",
        ),
        (
            '{"kind": "counts", "torch": "2.12.1", "cases": {}}',
            "b.json: made with PyTorch 2.12.1, and here is 2.13.0, which may dispatch otherwise; install torch==2.12.1,"
            " or run pytest bench --accept-counts.",
        ),
    ],
)
def test_a_file_that_cannot_be_compared_with_is_refused(tmp_path, content, sentence):
    path = tmp_path / "counts" / "b.json"
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    with pytest.raises(CountsError) as error:
        read_counts(path, "2.13.0")
    assert str(error.value).startswith(sentence)


def test_the_build_of_pytorch_does_not_count():
    assert torch_version("2.13.0+cpu") == torch_version("2.13.0") == "2.13.0"


def test_accepting_some_cases_keeps_the_others_and_drops_what_is_gone():
    one, two = {"totals": {"kernels": 1}}, {"totals": {"kernels": 2}}
    old, new = CountsFile("2.13.0", {"a": one, "b": one, "gone": one}), CountsFile("2.13.0", {"a": two, "c": two})
    assert describe_changes(old, new) == ["a", "  kernels: 1 -> 2 (x2)"]
    assert merge_counts(old, new, {"a", "b", "c"}).cases == {"a": two, "b": one, "c": two}
    assert merge_counts(old, new, None).cases == {"a": two, "b": one, "c": two, "gone": one}
    assert describe_unmatched(old, new, {"a", "b", "c"}) == [
        "c: new, without counts to compare with",
        "gone: has counts, but is no case any more",
    ]
    assert describe_unmatched(old, new, None) == ["c: new, without counts to compare with"]


def test_a_file_never_mixes_two_versions_of_pytorch():
    old, new = CountsFile("2.12.1", {"a": {}, "b": {}}), CountsFile("2.13.0", {"a": {}})
    with pytest.raises(CountsError, match=r"made with PyTorch 2\.12\.1, and here is 2\.13\.0: some cases alone"):
        merge_counts(old, new, {"a", "b"})
    assert merge_counts(old, new, {"a"}) == new


def judged(tmp_path, here, accept=False, failed=False, known=("bench_x[a]",)):
    """The verdict on a run that counted one case, beside a repository that has it with one kernel."""
    (tmp_path / "bench_x.py").touch()
    path = tmp_path / "counts" / "bench_x.json"
    if not path.exists():
        write_counts(path, CountsFile(torch_here(), {"bench_x[a]": {"totals": {"kernels": 1}}}))
    tally = Tally(tmp_path / "counts", accept, {("bench_x", case) for case in known}, {"bench_x": set(known)})
    tally.counts = {"bench_x": CountsFile(torch_here(), here)} if here else {}
    return tally.conclude(failed), tally.lines


def test_more_and_fewer_are_both_changes_and_both_can_be_accepted(tmp_path):
    for kernels, code in ((1, EQUAL), (2, CHANGED)):
        assert judged(tmp_path, {"bench_x[a]": {"totals": {"kernels": kernels}}})[0] == code
    for kernels in (2, 1):
        now = {"bench_x[a]": {"totals": {"kernels": kernels}}}
        code, lines = judged(tmp_path, now)
        assert code == CHANGED
        assert lines[:2] == ["bench_x[a]", f"  kernels: {3 - kernels} -> {kernels} (x{kernels / (3 - kernels):g})"]
        assert judged(tmp_path, now, accept=True)[0] == EQUAL
        assert judged(tmp_path, now) == (EQUAL, ["counts of 1 cases: all equal"])


def test_what_cannot_be_compared_is_refused(tmp_path):
    same = {"bench_x[a]": {"totals": {"kernels": 1}}}
    with pytest.raises(CountsError, match="nothing was counted"):
        judged(tmp_path, {}, known=())
    with pytest.raises(CountsError, match=r"^bench_x\[a\] failed or was skipped"):
        judged(tmp_path, {})
    with pytest.raises(CountsError, match=r"^a benchmark failed"):
        judged(tmp_path, same, failed=True)
    with pytest.raises(CountsError, match="some cases cannot be compared"):
        judged(tmp_path, {**same, "bench_x[b]": {}}, known=("bench_x[a]", "bench_x[b]"))
    write_counts(tmp_path / "counts" / "bench_gone.json", CountsFile("2", {}))
    with pytest.raises(CountsError, match="some cases cannot be compared"):
        judged(tmp_path, same)
    assert judged(tmp_path, same, accept=True)[0] == EQUAL
    assert not (tmp_path / "counts" / "bench_gone.json").exists()


def benchmark(**parameters):
    return BenchmarkCase("", BenchmarkId("", "", {}), parameters, frozenset(), frozenset())


def test_only_what_is_ours_and_does_not_wait_is_counted():
    assert not_counted(benchmark(precision="fp16")) is None
    assert not_counted(benchmark(implementation="ours")) is None
    assert not_counted(benchmark(implementation="published")) is not None
    assert not_counted(benchmark(implementation="a new one")) is not None
    assert counts_graph_breaks(benchmark(precision="fp32", case=("study", None)))
    assert not counts_graph_breaks(benchmark(precision="fp16", case=("study", None)))
    assert not counts_graph_breaks(benchmark(precision="fp32", case=("training", None)))


@pytest.fixture
def tree(tmp_path):
    """A copy of what the suite runs from."""
    for name in ("humor", "bench"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def count(tree, *arguments, **changes):
    return run("-q", "bench", *arguments, folder=tree, PYTHONHASHSEED="0", **changes)


def test_a_cast_a_wait_and_a_kernel_a_joint_are_caught_by_name(tree):
    humor = tree / "humor"
    plant(humor / "losses.py", "HumorLoss.evaluate", "given[1].contacts.to(torch.bfloat16).mean().item()")
    plant(humor / "kinematics.py", "place_joints", "for joint in range(22):", "    given[0][:, joint].abs()")
    result = count(tree, "--counts", "-k", "loss_step and fp32-study and ours and not backward")
    assert result.returncode == CHANGED, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert "bench_loss_step[fp32-study-forward-ours]" in lines
    assert "  cast float32 -> bfloat16: 0 -> 1 (new, +4.32 kB)" in lines
    assert "  host sync aten._local_scalar_dense: 0 -> 1 (new)" in lines
    assert "  operator aten.abs: 0 -> 44 (new)" in lines  # 22 joints of a prediction and of a target
    assert any(re.match(r"  graph break: .*item", line) for line in lines), result.stdout


@pytest.mark.slow
def test_a_fresh_tree_counts_what_the_repository_holds_and_another_pytorch_is_refused(tree):
    file = tree / "bench" / "counts" / "bench_linear.json"
    held = read_counts(file)
    file.unlink()
    choice = ["-k", "bench_linear and 1024 and not wide"]
    result = count(tree, "--accept-counts", *choice, OMP_NUM_THREADS="2")
    assert result.returncode == EQUAL, result.stdout + result.stderr
    fresh = read_counts(file)
    assert fresh.cases == {case: counts for case, counts in held.cases.items() if "1024-f" in case}
    write_counts(file, CountsFile("2.0.0", held.cases))
    result = count(tree, "--counts", *choice)
    assert result.returncode == 4
    assert re.fullmatch(r"ERROR: bench_linear\.json: made with PyTorch 2\.0\.0, and here is .*", result.stderr.strip())


def test_counts_are_refused_for_what_only_one_machine_has():
    result = run_here("bench", "--counts", "--motion", "some.npz")
    assert result.returncode == 4
    sentence = "ERROR: --counts counts what every clone has and a CPU does soon; leave --motion out."
    assert result.stderr.strip() == sentence


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_cpu_without_half_precision_counts_the_same(monkeypatch, half):
    monkeypatch.setattr(cpu_half_emulation, "needs_emulation", lambda kind: True)
    model, rows = HumorModel(), torch.randn(3, 339)

    def decoded():
        with torch.autocast("cpu", half):
            out = model.prior_net(rows)
        out.float().sum().backward()

    decoded()
    plain = count_call(decoded, False, PROJECT.root / PROJECT.library, PROJECT.uncounted_files)
    with cpu_half_emulation.emulate_half_on_cpu():
        assert count_call(decoded, False, PROJECT.root / PROJECT.library, PROJECT.uncounted_files) == plain
    assert plain["casts"]
