"""The commands that measure trained networks on motion that they were not trained on: evaluate motion, lifting."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..data.loading import load_bodies_and_store, require_bodies
from ..io.files import create_folder, write_whole
from ..motion.evaluation import Evaluation, EvaluationSettings, clips_to_evaluate, evaluate_motion
from ..motion.metrics import PENETRATION_CM
from ..precision.cpu_half_emulation import emulate_half_on_cpu
from ..training.progress import progress_bar
from .lifting import evaluate_lifting_network
from .motion import NetworkSettings
from .terminal import Row, console, print_table, table_csv

# What the tables show of each kind of motion: a label, the column of the file, a factor and decimals.
MEASURES = (
    ("windows or rollouts", "motions", 1, 0),
    ("stayed finite, %", "finite", 100, 1),
    ("loss, without KL", "reconstr_weighted_loss", 1, 4),
    ("KL", "kl_loss", 1, 2),
    ("joints, mm from the truth", "joints_mm", 1, 1),
    ("end effectors, mm", "end_effectors_mm", 1, 1),
    ("legs, mm", "legs_mm", 1, 1),
    ("contacts right, %", "contacts_acc", 100, 1),
    ("of those that touch", "contacts_pos_acc", 100, 1),
    ("of the others", "contacts_neg_acc", 100, 1),
    ("acceleration, m/s²", "acceleration", 1, 2),
    ("toes on the floor slide, cm/s", "sliding", 100, 1),
    *((f"toes {cm} cm below floor, %", f"toes_below_{cm}cm", 100, 2) for cm in PENETRATION_CM),
    ("mean depth of toes, mm", "penetration_mm", 1, 1),
    ("best sample, mm (ADE)", "ade_mm", 1, 1),
    ("at the end, mm (FDE)", "fde_mm", 1, 1),
    ("between samples, mm (APD)", "apd_mm", 1, 1),
)


@emulate_half_on_cpu()
def evaluate_motion_model(
    network: Annotated[NetworkSettings, tyro.conf.arg(name="")],
    settings: Annotated[EvaluationSettings, tyro.conf.arg(name="")] = EvaluationSettings(),  # noqa: B008  frozen
    data: Path | None = None,
) -> None:
    """Measure HuMoR on held-out motion: one step, reconstructions, several samples from one start; OUT/evaluation.csv.

    One that is stopped shows and writes what it has measured.

    Args:
        network: the network to measure and the folder to write to.
        settings: what to measure.
        data: motion store that `humor process` built; a synthetic gait, which has no test subset, if left out.
    """
    loaded = network.network()
    bodies, store = load_bodies_and_store(network.body_model, data)
    store = clips_to_evaluate(store, settings.split)
    require_bodies(bodies, (clip.gender for clip in store.clips), network.body_model)
    create_folder(network.out)  # so that a folder that cannot be written fails before the work
    result = Evaluation()
    try:
        with progress_bar("evaluating") as advance:
            evaluate_motion(loaded, bodies, store, settings, result, advance)
    finally:
        rows = result.rows()
        if rows:
            _print_rows(rows)
            write_whole(network.out / "evaluation.csv", table_csv(rows))
            console.print(f"wrote {network.out}/evaluation.csv", markup=False)


def _print_rows(rows: Sequence[Row]) -> None:
    """A table for each subset, with a column for each kind of motion."""
    for subset, group in groupby(rows, itemgetter("subset")):
        kinds = list(group)
        cells = [
            (label, *(f"{factor * float(row[name]):.{decimals}f}" if name in row else "" for row in kinds))
            for label, name, factor, decimals in MEASURES
            if any(name in row for row in kinds)
        ]
        print_table(f"Subset: {subset}", ("", *(str(row["motion"]) for row in kinds)), cells)


# One arm a command, so that each has options of its own.
Network = (
    Annotated[Any, tyro.conf.subcommand("motion", constructor=evaluate_motion_model)]
    | Annotated[Any, tyro.conf.subcommand("lifting", constructor=evaluate_lifting_network)]
    | Annotated[None, tyro.conf.Suppress]
)


def evaluate(network: Annotated[Network, tyro.conf.arg(name="")]) -> None:
    """Measure a trained network on motion that it was not trained on."""
