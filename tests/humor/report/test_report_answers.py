"""What the page says: sentences, tables and marks follow from the numbers of the documents alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from humor.precision.presets import PRESETS
from humor.report import read_document, render_page
from humor.report.numbers import SIZES, TIMES, digits, multiple, percent, unit_of
from humor.report.style import style_of
from tests.support import report_documents as made
from tests.support.parsed_page import Page, render


def test_every_sentence_is_computed_from_the_numbers(whole):
    assert [" ".join(lead.split()) for lead in Page(whole).leads[:9]] == [
        "slower: main → working tree: 1 slower, 1 unclear, 1 faster, 2 passes, 1 untouched.",
        "tf32 pays in 4 of 5 cases (1 does not pay); fp16 pays in 3 of 5 cases (1 does not pay, 1 wrong); "
        "bf16 pays in 4 of 5 cases (1 does not pay).",
        "wrong: 14 of 15 errors within the bound; beyond it: train step, 200 windows, fp16.",
        "At width 1, backward takes 55.1 % of a step of 200 windows in fp32 (36.1 ms); no precision is clearly faster. "
        "At width 4, backward takes 57.7 % of a step of 200 windows in fp32 (71.1 ms); tf32 is 1.59× as fast.",
        "At 4096 × 4096, 2000 rows, bf16 is the fastest; its kernel is 63.2 % of its time.",
        "bf16 is faster at 18 of 25 sizes, first at 256 × 256 with 2000 rows, and slower at 7; "
        "fp16 is faster at 15 of 25 sizes, first at 256 × 256 with 8000 rows, and slower at 7.",
        "Nearest to its roof is linear, 4096, fp32, at 93.8 %; memory is the roof of 3 of 8 cases.",
        "A step holds at most 4.30 GB (width 4, fp32), at least 0.864 GB (width 1, bf16).",
        "4 runs of 8 cases; marked changes from the run before: 1 slower, 1 faster.",
    ]
    assert Page(whole).leads[-2:] == [
        "Predicted for a T4, not measured: of 6 published numbers that the model was not fitted to, "
        "it is off by 7.2\u00a0% at the middle and 15.6\u00a0% at most.",
        "Predicted for a T4, not measured: launch binds 1 of 3 cases.",
    ]


def test_what_is_predicted_always_says_so():
    found = render(made.prediction())
    assert all("redicted" in lead and "not measured" in lead for lead in found.leads)
    heads = [row for row in found.rows if row[0] in ("number", "case")]
    assert [[cell for cell in head if "predicted" in cell] for head in heads] == [["predicted, ms"], ["predicted, ms"]]


def test_a_model_fitted_to_everything_is_not_called_tested():
    content = made.prediction()
    for row in content["published"]:
        row["fitted"] = True
    assert "every published number was used to fit the model, so that none tests it." in render(content).leads[0]


def test_a_refusal_is_the_first_word_and_says_why():
    content = made.verdicts() | {
        "verdict": "refused",
        "exit": 4,
        "reason": "another machine: A then, B now.",
        "cases": [],
        "untouched": [],
    }
    assert render(content).leads == [
        "refused: main → working tree: no case was compared. another machine: A then, B now."
    ]


def test_every_number_is_in_a_table(whole):
    rows = {tuple(row) for row in Page(whole).rows}
    change = ("+0.4\u00a0%", "-1.5\u00a0%", "+2.4\u00a0%", "+1.8\u00a0%")
    assert ("bench_sampling.py::bench_sampling[fp32-small]", "passes", *change, "9.158", "9.195") in rows
    assert ("linear, 4096", "tf32", "pays", "4.80×", "4.61×", "5.04×", "1.88", "") in rows
    assert ("1024 × 1024", "10", "0.654×", "0.608×", "0.706×") in rows
    assert ("table 3, width 4, sample, fp16", "9.00", "10.4", "+15.6\u00a0%", "") in rows
    assert ("1", "linear, 1024, fp32", "200", "42424", "83.2\u00a0%", "compute") in rows


def history(*runs):
    found = render(*runs)
    return {row[0]: row[1:] for row in found.rows[1:]}, found


def test_saved_runs_are_shown_in_order_of_time_and_marked_where_they_changed():
    cells, found = history(made.saved_run(3), made.saved_run(0), made.saved_run(2), made.saved_run(1))
    assert found.rows[0] == ["median, ms", *(f"2025-11-{10 + n} 09:30, {n}abcdef" for n in range(4))]
    marks = {name: [cell[-1] if cell[-1] in "▲▼" else "" for cell in row] for name, row in cells.items()}
    assert marks.pop("bench_train_step[fp32-training-ours]") == ["", "", "▲", ""]
    assert marks.pop("bench_linear[bf16-4096-forward]") == ["", "", "", "▼"]
    assert {mark for row in marks.values() for mark in row} == {""}


def run(number, median, spread=0.01, **more):
    content = made.saved_run(number, **more)
    stats = {"median": median, "q1": (1 - spread) * median, "q3": (1 + spread) * median, "rounds": 9}
    content["benchmarks"] = [{"name": "only", "stats": stats}]
    return content


@pytest.mark.parametrize(
    ("runs", "marks"),
    [
        ((run(0, 1.0), run(1, 1.029)), ["", ""]),  # too little to matter
        ((run(0, 1.0), run(1, 1.031)), ["", "▲"]),
        ((run(0, 1.0, 0.03), run(1, 1.05, 0.03)), ["", ""]),  # the middle halves touch
        ((run(0, 1.0), run(1, 1.2, machine="b")), ["", ""]),  # another machine
        ((run(0, 1.0), made.saved_run(1), run(2, 1.2)), ["", "", "▲"]),  # against the last that has the case
        ((run(0, 1.0), run(1, 0.5)), ["", "▼"]),
    ],
)
def test_a_mark_is_more_than_the_spread_on_one_machine(runs, marks):
    cells, found = history(*runs)
    assert [cell[-1] if cell[-1] in "▲▼" else "" for cell in cells["only"]] == marks
    other = "another machine, PyTorch or number of threads than the run before; nothing is marked."
    assert any(other in note for note in found.notes) == (runs[-1]["machine_info"]["fingerprint"]["machine"] == "b")


def test_one_saved_run_has_a_table_for_each_benchmark_with_its_precisions_side_by_side():
    found = render(
        made.saved_run(**{"bench_linear[bf16-1024-forward]": 0.5e-3, "bench_linear[fp32-1024-forward]": 1e-3})
    )
    assert found.sections == ["run"]
    rows = [row[:3] for row in found.rows if row[0] in ("1024-forward", "training-ours")]
    assert [row[:2] for row in rows] == [
        ["1024-forward", "fp32"],
        ["1024-forward", "bf16"],
        *(["training-ours", precision] for precision in ("fp32", "tf32", "fp16", "bf16")),
    ]
    assert [row[2] for row in rows[:2]] == ["1.00", "0.500"]


def test_one_saved_run_says_how_often_a_precision_was_faster_and_what_published_code_takes():
    times = {"bench_step[fp32-a-ours]": 1.0, "bench_step[bf16-a-ours]": 0.9, "bench_step[fp32-b-ours]": 1.0}
    times |= {"bench_step[bf16-b-ours]": 1.1, "bench_step[fp32-a-published]": 6.0, "bench_step[bf16-a-published]": 0.1}
    content = made.saved_run()
    content["benchmarks"] = [
        {"name": name, "stats": {"median": m, "q1": m, "q3": m, "rounds": 5}, "extra_info": {"precision": name[11:15]}}
        for name, m in times.items()
    ]
    (lead,) = render(content).leads
    assert lead == (
        "6 cases of one run; the median is below that of fp32 for bf16 in 1 of 2; "
        "times that the published code takes of ours: 3.06× in bench_step."
    )


def test_a_run_whose_cases_have_no_precision_is_shown_too():
    content = made.saved_run()
    content["benchmarks"] = [{"name": "bench_x", "stats": {"median": 1.0, "q1": 1.0, "q3": 1.0, "rounds": 5}}]
    found = render(content)
    assert found.leads == ["1 case of one run."]
    assert found.rows[1][:2] == ["bench_x", "no precision"]


def test_a_training_run_and_a_study_have_their_curves(tmp_path):
    one = render_page([read_document(made.training_run(tmp_path / "run7"))])
    assert re.fullmatch(
        r"run7, 8 epochs: train loss from 3\.\d+ to 0\.\d+, validation loss from [\d.]+ to [\d.]+\.", Page(one).leads[0]
    )
    study = Page(render_page([read_document(made.study(tmp_path / "study"))]))
    assert study.leads == ["The curves of fp16 and fp32 differ. The curves of bf16 and fp32 differ."]
    assert study.notes[0].startswith("The curves of fp16 and fp32")
    heads = [row for row in study.rows if row[0] == "epoch"]
    assert heads[0] == [
        "epoch",
        *(f"{p}{what}" for p in ("fp32", "fp16", "bf16") for what in ("", ", lowest", ", highest")),
    ]


def test_an_unfinished_study_is_shown_as_far_as_all_of_it_is(tmp_path):
    folder = made.study(tmp_path / "study", seeds=2)
    (folder / "fp16-seed1" / "epochs.csv").unlink()
    short = (folder / "bf16-seed0" / "epochs.csv").read_text().splitlines(keepends=True)
    (folder / "bf16-seed0" / "epochs.csv").write_text("".join(short[:4]))
    rows = Page(render_page([read_document(folder)])).rows
    assert rows[0] == ["epoch", "fp32", "fp16", "bf16"]  # one seed
    assert [row[0] for row in rows[1:4]] == ["1", "2", "3"]
    assert rows[4][0] == "epoch"


@given(st.floats(-1e300, 1e300), st.integers(1, 6))
def test_a_number_reads_back_to_so_many_digits(value, significant):
    assert float(digits(value, significant)) == pytest.approx(value, rel=0.5001 * 10 ** (1 - significant), abs=0)


def test_numbers_are_short_and_carry_their_unit():
    assert [digits(x) for x in (0, 0.00012345, 9.996, 12345, 1e-9, 1e15, -2.5, None, float("nan"))] == [
        "0", "0.000123", "10.0", "12345", "1.00e-09", "1.00e+15", "-2.50", "–", "–",
    ]  # fmt: skip
    assert (multiple(1.2345), multiple(None)) == ("1.23×", "–")
    assert (percent(0.0941, signed=True), percent(-0.05), percent(None)) == ("+9.4\u00a0%", "-5.0\u00a0%", "–")
    assert unit_of([2e-3, None, 1e-6], TIMES) == (1e-3, "ms")
    assert unit_of([], SIZES) == (1e3, "kB")


def test_every_precision_has_a_look_that_no_other_has_and_so_has_a_name_that_nobody_knew():
    names = [*PRESETS, "fp4", "int8", "no precision"]
    assert len({style_of(name) for name in names}) == len(names)
