"""A profile is written, printed and traced as its readers expect, and loses nothing when it is stopped."""

import gzip
import json
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise

import pytest
import torch
from rich.console import Console

import humor.cli
import humor.cli.study
import humor.study.step_profile
from humor.errors import FileError
from humor.study.interleaved_profile import (
    PHASES,
    InterleavedSteps,
    ProfileSettings,
    StepRun,
    StepTimes,
)
from humor.study.phase_limits import PhaseWork, Rates
from humor.study.profile_tables import TITLES, profile_tables, write_profile
from humor.study.step_profile import Profile, measure_profile
from tests.support import golden_values as golden

CPU = torch.device("cpu")
TINY = ProfileSettings(batch=2, precisions=("fp32", "bf16"), widths=(1,), steps=2, warm_up=1, rows=4)


def test_an_interruption_keeps_what_was_measured(split, tmp_path):
    profile = Profile(TINY, CPU)

    def interrupt(part, share):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_profile(profile, split.train, golden.bodies(), tmp_path / "trace.json.gz", interrupt)
    assert [(run["precision"], run["steps"]) for run in profile.document()["runs"]] == [("fp32", 2), ("bf16", 1)]


@pytest.fixture(scope="module")
def finished(split, tmp_path_factory):
    """A small profile by the command: what it wrote, and what it printed."""
    out = tmp_path_factory.mktemp("profile")
    with pytest.MonkeyPatch.context() as put:
        put.setattr(humor.study.step_profile, "LINEAR_SIZES", (64, 128))
        put.setattr(humor.cli.study, "load_split_and_bodies", lambda *given: (split, golden.bodies()))
        words = "--batch 2 --precisions fp32 bf16 --widths 1 --steps 2 --warm-up 0 --rows 4 --device cpu --out"
        with redirect_stdout(StringIO()) as printed:
            humor.cli.main(["profile", *words.split(), str(out)])
    (out / "printed.txt").write_text(printed.getvalue())
    return out


def test_the_document_is_as_its_readers_expect(finished):
    document = json.loads((finished / "profile.json").read_text())
    assert document["kind"] == "profile"
    assert set(document["machine"]) == {"name", "device", "torch", "threads", "when"}
    assert (document["batch"], document["steps"]) == (2, 2)
    assert [(run["width"], run["precision"]) for run in document["runs"]] == [(1, "fp32"), (1, "bf16")]
    for run in document["runs"]:
        assert list(run["phases"]) == list(PHASES)
        assert all(phase["host"] > 0 and phase["device"] is None for phase in run["phases"].values())
        assert 0 < sum(phase["first"] for phase in run["phases"].values()) <= run["first"]
        assert run["step_low"] <= run["step"] <= run["step_high"]
        assert run["peak_bytes"] is None
        assert list(run["work"]) == list(PHASES[1:])
        assert all(work["limits"]["launches"] > 0 for work in run["work"].values())
    assert document["rates"]["multiply"].keys() == {"float32", "bfloat16"}
    linear = [(call["size"], call["rows"], call["precision"]) for call in document["linear"]]
    assert linear == [(64, 4, "fp32"), (64, 4, "bf16"), (128, 4, "fp32"), (128, 4, "bf16")]


def test_what_is_printed_names_every_phase(finished):
    printed = (finished / "printed.txt").read_text()
    for word in ("wait for data", "prepare data", "sample (network forward)", "backward", "against fp32", "128 x 128"):
        assert word in printed
    assert "recorded graph" not in printed
    assert "published" not in printed  # another batch
    assert "GB/s of a large copy" in " ".join(printed.split())
    assert "what a phase's limit is made of" in printed


def test_a_limit_stands_beside_its_time():
    profile = Profile(ProfileSettings(batch=9, precisions=("fp32",), widths=(1,)), CPU)
    step = StepTimes(10.0, dict.fromkeys(PHASES, 1.0), {})
    work = {phase: PhaseWork(bytes=10 * number) for number, phase in enumerate(PHASES[1:])}
    profile.runs.append(StepRun(1, "fp32", step, [step], work=work))
    profile.rates = Rates(copy=100.0, launch=0.0, multiply={})
    rows = {row[0]: row[1:] for row in printed(profile.document()) if row}
    assert rows["loss"] == ["1000", "200", "1000"]
    assert rows["wait for data"] == ["1000", "", "1000"]
    assert rows["step"] == ["10000", "1000", "10000"]
    assert rows["1"] == ["fp32", "optimize", "0", "4e-05", "0", "0", "400", "0"]


def test_the_trace_has_ranges_that_nest_and_operators_that_lie_in_phases(finished):
    file = finished / "trace.json.gz"
    assert file.stat().st_size < 4e6
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    ranges = {name: named(events, name) for name in (*TINY.precisions, "step", *PHASES)}
    assert {name: len(found) for name, found in ranges.items()} == dict.fromkeys((*PHASES, "step"), 4) | {
        "fp32": 2,
        "bf16": 2,
    }
    outer = sorted(ranges["fp32"] + ranges["bf16"])
    for whole, step, *phases in zip(outer, ranges["step"], *(ranges[name] for name in PHASES), strict=True):
        assert inside(step, whole)
        assert all(inside(phase, step) for phase in phases)
        assert all(before[1] <= after[0] for before, after in pairwise(phases))
    every = [span for name in PHASES for span in ranges[name]]
    operators = [(event["name"], span_of(event)) for event in events if event.get("cat") == "cpu_op"]
    outside = Counter(name for name, span in operators if not any(inside(span, phase) for phase in every))
    assert len(operators) > 1000
    assert set(outside) <= {"aten::detach", "detach"}  # of the loss that a step returns, which computes nothing


def named(events, name):
    """Beginning and end of the ranges of a name, in order; microseconds."""
    return sorted(span_of(e) for e in events if e.get("cat") == "user_annotation" and e["name"] == name)


def span_of(event):
    return event["ts"], event["ts"] + event["dur"]


def inside(inner, outer):
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def document_of(batch, width, device=None):
    """A profile of two precisions whose steps took 1 and 2 s."""
    times = {name: dict.fromkeys(PHASES, whole / 10) for name, whole in (("fp32", 1.0), ("fp16", 2.0))}
    profile = Profile(ProfileSettings(batch=batch, widths=(width,)), CPU)
    for name, phases in times.items():
        step = StepTimes(10 * phases["loss"], phases, {} if device is None else dict.fromkeys(PHASES, device))
        profile.runs.append(StepRun(width, name, step, [step], None if device is None else 3 * 10**9))
    return profile.document()


def printed(document):
    console = Console(width=200, record=True, file=StringIO())
    console.print(*profile_tables(document))
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines()]


def test_published_figures_stand_beside_ours_for_the_studys_batch_alone():
    rows = {row[0]: row[1:] for row in printed(document_of(8, 1)) if row}
    assert rows["loss"] == ["100", "100", "200", "200", "84.47", "98.05"]
    assert rows["step"] == ["1000", "1000", "2000", "2000", "", ""]
    assert rows["other"][::2] == ["400", "800", ""]
    assert rows["against fp32"][2] == "+100.0 %"
    wide = {row[0]: row[1:] for row in printed(document_of(8, 4)) if row}
    assert wide["sample (network forward)"][-2:] == ["17.11", "9.00"]
    for other in (document_of(9, 1), document_of(8, 2)):
        assert {len(row) for row in printed(other) if row} == {5}


def test_a_gpu_has_columns_for_its_own_time_and_a_row_for_its_memory():
    rows = {row[0]: row[1:] for row in printed(document_of(9, 1, device=0.003)) if row}
    assert rows["loss"] == ["100", "3", "100", "200", "3", "200"]
    assert rows["most memory, GB"] == ["3.00", "", "", "3.00", "", ""]


def test_a_profile_of_nothing_has_no_tables():
    assert profile_tables(Profile(TINY, CPU).document()) == []


def test_every_phase_has_a_title():
    assert {*PHASES, "graph"} < set(TITLES)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--precisions fp32 tf32",
            "precision tf32: not on cpu, which has fp32, bf16, fp16, bf16-weights, fp16-weights; give one.",
        ),
        ("--threads 0", "threads 0: expected a whole number from 1."),
        ("--execution cuda-graph", "execution cuda-graph: needs a CUDA device, not cpu; give eager or compile."),
        ("--data {0}/none", "{0}/none: no finished motion store (no index.json); build one with humor process."),
        ("--out {0}/file", "{0}/file: cannot be written (File exists); check --out and its free space."),
    ],
)
def test_a_wrong_command_is_one_sentence(words, sentence, tmp_path, split, monkeypatch, capsys):
    (tmp_path / "file").touch()
    if "--data" not in words:
        monkeypatch.setattr(humor.cli.study, "load_split_and_bodies", lambda *given: (split, golden.bodies()))
    with pytest.raises(SystemExit) as stop:
        humor.cli.main(["profile", "--device", "cpu", *words.format(tmp_path).split()])
    assert stop.value.code == 1
    assert capsys.readouterr().err.strip().endswith(f"humor: {sentence.format(tmp_path)}")


def test_ctrl_c_prints_and_writes_what_there_is(tmp_path, split, monkeypatch, capsys):
    taken = []

    def time_step(steps, precision):
        taken.append(precision)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return StepTimes(1.0, {"loss": 1.0}, {})

    monkeypatch.setattr(InterleavedSteps, "time_step", time_step)
    monkeypatch.setattr(humor.cli.study, "load_split_and_bodies", lambda *given: (split, golden.bodies()))
    words = "--precisions fp32 fp16 --widths 1 --warm-up 0 --device cpu --out"
    with pytest.raises(SystemExit) as stop:
        humor.cli.main(["profile", *words.split(), str(tmp_path)])
    assert stop.value.code == 130
    assert "interrupted" in capsys.readouterr().err
    assert [run["precision"] for run in json.loads((tmp_path / "profile.json").read_text())["runs"]] == ["fp32"]


def test_a_profile_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "profile.json").mkdir()
    with pytest.raises(FileError, match="check --out and its free space"):
        write_profile({"kind": "profile"}, tmp_path)
