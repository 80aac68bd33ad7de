"""Verdicts as Markdown: the worst first, short enough for a comment, with all text escaped."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.harness.output import markdown as module
from bench.harness.output.markdown import LISTS, MARKER, code, markdown, plain
from bench.harness.output.verdict_table import EXIT_CODES

ROOT = Path(__file__).parents[3]
COMMENT = 65_536 - 500  # GitHub's limit in characters, less room for the link


def case(name, verdict="passes", change=0.0, **more):
    spread = {
        "low": change - 0.01,
        "high": change + 0.01,
        "upper_bound": change + 0.008,
        "pairs": 64,
        "base_ms": 1.0,
        "head_ms": 1.0 + change,
    }
    return {"case": name, "verdict": verdict, "change": change, **spread, "log_ratios": [[0.0]]} | more


def report(*cases, verdict="passes", **more):
    return {
        "kind": "verdicts",
        "exit": EXIT_CODES.get(verdict, 4),
        "verdict": verdict,
        "reason": "",
        "versions": {
            "base": {"ref": "HEAD~1", "commit": "abcdef0123456789"},
            "head": {"ref": "working tree", "commit": "0123456789abcdef", "dirty": True},
        },
        "fingerprint": {"cpu": "Model A", "torch": "2.13.0", "mig": None},
        "settings": {"slower_than": 0.03, "threads": 1},
        **{name: [] for name in LISTS},
        "cases": list(cases),
        "seconds": 14.2,
    } | more


def test_a_report_has_a_heading_a_table_lists_and_details():
    text = markdown(
        report(
            case(
                "linear[a]", "passes", 0.002, low=-0.004, high=0.009, upper_bound=0.007, base_ms=1.0224, head_ms=1.0244
            ),
            case("linear[b]", "slower", 0.2, low=0.15, high=0.25, base_ms=10.0, head_ms=12.0, touched_by="shop.buy"),
            verdict="slower",
            controls=[case("rotations")],
            untouched=["fit[a]", "fit[b]"],
            not_run=["shop.unused"],
            skipped=[{"case": "fit[c]", "why": "no GPU"}],
            only_base=["old"],
            only_head=["new"],
            failed=[{"case": "linear[c]", "why": "RuntimeError: no memory"}],
            warnings=["busy machine: wait."],
        )
    )
    assert (
        text
        == """\
<!-- humor-bench: verdicts -->
### slower: 1 slower, 1 passes, 2 untouched, 1 failed

`HEAD~1` (`abcdef0123`) → `working tree` (`0123456789`, with changes that are not committed), measured in 14 s.

| verdict | case | head / base | base ms | head ms |
|---|---|---:|---:|---:|
| **slower** | `linear[b]` | 1.200 [1.150, 1.250] | 10 | 12 |
| passes | `linear[a]` | 1.002 (below 1.007) | 1.022 | 1.024 |
| control | `rotations` | 1.000 (below 1.008) | 1 | 1 |

**Failed**

- `linear[c]`: RuntimeError: no memory

**Skipped**

- `fit[c]`: no GPU

**Changed, and run by these cases**

- `shop.buy`

**Changed, and run by none of the benchmarks**

- `shop.unused`

**Only in the base version**

- `old`

**Only in the head version**

- `new`

**Warnings**

- busy machine: wait.

<details><summary>Settings and machine</summary>

- slower\\_than: `0.03`
- threads: `1`
- cpu: `Model A`
- torch: `2.13.0`

</details>
"""
    )


def rows(text):
    return [line.split("`")[1] for line in text.splitlines() if line.startswith("| ") and "`" in line]


def test_the_worst_case_comes_first():
    words = ["faster", "passes", "unclear", "slower"]
    cases = [case(f"{word} {change}", word, change) for word in words for change in (-0.1, 0.3, 0.2)]
    order = ["slower", "unclear", "faster", "passes"]
    assert rows(markdown(report(*cases, verdict="slower"))) == [f"{w} {c}" for w in order for c in (0.3, 0.2, -0.1)]


def test_a_refusal_gives_its_reason():
    text = markdown(report(verdict="refused", reason="another machine: A then, B now."))
    assert "### refused: no case was compared" in text
    assert "another machine: A then, B now." in text
    assert "| verdict |" not in text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_an_unknown_number_is_a_question_mark(value):
    text = markdown(report(case("a", "unclear", 0.1, high=value, base_ms=value), verdict="unclear"))
    assert "| **unclear** | `a` | 1.100 [1.090, ?] | ? | 1.1 |" in text


def test_a_long_report_keeps_the_worst_and_counts_the_rest():
    cases = [case(f"case[{number:04d}]" + "x" * 100, "passes", -number / 1e5) for number in range(2000)]
    text = markdown(report(*cases, case("bad", "slower", 0.5), verdict="slower"))
    assert len(text) <= COMMENT
    shown = rows(text)
    assert shown[0] == "bad"
    assert len(shown) > 100
    assert f"{2001 - len(shown)} more cases" in text
    assert "Settings and machine" in text


def test_long_lists_are_cut_and_counted():
    text = markdown(report(only_base=[f"n{number}" for number in range(25)]))
    assert "- `n19`\n- and 5 more\n" in text


LONG = st.lists(st.text(max_size=3000), max_size=60)


@given(LONG, LONG, LONG)
@example(["&" * 3000] * 60, ["&" * 3000] * 60, ["&" * 3000] * 60)
def test_no_report_is_longer_than_a_comment(names, sentences, failed):
    cases = [case(name) for name in names]
    broken = [{"case": name, "why": name * 9} for name in failed]
    made = report(*cases, only_base=names, only_head=names, warnings=sentences, failed=broken, reason="x" * 9999)
    assert len(markdown(made)) <= COMMENT


@given(st.text(alphabet="ab`|\n\r<>@*[]()!#~\\& ", max_size=40))
def test_no_name_leaves_its_cell_or_becomes_markup(name):
    span = code(name)
    assert span[0] == span[-1] == "`"
    assert "`" not in span[1:-1]
    assert len((span + plain(name)).splitlines()) == 1
    assert "<" not in plain(name)
    assert "@a" not in plain(name)
    header, row = (line for line in markdown(report(case(name))).splitlines() if line.startswith(("| v", "| p")))
    assert row.replace("\\|", "").count("|") == header.count("|")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "v.json: no such file; the run ended before it had a verdict, see its log."),
        ('{"kind": "verdicts", ', "v.json: not JSON; the run ended while it wrote, start it again."),
        ("[]", "v.json: kind missing; it is no document of verdicts, measure again."),
        ('{"kind": "profile"}', "v.json: kind profile; it is no document of verdicts, measure again."),
    ],
)
def test_a_file_that_cannot_be_read_is_no_verdict(tmp_path, capsys, text, sentence):
    file = tmp_path / "v.json"
    if text is not None:
        file.write_text(text)
    assert module.main([str(file)]) == 1
    assert capsys.readouterr().out == f"{MARKER}\n### refused: no verdict\n\n{sentence}\n"


@pytest.mark.parametrize(("word", "exit"), [*EXIT_CODES.items(), ("unclear", 0), ("refused", 4)])
def test_every_exit_of_a_comparison_is_read(tmp_path, word, exit):
    file = tmp_path / "v.json"
    file.write_text(json.dumps(report(case("a"), verdict=word, exit=exit)))
    assert module.read(file)["verdict"] == word


def damaged(**changes):
    found = copy.deepcopy(report(case("a"))) | changes
    return {name: value for name, value in found.items() if value is not ...}


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (damaged(exit=1), 'verdict "passes" with exit 1'),
        (damaged(verdict="refused"), 'verdict "refused" with exit 0'),
        (damaged(verdict="fine"), 'verdict "fine" with exit 0'),
        (damaged(verdict=None, exit=None), 'verdict "None" with exit None'),
        (damaged(cases=...), "no cases"),
        (damaged(warnings="x"), "no warnings"),
        (damaged(untouched=...), "no untouched"),
        (damaged(controls=[{"case": "a", "verdict": "ok"}]), "a case without a name or a verdict"),
        (damaged(cases=[{"case": "a", "verdict": "ok"}]), "a case without a name or a verdict"),
        (damaged(cases=[case("a", low="2")]), "low of a is no number"),
    ],
)
def test_a_damaged_verdict_is_no_verdict(tmp_path, found, problem):
    file = tmp_path / "v.json"
    file.write_text(json.dumps(found))
    with pytest.raises(ValueError, match="no document of verdicts") as error:
        module.read(file)
    assert str(error.value) == f"v.json: {problem}; it is no document of verdicts, measure again."


def test_it_runs_with_the_standard_library_alone(tmp_path):
    file = tmp_path / "v.json"
    file.write_text(json.dumps(report(case("a"))), encoding="utf-8")
    command = [
        sys.executable,
        "-S",
        "-m",
        "bench.harness.output.markdown",
        str(file),
        "--link",
        "https://ci/1",
    ]  # -S: no packages
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == markdown(report(case("a"))) + "\n[The run](https://ci/1)\n"
