"""CMU's files: a made-up skeleton with motions, and where real ones are."""

import math
import random
from pathlib import Path

import pytest

from humor.data.cmu.amc import read_amc
from humor.data.cmu.asf import AsfSkeleton, read_asf
from humor.data.source_motion import SourceMotion
from tests.support.pytest_process import ROOT

MOCAP = ROOT.parent / "shared" / "mocap"
needs_mocap = pytest.mark.skipif(not MOCAP.is_dir(), reason="CMU's clips are not at ../shared/mocap")

# A made-up skeleton with CMU's bone names: direction, length (inches x 0.5), axis angles, dofs; the left side.
TRUNK = {
    "lowerback": ((0, 1, 0), 2, (0, 0, 0), "xyz"), "upperback": ((0, 1, 0), 2, (0, 0, 0), "xyz"),
    "thorax": ((0, 1, 0), 2, (0, 0, 0), "xyz"), "lowerneck": ((0, 1, 0), 2, (0, 0, 0), "xyz"),
    "upperneck": ((0, 1, 0), 2, (0, 0, 0), "xyz"), "head": ((0, 1, 0), 2, (0, 0, 0), "xyz"),
}  # fmt: skip
LEG, FOOT = (0.25, -0.97, 0), (0.05, -0.2, 0.98)
SIDE = {
    "hipjoint": ((0.6, -0.7, 0.3), 2.5, (0, 0, 0), ""), "femur": (LEG, 8, (0, 0, 15), "xyz"),
    "tibia": (LEG, 8, (0, 0, 15), "x"), "foot": (FOOT, 2.5, (-90, 0, 15), "xz"),
    "toes": ((0, 0, 1), 1.2, (-90, 0, 15), "x"), "clavicle": ((0.9, 0.3, 0), 4, (0, 0, 0), "yz"),
    "humerus": ((1, 0, 0), 5.5, (180, -20, -90), "xyz"), "radius": ((1, 0, 0), 4, (180, -20, -90), "x"),
    "wrist": ((1, 0, 0), 2, (0, 90, 90), "y"), "hand": ((1, 0, 0), 0.8, (0, 90, 90), "xz"),
}  # fmt: skip
TREE = (
    "root lhipjoint rhipjoint lowerback", "lowerback upperback", "upperback thorax",
    "thorax lowerneck lclavicle rclavicle", "lowerneck upperneck", "upperneck head",
    *(f"{s}{a} {s}{b}" for s in "lr" for a, b in (
        ("hipjoint", "femur"), ("femur", "tibia"), ("tibia", "foot"), ("foot", "toes"), ("clavicle", "humerus"),
        ("humerus", "radius"), ("radius", "wrist"), ("wrist", "hand"))),
)  # fmt: skip


def made_up_bones() -> dict[str, tuple[tuple[float, ...], float, tuple[float, ...], str]]:
    bones = dict(TRUNK)
    for name, (way, length, axis, dof) in SIDE.items():
        bones["l" + name] = (way, length, axis, dof)
        bones["r" + name] = ((-way[0], *way[1:]), length, (axis[0], -axis[1], -axis[2]), dof)
    return bones


def made_up_asf(units: str = "length 0.5\n angle deg") -> str:
    radians = "rad" in units
    blocks = []
    for number, (name, (way, length, axis, dof)) in enumerate(made_up_bones().items(), 1):
        angles = " ".join(repr(math.radians(a)) if radians else str(a) for a in axis)
        dofs = f"\n dof {' '.join('r' + d for d in dof)}\n limits (-90.0 90.0)\n  (-5 5)" if dof else ""
        blocks.append(
            f"begin\n id {number}\n name {name}\n direction {way[0]} {way[1]} {way[2]}\n length {length}\n"
            f" axis {angles} XYZ{dofs}\nend"
        )
    return (
        f"# made up\n:version 1.10\n:name somebody\n:units\n mass 1.0\n {units}\n:documentation\n for a test\n:root\n"
        " order TX TY TZ RX RY RZ\n axis XYZ\n position 0 0 0\n orientation 0 0 0\n:bonedata\n" + "\n".join(blocks)
        + "\n:hierarchy\nbegin\n" + "\n".join(TREE) + "\nend\n"
    )  # fmt: skip


def made_up_amc(frames: list[dict[str, list[float]]], header: str = ":FULLY-SPECIFIED\n:DEGREES") -> str:
    """Every bone with angles of zero but those given."""
    lines = ["# made up", header]
    for number, frame in enumerate(frames, 1):
        lines.append(str(number))
        lines.append("root " + " ".join(map(repr, frame.get("root", [0.0, 17.0, 0.0, 0.0, 0.0, 0.0]))))
        for bone, (_, _, _, dof) in made_up_bones().items():
            if dof:
                lines.append(f"{bone} " + " ".join(map(repr, frame.get(bone, [0.0] * len(dof)))))
    return "\n".join(lines) + "\n"


def random_frames(seed: int, count: int = 3, size: float = 60.0) -> list[dict[str, list[float]]]:
    draw = random.Random(seed)
    bones = [(bone, len(dof)) for bone, (_, _, _, dof) in made_up_bones().items() if dof]
    return [
        {"root": [draw.uniform(-9, 9) for _ in range(3)] + [draw.uniform(-180, 180) for _ in range(3)]}
        | {bone: [draw.uniform(-size, size) for _ in range(count_)] for bone, count_ in bones}
        for _ in range(count)
    ]


def read_made_up(folder: Path, frames: list[dict[str, list[float]]]) -> tuple[AsfSkeleton, SourceMotion]:
    folder.mkdir(exist_ok=True)
    (folder / "77.asf").write_text(made_up_asf())
    (folder / "77_01.amc").write_text(made_up_amc(frames))
    skeleton = read_asf(folder / "77.asf")
    return skeleton, read_amc(folder / "77_01.amc", skeleton)
