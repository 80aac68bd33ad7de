"""A study says agree, differ, or undecided, and never more than its seeds show."""

import io
import math

import numpy as np
import pytest
import scipy.stats
import torch
from rich.console import Console

import humor.study.precision_trainings
from humor.cli.app import main
from humor.errors import SettingError
from humor.io.run_tables import RunCurves, read_table
from humor.report.curve_comparison import (
    AGREE,
    DIFFER,
    UNDECIDED,
    compare_curves,
    comparison_sentence,
    comparison_sentences,
)
from humor.study.precision_trainings import StudySettings, run_study
from humor.study.training_tables import curves_csv, time_table, write_report
from humor.training.distributed import Team
from humor.training.phase_timer import PHASES
from tests.support import golden_values as golden

FALLING = 2.0 ** -np.arange(8.0)
SEEDS = np.array([[0.95], [1.0], [1.05]])  # what a seed changes: 5 %


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (FALLING * SEEDS, AGREE),
        (FALLING * SEEDS * 1.001, AGREE),
        (FALLING * SEEDS * [[1.001], [0.999], [1.0]], AGREE),
        (FALLING * SEEDS * 1.2, DIFFER),
        (FALLING * SEEDS / 1.2, DIFFER),
        (FALLING * SEEDS * [[1.04], [1.05], [1.06]], UNDECIDED),
        (FALLING * SEEDS * [[1.2], [0.9], [1.0]], UNDECIDED),
        (FALLING * SEEDS * [[1.0], [1.0], [math.nan]], DIFFER),
        (FALLING * SEEDS * [[1.0], [1.0], [math.inf]], DIFFER),
    ],
    ids=["same", "0.1 %", "scattered 0.1 %", "+20 %", "-20 %", "as a seed", "scattered", "NaN", "infinite"],
)
def test_curves_agree_differ_or_are_undecided(other, word):
    assert compare_curves(FALLING * SEEDS, other).word == word


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (FALLING * SEEDS[:1], "one seed has no spread"),
        (np.ones(8) * SEEDS, "the loss has hardly fallen yet"),
        (FALLING * SEEDS * math.nan, "the reference is not finite"),
        (FALLING * SEEDS - 1, "a loss is not above zero"),
    ],
)
def test_what_shows_nothing_is_not_called_agreement(reference, why):
    found = compare_curves(reference, reference)
    assert (found.word, found.why) == (UNDECIDED, why)


def test_the_interval_is_students_t_of_the_paired_differences():
    scale = np.array([[1.01], [1.02], [1.03]])
    found = compare_curves(FALLING * SEEDS, FALLING * SEEDS * scale)
    changes = np.log(scale).ravel()
    reach = 4.302652729911275 * changes.std(ddof=1) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((changes.mean() - reach, changes.mean() + reach))
    assert found.spread == pytest.approx(np.log(SEEDS).std(ddof=1))
    assert found.visible == pytest.approx(reach * (1 + 1.0606601717798212 / 4.302652729911275))


def test_an_undecided_study_says_how_many_seeds_would_decide():
    scattered = FALLING * SEEDS * [[1.04], [0.96], [1.0]]
    found = compare_curves(FALLING * SEEDS, scattered)
    assert found.word == UNDECIDED
    assert found.seeds is not None
    changes = np.log([1.04, 0.96, 1.0])
    for seeds, decided in ((found.seeds, True), (found.seeds - 1, False)):
        reach = scipy.stats.t.ppf(0.975, seeds - 1) * changes.std(ddof=1) / math.sqrt(seeds)
        assert bool(abs(changes.mean()) + reach <= found.spread) is decided
    assert f"; {found.seeds} seeds would decide)" in comparison_sentence("fp16", "fp32", {"train": found})


def result(**seconds):
    seconds_of = dict(zip(PHASES, (1.0, 0.0, 2.0, 10.0, 3.0, 2.0, 2.0, 0.0), strict=True))
    times = {name: dict(seconds_of) for name in ("fp32", "fp16")}
    times["fp16"] |= seconds
    curves = {"fp32": FALLING * SEEDS, "fp16": FALLING * SEEDS * [[1.001], [1.002], [1.0]]}
    return RunCurves(("fp32", "fp16"), curves, curves, times)


def test_the_table_counts_waiting_and_says_what_a_faster_network_could_save():
    assert time_table(result(sample=1.0)) == (
        "| seconds an epoch | fp32 | fp16 |\n"
        "|---|---:|---:|\n"
        "| wait for data | 1 s, 5.0 % | 1 s, 5.3 % |\n"
        "| prepare data | 0 s, 0.0 % | 0 s, 0.0 % |\n"
        "| sample (network forward) | 2 s, 10.0 % | 1 s, 5.3 % |\n"
        "| loss | 10 s, 50.0 % | 10 s, 52.6 % |\n"
        "| backward through the loss | 3 s, 15.0 % | 3 s, 15.8 % |\n"
        "| backward through the network | 2 s, 10.0 % | 2 s, 10.5 % |\n"
        "| optimize | 2 s, 10.0 % | 2 s, 10.5 % |\n"
        "| **epoch** | **20 s** | **19 s** |\n"
        "| against fp32 |  | -5.0 % |\n"
        "| a network that took no time would save | 20.0 % | 15.8 % |\n"
    )


def test_a_report_is_a_table_a_figure_the_curves_and_a_sentence(tmp_path):
    verdicts = write_report(result(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.csv", "curves.svg", "table.md"]
    assert verdicts == comparison_sentences(result())
    assert verdicts == [
        "The curves of fp16 and fp32 agree: "
        + "; ".join(
            f"{curve} +0.1 % [-0.15, +0.35], where 0.31 % would have been seen and another seed changes 5 % "
            "(the change is smaller than what another seed changes)"
            for curve in ("train", "validation")
        )
        + "."
    ]
    assert curves_csv(result()).splitlines()[:2] == [
        "precision,seed,epoch,train_loss,validation_loss",
        "fp32,0,0,0.95,0.95",
    ]
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()
    assert verdicts[0] in (tmp_path / "table.md").read_text()


def test_a_study_trains_each_precision_on_the_same_in_turn_and_only_once(split, tmp_path, monkeypatch):
    bodies, said = golden.bodies(), io.StringIO()
    settings = StudySettings(("fp32", "bf16"), width=1, epochs=2, batch_size=1, steps_per_epoch=1, seeds=1)
    arguments = (split, bodies, tmp_path, Team(0, 1, torch.device("cpu")), Console(file=said, width=200))
    found = run_study(settings, *arguments)
    turns = [line.split(": train ")[0] for line in said.getvalue().splitlines()]
    assert turns == [
        f"run {number} of 2, {name}-seed0: epoch {epoch}"
        for epoch in (0, 1)
        for number, name in enumerate(("fp32", "bf16"), 1)
    ]
    fp32, bf16 = (read_table(tmp_path / f"{name}-seed0" / "steps.csv")["loss"] for name in ("fp32", "bf16"))
    assert bf16 == pytest.approx(fp32, rel=0.02)
    assert bf16 != fp32
    assert all(found.seconds[name]["loss"] > 0 for name in found.precisions)
    assert comparison_sentences(found)[0].startswith(
        f"The curves of bf16 and fp32 {UNDECIDED}: train (one seed has no spread)"
    )
    monkeypatch.setattr(humor.study.precision_trainings, "Trainer", None)
    again = run_study(settings, *arguments)
    assert np.array_equal(again.train["bf16"], found.train["bf16"])
    with pytest.raises(SettingError) as error:
        run_study(
            StudySettings(("fp32", "bf16"), width=2, epochs=2, batch_size=1, steps_per_epoch=1, seeds=1), *arguments
        )
    assert str(error.value) == (
        f"{tmp_path} holds a study with width 1, not 2; give its settings to go on, or another --out."
    )


def test_a_study_in_fp16_skips_no_update(split, tmp_path):
    settings = StudySettings(("fp32", "fp16"), width=1, epochs=1, batch_size=1, steps_per_epoch=3, seeds=1)
    run_study(settings, split, golden.bodies(), tmp_path, Team(0, 1, torch.device("cpu")), Console(quiet=True))
    steps = {name: read_table(tmp_path / f"{name}-seed0" / "steps.csv") for name in settings.precisions}
    assert [table["taken"] for table in steps.values()] == [[1.0] * 3] * 2
    assert steps["fp16"]["loss"] == pytest.approx(steps["fp32"]["loss"], rel=0.01)


def test_a_study_compares_something_with_something():
    with pytest.raises(SettingError, match=r"^precisions fp32: expected two or more, none twice\.$"):
        StudySettings(("fp32",))
    with pytest.raises(SettingError, match=r"^seeds 0: expected a whole number from 1\.$"):
        StudySettings(seeds=0)


def test_commands_pass_their_settings_on(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(
        "humor.cli.study.load_split_and_bodies", lambda *given: (seen.update(given=given), ("split", {}))[1]
    )
    monkeypatch.setattr("humor.cli.study.run_study", lambda settings, *rest: seen.update(settings=settings) or result())
    main(
        [
            "study",
            "--out",
            str(tmp_path),
            "--precisions",
            "fp32",
            "bf16",
            "--epochs",
            "3",
            "--device",
            "cpu",
            "--subsets",
            "CMU",
        ]
    )
    assert seen["settings"] == StudySettings(("fp32", "bf16"), epochs=3)
    assert seen["given"] == (None, ("CMU",), None, False)

    class Recorder:
        def __init__(self, task, out, console):
            settings = task.settings
            seen["train"] = (settings.precision, settings.width, settings.epochs, settings.lr_milestones, out)

        def run(self):
            pass

    monkeypatch.setattr("humor.training.loop.Trainer", Recorder)
    main(["train", "--out", str(tmp_path), "--precision", "fp16", "--width", "4", "--epochs", "8", "--device", "cpu"])
    assert seen["train"] == ("fp16", 4, 8, (50, 80, 140), tmp_path)
