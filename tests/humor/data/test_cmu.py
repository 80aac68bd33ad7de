"""CMU's own files: read, posed, and carried over to the SMPL skeleton."""

import gzip
import math
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from humor.body import BodyModel
from humor.data.amass import read_amass
from humor.data.cmu.amc import read_amc
from humor.data.cmu.asf import AsfSkeleton, read_asf
from humor.data.cmu.importing import find_clips, import_cmu
from humor.data.retargeting import RetargetedMotion, retarget
from humor.data.source_motion import SourceMotion, world_joints, world_rotations
from humor.errors import FileError, HumorError, MotionError, SettingError
from humor.rotations import rotvec_to_rotmat
from humor.skeleton import BODY_NAMES

MOCAP = Path(__file__).parents[4] / "shared" / "mocap"
CLIPS = ("01_01", "01_08", "02_01", "02_03", "02_04", "02_06", "03_02", "07_05", "09_06", "11_01")
LIMBS = (
    ("hip", "knee", "femur"),
    ("knee", "ankle", "tibia"),
    ("shoulder", "elbow", "humerus"),
    ("elbow", "wrist", "radius"),
)
SIDES = (("left", "l"), ("right", "r"))
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


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.mannequin("neutral")


def posed_joints(body: BodyModel, clip: RetargetedMotion) -> np.ndarray:
    rotmats = rotvec_to_rotmat(torch.as_tensor(clip.poses[:, :66].reshape(-1, 22, 3)))
    betas = torch.as_tensor(clip.betas).expand(len(rotmats), 16)
    return body(rotmats, betas, torch.as_tensor(clip.trans)).joints.double().numpy()


def limb_angles(skeleton: AsfSkeleton, source: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Degrees between the limbs of the source and of the body, (frames, 8), both z up."""
    angles = []
    for side, letter in SIDES:
        for start, end, bone in LIMBS:
            ours = joints[:, BODY_NAMES.index(f"{side}_{end}")] - joints[:, BODY_NAMES.index(f"{side}_{start}")]
            index = skeleton.index(letter + bone)
            theirs = source[:, index] - source[:, skeleton.parents[index]]
            sine = np.linalg.norm(np.cross(ours, theirs), axis=-1)
            angles.append(np.degrees(np.arctan2(sine, (ours * theirs).sum(-1))))
    return np.stack(angles, -1)


def z_up(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_skeleton_is_read_in_metres_with_parents_first(tmp_path: Path) -> None:
    (tmp_path / "77.asf").write_text(made_up_asf())
    skeleton = read_asf(tmp_path / "77.asf")
    assert skeleton.names[0] == "root"
    assert set(skeleton.names[1:]) == set(made_up_bones())
    assert all(parent < bone for bone, parent in enumerate(skeleton.parents))
    assert skeleton.lengths[skeleton.index("lfemur")] == pytest.approx(8 / 0.5 * 0.0254)
    np.testing.assert_allclose(np.linalg.norm(skeleton.directions[1:], axis=-1), 1)
    # About fixed axes, x first: z's turn of 15 degrees is what is left for a thigh.
    np.testing.assert_allclose(skeleton.axes[skeleton.index("lfemur")][:, 0], [0.9659258, 0.2588190, 0], atol=1e-6)


def test_radians_and_gzip_read_as_the_same_motion(tmp_path: Path) -> None:
    frames = random_frames(1)
    skeleton, motion = read_made_up(tmp_path / "plain", frames)
    turned = [
        {bone: v[:3] + [math.radians(a) for a in v[3:]] if bone == "root" else [math.radians(a) for a in v]
         for bone, v in frame.items()} for frame in frames
    ]  # fmt: skip
    text = made_up_amc(turned, ":FULLY-SPECIFIED\n:RADIANS")
    (tmp_path / "77_02.amc.gz").write_bytes(gzip.compress(text.replace("\n", "\r\n").encode()))
    (tmp_path / "77.asf.gz").write_bytes(gzip.compress(made_up_asf("length 0.5\n angle rad").encode()))
    in_radians = read_asf(tmp_path / "77.asf.gz")
    again = read_amc(tmp_path / "77_02.amc.gz", in_radians)
    np.testing.assert_allclose(in_radians.axes, skeleton.axes, atol=1e-12)
    np.testing.assert_allclose(again.rotations, motion.rotations, atol=1e-12)
    np.testing.assert_allclose(again.root_translation, motion.root_translation, atol=1e-12)


def slow_joint(frames: list[dict[str, list[float]]], frame: int, bone: str) -> tuple[np.ndarray, np.ndarray]:
    """Obvious twin: where a bone ends and how it is turned, one bone of one frame at a time, from the numbers."""
    if bone == "root":
        values = frames[frame]["root"]
        return np.array(values[:3]) / 0.5 * 0.0254, spin("xyz", values[3:])
    parent = next(row.split()[0] for row in TREE if bone in row.split()[1:])
    place, turn = slow_joint(frames, frame, parent)
    way, length, axis, dof = made_up_bones()[bone]
    own = spin("xyz", axis)
    turn = turn @ own @ spin(dof, frames[frame].get(bone, [])) @ np.linalg.inv(own)
    return place + turn @ (np.array(way) / np.linalg.norm(way)) * length / 0.5 * 0.0254, turn


def spin(letters: str, degrees: list[float] | tuple[float, ...]) -> np.ndarray:
    matrix = np.eye(3)
    for letter, angle in zip(letters, degrees, strict=True):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        one = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
               "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}  # fmt: skip
        matrix = np.array(one[letter]) @ matrix
    return matrix


def test_joints_are_where_a_bone_by_bone_walk_puts_them(tmp_path: Path) -> None:
    frames = random_frames(2, 4)
    skeleton, motion = read_made_up(tmp_path, frames)
    joints, turns = world_joints(skeleton, motion), world_rotations(skeleton, motion)
    for frame in range(len(frames)):
        for index, bone in enumerate(skeleton.names):
            place, turn = slow_joint(frames, frame, bone)
            np.testing.assert_allclose(joints[frame, index], place, atol=1e-12)
            np.testing.assert_allclose(turns[frame, index], turn, atol=1e-12)


def read_bvh(path: Path) -> dict[str, np.ndarray]:
    """World position of every joint of a .bvh, in its own units; an end site is named after its parent."""
    words = path.read_text().split()
    start = words.index("MOTION")
    names, parents, offsets, channels, stack = [], [], [], [], []
    for at, word in enumerate(words[:start]):
        if word in ("ROOT", "JOINT", "End"):
            names.append(words[at + 1] if word != "End" else names[-1] + " end")
            parents.append(stack[-1] if stack else -1)
            stack.append(len(names) - 1)
            channels.append([])
        elif word == "OFFSET":
            offsets.append(np.array(words[at + 1 : at + 4], float))
        elif word == "CHANNELS":
            channels[-1] = words[at + 2 : at + 2 + int(words[at + 1])]
        elif word == "}":
            stack.pop()
    numbers = np.array(words[words.index("Time:") + 2 :], float).reshape(int(words[words.index("Frames:") + 1]), -1)
    columns = iter(numbers.T)
    turns, places = [], []
    for parent, offset, own in zip(parents, offsets, channels, strict=True):
        values = {channel: next(columns) for channel in own}
        order = "".join(channel[0] for channel in own if channel.endswith("rotation"))
        angles = np.stack([values[f"{letter}rotation"] for letter in order], -1) if order else None
        turn = np.eye(3) if angles is None else Rotation.from_euler(order, angles, degrees=True).as_matrix()
        root = np.stack([values[f"{letter}position"] for letter in "XYZ"], -1) if "Xposition" in values else offset
        turns.append(turn if parent < 0 else turns[parent] @ turn)
        places.append(root if parent < 0 else places[parent] + turns[parent] @ offset)
    return dict(zip(names, places, strict=True))


@needs_mocap
def test_the_bvh_of_a_clip_puts_the_source_skeleton_in_the_same_places() -> None:
    skeleton = read_asf(MOCAP / "01.asf")
    source = world_joints(skeleton, read_amc(MOCAP / "01_01.amc.gz", skeleton))
    bvh = read_bvh(MOCAP / "01_01.bvh")
    thorax = source[:, skeleton.index("thorax")] - source[:, skeleton.index("upperback")]
    pairs = {
        "LeftUpLeg": "lhipjoint", "LeftLeg": "lfemur", "LeftFoot": "ltibia", "LeftToeBase": "lfoot",
        "LeftToeBase end": "ltoes", "RightLeg": "rfemur", "RightFoot": "rtibia", "RightToeBase end": "rtoes",
        "Spine": "lowerback", "Spine1": "upperback", "Head": "upperneck", "Head end": "head", "LeftArm": "lclavicle",
        "LeftForeArm": "lhumerus", "LeftHand": "lradius", "RightForeArm": "rhumerus", "RightHand": "rradius",
    }  # fmt: skip
    for theirs, bone in pairs.items():
        place = bvh[theirs][1:] / 0.45 * 0.0254  # the first frame is a rest pose of the converter's
        above = theirs.startswith(("Head", "LeftArm", "LeftForeArm", "LeftHand", "RightForeArm", "RightHand"))
        # That converter gives the thorax no length: all that hangs from it is lower by that one bone.
        np.testing.assert_allclose(place + thorax * above, source[:, skeleton.index(bone)], atol=2e-5, err_msg=bone)


@needs_mocap
def test_another_conversion_on_another_skeleton_points_the_same_way() -> None:
    skeleton = read_asf(MOCAP / "11.asf")
    source = world_joints(skeleton, read_amc(MOCAP / "11_01.amc", skeleton))
    bvh = read_bvh(MOCAP / "11_01.bvh")
    for letter in "lr":
        for start, end, bone in (
            ("Thigh", "Shin", "femur"),
            ("Shin", "Foot", "tibia"),
            ("Shldr", "ForeArm", "humerus"),
        ):
            theirs = bvh[letter + end][1:] - bvh[letter + start][1:]
            index = skeleton.index(letter + bone)
            ours = source[:, index] - source[:, skeleton.parents[index]]
            cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
            assert np.median(np.degrees(np.arccos(cosine))) < 8


# --- retargeting -----------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_limbs_of_any_pose_point_where_the_source_limbs_do(tmp_path_factory, body: BodyModel, seed: int) -> None:
    skeleton, motion = read_made_up(tmp_path_factory.mktemp("clip"), random_frames(seed))
    clip = retarget(skeleton, motion, body)
    # As the pelvis sees it, for the room may have been levelled.
    root = rotvec_to_rotmat(torch.as_tensor(clip.poses[:, :3])).numpy()
    ours = posed_joints(body, clip) @ root
    theirs = world_joints(skeleton, motion) @ world_rotations(skeleton, motion)[:, 0]
    assert limb_angles(skeleton, theirs, ours).max() < 0.01


def test_knees_and_elbows_bend_about_their_hinges_and_the_right_way(tmp_path: Path, body: BodyModel) -> None:
    bent = {bone: [70.0] for bone in ("ltibia", "rtibia", "lradius", "rradius")}
    skeleton, motion = read_made_up(tmp_path, [{}, bent])
    clip = retarget(skeleton, motion, body)
    turn = np.degrees(clip.poses[1, :66].reshape(22, 3) - clip.poses[0, :66].reshape(22, 3))
    for joint, axis in (("left_knee", 0), ("right_knee", 0), ("left_elbow", 1), ("right_elbow", 1)):
        wanted = np.zeros(3)
        wanted[axis] = -70 if joint == "left_elbow" else 70
        np.testing.assert_allclose(
            turn[BODY_NAMES.index(joint)], wanted, atol=6
        )  # the body's own limbs rest a little bent
    joints = posed_joints(body, clip)[1]
    for side, _ in SIDES:
        knee, ankle, elbow, wrist = (
            joints[BODY_NAMES.index(f"{side}_{j}")] for j in ("knee", "ankle", "elbow", "wrist")
        )
        assert ankle[1] - knee[1] > 0.3  # z up, facing -y: shins go back
        assert wrist[1] - elbow[1] < -0.15  # forearms come forward


def test_the_source_at_rest_stands_upright_with_flat_feet_and_straight_hands(tmp_path: Path, body: BodyModel) -> None:
    frame = {"lfemur": [0.0, 0.0, -14.5], "rfemur": [0.0, 0.0, 14.5]}  # legs brought together
    clip = retarget(*read_made_up(tmp_path, [frame, frame]), body)
    rotmats = rotvec_to_rotmat(torch.as_tensor(clip.poses[:1, :66].reshape(-1, 22, 3)))
    posed = body(rotmats, torch.as_tensor(clip.betas)[None], torch.as_tensor(clip.trans[:1]), vertices="all")
    assert posed.vertices is not None
    skin = posed.vertices[0]
    assert abs(float(skin[:, 2].min())) < 0.012
    joints = posed.joints[0]
    for side, _ in SIDES:
        toes = skin[(skin[:, 2] < 0.03) & (skin[:, 0] * (1 if side == "left" else -1) > 0)]
        assert float(toes[:, 1].max() - toes[:, 1].min()) > 0.15  # heel and toes alike are near the floor
        elbow, wrist = (joints[BODY_NAMES.index(f"{side}_{j}")] for j in ("elbow", "wrist"))
        assert abs(float(wrist[2] - elbow[2])) < 1e-3
    np.testing.assert_allclose(
        clip.poses[0, 3 * 20 : 3 * 22], 0, atol=0.4
    )  # wrists: nothing but the elbow's other axis


def test_betas_give_the_body_the_subjects_limbs(tmp_path: Path, body: BodyModel) -> None:
    skeleton, motion = read_made_up(tmp_path, [{}, {}])
    clip = retarget(skeleton, motion, body)
    rest = body.rest_joints(torch.stack([torch.zeros(16), torch.as_tensor(clip.betas).float()])).numpy()

    def length(joints: np.ndarray, *chain: str) -> float:
        points = joints[[BODY_NAMES.index(f"left_{joint}") for joint in chain]]
        return float(np.linalg.norm(np.diff(points, axis=0), axis=-1).sum())

    assert np.abs(clip.betas).max() <= 3
    for chain, wanted in ((("hip", "knee", "ankle"), 16), (("shoulder", "elbow", "wrist"), 11.5)):
        before, after = (abs(length(joints, *chain) - wanted / 0.5 * 0.0254) for joints in rest)
        assert after < 0.02 < before


def test_a_room_that_leans_by_a_degree_is_levelled(tmp_path: Path, body: BodyModel) -> None:
    straight = {"lfemur": [0.0, 0.0, -14.5], "rfemur": [0.0, 0.0, 14.5]}
    frames = []
    for step in range(6):  # six stands along a ramp of 1 in 50, 14 cm apart in the file's units x 0.0508
        at = 14.0 * step
        frames += [straight | {"root": [0.0, 17 + at / 50, at, 0.0, 0.0, 0.0]}] * 20
    joints = posed_joints(body, retarget(*read_made_up(tmp_path, frames), body))
    toes = joints[10::20, 10, 2]
    assert np.ptp(toes) < 0.01
    assert np.ptp(joints[10::20, 0, 1]) > 3


# --- a folder --------------------------------------------------------------------------------------------------------


def test_a_folder_becomes_amass_files_and_bad_ones_are_named(tmp_path: Path, body: BodyModel) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    read_made_up(source, random_frames(5, 4))
    (source / "77_01.amc.gz").write_bytes(gzip.compress((source / "77_01.amc").read_bytes()))
    (source / "77_02.amc").write_text(made_up_amc(random_frames(6, 2)).replace("lfemur", "ltail"))
    (source / "deeper").mkdir()
    (source / "deeper" / "77_..sly name.amc").write_text(made_up_amc(random_frames(7, 4)))
    (source / "deeper" / "88_01.amc").write_text(made_up_amc(random_frames(7, 4)))
    seen = []
    summary = import_cmu(
        source, out, body, fps=60.0, on_clip=lambda clip, total: seen.append((clip.source.name, total))
    )
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "CMU/77/77_01_poses.npz", "CMU/77/77_sly_name_poses.npz",
    ]  # fmt: skip
    assert [name for name, _ in seen] == ["77_01.amc", "77_01.amc.gz", "77_02.amc", "77_..sly name.amc", "88_01.amc"]
    assert {total for _, total in seen} == {5}
    assert len(summary.imported) == 2
    assert [clip.note for clip in summary.left_out] == [
        "77_01.amc.gz: the same clip as 77_01.amc, which was taken; remove one of them.",
        '77_02.amc: first frame: "ltail" is no bone of 77.asf (or a number is missing); pair the motion with its own '
        "skeleton.",
        "88_01.amc: no skeleton 88.asf in the folder; put it beside the motion.",
    ]
    clip = read_amass(out / "CMU" / "77" / "77_01_poses.npz")
    assert (clip.poses.shape, clip.trans.shape, clip.betas.shape) == ((4, 156), (4, 3), (16,))
    assert (clip.gender, clip.fps) == ("neutral", 60.0)
    assert not clip.poses[:, 66:].any()


def test_importing_twice_gives_the_same_bytes(tmp_path: Path, body: BodyModel) -> None:
    read_made_up(tmp_path / "in", random_frames(5, 3))
    (path,) = [clip.path for clip in import_cmu(tmp_path / "in", tmp_path / "out", body).imported]
    assert path is not None
    first = path.read_bytes()
    import_cmu(tmp_path / "in", tmp_path / "out", body)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("fps", "message"),
    [
        (0.0, "--fps 0; expected frames a second between 1 and 1000, CMU's usual rate is 120."),
        (math.nan, "--fps nan; expected frames a second between 1 and 1000, CMU's usual rate is 120."),
    ],
)
def test_a_frame_rate_that_is_none_is_refused(tmp_path: Path, body: BodyModel, fps: float, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        import_cmu(tmp_path, tmp_path, body, fps)


def test_a_folder_without_motions_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path}: no .amc or .amc.gz file in it; expected CMU's motions beside their .asf skeletons."
    with pytest.raises(FileError, match=f"^{re.escape(message)}$"):
        find_clips(tmp_path)
    message = f"{tmp_path / 'x'}: not a folder; expected CMU's .asf and .amc files in it, check the name."
    with pytest.raises(FileError, match=f"^{re.escape(message)}$"):
        find_clips(tmp_path / "x")


SKELETON_MISTAKES = [
    (":hierarchy", ":tree", '77.asf: no ":hierarchy" section; expected a skeleton (.asf), get a whole copy of it.'),
    ("length 0.5", "length 0", "77.asf: line 6: length unit 0; expected 0.45 (CMU) or 1 (inches), correct it."),
    ("angle deg", "angle turns", '77.asf: line 7: angle unit "turns"; expected "deg" or "rad", correct it.'),
    ("TX TY TZ", "TX TX TZ",
     '77.asf: line 11: root order "TX TX TZ RX RY RZ"; expected TX TY TZ RX RY RZ, correct it.'),
    ("name head", "name root", '77.asf: line 75: a second bone named "root"; every bone needs its own, correct it.'),
    ("name head", "title head", "77.asf: line 75: a bone without a name; every bone needs its own, correct it."),
    ("length 8\n", "length nan\n", '77.asf: bone "lfemur": length: "nan"; expected 1 finite number, correct it.'),
    ("length 8\n", "length 800\n",
     '77.asf: bone "lfemur": length 40.6 m along a direction of length 1; expected 0 to 10 m along a unit vector, '
     "correct it."),
    ("direction 0.25 -0.97 0", "direction 0 0 0",
     '77.asf: bone "lfemur": length 0.406 m along a direction of length 0; expected 0 to 10 m along a unit vector, '
     "correct it."),
    ("axis 0 0 15 XYZ", "axis 0 0 15 XXZ",
     '77.asf: bone "lfemur": axis order "XXZ"; expected three angles and XYZ or the like, correct it.'),
    ("dof rx\n", "dof rx tx\n", '77.asf: bone "ltibia": dof "rxtx"; expected rx ry rz, each at most once, correct it.'),
    ("lowerback upperback", "lowerback lowerback",
     '77.asf: line 273: bone "lowerback" has two parents; expected one, correct it.'),
    ("lowerback upperback", "lowerback tail", '77.asf: line 273: bone "tail" is not in ":bonedata"; correct it.'),
    ("root lhipjoint", "root",
     '77.asf: bone "lfemur" does not hang from the root in ":hierarchy"; correct it.'),
    ("end\n:hierarchy", ":hierarchy", '77.asf: ":bonedata" ends early or is empty; get a whole copy of it.'),
    ("begin\n id 1\n", "begin\nbegin\n id 1\n",
     '77.asf: line 17: "begin" out of place; expected "begin" ... "end", correct it.'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), SKELETON_MISTAKES)
def test_a_mistake_in_a_skeleton_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = made_up_asf()
    assert old in text
    (tmp_path / "77.asf").write_text(text.replace(old, new, 1))
    with pytest.raises(FileError) as caught:
        read_asf(tmp_path / "77.asf")
    assert str(caught.value) == message


MOTION_MISTAKES = [
    ("lfemur 0.0", "lfemur", FileError,
     '77_01.amc: first frame: "0.0" is no bone of 77.asf (or a number is missing); pair the motion with its own '
     "skeleton."),
    ("rtibia 0.0\n", "", FileError,
     '77_01.amc: first frame: no bone "rtibia", which 77.asf has; pair the motion with its own skeleton.'),
    ("rtibia 0.0\n", "ltibia 0.0\n", FileError,
     '77_01.amc: first frame: "ltibia" appears twice; pair the motion with its own skeleton.'),
    ("rtibia 0.0", "rtibia nan", MotionError,
     '77_01.amc: bone "rtibia" has a number that is not finite; get a whole copy of it.'),
    ("rtibia 0.0", "rtibia 1e9", MotionError,
     "77_01.amc: an angle over 36000 degrees or a root over 1000 m away; expected a person's motion in the units of "
     "its skeleton, get a whole copy of it."),
    ("rtibia 0.0", "rtibia zero", FileError,
     '77_01.amc: bone "rtibia" has a word among its numbers; get a whole copy of it.'),
    ("\n2\n", "\n5\n", FileError, "77_01.amc: frame numbers do not count up by one; get a whole copy of it."),
    (":DEGREES", "x" * 40, FileError,
     '77_01.amc: "xxxxxxxxxxxxxxxxxxxxx..." is neither a number nor a bone; get a whole copy of it.'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "kind", "message"), MOTION_MISTAKES)
def test_a_mistake_in_a_motion_is_named(
    tmp_path: Path, old: str, new: str, kind: type[HumorError], message: str
) -> None:
    skeleton, _ = read_made_up(tmp_path, [{}, {}])
    text = made_up_amc([{}, {}])
    assert old in text
    (tmp_path / "77_01.amc").write_text(text.replace(old, new, 1))
    with pytest.raises(kind) as caught:
        read_amc(tmp_path / "77_01.amc", skeleton)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "77_01.amc: no frames; expected an Acclaim motion (.amc), get a whole copy of it."),
        (made_up_amc([{}, {}]).encode()[:-30], "77_01.amc: ends in the middle of frame 2; get a whole copy of it."),
        ("rtibia 1.0".join(made_up_amc([{}, {}]).rsplit("rradius 0.0", 1)).encode(),
         '77_01.amc: frame 2: "rtibia" where the first frame has "rradius"; expected the same bones in every frame, '
         "get a whole copy of it."),
    ],
)  # fmt: skip
def test_a_cut_motion_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    skeleton, _ = read_made_up(tmp_path, [{}, {}])
    (tmp_path / "77_01.amc").write_bytes(content)
    with pytest.raises(FileError) as caught:
        read_amc(tmp_path / "77_01.amc", skeleton)
    assert str(caught.value) == message


def test_a_missing_file_and_a_broken_gzip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileError, match=f"^5.asf: no such file in {re.escape(str(tmp_path))}; check the folder's name.$"
    ):
        read_asf(tmp_path / "5.asf")
    (tmp_path / "5.asf.gz").write_bytes(b"nonsense")
    with pytest.raises(
        FileError, match=r"^5.asf.gz: cannot be read \(Not a gzipped file .*\); get a whole copy of it.$"
    ):
        read_asf(tmp_path / "5.asf.gz")


def test_a_gzip_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("humor.data.cmu.asf.MAX_BYTES", 2**20)
    (tmp_path / "5.asf.gz").write_bytes(gzip.compress(b" " * 2**22))
    with pytest.raises(FileError, match=r"^5.asf.gz: more than 1 MiB of text, no CMU file is; remove it.$"):
        read_asf(tmp_path / "5.asf.gz")


def test_another_skeleton_than_cmus_is_refused(tmp_path: Path, body: BodyModel) -> None:
    (tmp_path / "77.asf").write_text(made_up_asf().replace("lhand", "lpaw"))
    (tmp_path / "77_01.amc").write_text(made_up_amc([{}, {}]).replace("lhand", "lpaw"))
    skeleton = read_asf(tmp_path / "77.asf")
    with pytest.raises(MotionError) as caught:
        retarget(skeleton, read_amc(tmp_path / "77_01.amc", skeleton), body)
    assert str(caught.value) == (
        '77.asf: no bone named "lhand"; expected the bones of CMU\'s skeletons, other skeletons cannot be imported.'
    )


def test_a_motion_of_one_frame_is_refused(tmp_path: Path, body: BodyModel) -> None:
    with pytest.raises(MotionError) as caught:
        retarget(*read_made_up(tmp_path, [{}]), body)
    assert str(caught.value) == "77.asf: a motion of 1 frame; expected two or more, leave it out."


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Bytes flipped, cut out, swapped or repeated."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        if not data:
            break
        a, b = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
        span = draw.randrange(1, 40)
        kind = draw.randrange(5)
        if kind == 0:
            data[a] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[a : a + span]
        elif kind == 2:
            data[a : a + span], data[b : b + span] = data[b : b + span], data[a : a + span]
        elif kind == 3:
            data[a:a] = data[b : b + span]
        else:
            data[a] = draw.choice(b"0123456789-.e \n#:x\xff")
    return bytes(data[: draw.randrange(len(data) + 1)] if draw.random() < 0.05 else data)


def fuzz(folder: Path, body: BodyModel, asf: bytes, amc: bytes, rounds: int, seed: int) -> tuple[int, int]:
    """How many damaged files still imported, and how many were refused with a HumorError."""
    draw = random.Random(seed)
    source, out = folder / "in", folder / "out"
    source.mkdir()
    before = {folder, source, out}
    imported = refused = 0
    for number in range(rounds):
        packed = gzip.compress(amc, 1)
        files = {"77.asf": asf, "77_01.amc": amc, "77_02.amc.gz": packed}
        hit = draw.choice(list(files))
        for name, content in files.items():
            (source / name).write_bytes(damaged(draw, content) if name == hit else content)
        (source / ("77_02.amc.gz" if hit != "77_02.amc.gz" else "77_01.amc")).unlink()
        summary = import_cmu(source, out, body)
        assert len(summary.clips) == 1, number
        imported += len(summary.imported)
        refused += len(summary.left_out)
        assert all("\n" not in clip.note and clip.note.endswith(".") for clip in summary.left_out)
        for clip in summary.imported:
            assert clip.path is not None
            with np.load(clip.path) as arrays:
                assert all(np.isfinite(arrays[key]).all() for key in ("poses", "trans", "betas"))
        for name in files:
            (source / name).unlink(missing_ok=True)
    beside = {path for path in folder.rglob("*") if out not in path.parents} - before
    assert not beside
    return imported, refused


def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path: Path, body: BodyModel) -> None:
    asf, amc = made_up_asf().encode(), made_up_amc(random_frames(3, 6)).encode()
    imported, refused = fuzz(tmp_path, body, asf, amc, rounds=300, seed=0)
    assert imported > 10
    assert refused > 100


# --- CMU's clips -----------------------------------------------------------------------------------------------------


@needs_mocap
@pytest.mark.parametrize("name", CLIPS)
def test_a_real_clip_looks_like_its_source(name: str, body: BodyModel) -> None:
    skeleton = read_asf(MOCAP / f"{name[:2]}.asf")
    path = MOCAP / f"{name}.amc"
    motion = read_amc(path if path.exists() else path.with_name(f"{name}.amc.gz"), skeleton)
    clip = retarget(skeleton, motion, body)
    joints = posed_joints(body, clip)
    angles = limb_angles(skeleton, z_up(world_joints(skeleton, motion)), joints)
    assert np.median(angles) < 2
    assert angles.max() < 10
    rotvecs = clip.poses[:, :66].reshape(-1, 22, 3)
    assert np.degrees(rotvecs[:, [4, 5], 0].min()) > -8  # knees: straight is where the body's own rest is a little bent
    assert np.degrees((rotvecs[:, [18, 19], 1] * [-1, 1]).min()) > -10  # elbows
    # The lowest of the feet that rest have their soles on the floor.
    speed = np.linalg.norm(np.diff(joints[:, [10, 11]], axis=0), axis=-1) * 120
    resting = joints[:-1, [10, 11], 2][speed < 0.3]
    lowest = resting[np.abs(resting - np.percentile(resting, 5)) < 0.03]
    rest = body.rest_joints(torch.as_tensor(clip.betas).float())
    skin = body(torch.eye(3).expand(22, 3, 3), torch.as_tensor(clip.betas), torch.zeros(3), vertices="all").vertices
    assert skin is not None
    assert np.median(lowest) == pytest.approx(float(rest[10, 1] - skin[:, 1].min()), abs=0.015)
