"""A profile adds up, keeps first steps apart, treats precisions alike, and loses nothing when it is stopped."""

import gzip
import json
from collections import Counter
from contextlib import closing, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import count, pairwise

import numpy as np
import pytest
import torch
from rich.console import Console

import humor.cli
import humor.cli.study
import humor.study.step_profile
from humor import HumorLoss
from humor.data import BatchLoader
from humor.errors import FileError, SettingError
from humor.study.interleaved_profile import (
    PHASES,
    InterleavedSteps,
    ProfileSettings,
    RepeatedSampler,
    StepClock,
    StepRun,
    StepTimes,
)
from humor.study.profile_tables import TITLES, profile_tables, write_profile
from humor.study.step_profile import Profile, measure_profile
from humor.study.torch_profiler import split_call, split_linear
from humor.training.phase_timer import PhaseTimer
from tests.support import golden_values as golden
from tests.support.tiny_run import tiny_split

CPU = torch.device("cpu")
TINY = ProfileSettings(batch=2, precisions=("fp32", "bf16"), widths=(1,), steps=2, warm_up=1, rows=4)


@pytest.fixture(scope="module")
def split():
    return tiny_split(golden.bodies())


@pytest.fixture
def interleaved(split):
    """Steps of two precisions on one network, by a clock that is one second later each time that it is read."""
    sampler = RepeatedSampler(split.train, TINY.batch, len(TINY.precisions))
    with closing(BatchLoader(sampler.batch, 100).epoch(0)) as batches:
        now = map(float, count()).__next__
        yield InterleavedSteps(TINY, 1, HumorLoss(golden.bodies()), batches, CPU, now)


def scripted(interleaved, monkeypatch, duration, **changes):
    """Make steps take no time and report what `duration` says of a precision and a count; returns what was taken."""
    taken = []

    def take(precision):
        taken.append(precision)
        whole = duration(precision, taken.count(precision))
        return StepTimes(whole, {"sample": 0.75 * whole, "loss": 0.25 * whole}, {})

    monkeypatch.setattr(interleaved, "time_step", take)
    monkeypatch.setattr(interleaved, "settings", ProfileSettings(**{**vars(TINY), **changes}))
    return taken


def test_phases_add_up_to_a_step_that_is_timed_around_them(interleaved):
    """The clock is read before a step, at the start of each phase, and twice after the last."""
    runs = interleaved.first_steps()
    interleaved.measure(runs, lambda share: None)
    for run in runs:
        assert len(run.steps) == TINY.steps
        for step in (run.first, *run.steps):
            assert step.host == dict.fromkeys(PHASES, 1.0)
            assert (step.whole, step.other) == (len(PHASES) + 2, 2)


def test_the_first_step_and_the_warm_up_are_in_no_median(interleaved, monkeypatch):
    scripted(interleaved, monkeypatch, lambda precision, count: {1: 100.0, 2: 50.0}.get(count, float(count)))
    runs = interleaved.first_steps()
    interleaved.measure(runs, lambda share: None)
    summary = runs[0].summary()
    assert (summary["first"], summary["step"], summary["steps"]) == (100.0, 3.5, 2)
    assert summary["phases"]["sample"] == {"host": 0.75 * 3.5, "device": None, "first": 75.0}
    assert (summary["step_low"], summary["step_high"]) == (3.25, 3.75)


def test_precisions_alternate(interleaved, monkeypatch):
    taken = scripted(interleaved, monkeypatch, lambda precision, count: 1.0, steps=5)
    interleaved.measure(interleaved.first_steps(), lambda share: None)
    assert taken == ["fp32", "bf16"] * (1 + TINY.warm_up + 5)


def test_a_slow_precision_ends_in_time_and_its_steps_lie_among_the_others(interleaved, monkeypatch):
    slow = {"fp32": 0.1, "bf16": 10.0}
    taken = scripted(interleaved, monkeypatch, lambda name, count: slow[name], warm_up=5, steps=30, seconds=30.0)
    runs, shares = interleaved.first_steps(), []
    interleaved.measure(runs, shares.append)
    assert [len(run.steps) for run in runs] == [30, 3]
    first, warm_up, measured = taken[:2], taken[2:10], "".join(name[0] for name in taken[10:])
    assert Counter(first) == {"fp32": 1, "bf16": 1}
    assert Counter(warm_up) == {"fp32": 5, "bf16": 3}
    assert max(map(len, measured.split("b"))) <= 11
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_all_precisions_see_the_same_windows_and_start_alike(interleaved, monkeypatch):
    """Each first step makes the optimizer's averages anew."""
    seen = []
    for name, step in interleaved.steps.items():
        prepare = step.prepare

        def watched(batch, name=name, prepare=prepare):
            seen.append((name, batch.past.trans, len(interleaved.optimizer.state)))
            return prepare(batch)

        monkeypatch.setattr(step, "prepare", watched)
    interleaved.first_steps()
    for precision in TINY.precisions:
        interleaved.time_step(precision)
    names, windows, states = zip(*seen, strict=True)
    assert names == ("fp32", "bf16", "fp32", "bf16")
    assert states[:2] == (0, 0)
    assert states[2] > 0
    assert torch.equal(windows[0], windows[1])
    assert torch.equal(windows[2], windows[3])
    assert not torch.equal(windows[0], windows[2])


def test_float16_takes_its_updates_from_the_first_step_on(split):
    sampler = RepeatedSampler(split.train, 2, 1)
    with closing(BatchLoader(sampler.batch, 1).epoch(0)) as batches:
        settings = ProfileSettings(precisions=("fp16",))
        interleaved = InterleavedSteps(settings, 1, HumorLoss(golden.bodies()), batches, CPU)
        interleaved.first_steps()
    assert interleaved.optimizer.taken == 1


def test_a_gpu_has_its_own_time_beside_the_hosts():
    clock = StepClock(CPU)
    clock.gpu = PhaseTimer(CPU)  # in place of a GPU's
    for phase in ("wait", "backward", "network backward", "optimize"):
        clock.enter(phase)
    host, device = clock.finish()
    assert set(host) == set(device) == {"wait", "backward", "optimize"}
    assert clock.finish() == ({}, {})


def test_an_interruption_keeps_what_was_measured(split, tmp_path):
    profile = Profile(TINY, CPU)

    def interrupt(part, share):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_profile(profile, split.train, golden.bodies(), tmp_path / "trace.json.gz", interrupt)
    assert [(run["precision"], run["steps"]) for run in profile.document()["runs"]] == [("fp32", 2), ("bf16", 1)]


@dataclass
class FakeEvent:
    """An event of the profiler, microseconds."""

    name: str
    cpu_time_total: float
    device_time_total: float = 0.0
    cpu_children: list["FakeEvent"] = field(default_factory=list)


CALL = FakeEvent("call", 100, 60, [
    FakeEvent("aten::linear", 90, 60, [
        FakeEvent("aten::to", 10, 5, [FakeEvent("aten::_to_copy", 9, 5)]),  # counted once
        FakeEvent("aten::to", 20, 15),
        FakeEvent("aten::linear", 50, 40, [FakeEvent("aten::addmm", 45, 40, [FakeEvent("aten::copy_", 3, 2)])]),
    ]),
])  # fmt: skip


@pytest.mark.parametrize(("on_gpu", "casts", "launch", "kernel"), [(False, 30, 25, 45), (True, 20, 40, 40)])
def test_a_call_is_split_into_casts_kernel_and_the_rest(on_gpu, casts, launch, kernel):
    expected = {"casts": casts / 1e6, "launch": launch / 1e6, "kernel": kernel / 1e6, "total": 1e-4}
    assert split_call(CALL, on_gpu) == pytest.approx(expected)


def test_only_half_precision_casts_and_the_parts_of_a_layer_add_up():
    calls = [call for _, call in split_linear(64, 4, ("fp32", "bf16"), CPU, 60.0)]
    assert [call.precision for call in calls] == ["fp32", "bf16"] * 10
    for call in calls:
        assert (call.casts > 0) == (call.precision == "bf16")
        assert min(call.kernel, call.launch) > 0
        assert call.casts + call.launch + call.kernel == pytest.approx(call.total)


def test_a_slow_layer_is_called_once_in_each_precision():
    assert [call.precision for _, call in split_linear(64, 4, ("fp32", "bf16"), CPU, 1e-9)] == ["fp32", "bf16"]


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
    linear = [(call["size"], call["rows"], call["precision"]) for call in document["linear"]]
    assert linear == [(64, 4, "fp32"), (64, 4, "bf16"), (128, 4, "fp32"), (128, 4, "bf16")]


def test_what_is_printed_names_every_phase(finished):
    printed = (finished / "printed.txt").read_text()
    for word in ("wait for data", "prepare data", "sample (network forward)", "backward", "against fp32", "128 x 128"):
        assert word in printed
    assert "recorded graph" not in printed
    assert "published" not in printed  # another batch


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
    ("changes", "sentence"),
    [
        ({"batch": 0}, "batch 0: expected a whole number from 1."),
        ({"steps": 0}, "steps 0: expected a whole number from 1."),
        ({"warm_up": -1}, "warm_up -1: expected a whole number from 0."),
        ({"seconds": float("nan")}, "seconds nan: expected a number above 0."),
        ({"widths": (1, 0)}, "widths 1 0: expected whole numbers from 1."),
        ({"precisions": ("fp32", "fp32")}, "precisions fp32 fp32: expected one or more, none twice."),
        ({"precisions": ()}, "precisions : expected one or more, none twice."),
    ],
)
def test_a_wrong_setting_is_one_sentence(changes, sentence):
    with pytest.raises(SettingError) as error:
        ProfileSettings(**changes)
    assert str(error.value) == sentence


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


def test_the_sampler_draws_what_the_trainers_draws(split):
    repeated, once = RepeatedSampler(split.train, 3, 2), RepeatedSampler(split.train, 3, 1)
    for index in range(4):
        for mine, theirs in zip(repeated.draw(0, index), once.draw(0, index // 2), strict=True):
            assert np.array_equal(mine, theirs)
