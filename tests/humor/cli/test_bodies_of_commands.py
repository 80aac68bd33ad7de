"""Every command takes every kind of body that `BodyModel.load` takes, and asks for no other gender than it needs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from humor.cli.app import main
from humor.data.synthetic.walker import synthetic_clip
from humor.mannequin import mannequin_arrays
from humor.model import HumorModel
from humor.motion.fit_stages import STAGES
from tests.support.cmu_files import read_made_up

BODIES = [("smplh", 10), ("smplh", 16), ("smplh", 300), ("smpl", 10), ("smpl", 16), ("smpl", 300)]
COMMANDS = {
    "import": "import cmu {0}/captured --out {1}/raw --workers 1",
    "process": "process {0}/raw --out {1}/data --workers 1",
    "train": "train --data {0}/data --out {1}/run --epochs 1 --steps-per-epoch 1 --batch-size 1",
    "study": "study --data {0}/data --out {1}/study --width 1 --epochs 1 --steps-per-epoch 1 --batch-size 1 --seeds 1 "
    "--precisions fp32 bf16",
    "profile": "profile --data {0}/data --out {1}/profile --batch 1 --widths 1 --steps 1 --warm-up 0 --rows 8 "
    "--seconds 0.1 --precisions fp32",
    "sample": "sample --checkpoint {0}/net.pt --data {0}/data --out {1}/samples --num 1 --seconds 0.2",
    "reconstruct": "reconstruct --checkpoint {0}/net.pt --data {0}/data --out {1}/again --num 1 --seconds 0.2",
    "evaluate": "evaluate motion --checkpoint {0}/net.pt --data {0}/data --out {1}/measured --split all --seconds 0.2 "
    "--samples 2",
    "fit": "fit --checkpoint {0}/net.pt --observations {0}/seen.npz --out {1}/fitted",
}
WRITTEN = {
    "import": "raw/CMU/77/77_01_poses.npz", "process": "data/index.json", "train": "run/best.pt",
    "study": "study/table.md", "profile": "profile/profile.json", "sample": "samples/motion.html",
    "reconstruct": "again/motion.html", "fit": "fitted/motion.npz", "evaluate": "measured/evaluation.csv",
}  # fmt: skip
# Where the bodies differ most from the default; the rest of the table is slow.
QUICK = {("smpl", 10, "process"), ("smpl", 300, "import")}
TABLE = [
    pytest.param(*body, command, id=f"{command}-{body[0]}-{body[1]}",
                 marks=[] if (*body, command) in QUICK else [pytest.mark.slow])
    for command in COMMANDS for body in BODIES
]  # fmt: skip


def body_file(kind: str, betas: int, folder: Path) -> Path:
    """A folder with the neutral mannequin as a file of a kind, with so many shape blend shapes."""
    arrays = dict(mannequin_arrays("neutral"))
    shapes = np.pad(arrays["shapedirs"], ((0, 0), (0, 0), (0, 284)))[..., :betas]
    if kind == "smpl":  # the fingers are one joint a hand, which moves with the wrist
        weights, tree = arrays["weights"], arrays["kintree_table"][:, :24].copy()
        tree[0, 22:] = 20, 21
        hands = [weights[:, first:last].sum(1, keepdims=True) for first, last in ((22, 37), (37, 52))]
        arrays |= {
            "posedirs": arrays["posedirs"][..., :207],
            "J_regressor": arrays["J_regressor"][[*range(23), 37]],
            "kintree_table": tree,
            "weights": np.concatenate([weights[:, :22], *hands], 1),
        }
    folder.mkdir()
    np.savez(folder / f"{kind.upper()}_NEUTRAL.npz", **(arrays | {"shapedirs": shapes}))
    return folder


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    made: dict[tuple[str, int], Path] = {}
    folder = tmp_path_factory.mktemp("bodies")

    def find(kind: str, betas: int) -> Path:
        if (kind, betas) not in made:
            made[kind, betas] = body_file(kind, betas, folder / f"{kind}{betas}")
        return made[kind, betas]

    return find


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What the commands read: captured and raw motion with posed hands, a store of it, a network and joints."""
    folder = tmp_path_factory.mktemp("inputs")
    walk = synthetic_clip(seconds=2.0, fps=60.0)
    walk["poses"][:, 66:] = 0.1
    (folder / "raw/CMU").mkdir(parents=True)
    np.savez(folder / "raw/CMU/walk_poses.npz", **walk)
    read_made_up(folder / "captured", [{}, {}])
    main(["process", str(folder / "raw"), "--out", str(folder / "data"), "--workers", "1"])
    torch.save({"model": HumorModel().state_dict()}, folder / "net.pt")
    with np.load(folder / "data/clips/CMU/walk_poses.npz") as clip:
        np.savez(folder / "seen.npz", joints3d=clip["joints"][:3])
    return folder


@pytest.mark.parametrize(("kind", "betas", "command"), TABLE)
def test_a_command_takes_a_body(kind, betas, command, bodies, inputs, tmp_path, monkeypatch):
    for stage in STAGES:
        monkeypatch.setitem(STAGES, stage, replace(STAGES[stage], iterations=1))
    main([*COMMANDS[command].format(inputs, tmp_path).split(), "--body-model", str(bodies(kind, betas))])
    assert (tmp_path / WRITTEN[command]).is_file()


@pytest.mark.parametrize(
    "command", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("train", "sample")), "reconstruct"]
)
def test_a_body_that_the_motion_needs_is_asked_for_before_the_work(command, inputs, tmp_path, capsys):
    folder = tmp_path / "bodies"
    folder.mkdir()
    np.savez(folder / "SMPLH_male.npz", **mannequin_arrays("male"))
    with pytest.raises(SystemExit):
        main([*COMMANDS[command].format(inputs, tmp_path).split(), "--body-model", str(folder)])
    assert capsys.readouterr().err.endswith(
        f"humor: {folder}: no neutral body, which the motion needs; put neutral/model.npz or SMPLH_NEUTRAL.npz beside "
        "the male one.\n"
    )
    assert not (tmp_path / WRITTEN[command]).parent.exists()
