"""A run stopped at any moment goes on as if it had not been."""

import copy
import errno
import io
import json
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import humor.io.checkpoints
import humor.training.task
from humor import HumorModel
from humor.data import BatchLoader
from humor.errors import CheckpointError, FileError, SettingError
from humor.io.run_tables import read_table
from tests.support import golden_values as golden
from tests.support.tiny_training import STEPS, compute_in_double, tiny_trainer

SCRIPT = Path(__file__).parents[2] / "support" / "tiny_training.py"
LOGS = ("steps.csv", "epochs.csv")
EPOCHS = 3
NO_OWN_INPUT = {"scheduled_sampling_start": EPOCHS, "scheduled_sampling_end": EPOCHS}  # a fraction of the time


@pytest.fixture(scope="module")
def bodies():
    return golden.bodies()


def logs(out):
    return [(out / name).read_text() for name in LOGS]


def captured():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def unbroken(bodies, split, tmp_path_factory):
    """A run of three epochs that nothing stopped, and what it said."""
    out, console = tmp_path_factory.mktemp("unbroken") / "run", captured()
    tiny_trainer(out, bodies, split, console=console, epochs=EPOCHS).run()
    return out, console.file.getvalue()


def start(out, settings, *arguments, **environment):
    command = [sys.executable, "-W", "error", str(SCRIPT), str(out), json.dumps(settings), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def test_a_run_writes_every_step_and_every_epoch(unbroken):
    out, said = unbroken
    steps, epochs = (read_table(out / name) for name in LOGS)
    assert steps["epoch"] == [float(e) for e in range(EPOCHS) for _ in range(STEPS)]
    assert steps["step"] == [float(s) for _ in range(EPOCHS) for s in range(STEPS)]
    assert set(steps["taken"]) == {1}
    assert epochs["teacher_forcing_rate"] == [1, 0.5, 0]
    for epoch in range(EPOCHS):
        mean = np.mean(steps["loss"][epoch * STEPS : (epoch + 1) * STEPS])
        assert epochs["train_loss"][epoch] == pytest.approx(mean, rel=1e-6)
    assert said.startswith("epoch 0: train ")
    assert " windows/s, " in said
    assert " % waiting for data" in said
    assert list((out / "tensorboard").iterdir())


def test_the_last_and_the_best_network_are_checkpoints_like_any_other(unbroken):
    out, _ = unbroken
    for name in ("last.pt", "best.pt"):
        HumorModel().load_checkpoint(out / name)
    best = torch.load(out / "best.pt", weights_only=True)
    # Epoch 2 is the first on its own input alone, where the best starts anew.
    assert best["position"]["epoch"] == EPOCHS
    assert best["position"]["best"] == read_table(out / "epochs.csv")["score"][2]


def test_a_finished_run_says_so_and_goes_on_when_it_is_given_more_epochs(unbroken, bodies, split, tmp_path):
    out, _ = unbroken
    console = captured()
    tiny_trainer(out, bodies, split, console=console, epochs=EPOCHS).run()
    assert console.file.getvalue() == f"{out}: this run has its 3 epochs; raise --epochs to go on\n"


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_losses(unbroken, bodies, split, tmp_path):
    out, moments = tmp_path / "run", random.Random(0)
    for kill in range(2):
        process = start(out, {"epochs": EPOCHS})
        at, deadline = (1, 6)[kill], time.monotonic() + 60
        while len(steps_so_far(out)) < at and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.communicate()
        for checkpoint in out.glob("*.pt"):
            torch.load(checkpoint, weights_only=True)
    console = captured()
    tiny_trainer(out, bodies, split, console=console, epochs=EPOCHS).run()
    assert console.file.getvalue().startswith(f"{out}: going on from epoch ")
    assert logs(out) == logs(unbroken[0])
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in unbroken[0].iterdir())


def steps_so_far(out):
    path = out / "steps.csv"
    return path.read_text().splitlines()[1:] if path.is_file() else []


def test_ctrl_c_saves_and_says_how_to_go_on(unbroken, bodies, split, tmp_path, monkeypatch):
    out, console, draw = tmp_path / "run", captured(), humor.training.task.training_noise

    def interrupt(seed, epoch, index, windows):
        if (epoch, index) == (1, 1):
            os.kill(os.getpid(), signal.SIGINT)
        return draw(seed, epoch, index, windows)

    monkeypatch.setattr(humor.training.task, "training_noise", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny_trainer(out, bodies, split, console=console, epochs=EPOCHS, save_every=1000).run()
    assert console.file.getvalue().splitlines()[-1] == (
        f"{out}: saved at epoch 1, step 2; run the same command to go on"
    )
    monkeypatch.undo()
    again = captured()
    tiny_trainer(out, bodies, split, console=again, epochs=EPOCHS).run()
    assert again.file.getvalue().startswith(f"{out}: going on from epoch 1, step 2\n")
    assert logs(out) == logs(unbroken[0])


def test_weights_kept_in_half_are_saved_as_masters_and_go_on_to_the_bit(bodies, split, tmp_path):
    settings = {"precision": "bf16-weights", "steps_per_epoch": 2} | NO_OWN_INPUT
    for out, lengths in (("whole", [2]), ("broken", [1, 2])):
        for epochs in lengths:
            tiny_trainer(tmp_path / out, bodies, split, console=captured(), epochs=epochs, **settings).run()
    assert logs(tmp_path / "broken") == logs(tmp_path / "whole")
    saved = torch.load(tmp_path / "whole" / "last.pt", weights_only=True)
    assert {weight.dtype for weight in saved["model"].values()} == {torch.float32}
    assert list(saved["model"]) == list(HumorModel().state_dict())


def test_another_run_than_the_folders_is_refused_naming_each_difference(unbroken, bodies, split):
    out, _ = unbroken
    with pytest.raises(SettingError) as error:
        tiny_trainer(out, bodies, split, precision="bf16", width=2, seed=1)
    assert str(error.value) == (
        f"{out} holds a run with precision fp32, not bf16; width 1, not 2; seed 0, not 1; "
        "give its settings to go on, or another --out."
    )


def test_a_run_whose_settings_have_other_names_is_refused(unbroken, bodies, split, tmp_path):
    saved = torch.load(unbroken[0] / "last.pt", weights_only=True)
    saved["settings"]["by"] = saved["settings"].pop("sampling")
    torch.save(saved, tmp_path / "last.pt")
    with pytest.raises(CheckpointError) as error:
        tiny_trainer(tmp_path, bodies, split)
    assert str(error.value) == (
        f"{tmp_path}/last.pt: a run of another model or of another version of humor, which differ in the settings "
        "by, sampling; use another --out."
    )


def test_an_epoch_without_validation_says_nothing_of_it(bodies, split, tmp_path):
    console = captured()
    tiny_trainer(
        tmp_path, bodies, split, console=console, epochs=3, steps_per_epoch=1, validate_every=2, **NO_OWN_INPUT
    ).run()
    first, second, third = console.file.getvalue().splitlines()
    assert re.fullmatch(r"epoch 1: train [\d.]+, [\d.]+ windows/s, \d+ % waiting for data", second)
    assert ", validation " in first
    assert ", validation " in third
    assert [math.isnan(loss) for loss in read_table(tmp_path / "epochs.csv")["validation_loss"]] == [False, True, False]


def test_a_precision_that_the_device_has_not_is_refused(bodies, split, tmp_path):
    with pytest.raises(SettingError) as error:
        tiny_trainer(tmp_path, bodies, split, precision="tf32")
    assert str(error.value) == (
        "precision tf32: not on cpu, which has fp32, bf16, fp16, bf16-weights, fp16-weights; give one."
    )


def test_a_checkpoint_that_is_no_runs_is_refused(bodies, split, tmp_path):
    torch.save({"model": {}}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError) as error:
        tiny_trainer(tmp_path, bodies, split)
    assert str(error.value) == (f"{tmp_path}/last.pt: not the checkpoint of a training run; use another --out.")


def test_a_log_shorter_than_its_checkpoint_is_refused(bodies, split, tmp_path):
    out = tmp_path / "run"
    tiny_trainer(out, bodies, split, console=captured(), epochs=1).run()
    (out / "steps.csv").write_text("epoch\n")
    with pytest.raises(CheckpointError) as error:
        tiny_trainer(out, bodies, split, epochs=2).run()
    assert str(error.value) == (
        f"{out}/steps.csv: shorter than it was at the last checkpoint; bring it back, or use another --out."
    )


def test_a_full_disk_is_one_sentence_and_the_checkpoint_before_it_stays(bodies, split, tmp_path, monkeypatch):
    out, save = tmp_path / "run", torch.save

    def save_until_full(content, file):
        if content["position"]["step"] == 3:
            file.write(b"a part of it")
            raise OSError(28, "No space left on device")
        save(content, file)

    monkeypatch.setattr(humor.io.checkpoints.torch, "save", save_until_full)
    with pytest.raises(FileError) as error:
        tiny_trainer(out, bodies, split, console=captured(), epochs=1).run()
    assert str(error.value) == (
        f"{out}/last.pt: cannot be written (No space left on device), the checkpoint before it is whole; "
        "make room and run the same command to go on from there."
    )
    assert torch.load(out / "last.pt", weights_only=True)["position"]["step"] == 0
    assert not list(out.glob(".*"))


@pytest.mark.parametrize(
    ("number", "mend"),
    [(errno.ENOSPC, "make room"), (errno.EDQUOT, "make room"), (errno.EACCES, "allow writing there")],
)
def test_a_write_that_fails_is_mended_by_its_cause(tmp_path, monkeypatch, number, mend):
    def fail(content, file):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(humor.io.checkpoints.torch, "save", fail)
    with pytest.raises(FileError) as error:
        humor.io.checkpoints.save_checkpoint({}, tmp_path / "last.pt")
    assert str(error.value) == (
        f"{tmp_path}/last.pt: cannot be written ({os.strerror(number)}), there is none before it; "
        f"{mend} and run the same command to go on from there."
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_batch_that_is_not_finite_is_skipped_said_and_counted(precision, bodies, split, tmp_path, monkeypatch):
    prepare, console = BatchLoader._prepare, captured()

    def spoil(self, epoch, index):
        batch = prepare(self, epoch, index)
        if index:
            batch.contacts[0, 0, 0] = float("nan")
        return batch

    monkeypatch.setattr(BatchLoader, "_prepare", spoil)
    trainer = tiny_trainer(
        tmp_path / "run", bodies, split, console=console, precision=precision, epochs=1, steps_per_epoch=3, log_every=9,
        batch_size=1,
    )  # fmt: skip
    trainer.run()
    assert "epoch 0, step 1: the loss is not finite; batch skipped and 1 after it (2 so far)\n" in (
        console.file.getvalue()
    )
    assert trainer.position.skipped == 2
    assert read_table(tmp_path / "run" / "steps.csv")["taken"][1:] == [0, 0]
    assert all(p.isfinite().all() for p in trainer.task.step.model.parameters())


@pytest.mark.slow
def test_two_processes_lose_what_one_of_twice_the_batch_loses(bodies, split, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    team = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    settings = {"epochs": 2, "steps_per_epoch": 2}
    processes = [start(tmp_path / "two", settings, "double", RANK=r, LOCAL_RANK=r, **team) for r in "01"]
    compute_in_double(monkeypatch.setattr)
    tiny_trainer(tmp_path / "one", copy.deepcopy(bodies), split, console=captured(), **settings).run()
    for process in processes:
        finish(process)
    for name in LOGS:
        one, two = (read_table(tmp_path / run / name) for run in ("one", "two"))
        assert two == {column: pytest.approx(values, rel=1e-7, nan_ok=True) for column, values in one.items()}
