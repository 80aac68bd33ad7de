"""The mannequin is one well-made surface that looks, moves and loads like an SMPL+H body."""

import contextlib
import errno
import io
from dataclasses import replace

import numpy as np
import pytest
import smplx
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from humor.errors import FileError, SettingError
from humor.mannequin import smplh_arrays
from humor.mannequin.cage import subdivision
from humor.mannequin.cage_points import joint_positions
from humor.mannequin.drawing import posed_vertices
from humor.mannequin.proportions import BUILDS, SHAPE_STEPS
from humor.mannequin.smplh_arrays import mannequin_arrays, surface, write_mannequins
from humor.skeleton import GENDERS, KEYPOINT_VERTICES, NUM_VERTICES, SMPLH
from tests.support.mesh_geometry import crossings, volume, windings

every_gender = pytest.mark.parametrize("gender", GENDERS)
FIELDS = [field for field, _ in SHAPE_STEPS]


def template(gender="neutral"):
    arrays = mannequin_arrays(gender)
    return arrays["v_template"].astype(float), arrays["f"].astype(int)


def joint(name):
    return SMPLH.names.index(name)


def test_its_surface_is_one_closed_sphere_of_the_size_of_smpl():
    _, faces = template()
    assert faces.shape == (13776, 3)
    assert set(faces.ravel()) == set(range(NUM_VERTICES))
    directed = [(a, b) for face in faces.tolist() for a, b in zip(face, face[1:] + face[:1], strict=True)]
    assert len(set(directed)) == len(directed), "an edge is used twice in one direction"
    assert {(b, a) for a, b in directed} == set(directed), "an edge has one triangle only"
    assert NUM_VERTICES - len(directed) // 2 + len(faces) == 2


@every_gender
def test_its_triangles_look_outward_and_none_is_a_sliver(gender):
    vertices, faces = template(gender)
    assert 0.04 < volume(vertices, faces) < 0.09
    corners = vertices[faces]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    assert sides.min() > 1e-3
    assert areas.min() > 1e-6
    assert np.median(areas / sides.max(1) ** 2) > 0.2


@every_gender
def test_no_part_of_it_cuts_through_another(gender):
    assert crossings(*template(gender)) == 0


def test_the_test_for_cuts_sees_two_hands_in_one_place():
    vertices, faces = template()
    hand = faces[(vertices[faces, 0] > 0.7).all(1)]
    both = np.concatenate([vertices, vertices + np.array([0.001, 0, 0])])
    assert crossings(both, np.concatenate([hand, hand + NUM_VERTICES])) > 300


@every_gender
def test_it_stands_as_smpl_does_and_as_tall_as_its_build(gender):
    vertices, _ = template(gender)
    low, high = vertices.min(0), vertices.max(0)
    assert abs(high[1] - low[1] - BUILDS[gender].stature) < 0.002
    assert -1.22 < low[1] < -1.10
    assert 0.48 < high[1] < 0.58
    assert abs(high[0] - low[0] - BUILDS[gender].stature) < 0.10  # a span is about a stature
    feet = vertices[vertices[:, 1] < low[1] + 0.05]
    assert feet[:, 2].max() > 2 * -feet[:, 2].min()  # toes to +z
    joints = mannequin_arrays(gender)["J_regressor"] @ vertices
    assert np.linalg.norm(joints[0] - [0, -0.24, 0.03]) < 0.03


def test_its_joints_stand_in_the_order_of_a_body():
    joints = mannequin_arrays("neutral")["J_regressor"] @ template()[0]
    height, out = joints[:, 1], joints[:, 0]
    up = ["left_foot", "left_ankle", "left_knee", "left_hip", "pelvis", "spine1", "spine2", "spine3", "neck", "head"]
    assert (np.diff(height[[joint(name) for name in up]]) > 0.02).all()
    hand = [f"left_middle{k}" for k in (1, 2, 3)]
    outward = ["left_collar", "left_shoulder", "left_elbow", "left_wrist", *hand]
    assert (np.diff(out[[joint(name) for name in outward]]) > 0.02).all()
    fingers = [joints[joint(f"left_{name}2"), 2] for name in ("thumb", "index", "middle", "ring", "pinky")]
    assert (np.diff(fingers) < -0.01).all()


@every_gender
def test_left_and_right_mirror_each_other(gender):
    arrays, mirror = mannequin_arrays(gender), subdivision().mirror
    names = [name.replace("left", "?").replace("right", "left").replace("?", "right") for name in SMPLH.names]
    swap = [SMPLH.names.index(name) for name in names]
    flip = np.array([-1, 1, 1])
    vertices = arrays["v_template"]
    assert np.array_equal(vertices[mirror] * flip, vertices)
    np.testing.assert_allclose(arrays["shapedirs"][mirror] * flip[:, None], arrays["shapedirs"], atol=1e-8)
    np.testing.assert_allclose(arrays["weights"][mirror][:, swap], arrays["weights"], atol=1e-7)
    np.testing.assert_allclose(arrays["J_regressor"][swap][:, mirror], arrays["J_regressor"], atol=1e-7)
    faces = {frozenset(face) for face in arrays["f"].tolist()}
    assert faces == {frozenset(mirror[face].tolist()) for face in arrays["f"]}


def test_weights_are_shares_of_at_most_four_bones():
    weights = mannequin_arrays("neutral")["weights"]
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert (weights > 0).sum(1).max() <= 4
    assert (weights.max(0) > 0.4).all(), "a bone that moves nothing"


def test_weights_change_smoothly_over_the_surface():
    vertices, faces = template()
    weights = mannequin_arrays("neutral")["weights"]
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    jump = np.abs(weights[ends[:, 0]] - weights[ends[:, 1]]).sum(1) / 2
    length = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)
    body = (weights[ends[:, 0]][:, :20].sum(1) > 0.99) & (length > 0.005)
    assert jump.max() < 0.55
    assert (jump / length)[body].max() < 40  # a hand-over takes more than 2.5 cm


def test_no_limb_moves_another():
    vertices, _ = template()
    weights = mannequin_arrays("neutral")["weights"]
    for name in ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist"):
        assert weights[vertices[:, 0] < -1e-6, joint(f"left_{name}")].max() == 0
    sides = (np.abs(vertices[:, 0]) < 0.16) & (vertices[:, 1] < 0.02)
    assert weights[sides][:, [joint("left_shoulder"), joint("left_elbow")]].max() == 0


@pytest.mark.parametrize("finger", ["index", "middle", "ring", "pinky", "thumb"])
def test_a_finger_bends_alone(finger):
    arrays, (vertices, _) = mannequin_arrays("neutral"), template()
    bent = posed_vertices(arrays, {f"left_{finger}{k}": (0, 0, -40) for k in (1, 2, 3)})
    moved = np.linalg.norm(bent - vertices, axis=1)
    owner = arrays["weights"][:, joint("left_index1") : joint("left_thumb3") + 1].reshape(-1, 5, 3).sum(2)
    order = ["index", "middle", "pinky", "ring", "thumb"]
    for k, other in enumerate(order):
        theirs = moved[owner[:, k] > 0.99]
        assert len(theirs) > 30
        assert (theirs.max() > 0.03) if other == finger else (theirs.max() < 1e-6)


@every_gender
def test_the_regressor_finds_the_joints_from_the_vertices_round_them(gender):
    arrays = mannequin_arrays(gender)
    regressor, vertices = arrays["J_regressor"].astype(float), arrays["v_template"].astype(float)
    joints = joint_positions(BUILDS[gender])
    assert regressor.min() >= 0
    np.testing.assert_allclose(regressor.sum(1), 1, atol=1e-6)
    assert (regressor > 0).sum(1).max() <= 96
    np.testing.assert_allclose(regressor @ vertices, joints, atol=1e-4)
    for row, place in zip(regressor, joints, strict=True):
        assert np.linalg.norm(vertices[row > 0] - place, axis=1).max() < 0.25


@pytest.mark.parametrize("beta", range(-1, 16))
def test_every_joint_lies_inside_the_body_whatever_its_shape(beta):
    arrays, (vertices, faces) = mannequin_arrays("female"), template("female")
    names = [name for name in SMPLH.names if not name.startswith("right_")]  # the right is the left's mirror image
    for sign in (-2, 2) if beta >= 0 else (0,):
        shaped = vertices + sign * arrays["shapedirs"][:, :, beta]
        joints = (arrays["J_regressor"] @ shaped)[[joint(name) for name in names]]
        inside = np.concatenate([windings(part, shaped, faces) for part in np.array_split(joints, 10)])
        assert [name for name, w in zip(names, inside, strict=True) if w < 0.5] == []


def test_the_three_builds_differ_as_people_do():
    size = {gender: measures(gender) for gender in GENDERS}
    male, female, neutral = (size[gender] for gender in ("male", "female", "neutral"))
    for name in ("stature", "volume", "shoulders"):
        assert female[name] < neutral[name] < male[name]
    assert male["shoulders"] / male["hips"] > 1.08 * female["shoulders"] / female["hips"]
    assert female["hips"] / female["waist"] > 1.07 * male["hips"] / male["waist"]
    assert np.array_equal(mannequin_arrays("male")["f"], mannequin_arrays("female")["f"])


def measures(gender):
    """Breadths in metres at heights that scale with the stature, and the volume in cubic metres."""
    vertices, faces = template(gender)
    stature = np.ptp(vertices[:, 1])
    shoulders = 2 * (mannequin_arrays(gender)["J_regressor"] @ vertices)[joint("left_shoulder"), 0]
    floor, x = vertices[:, 1].min(), np.abs(vertices[:, 0])

    def breadth(low, high, within=0.15):
        share = (vertices[:, 1] - floor) / stature
        return 2 * x[(share > low) & (share < high) & (x < within * stature)].max()

    return {"stature": stature, "volume": volume(vertices, faces), "shoulders": shoulders,
            "hips": breadth(0.46, 0.53), "waist": breadth(0.60, 0.66)}  # fmt: skip


@pytest.mark.parametrize("beta", range(16))
def test_a_beta_is_one_step_of_its_number(beta):
    field, step = SHAPE_STEPS[beta]
    build = BUILDS["male"]
    change = mannequin_arrays("male")["shapedirs"][:, :, beta]
    largest = np.linalg.norm(change, axis=1).max()
    assert 0.003 < largest < 0.04
    more = surface(replace(build, **{field: getattr(build, field) + step})) - surface(build)
    assert np.abs(change - more).mean() < 0.01 * largest
    assert np.abs(change - more).max() < 0.35 * largest  # where the thighs' gap holds one of the two back


def test_betas_do_what_their_names_say():
    arrays, (vertices, faces) = mannequin_arrays("neutral"), template()
    joints = arrays["J_regressor"] @ vertices

    def change(field, amount=2.0):
        shaped = vertices + amount * arrays["shapedirs"][:, :, FIELDS.index(field)]
        return shaped, arrays["J_regressor"] @ shaped - joints

    assert np.ptp(change("stature")[0][:, 1]) == pytest.approx(1.70 + 0.13, abs=0.002)
    assert volume(change("girth")[0], faces) > 1.15 * volume(vertices, faces)
    assert change("legs")[1][joint("left_ankle"), 1] < -0.03
    assert abs(change("legs")[1][joint("head"), 1]) < 1e-3
    assert change("arms")[1][joint("left_wrist"), 0] > 0.02
    assert change("shoulders")[1][joint("left_shoulder"), 0] == pytest.approx(0.018, abs=0.003)
    assert change("hips")[1][joint("left_hip"), 0] == pytest.approx(0.020, abs=0.012)
    assert change("torso")[1][joint("head"), 1] > 0.03
    assert change("feet")[0][:, 2].max() > vertices[:, 2].max() + 0.01
    assert change("hands")[0][:, 0].max() > vertices[:, 0].max() + 0.01
    front = (np.abs(vertices[:, 0]) < 0.02) & (vertices[:, 2] > 0.05)
    belly, chest = (front & (np.abs(vertices[:, 1] - y) < 0.03) for y in (-0.10, 0.09))
    assert (change("belly")[0] - vertices)[belly, 2].min() > 0.02
    assert (change("chest")[0] - vertices)[chest, 2].min() > 0.01


def test_bending_keeps_its_volume_better_with_the_pose_corrections():
    arrays, (vertices, faces) = mannequin_arrays("neutral"), template()
    bare = arrays | {"posedirs": np.zeros_like(arrays["posedirs"])}
    pose = {"left_elbow": (0, -90, 0), "left_knee": (90, 0, 0)}
    lost, kept = (volume(vertices, faces) - volume(posed_vertices(a, pose), faces) for a in (bare, arrays))
    assert lost > 0
    assert kept < 0.75 * lost


def test_a_pose_correction_is_at_most_two_centimetres_at_a_right_angle():
    posedirs = mannequin_arrays("male")["posedirs"].reshape(NUM_VERTICES, 3, 51, 9)
    turn = Rotation.from_euler("x", 90, degrees=True).as_matrix() - np.eye(3)
    assert 0.005 < np.linalg.norm(posedirs @ turn.ravel(), axis=1).max() < 0.02


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mannequins")
    assert write_mannequins(folder) == [folder / gender / "model.npz" for gender in GENDERS]
    return folder


@every_gender
def test_smplx_loads_the_file_and_poses_the_same_body(folder, gender):
    arrays = mannequin_arrays(gender)
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it takes ten betas of sixteen
        path = str(folder / gender / "model.npz")
        body = smplx.SMPLH(path, ext="npz", use_pca=False, flat_hand_mean=True, num_betas=16)
    rest = body()
    joints = arrays["J_regressor"] @ arrays["v_template"]
    np.testing.assert_allclose(rest.joints[0, :52].detach(), joints, atol=1e-5)
    np.testing.assert_allclose(rest.vertices[0].detach(), arrays["v_template"], atol=1e-5)
    degrees = np.random.default_rng(1).uniform(-40, 40, (52, 3))
    vectors = torch.tensor(Rotation.from_euler("zyx", degrees[:, ::-1], degrees=True).as_rotvec(), dtype=torch.float32)
    posed = body(
        global_orient=vectors[None, 0], body_pose=vectors[None, 1:22].flatten(1),
        left_hand_pose=vectors[None, 22:37].flatten(1), right_hand_pose=vectors[None, 37:].flatten(1),
    )  # fmt: skip
    ours = posed_vertices(arrays, {name: tuple(turn) for name, turn in zip(SMPLH.names, degrees.tolist(), strict=True)})
    np.testing.assert_allclose(posed.vertices[0].detach(), ours, atol=2e-5)


def test_the_file_has_the_arrays_of_smplh_and_nothing_pickled(folder):
    shapes = {
        "v_template": (6890, 3), "shapedirs": (6890, 3, 16), "posedirs": (6890, 3, 459), "J_regressor": (52, 6890),
        "weights": (6890, 52), "kintree_table": (2, 52), "f": (13776, 3), "bs_type": (), "bs_style": (),
        "hands_componentsl": (45, 45), "hands_componentsr": (45, 45), "hands_meanl": (45,), "hands_meanr": (45,),
    }  # fmt: skip
    with np.load(folder / "female" / "model.npz", allow_pickle=False) as file:
        assert {name: file[name].shape for name in file.files} == shapes
        assert all(np.isfinite(file[name]).all() for name in shapes if not name.startswith("bs_"))
        assert file["kintree_table"][0, 0] == 2**32 - 1
        assert file["kintree_table"][0, 1:].tolist() == list(SMPLH.parents[1:])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(folder, monkeypatch):
    before = (folder / "male" / "model.npz").read_bytes()

    def full(stream, **arrays):
        stream.write(b"half a file")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(FileError, match="No space"):
        write_mannequins(folder)
    assert (folder / "male" / "model.npz").read_bytes() == before
    assert [path.name for path in (folder / "male").iterdir()] == ["model.npz"]


def test_making_it_again_gives_the_same_bytes():
    first = mannequin_arrays("neutral")
    smplh_arrays._arrays.cache_clear()
    second = mannequin_arrays("neutral")
    assert first is not second
    assert {name: a.tobytes() for name, a in first.items()} == {name: a.tobytes() for name, a in second.items()}


def test_its_arrays_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        mannequin_arrays("male")["v_template"][0] = 0


def test_an_unknown_gender_is_refused():
    with pytest.raises(SettingError) as caught:
        mannequin_arrays("other")
    assert str(caught.value) == 'the mannequin has no gender "other"; take one of male, female, neutral.'


def test_the_keypoint_vertices_are_spread_over_the_body():
    points = template()[0][list(KEYPOINT_VERTICES)]
    assert (np.ptp(points, axis=0) > [1.3, 1.4, 0.15]).all()
    assert np.median(cKDTree(points).query(points, k=2)[0][:, 1]) > 0.03
