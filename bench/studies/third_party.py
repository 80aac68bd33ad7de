"""How fast does ours pose a body, beside public implementations over the same body?

`python -m bench.studies.third_party` alternates them in one process and prints medians, how fast each is relative to
smplx and to ours (with the middle half of the rounds), and how far the work is the same. Those that are not installed
are left out: `pip install smplfitter body-models numba` installs them. `bench_third_party.py` measures them one by one.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from smplx.lbs import batch_rigid_transform
from torch import Tensor

from humor import BodyModel
from humor.kinematics import forward_kinematics
from humor.mannequin import mannequin_arrays
from humor.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from humor.skeleton import BODY, NUM_BODY_JOINTS, SMPLH

from ..harness.timing.clock import clock_of
from ..published_loss import smplx_body
from .command import StudyParser, complete_rounds

COMPILED = " compiled"
Arrays = Mapping[str, np.ndarray]
Pose = Callable[[], Any]
VERTICES = {"joints": "none", "mesh": "all", "mesh with hands": "all"}
OUTPUTS = {  # and how far the work is the same
    "kinematics": "transforms out of given rest joints: ours of 22 joints, smplx's batch_rigid_transform of 52",
    "kinematics with hands": "transforms of 52 joints out of given rest joints: the same work for all",
    "joints": "no vertices are wanted: ours places 22 joints; smplx knows only the whole mesh; others place 52",
    "mesh": "hands at rest: ours leaves their joints and directions out, which the others multiply by nothing",
    "mesh with hands": "52 rotations and all vertices: the same work for all",
}


def ours(arrays: Arrays, rotmats: Tensor, betas: Tensor, trans: Tensor, output: str) -> Pose:
    """Our body, which leaves resting hands out."""
    skeleton = SMPLH if output.endswith("with hands") else BODY
    rotmats = rotmats[:, : len(skeleton)].contiguous()
    if output.startswith("kinematics"):
        rest = torch.randn(len(rotmats), len(skeleton), 3).to(rotmats.device)
        return lambda: forward_kinematics(rotmats, rest, skeleton)
    body = BodyModel(arrays).to(rotmats.device)
    return lambda: body(rotmats, betas, trans, vertices=VERTICES[output])


def smplx(arrays: Arrays, rotmats: Tensor, betas: Tensor, trans: Tensor, output: str) -> Pose:
    """smplx, which always poses the whole mesh and all 52 joints."""
    if output.startswith("kinematics"):
        rest, parents = torch.randn(len(rotmats), len(SMPLH), 3), torch.tensor(SMPLH.parents)
        return lambda: batch_rigid_transform(rotmats, rest.to(rotmats.device), parents.to(rotmats.device))
    body, rotvecs = smplx_body(arrays).to(rotmats.device), rotmat_to_rotvec(rotmats).flatten(1)
    names = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose")
    pose = dict(zip(names, rotvecs.split([3, 63, 45, 45], 1), strict=True))
    return lambda: body(betas=betas, transl=trans, **pose)


def smplfitter(arrays: Arrays, rotmats: Tensor, betas: Tensor, trans: Tensor, output: str) -> Pose | None:
    """Source: github.com/isarandi/smplfitter."""
    if output.startswith("kinematics"):
        return None
    from smplfitter.pt import BodyModel as Fitter

    body, mesh = _fitter(Fitter, arrays).to(rotmats.device), output != "joints"
    return lambda: body(rel_rotmats=rotmats, shape_betas=betas, trans=trans, return_vertices=mesh)


def smplfitter_numba(arrays: Arrays, rotmats: Tensor, betas: Tensor, trans: Tensor, output: str) -> Pose | None:
    """The same project's code for the CPU without torch, which has no gradients."""
    if output.startswith("kinematics") or rotmats.device.type != "cpu":
        return None
    import numba
    from smplfitter.nb import BodyModel as Fitter

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    body, mesh = _fitter(Fitter, arrays), output != "joints"
    turns, shape, shift = (x.numpy() for x in (rotmats, betas, trans))
    return lambda: body(rel_rotmats=turns, shape_betas=shape, trans=shift, return_vertices=mesh)


def _fitter(model: Any, arrays: Arrays) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        _write_body(arrays, Path(folder))
        np.save(Path(folder) / "kid_template.npy", arrays["v_template"])  # it insists on one
        return model("smplh16", "neutral", folder)


def body_models(arrays: Arrays, rotmats: Tensor, betas: Tensor, trans: Tensor, output: str) -> Pose | None:
    """Source: pypi.org/project/body-models."""
    if output.startswith("kinematics"):
        return None
    from body_models.smplh import torch as models

    with tempfile.TemporaryDirectory() as folder:
        body = models.SMPLH(model_path=_write_body(arrays, Path(folder)), flat_hand_mean=True, rotation_type="rotmat")
    run = body.to(rotmats.device).forward_skeleton if output == "joints" else body.forward_vertices
    root, limbs, hands = rotmats.split([1, 21, 30], 1)
    return lambda: run(limbs, hands, shape=betas, pelvis_rotation=root[:, 0], global_translation=trans)


IMPLEMENTATIONS = {
    "smplx": smplx,
    "smplfitter": smplfitter,
    "smplfitter_numba": smplfitter_numba,
    "body_models": body_models,
    "ours": ours,
}
_MODULES = {"smplfitter": ["smplfitter"], "smplfitter_numba": ["smplfitter", "numba"], "body_models": ["body_models"]}


def installed() -> list[str]:
    """The implementations that can be run here."""
    return [name for name in IMPLEMENTATIONS if all(map(importlib.util.find_spec, _MODULES.get(name, [])))]


def random_pose(bodies: int, hands: bool) -> tuple[Tensor, Tensor, Tensor]:
    """All 52 rotations, betas and trans; hands at rest unless asked for."""
    random = torch.Generator().manual_seed(0)
    rotmats = rotvec_to_rotmat(torch.randn(bodies, len(SMPLH), 3, generator=random))
    if not hands:
        rotmats[:, NUM_BODY_JOINTS:] = torch.eye(3)
    return rotmats, torch.randn(bodies, 16, generator=random), torch.randn(bodies, 3, generator=random)


def main() -> None:
    """Measure and print a table for each number of bodies and output."""
    parser = StudyParser("third_party", __doc__)
    parser.add_argument("--bodies", type=int, nargs="+", default=[80, 2000], help="bodies in a batch")
    parser.add_argument("--outputs", nargs="+", choices=OUTPUTS, default=list(OUTPUTS), help="what to compute")
    parser.add_argument("--rounds", type=int, default=20, help="of all implementations")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="PyTorch threads")
    parser.add_argument("--compiled", action="store_true", help="also run each through torch.compile")
    parser.add_argument("--without", nargs="+", choices=_MODULES, default=[], help="implementations to leave out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arrays = mannequin_arrays("neutral")
    for bodies in options.bodies:
        for output in options.outputs:
            pose = random_pose(bodies, hands=output.endswith("with hands"))
            names = [name for name in installed() if name not in options.without]
            calls = {name: IMPLEMENTATIONS[name](arrays, *pose, output) for name in names}
            chosen = {name: call for name, call in calls.items() if call is not None}
            if options.compiled:
                eager = {name: call for name, call in chosen.items() if name != "smplfitter_numba"}
                chosen |= {f"{name}{COMPILED}": torch.compile(call) for name, call in eager.items()}
            title = f"{output}, {bodies} bodies, {threads(options.threads)}\n{OUTPUTS[output]}"
            rounds = alternate(chosen, options.rounds)
            report(title, rounds)
            if len(rounds) < options.rounds:
                return


@torch.no_grad()
def alternate(calls: Mapping[str, Pose], rounds: int) -> list[dict[str, float]]:
    """Seconds of each call in each round; a short call is repeated, since the one before it left the caches cold."""
    repeats = {name: max(1, round(0.01 / _seconds(call, 3))) for name, call in calls.items()}
    return complete_rounds(lambda: {name: _seconds(call, repeats[name]) for name, call in calls.items()}, rounds)


def _seconds(call: Pose, repeats: int) -> float:
    """Seconds of a call, after one that warms up."""
    clock = clock_of(torch.device("cpu"))
    call()
    start = clock()
    for _ in range(repeats):
        call()
    return float(clock() - start) / repeats


def threads(count: int) -> str:
    """How the time was taken, in words."""
    return f"{count} thread{'s' * (count > 1)}, without what other processes took"


def report(title: str, rounds: list[dict[str, float]]) -> None:
    """Print one comparison."""
    times = {name: 1000 * np.array([each[name] for each in rounds]) for name in rounds[0]}
    table = Table(title=title, title_justify="left")
    for column in ("", "median ms", "times as fast as smplx", "ours is times as fast"):
        table.add_column(column, justify="right")
    for name, measured in times.items():
        same = COMPILED if name.endswith(COMPILED) else ""  # eager beside eager, compiled beside compiled
        ratios = times[f"smplx{same}"] / measured, measured / times[f"ours{same}"]
        table.add_row(name, f"{np.median(measured):.3g}", *map(_spread, ratios))
    Console(width=120).print(table)


def _spread(ratios: np.ndarray) -> str:
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def _write_body(arrays: Arrays, folder: Path) -> Path:
    """Write the body as the file that other implementations read."""
    file = folder / "neutral" / "model.npz"
    file.parent.mkdir()
    np.savez(file, **dict(arrays))  # type: ignore[arg-type]
    return file


if __name__ == "__main__":
    main()
