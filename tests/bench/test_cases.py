"""Every case is benchmarked somewhere, and a CPU leaves out what would take it minutes."""

import pytest

from bench import cases
from bench.cases import Case, Choice, left_out
from tests.support.pytest_process import run_here

TABLES = {
    name: table
    for name, table in vars(cases).items()
    if isinstance(table, dict) and table and all(isinstance(case, Case) for case in table.values())
}
# Of each table: what a CPU runs in float32; in float16; beside a published implementation, in float32.
ON_A_CPU = {
    "LINEAR": ("1024 4096 1024-wide", "1024 4096", None),
    "SAMPLING": ("small study study-4x training", "small study study-4x", None),
    "ROLLOUT": ("one many", "one many", None),
    "FIT": ("one many", "one", None),
    "POSING": ("study", "study", "study"),
    "LOSS": ("small study training", "small study", "small study"),
    "TRAIN": ("small study", "small study", "small study"),
    "LIFTING": ("27 81 243", "27 81 243", None),
    "LIFTING_STEP": ("27 81", "27 81", None),
    "DATA": ("study training", None, None),
}
WHERE_HALF_IS_EMULATED = {"LINEAR": "1024", "SAMPLING": "small", "ROLLOUT": "one", "FIT": "one", "TRAIN": "small"}
GEOMETRY = {"POSING", "LOSS", "DATA"}  # which have no layers


class Collector:
    """A plugin that keeps the cases of each benchmark that would run."""

    def __init__(self):
        self.cases = {}

    def pytest_collection_finish(self, session):
        for item in session.items:
            if "case" in item.callspec.params:
                name, case = item.callspec.params["case"]
                self.cases.setdefault(item.originalname, {})[name] = case


def names(table, precision, implementation="ours", **machine):
    """The cases of a table that a CPU runs."""
    return [
        name
        for name, case in TABLES[table].items()
        if left_out(Choice(name, case, precision, implementation), "cpu", quick=False, full=False, **machine) is None
    ]


def test_every_case_of_every_table_is_benchmarked():
    collector = Collector()
    result = run_here("bench", "--collect-only", "-q", "--full", "--device", "cpu", plugins=[collector])
    assert result.returncode == 0, result.stdout + result.stderr
    for name, table in TABLES.items():
        assert table in collector.cases.values(), name


def test_every_table_is_expected_below():
    assert TABLES.keys() == ON_A_CPU.keys()


@pytest.mark.parametrize("table", ON_A_CPU)
def test_a_cpu_runs_what_does_not_take_it_minutes(table):
    single, half, published = ON_A_CPU[table]
    assert names(table, "fp32") == single.split()
    if half is not None:
        assert names(table, "fp16") == half.split()
    if published is not None:
        assert names(table, "fp32", "published") == published.split()
        assert names(table, "fp16", "published") == []


@pytest.mark.parametrize("table", sorted(ON_A_CPU.keys() - GEOMETRY))
def test_a_cpu_that_emulates_half_precision_runs_the_smallest_case(table):
    assert names(table, "bf16-weights", emulates=True) == WHERE_HALF_IS_EMULATED.get(table, "").split()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("device", "full"), [("cuda", False), ("cpu", True)])
def test_a_gpu_and_a_full_run_leave_nothing_out(table, precision, device, full):
    for name, case in TABLES[table].items():
        choice = Choice(name, case, precision, "published")
        assert left_out(choice, device, quick=False, full=full, emulates=True) is None


def test_a_quick_run_has_one_case_of_each_table():
    for table in TABLES.values():
        choices = [Choice(name, case, "fp32", "ours") for name, case in table.items()]
        assert [left_out(each, "cuda", quick=True, full=True) for each in choices].count(None) == 1


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("precision", "reason"),
    [("bf16-weights", "no network weights to keep in half"), ("fp8", "no network layers to multiply in float8")],
)
def test_a_precision_of_weights_is_left_out_where_there_are_none(table, precision, reason):
    for name, case in TABLES[table].items():
        found = left_out(Choice(name, case, precision, "ours"), "cuda", quick=False, full=False)
        assert found == (reason if table in GEOMETRY else None)
