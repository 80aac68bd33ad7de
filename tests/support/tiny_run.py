"""A training run small enough to be killed: `python tests/tiny_run.py OUT EPOCHS [double]`."""

import sys
from pathlib import Path

import torch
from rich.console import Console

import humor.training.loop
from humor.data import MotionStore, RawClip, process_clip
from humor.data.synthetic.walker import synthetic_clip
from humor.training.distributed import Team, joined
from humor.training.settings import TrainSettings
from humor.training.split import split_clips
from humor.training.step import TrainStep
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
    return TrainSettings(**{**defaults, "own_input_from": 0, "own_input_only_from": 2, **changes})


def tiny_trainer(out, bodies, split, team=Team(0, 1, torch.device("cpu")), console=None, **changes):  # noqa: B008
    return humor.training.loop.Trainer(
        tiny_settings(**changes), split, bodies, out, team, console or Console(soft_wrap=True)
    )


def compute_in_double(put=setattr):
    """Float64 throughout, so that only what is truly different differs; `put` replaces what there is."""
    built, noise, evaluate = humor.training.loop._built, humor.training.loop.training_noise, TrainStep.evaluate

    def built_double(settings, bodies, team, clock):
        optimizer, step = built(settings, bodies, Team(0, 1, team.device), clock)
        step.model.double()
        step.loss.double()
        step.network = team.share(step.model)
        return optimizer, step

    put(humor.training.loop, "_built", built_double)
    put(humor.training.loop, "training_noise", lambda *key: noise(*key).double())
    put(humor.training.loop, "validation_noise", lambda seed, index, windows: noise(seed, 0, index, windows).double())
    put(humor.training.loop, "rounded", float)
    put(TrainStep, "prepare", lambda self, batch: batch.to(self.device, torch.float64))
    put(TrainStep, "evaluate", lambda self, batch, *rest: evaluate(self, batch.to(self.device, torch.float64), *rest))


if __name__ == "__main__":
    with joined("cpu") as team:
        if "double" in sys.argv:
            compute_in_double()
        bodies = golden.bodies()
        tiny_trainer(
            Path(sys.argv[1]), bodies, tiny_split(bodies), team, epochs=int(sys.argv[2]), batch_size=2 // team.size
        ).run()
