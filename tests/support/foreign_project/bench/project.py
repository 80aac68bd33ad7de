"""What the harness must know of this project."""

from pathlib import Path

import torch

from .harness.project import Project


def make_signal(option, device):
    """What every benchmark works on."""
    return torch.linspace(0, 100, option("--samples"), device=device).sin()


PROJECT = Project(
    name="waves",
    module=__name__,
    root=Path(__file__).parents[1],
    library="waves",
    make_workload=make_signal,
    options=("--samples",),
    describe=lambda signal: {"samples": str(len(signal))},
)
