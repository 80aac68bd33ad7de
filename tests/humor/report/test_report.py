"""One page of everything: a section for what is given and for nothing else, in true sentences, deaf to markup."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from humor.cli.app import main
from humor.errors import FileError
from humor.report import as_document, page, read_document, write_page
from humor.report.numbers import SIZES, TIMES, digits, multiple, percent, unit_of
from tests.support import report_documents as made

HOSTILE = '</title></svg><script>alert(1)</script><img src=x onerror="alert(2)">\'&$\\frac{1}$\x00\x1b[2J\ud800 日本'
KINDS = {
    "verdicts": (made.verdicts, ["gate"]),
    "precisions": (made.precisions, ["pays", "right"]),
    "profile": (made.profile, ["phases", "linear", "memory"]),
    "crossover": (made.crossover, ["crossover"]),
    "roofline": (made.roofline, ["roofline"]),
    "saved run": (made.saved_run, ["run"]),
    "prediction": (made.prediction, ["published", "predicted"]),
}


class Page(HTMLParser):
    """What a page holds: tags with attributes, the text of each table's rows, sections, sentences."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.leads, self.notes, self.words = [], [], [], [], []
        self._open = None
        self.feed(text)
        self.sections = [attributes["id"] for tag, attributes in self.tags if tag == "section"]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        lists = {"tr": self.rows, "p": {"lead": self.leads, "note": self.notes}.get(attributes.get("class"))}
        if lists.get(tag) is not None:
            self._open = lists[tag]
            self._open.append([] if tag == "tr" else "")
        elif tag in ("th", "td") and self._open is self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("tr", "p"):
            self._open = None

    def handle_data(self, data):
        if self._open is self.rows and self.rows[-1]:
            self.rows[-1][-1] += data
        elif self._open is not None and self._open is not self.rows:
            self._open[-1] += data


def shown(*contents):
    return Page(page([as_document(content, f"{number}.json") for number, content in enumerate(contents)]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return page([read_document(file) for file in made.everything(tmp_path_factory.mktemp("documents"))])


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_has_its_sections_and_no_others(kind):
    build, sections = KINDS[kind]
    assert as_document(build(), "x").kind == kind
    assert shown(build()).sections == sections


def test_everything_has_every_section_once_with_one_sentence_each(whole):
    found = Page(whole)
    assert found.sections == ["gate", "pays", "right", "phases", "linear", "crossover", "roofline", "memory", "history",
                              "training", "published", "predicted"]  # fmt: skip
    assert len(found.leads) == len(found.sections)


def test_every_sentence_is_computed_from_the_numbers(whole):
    assert [" ".join(lead.split()) for lead in Page(whole).leads[:9]] == [
        "slower: main → working tree: 1 slower, 1 unclear, 1 faster, 2 same.",
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
    found = shown(made.prediction())
    assert all("redicted" in lead and "not measured" in lead for lead in found.leads)
    heads = [row for row in found.rows if row[0] in ("number", "case")]
    assert [[cell for cell in head if "predicted" in cell] for head in heads] == [["predicted, ms"], ["predicted, ms"]]


def test_a_model_fitted_to_everything_is_not_called_tested():
    content = made.prediction()
    for row in content["published"]:
        row["fitted"] = True
    assert "every published number was used to fit the model, so that none tests it." in shown(content).leads[0]


def test_a_refusal_is_the_first_word_and_says_why():
    content = made.verdicts() | {
        "verdict": "refused",
        "exit": 4,
        "reason": "another machine: A then, B now.",
        "cases": [],
    }
    assert shown(content).leads == [
        "refused: main → working tree: no case was compared. another machine: A then, B now."
    ]


def test_every_number_is_in_a_table(whole):
    rows = {tuple(row) for row in Page(whole).rows}
    change = ("+0.4\u00a0%", "-1.5\u00a0%", "+2.4\u00a0%")
    assert ("bench_sampling.py::bench_sampling[fp32-small]", "same", *change, "9.158", "9.195") in rows
    assert ("linear, 4096", "tf32", "pays", "4.80×", "4.61×", "5.04×", "1.88", "") in rows
    assert ("1024 × 1024", "10", "0.654×", "0.608×", "0.706×") in rows
    assert ("table 3, width 4, sample, fp16", "9.00", "10.4", "+15.6\u00a0%", "") in rows
    assert ("1", "linear, 1024, fp32", "200", "42424", "83.2\u00a0%", "compute") in rows


def test_a_page_loads_nothing_and_runs_nothing(whole):
    tags = Page(whole).tags
    assert {tag for tag, _ in tags} <= {
        "html", "head", "meta", "title", "link", "style", "body", "a", "header", "main", "footer", "nav", "section",
        "ul", "li", "h1", "h2", "h3", "p", "strong", "details", "summary", "div", "table", "caption", "thead", "tbody",
        "tr", "th", "td", "svg", "g", "path", "use", "defs", "text", "desc",
    }  # fmt: skip
    places = [value for _, attributes in tags for name, value in attributes.items() if name in ("href", "src")]
    assert [place for place in places if not place.startswith(("#", "data:,"))] == []
    assert set(re.findall(r"https?://[^\"']*", whole)) <= {"http://www.w3.org/2000/svg"}
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]


def test_identifiers_are_unique_and_found(whole):
    tags = Page(whole).tags
    identifiers = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    referred = [a["href"][1:] for _, a in tags if a.get("href", "").startswith("#")]
    referred += [name for _, a in tags for name in a.get("aria-labelledby", "").split()]
    assert referred
    assert set(referred) <= set(identifiers)


def test_headings_follow_each_other_and_charts_and_tables_are_named(whole):
    tags = Page(whole).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    charts = [attributes for tag, attributes in tags if tag == "svg"]
    assert all(chart["role"] == "img" and chart["aria-labelledby"] for chart in charts)
    tables = [tag for tag, _ in tags if tag in ("table", "caption", "details")]
    assert tables == ["details", "table", "caption"] * (len(tables) // 3)
    assert len(charts) == 2 * len(tables) / 3  # a wide one and a narrow one


def test_charts_take_every_colour_from_the_page(whole):
    charts = "".join(re.findall(r"<svg.*?</svg>", whole, re.DOTALL))
    used = set(re.findall(r"(?:fill|stroke):([^;\"]*)", charts))
    assert {colour for colour in used if not colour.startswith("var(--")} == {"none"}
    named = set(re.findall(r"var\(--([\w-]+)\)", charts))
    assert len(named) > 10
    assert all(whole.count(f"--{name}: ") == 2 for name in named)  # in the light, and in the dark


def test_the_same_documents_make_the_same_page(whole, tmp_path):
    assert page([read_document(file) for file in made.everything(tmp_path)]) == whole


def replaced(content, change):
    if isinstance(content, dict):
        return {key: replaced(value, change) for key, value in content.items()}
    if isinstance(content, list):
        return [replaced(value, change) for value in content]
    return change(content)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_of_a_document_becomes_markup(kind):
    keep = {kind, "slower", "unclear", "same", "faster", "pays", "wrong", "does not pay"}
    content = replaced(KINDS[kind][0](), lambda x: HOSTILE + x if isinstance(x, str) and x not in keep else x)
    text = page([as_document(content, HOSTILE)])
    tags = [tag for tag, _ in Page(text).tags]
    assert "script" not in tags
    assert "img" not in tags
    assert tags.count("title") == 1 + text.count("<title") - 1
    assert "&lt;script&gt;alert(1)" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff]", text)


def without_numbers(content):
    return replaced(content, lambda x: None if isinstance(x, int | float) and not isinstance(x, bool) else x)


@pytest.mark.parametrize("kind", ["verdicts", "precisions", "profile", "crossover", "prediction"])
def test_numbers_that_are_not_known_are_dashes(kind):
    found = shown(without_numbers(KINDS[kind][0]()))
    assert found.sections
    assert any("–" in row for row in found.rows)


@pytest.mark.parametrize("kind", ["roofline", "saved run"])
def test_a_document_without_its_numbers_may_have_nothing_to_show(kind):
    with pytest.raises(FileError, match=r"^nothing to report in 0\.json; give JSON"):
        shown(without_numbers(KINDS[kind][0]()))


def test_a_file_may_hold_what_json_does_not_know(tmp_path):
    content = (
        json.dumps(made.precisions())
        .replace('"bound": 0.03', '"bound": NaN')
        .replace('"low": ', '"low": -Infinity, "x": ')
    )
    (tmp_path / "p.json").write_text(content)
    assert Page(page([read_document(tmp_path / "p.json")])).sections == ["pays"]


def history(*runs):
    found = shown(*runs)
    return {row[0]: row[1:] for row in found.rows[1:]}, found


def test_saved_runs_are_told_in_order_of_time_and_marked_where_they_changed():
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
    found = shown(
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
    (lead,) = shown(content).leads
    assert lead == (
        "6 cases of one run; the median is below that of fp32 for bf16 in 1 of 2; "
        "times that the published code takes of ours: 3.06× in bench_step."
    )


def test_a_run_whose_cases_have_no_precision_is_shown_too():
    content = made.saved_run()
    content["benchmarks"] = [{"name": "bench_x", "stats": {"median": 1.0, "q1": 1.0, "q3": 1.0, "rounds": 5}}]
    found = shown(content)
    assert found.leads == ["1 case of one run."]
    assert found.rows[1][:2] == ["bench_x", "no precision"]


def test_a_long_history_of_many_cases_is_still_a_small_page():
    names = [f"bench_thing[case-{number}]" for number in range(80)]
    wobble = np.random.default_rng(0).normal(1, 0.05, (20, 80))
    runs = [made.saved_run(n, **dict(zip(names, times.tolist(), strict=True))) for n, times in enumerate(wobble)]
    assert len(page([as_document(run, "x") for run in runs]).encode()) < 2e6


def test_a_whole_report_is_a_small_file(whole):
    assert len(whole.encode()) < 400e3


def test_a_training_run_and_a_study_have_their_curves(tmp_path):
    one = page([read_document(made.training_run(tmp_path / "run7"))])
    assert re.fullmatch(
        r"run7, 8 epochs: train loss from 3\.\d+ to 0\.\d+, validation loss from [\d.]+ to [\d.]+\.", Page(one).leads[0]
    )
    study = Page(page([read_document(made.study(tmp_path / "study"))]))
    assert study.leads == ["The curves of fp16 and fp32 agree. The curves of bf16 and fp32 agree."] or study.notes
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
    rows = Page(page([read_document(folder)])).rows
    assert rows[0] == ["epoch", "fp32", "fp16", "bf16"]  # one seed
    assert [row[0] for row in rows[1:4]] == ["1", "2", "3"]
    assert rows[4][0] == "epoch"


def test_nothing_to_show_is_no_page(tmp_path):
    with pytest.raises(FileError, match=r"^nothing to report in no file; give JSON"):
        write_page([], tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_page(tmp_path, capsys, whole):
    out = tmp_path / "report.html"
    main(["report", *map(str, made.everything(tmp_path)), "--out", str(out)])
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert out.read_text() == whole


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
