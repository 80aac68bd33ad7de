"""`humor evaluate motion` measures what the network does on held-out motion, subset by subset."""

import copy
import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

import humor.cli.evaluate
import humor.motion.evaluation
from humor import HumorLoss
from humor.cli.app import main
from humor.data import MotionStore
from humor.errors import HumorError, MotionError
from humor.io.checkpoints import save_checkpoint
from humor.motion.evaluation import (
    Evaluation,
    EvaluationSettings,
    clips_to_evaluate,
    evaluate_motion,
    reconstruct_windows,
)
from humor.motion.generation import Network
from humor.state import CanonicalFrame
from humor.training.seeded_noise import validation_noise
from tests.support import golden_values as golden

SETTINGS = EvaluationSettings(seconds=0.2, samples=3)  # six steps


@pytest.fixture(scope="module")
def bodies():
    return golden.bodies()


@pytest.fixture(scope="module")
def model():
    return golden.filled_model(1, 0.02)


@pytest.fixture(scope="module")
def store(split):
    """Four short walks: of the two test subsets, of a training one, and of one in no folder."""
    parts = (split.train, split.validation)
    names = ["HumanEva/a", "Transitions_mocap/b", "CMU/c", "d"]
    clips = [(part, number) for part in parts for number in range(len(part))]
    infos, data, first = [], [], 0
    for (part, number), name in zip(clips, names, strict=True):
        info = part.clips[number]
        rows = part.frame_data[info.first : info.first + 20]
        infos.append(replace(info, name=name, subset=name.rpartition("/")[0], first=first, frames=len(rows)))
        data.append(rows)
        first += len(rows)
    betas = np.stack([part.betas[number] for part, number in clips])
    return MotionStore(np.concatenate(data), infos, betas)


def evaluate(model, bodies, store, settings=SETTINGS):
    result = Evaluation()
    evaluate_motion(Network(copy.deepcopy(model)), bodies, store, settings, result)
    return {(row["subset"], row["motion"]): row for row in result.rows()}


def posed(bodies, store, clip, state):
    info, frames = store.clips[clip], len(state.trans)
    betas = torch.from_numpy(store.betas[clip]).expand(frames, -1)
    return bodies[info.gender](state.rotmats, betas, state.trans).joints


def test_the_split_is_that_of_the_subsets(store):
    chosen = {name: [clip.name for clip in clips_to_evaluate(store, name).clips] for name in ("test", "all")}
    assert chosen == {"test": ["HumanEva/a", "Transitions_mocap/b"], "all": [clip.name for clip in store.clips]}
    others = store.select({"CMU/c", "d"})
    assert len(clips_to_evaluate(others, "validation")) == 1


@pytest.mark.parametrize(
    ("names", "part", "text"),
    [
        (
            {"CMU/c", "d"},
            "test",
            "no clip of a test subset (Transitions_mocap, HumanEva) among 2; give --split validation for those that "
            "training validates on.",
        ),
        ({"d"}, "validation", "the only clip is one to train on; give --split all to evaluate on it."),
    ],
)
def test_a_split_without_clips_is_one_sentence(names, part, text, store):
    with pytest.raises(MotionError) as error:
        clips_to_evaluate(store.select(names), part)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"seconds": 0.01}, "seconds 0.01: expected two steps or more, 0.067 s."),
        ({"seconds": float("nan")}, "seconds nan: expected two steps or more, 0.067 s."),
        ({"samples": 0}, "samples 0: expected a whole number from 1."),
        ({"seed": -1}, "seed -1: expected a whole number from 0."),
    ],
)
def test_impossible_settings_are_one_sentence(settings, text):
    with pytest.raises(HumorError) as error:
        EvaluationSettings(**settings)
    assert str(error.value) == text


def test_clips_that_are_all_too_short_are_one_sentence(model, bodies, store):
    with pytest.raises(MotionError) as error:
        evaluate(model, bodies, store, EvaluationSettings(seconds=2))
    assert str(error.value) == "the longest of 4 clips has 20 frames, and 2 s take 61; give fewer --seconds."


def test_one_step_is_the_loss_of_the_windows_of_ten(model, bodies, store):
    part = store.select({"HumanEva/a"})
    row = evaluate(model, bodies, part)["HumanEva", "one step"]
    [batch] = part.evaluation_batches(100)
    with torch.no_grad():
        out = model(batch.past, batch.current, validation_noise(0, 0, len(batch)))
        _, terms = HumorLoss(bodies)(out, batch.current, batch.contacts, batch.betas, batch.gender, 0)
    assert row["motions"] == 1
    for name in ("reconstr_weighted_loss", "kl_loss", "smpl_mesh_loss", "contacts_acc", "contacts_pos_acc"):
        assert row[name] == pytest.approx(float(terms[name]), rel=1e-5)
    joints, truth = (posed(bodies, part, 0, state.map(lambda x: x[0])) for state in (out.state, batch.current))
    assert row["joints_mm"] == pytest.approx(1000 * (joints - truth).norm(dim=-1).mean().item(), rel=1e-4)


def test_reconstruction_rolls_out_the_posteriors_means_of_the_truth(model, bodies, store):
    windows = store.states(0).map(lambda x: x[:14].reshape(2, 7, *x.shape[1:]))
    found, logits = reconstruct_windows(Network(copy.deepcopy(model)), windows)
    errors, right = [], []
    for window in range(2):
        truth = windows.map(lambda x, window=window: x[window])
        pivot, latents = CanonicalFrame.of(truth.map(lambda x: x[0])).pivot, []
        for step in range(6):
            past, current = (truth.map(lambda x, at=at: x[at]) for at in (step, step + 1))
            frame = CanonicalFrame.of(past, pivot)
            pair = frame.world_to_canonical(past), frame.world_to_canonical(current)
            with torch.no_grad():
                latents.append(model(*pair, torch.zeros(48)).posterior.mean)
        with torch.no_grad():
            out = model.rollout(truth.map(lambda x: x[0]), 6, torch.stack(latents))
        alone = found.map(lambda x, window=window: x[window])
        torch.testing.assert_close(alone.map(lambda x: x[1:]).to_vector(), out.state.to_vector(), atol=2e-5, rtol=0)
        assert torch.equal(alone.map(lambda x: x[0]).to_vector(), truth.map(lambda x: x[0]).to_vector())
        torch.testing.assert_close(logits[window], out.contacts, atol=2e-5, rtol=0)
        joints = posed(bodies, store, 0, alone), posed(bodies, store, 0, truth)
        errors.append((joints[0] - joints[1])[1:].norm(dim=-1).mean())
        right.append((out.contacts > 0) == (store.contacts(0)[7 * window + 1 : 7 * window + 7] > 0.5))
    row = evaluate(model, bodies, store.select({"HumanEva/a"}))["HumanEva", "reconstruction"]
    assert row["motions"] == 2
    assert row["joints_mm"] == pytest.approx(1000 * float(torch.stack(errors).mean()), rel=1e-4)
    assert row["contacts_acc"] == pytest.approx(float(torch.stack(right).double().mean()))


def test_samples_start_at_every_windows_first_frame_and_differ(model, bodies, store):
    part = store.select({"HumanEva/a"})
    one, many = (evaluate(model, bodies, part, replace(SETTINGS, samples=count)) for count in (1, 3))
    one, many = one["HumanEva", "samples"], many["HumanEva", "samples"]
    assert (one["motions"], many["motions"]) == (2, 6)
    assert one["ade_mm"] == pytest.approx(one["joints_mm"])
    assert "apd_mm" not in one
    assert many["apd_mm"] > 0
    assert many["ade_mm"] < many["joints_mm"]


def test_the_truth_is_measured_as_it_is(model, bodies, store):
    row = evaluate(model, bodies, store.select({"HumanEva/a"}))["HumanEva", "truth"]
    sizes = []
    for first in (0, 7):
        joints = posed(bodies, store, 0, store.states(0).map(lambda x, first=first: x[first : first + 7]))
        sizes.append(900 * (joints[2:] - 2 * joints[1:-1] + joints[:-2]).norm(dim=-1))
    assert row["acceleration"] == pytest.approx(float(torch.stack(sizes).mean()), rel=1e-3)
    assert "joints_mm" not in row


def test_all_is_every_subset_together_and_the_seed_decides(model, bodies, store):
    part = clips_to_evaluate(store, "test")
    rows, again, other = (evaluate(model, bodies, part, replace(SETTINGS, seed=seed)) for seed in (0, 0, 1))
    assert rows == again
    kinds = ("truth", "one step", "reconstruction", "samples")
    assert list(rows) == [(subset, kind) for subset in ("HumanEva", "Transitions_mocap", "all") for kind in kinds]
    for kind in kinds:
        parts, whole = [rows[subset, kind] for subset in ("HumanEva", "Transitions_mocap")], rows["all", kind]
        assert whole["motions"] == sum(row["motions"] for row in parts)
        for name in {"acceleration", "joints_mm", "kl_loss", "ade_mm"} & set(whole):  # of as many elements in each
            assert whole[name] == pytest.approx(sum(row[name] for row in parts) / 2)
    assert other["all", "samples"]["ade_mm"] != rows["all", "samples"]["ade_mm"]
    assert other["all", "one step"]["kl_loss"] == rows["all", "one step"]["kl_loss"]


def test_posed_joints_are_fed_back_where_it_is_asked_for(model, bodies, store):
    part = store.select({"HumanEva/a"})
    plain, qual = (evaluate(model, bodies, part, replace(SETTINGS, smpl_joint_inputs=asked)) for asked in (None, True))
    for kind, same in (("truth", True), ("one step", True), ("reconstruction", False), ("samples", False)):
        assert (plain["HumanEva", kind] == qual["HumanEva", kind]) == same


def test_motion_that_blows_up_is_counted_and_left_out(model, bodies, store):
    wild = copy.deepcopy(model)
    with torch.no_grad():
        wild.decoder.net[9].weight *= 1e37
    rows = evaluate(wild, bodies, store.select({"HumanEva/a"}))
    assert rows["HumanEva", "samples"]["finite"] == 0
    assert rows["HumanEva", "reconstruction"]["finite"] == 0
    assert "ade_mm" not in rows["HumanEva", "samples"]
    assert "acceleration" not in rows["HumanEva", "samples"]


@pytest.fixture
def command(model, bodies, store, tmp_path, monkeypatch):
    """Runs the command on the walks."""
    monkeypatch.setattr(humor.cli.evaluate, "load_bodies_and_store", lambda *_: (bodies, store))
    save_checkpoint({"model": model.state_dict()}, tmp_path / "net.pt")
    arguments = (
        f"evaluate motion --checkpoint {tmp_path}/net.pt --out {tmp_path}/out --seconds 0.2 --samples 3 --device cpu"
    )
    return lambda *more: main([*arguments.split(), *more])


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_a_row_for_each_and_shows_the_same(command, model, bodies, store, tmp_path, capsys):
    command()
    expected = evaluate(model, bodies, clips_to_evaluate(store, "test"))
    rows = read_rows(tmp_path / "out" / "evaluation.csv")
    assert [(row["subset"], row["motion"]) for row in rows] == list(expected)
    for row, wanted in zip(rows, expected.values(), strict=True):
        numbers = {name: float(text) for name, text in row.items() if text and name not in ("subset", "motion")}
        assert numbers == pytest.approx({name: wanted[name] for name in numbers}, rel=1e-6)
        assert set(numbers) == set(wanted) - {"subset", "motion"}
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("Subset")] == [
        "Subset: HumanEva", "Subset: Transitions_mocap", "Subset: all",
    ]  # fmt: skip
    assert f"{expected['HumanEva', 'samples']['ade_mm']:.1f}" in shown
    assert f"wrote {tmp_path}/out/evaluation.csv" in shown


def test_an_interrupted_evaluation_keeps_what_it_measured(command, tmp_path, monkeypatch, capsys):
    measure, calls = humor.motion.evaluation._measure_motions, []

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        measure(*given)

    monkeypatch.setattr(humor.motion.evaluation, "_measure_motions", interrupted)
    with pytest.raises(SystemExit) as stop:
        command()
    assert stop.value.code == 130
    found = {(row["subset"], row["motion"]) for row in read_rows(tmp_path / "out" / "evaluation.csv")}
    assert ("HumanEva", "samples") in found
    assert ("Transitions_mocap", "one step") in found
    assert ("Transitions_mocap", "samples") not in found
    assert "interrupted; what was written is whole" in capsys.readouterr().err
