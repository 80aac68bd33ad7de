"""Processed clips are read and written in the published format."""

import numpy as np
import pytest
import torch

from humor.data import process_clip
from humor.data.clip_files import arrays_from_clip, clip_from_arrays
from humor.errors import HumorError, MotionError
from humor.rotations import rotvec_to_rotmat
from humor.skeleton import CONTACT_JOINTS
from tests.support import golden_values as golden


def told(call, kind=HumorError):
    with pytest.raises(kind) as error:
        call()
    return str(error.value)


@pytest.mark.parametrize("case", ["a120", "b60", "nofloor"])
def test_a_published_processed_file_is_the_clip_that_we_process(case):
    values = golden.arrays(f"process_{case}")
    ours = process_clip({k.removeprefix("raw_"): v for k, v in values.items() if k.startswith("raw_")}, golden.bodies())
    theirs = clip_from_arrays(golden.processed_arrays(case), case)
    assert (theirs.gender, theirs.fps, len(theirs)) == (ours.gender, ours.fps, len(ours))
    assert theirs.floor_height == pytest.approx(ours.floor_height, abs=1e-5)
    assert torch.equal(theirs.contacts, ours.contacts)
    torch.testing.assert_close(theirs.state.to_vector(), ours.state.to_vector(), atol=2e-4, rtol=0)
    torch.testing.assert_close(theirs.keypoints, ours.keypoints, atol=1e-5, rtol=0)


def test_our_processed_files_have_the_published_names_and_shapes():
    theirs = golden.processed_arrays("a120")
    ours = arrays_from_clip(clip_from_arrays(theirs, "a120"))
    for key, values in ours.items():
        assert values.shape == theirs[key].shape
        if key in ("root_orient", "pose_body"):
            turns = [rotvec_to_rotmat(torch.as_tensor(x).unflatten(-1, (-1, 3))) for x in (values, theirs[key])]
            torch.testing.assert_close(*turns, atol=2e-6, rtol=0)
        elif key == "contacts":
            np.testing.assert_array_equal(values[:, CONTACT_JOINTS], theirs[key][:, CONTACT_JOINTS])
        elif values.dtype.kind == "f":
            np.testing.assert_allclose(values, theirs[key], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"trans": None, "fps": None}, "a processed clip without trans, fps; process the raw clip again."),
        (
            {"joints": np.zeros((95, 22))},
            '"joints" is float64 (95, 22); expected numbers of shape (95, 22, 3); process the raw clip again.',
        ),
        ({"fps": np.array(0)}, "95 frames at 0 a second; process the raw clip again."),
        (
            {"trans": np.full((95, 3), np.nan)},
            '"trans" is not finite or over a million; process the raw clip again.',
        ),
        (
            {"contacts": np.full((95, 22), 0.5)},
            '"contacts" holds other numbers than 0 and 1; process the raw clip again.',
        ),
        (
            {"joints": 1000 * golden.processed_arrays("a120")["joints"]},
            "limbs of 173 m; expected a person's in metres, correct the units.",
        ),
        ({"gender": np.array("x")}, 'gender "x" is not one of male, female, neutral.'),
    ],
)
def test_arrays_that_make_no_processed_clip(change, text):
    arrays = {key: value for key, value in {**golden.processed_arrays("a120"), **change}.items() if value is not None}
    assert told(lambda: clip_from_arrays(arrays, "clip"), MotionError) == f"clip: {text}"
