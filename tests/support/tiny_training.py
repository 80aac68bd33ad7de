"""A training run small enough to be killed: `python tests/support/tiny_training.py OUT SETTINGS [double]`."""

import json
import sys
from pathlib import Path

import torch
from rich.console import Console

import humor.training.loop
from humor.data import MotionStore, RawClip, process_clip
from humor.data.synthetic.walker import synthetic_clip
from humor.training import task
from humor.training.distributed import Team, process_group
from humor.training.settings import TrainSettings
from humor.training.split import split_clips
from humor.training.step import TrainStep
from humor.training.task import MotionTask
from tests.support import golden_values as golden

STEPS = 4


def tiny_split(bodies):
    """Four short walks of people of every gender, one held out."""
    genders = ("male", "female", "neutral", "male")
    walks = [synthetic_clip(seed, 3.0, gender=gender) for seed, gender in enumerate(genders)]
    clips = [process_clip(RawClip.from_arrays(walk, f"walk {number}"), bodies) for number, walk in enumerate(walks)]
    return split_clips(MotionStore.in_memory(clips))


def tiny_settings(**changes):
    """All three kinds of epoch, one each, then more of the last."""
    defaults = {"steps_per_epoch": STEPS, "batch_size": 2, "save_every": 3, "log_every": 2}
    return TrainSettings(**{**defaults, "scheduled_sampling_start": 0, "scheduled_sampling_end": 2, **changes})


def tiny_trainer(out, bodies, split, team=Team(0, 1, torch.device("cpu")), console=None, **changes):  # noqa: B008
    motion = MotionTask(tiny_settings(**changes), split, bodies, team)
    return humor.training.loop.Trainer(motion, out, console or Console(soft_wrap=True))


def compute_in_double(put=setattr):
    """Float64 throughout, so that only what is truly different differs; `put` replaces what there is."""
    build, noise, evaluate = MotionTask.build, task.training_noise, TrainStep.evaluate

    def build_double(self, timer):
        team, self.team = self.team, Team(0, 1, self.team.device)
        build(self, timer)
        self.team = team
        self.step.model.double()
        self.step.loss.double()
        self.step.network = team.wrap_ddp(self.step.model)

    put(MotionTask, "build", build_double)
    put(task, "training_noise", lambda *key: noise(*key).double())
    put(task, "validation_noise", lambda seed, index, windows: noise(seed, 0, index, windows).double())
    for module in (task, humor.training.loop):
        put(module, "rounded", float)
    put(TrainStep, "prepare", lambda self, batch: batch.to(self.device, torch.float64))
    put(TrainStep, "evaluate", lambda self, batch, *rest: evaluate(self, batch.to(self.device, torch.float64), *rest))


if __name__ == "__main__":
    with process_group("cpu") as team:
        if "double" in sys.argv:
            compute_in_double()
        bodies = golden.bodies()
        tiny_trainer(
            Path(sys.argv[1]), bodies, tiny_split(bodies), team, batch_size=2 // team.size, **json.loads(sys.argv[2])
        ).run()
