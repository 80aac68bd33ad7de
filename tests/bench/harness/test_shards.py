"""Several machines divide one comparison, and their verdict files make one verdict."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.output import merge
from bench.harness.output.verdict_table import CaseVerdict, Findings
from bench.harness.stats.verdict import Interval
from bench.harness.untouched.shards import CALLS, ROUND_SECONDS, Shard, shard_of

SECONDS = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.floats(0.0, 9.0), max_size=30)
VERSIONS = {"base": {"commit": "a", "source": "1"}, "head": {"commit": "b", "source": "2"}}
SETTINGS = {"slower_than": 0.03, "error_rate": 0.01, "allow_missing": False, "allow_unclear": False}
CASES = ["bench_a.py::a", "bench_a.py::b", "bench_b.py::c"]


@given(SECONDS, st.integers(1, 6))
def test_every_case_is_in_one_part_and_no_part_has_much_more_to_do(seconds, of):
    parts = [Shard(number, of).part([*seconds], seconds) for number in range(1, of + 1)]
    assert sorted(name for part in parts for name in part) == sorted(seconds)
    loads = [sum(ROUND_SECONDS + CALLS * seconds[name] for name in part) for part in parts]
    largest = max((ROUND_SECONDS + CALLS * each for each in seconds.values()), default=0.0)
    assert max(loads) - min(loads) <= largest + 1e-9


@given(SECONDS, st.integers(1, 6), st.randoms())
def test_the_order_of_cases_changes_no_part(seconds, of, chance):
    shuffled = [*seconds]
    chance.shuffle(shuffled)
    for number in range(1, of + 1):
        assert Shard(number, of).part(shuffled, seconds) == Shard(number, of).part([*seconds], seconds)


def test_cases_of_unknown_time_are_dealt_out():
    assert [Shard(number, 2).part(["a", "b", "c"], {}) for number in (1, 2)] == [["a", "c"], ["b"]]


def test_a_part_is_written_as_its_number_and_their_number():
    assert shard_of(None) is None
    assert shard_of("2/4") == Shard(2, 4)


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "a/b", "1/0", "-1/4", "1/4/2"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(pytest.UsageError) as error:
        shard_of(text)
    assert str(error.value) == f'--shard "{text}" is no part of a whole; give, say, 2/4 for the second of four.'


def verdict(case, word="passes", estimate=0.0):
    interval = Interval(estimate, estimate - 0.01, estimate + 0.01)
    return CaseVerdict(case, word, interval, [[estimate, estimate]], (1e-3, 1e-3), estimate + 0.008, "shop.total")


def shard(number, *results, of=2, **more):
    """The document of one shard."""
    findings = Findings(list(results), untouched=["bench_c.py::d"], not_run=["shop.unused"], elsewhere=1)
    for name, value in more.items():
        setattr(findings, name, value)
    conclusion, code = findings.conclusion(allow_missing=False, allow_unclear=False)
    about = {"versions": VERSIONS, "settings": SETTINGS, "machine": {}, "fingerprint": {}, "seconds": 10.0 * number}
    return findings.as_json(conclusion, code, shard={"number": number, "of": of, "cases": CASES}, **about)


@pytest.fixture
def run(tmp_path, capsys):
    """Merges documents; the exit code, what is printed, and what is written."""

    def merged(*documents):
        files = [tmp_path / f"{number}.json" for number, _ in enumerate(documents, 1)]
        for file, document in zip(files, documents, strict=True):
            file.write_text(json.dumps(document))
        out = tmp_path / "all.json"
        code = merge.main([*map(str, files), "--verdicts", str(out)])
        return code, capsys.readouterr().out, json.loads(out.read_text()) if out.exists() else None

    return merged


A, B, C = (verdict(name) for name in CASES)
ONE, TWO = shard(1, A, B), shard(2, C)


def test_shards_that_pass_make_one_verdict(run):
    code, out, content = run(ONE, TWO)
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:4]] == [["passes", name] for name in CASES]
    assert "untouched: 1 case, which run nothing that differs\n" in out
    assert out.count("changed, and run by none of the benchmarks: shop.unused\n") == 1
    assert out.endswith("\npasses (2 shards)\n")
    assert "other shards" not in out
    assert (content["verdict"], content["exit"], content["seconds"], content["shard"]) == ("passes", 0, 20.0, None)
    assert [case["case"] for case in content["cases"]] == CASES


@pytest.mark.parametrize(
    ("word", "estimate", "code"), [("slower", 0.2, 1), ("unclear", 0.02, 3), ("faster", -0.2, 0), ("passes", 0.0, 0)]
)
def test_the_worst_verdict_of_any_shard_counts(run, word, estimate, code):
    found, out, content = run(ONE, shard(2, verdict(CASES[2], word, estimate)))
    assert (found, content["verdict"]) == (code, word)
    assert f"{word:8} {CASES[2]}" in out


def test_what_is_allowed_in_the_shards_is_allowed_in_the_whole(run):
    allowed = [document | {"settings": SETTINGS | {"allow_unclear": True}} for document in (ONE, TWO)]
    unclear = shard(2, verdict(CASES[2], "unclear", 0.02)) | {"settings": allowed[0]["settings"]}
    assert run(allowed[0], unclear)[0] == 0


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ([ONE], "shard 2 of 2 is missing; give the file of each shard once."),
        ([ONE, ONE, TWO], "shard 1 of 2 is given 2 times; give the file of each shard once."),
        (
            [ONE, TWO | {"versions": {**VERSIONS, "head": {"commit": "b", "source": "3"}}}],
            "2.json: other versions than in 1.json; run all shards anew, with the same command.",
        ),
        (
            [ONE, TWO | {"settings": SETTINGS | {"slower_than": 0.05}}],
            "2.json: other settings than in 1.json; run all shards anew, with the same command.",
        ),
        (
            [ONE, TWO | {"shard": {"number": 2, "of": 2, "cases": CASES[:2]}}],
            "2.json: other cases than in 1.json; run all shards anew, with the same command.",
        ),
        ([ONE, TWO | {"shard": None}], "2.json: not of a shard; give what --shard K/N --verdicts FILE wrote."),
        ([ONE, shard(2, A)], "bench_a.py::a was measured by 2 shards; run all shards anew, with the same command."),
        ([shard(1, A), TWO], "bench_a.py::b was measured by 0 shards; run all shards anew, with the same command."),
        ([ONE, "no verdicts"], "2.json: kind missing; it is no document of verdicts, measure again."),
    ],
)
def test_what_is_not_all_shards_of_one_comparison_is_refused(run, documents, sentence):
    code, out, content = run(*documents)
    assert (code, out, content) == (4, f"refused: {sentence}\n", None)


def test_a_shard_that_failed_or_was_interrupted_refuses_the_whole(run):
    failed = shard(2, failed={CASES[2]: "RuntimeError: planted"})
    code, out, content = run(ONE, failed)
    assert (code, content["verdict"]) == (4, "refused")
    assert f"refused: 2.json: 1 case failed, first {CASES[2]}: RuntimeError: planted" in out
    code, out, _ = run(ONE, shard(2, refused="interrupted when 0 of 1 cases were clear"))
    assert code == 4
    assert "refused: 2.json: interrupted when 0 of 1 cases were clear (2 shards)\n" in out


def test_no_mistake_and_no_crash_has_a_verdict_s_exit_code(tmp_path, capsys):
    assert merge.main([]) == 4
    assert "the following arguments are required: FILE" in capsys.readouterr().err
    assert merge.main(["--help"]) == 0
    (tmp_path / "1.json").write_text(json.dumps(ONE))
    (tmp_path / "2.json").write_text(json.dumps({name: TWO[name] for name in TWO if name != "seconds"}))
    assert merge.main([str(tmp_path / "1.json"), str(tmp_path / "2.json")]) == 4
    assert "KeyError: 'seconds'" in capsys.readouterr().err


def test_what_cannot_be_written_is_refused_under_the_table(tmp_path, capsys):
    for number, document in enumerate((ONE, TWO), 1):
        (tmp_path / f"{number}.json").write_text(json.dumps(document))
    out = tmp_path / "1.json" / "all.json"
    assert merge.main([str(tmp_path / "1.json"), str(tmp_path / "2.json"), "--verdicts", str(out)]) == 4
    said = capsys.readouterr().out
    assert f"passes   {CASES[0]}" in said
    assert said.splitlines()[-1].startswith(f"refused: {out}: cannot be written (")


def test_an_entry_is_read_back_as_it_was_written():
    interval = Interval(0.02, -0.05, float("inf"))
    in_cycles = CaseVerdict("d", "slower", interval, [[0.1]], (1.0, 2.0), 0.3, cycles=Interval(0.03, 0.01, 0.05))
    unknown = CaseVerdict("b", "unclear", interval, [[0.1]], (1.0, 2.0), 0.3)
    for entry in (verdict("a").as_json(), unknown.as_json(), in_cycles.as_json()):
        again = CaseVerdict.of_json(json.loads(json.dumps(entry))).as_json()
        for name in ("change", "low", "high", "upper_bound", "base_ms", "head_ms"):
            assert again.pop(name) == pytest.approx(entry.pop(name))
        assert (again.pop("cycles") or {}) == pytest.approx(entry.pop("cycles") or {})
        assert again == entry
    unmeasured = CaseVerdict("c", "unclear", Interval(0.0, -float("inf"), float("inf")), [], (float("nan"),) * 2, 9e9)
    entry = unmeasured.as_json()
    assert [entry[name] for name in ("change", "low", "high", "upper_bound", "base_ms")] == [None] * 5
    assert CaseVerdict.of_json(json.loads(json.dumps(entry))).as_json() == entry
