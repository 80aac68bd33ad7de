"""One page of everything: a section for what is given and for nothing else, and no text becomes markup."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from humor.cli.app import main
from humor.errors import FileError
from humor.report import as_document, read_document, render_page, write_page
from tests.support import report_documents as made
from tests.support.parsed_page import Page, render

HOSTILE = '</title></svg><script>alert(1)</script><img src=x onerror="alert(2)">\'&$\\frac{1}$\x00\x1b[2J\ud800 日本'
KINDS = {
    "verdicts": (made.verdicts, ["gate"]),
    "precisions": (made.precisions, ["precisions", "accuracy"]),
    "profile": (made.profile, ["phases", "linear", "memory"]),
    "crossover": (made.crossover, ["crossover"]),
    "roofline": (made.roofline, ["roofline"]),
    "saved run": (made.saved_run, ["run"]),
    "prediction": (made.prediction, ["published", "predicted"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_has_its_sections_and_no_others(kind):
    build, sections = KINDS[kind]
    assert render(build()).sections == sections


def test_everything_has_every_section_once_with_one_sentence_each(whole):
    found = Page(whole)
    assert found.sections == [
        *("gate", "precisions", "accuracy", "phases", "linear", "crossover", "roofline", "memory", "history"),
        *("training", "published", "predicted"),
    ]
    assert len(found.leads) == len(found.sections)


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
    assert render_page([read_document(file) for file in made.everything(tmp_path)]) == whole


def replaced(content, change):
    if isinstance(content, dict):
        return {key: replaced(value, change) for key, value in content.items()}
    if isinstance(content, list):
        return [replaced(value, change) for value in content]
    return change(content)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_of_a_document_becomes_markup(kind):
    keep = {kind, "slower", "unclear", "passes", "faster", "pays", "wrong", "does not pay"}

    def with_texts(prefix):
        return replaced(KINDS[kind][0](), lambda x: prefix + x if isinstance(x, str) and x not in keep else x)

    text = render_page([as_document(with_texts(HOSTILE), HOSTILE)])
    harmless = render_page([as_document(with_texts(re.sub("[<>\"'&]", "", HOSTILE)), "x")])
    hostile_tags, harmless_tags = (Counter(tag for tag, _ in Page(each).tags) for each in (text, harmless))
    for drawn in ("path", "text", "g", "use"):  # an axis has as many ticks as its labels leave room for
        del hostile_tags[drawn], harmless_tags[drawn]
    assert hostile_tags == harmless_tags
    assert hostile_tags["title"] > 1
    assert not {"script", "img"} & hostile_tags.keys()
    assert "&lt;script&gt;alert(1)" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff]", text)


def without_numbers(content):
    return replaced(content, lambda x: None if isinstance(x, int | float) and not isinstance(x, bool) else x)


@pytest.mark.parametrize("kind", ["verdicts", "precisions", "profile", "crossover", "prediction"])
def test_numbers_that_are_not_known_are_dashes(kind):
    found = render(without_numbers(KINDS[kind][0]()))
    assert found.sections
    assert any("–" in row for row in found.rows)


@pytest.mark.parametrize("kind", ["roofline", "saved run"])
def test_a_document_without_its_numbers_may_have_nothing_to_show(kind):
    with pytest.raises(FileError, match=r"^nothing to report in 0\.json; give JSON"):
        render(without_numbers(KINDS[kind][0]()))


def test_a_long_history_of_many_cases_is_still_a_small_page():
    names = [f"bench_thing[case-{number}]" for number in range(80)]
    wobble = np.random.default_rng(0).normal(1, 0.05, (20, 80))
    runs = [made.saved_run(n, **dict(zip(names, times.tolist(), strict=True))) for n, times in enumerate(wobble)]
    assert len(render_page([as_document(run, "x") for run in runs]).encode()) < 2e6


def test_a_whole_report_is_a_small_file(whole):
    assert len(whole.encode()) < 400e3


def test_nothing_to_show_is_no_page(tmp_path):
    with pytest.raises(FileError, match=r"^nothing to report in no file; give JSON"):
        write_page([], tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_page(tmp_path, capsys, whole):
    out = tmp_path / "report.html"
    main(["report", *map(str, made.everything(tmp_path)), "--out", str(out)])
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert out.read_text() == whole
