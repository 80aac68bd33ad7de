"""Bad input is one clear sentence, and nothing of it is run."""

import os
import pickle
import re

import numpy as np
import pytest
import torch

from humor import BodyModel, HumorModel, Precision
from humor.data import load_clips, read_amass
from humor.data.synthetic.walker import synthetic_clip
from humor.errors import HumorError
from tests.support import golden_values as golden


@pytest.fixture
def bodies():
    return golden.bodies()


@pytest.fixture(scope="module")
def clip():
    return synthetic_clip(seconds=3.0)


def error_of(call):
    with pytest.raises(HumorError) as error:
        call()
    return str(error.value)


def test_missing_file(tmp_path):
    assert error_of(lambda: read_amass(tmp_path / "no.npz")) == f"{tmp_path}/no.npz: no such file; check the path."


def test_folder_for_a_file(tmp_path):
    assert error_of(lambda: BodyModel.load(tmp_path / "x.npz")) == f"{tmp_path}/x.npz: no such file; check the path."
    (tmp_path / "y.npz").mkdir()
    expected = f"{tmp_path}/y.npz: is a folder where a file was expected; name a file inside it."
    assert error_of(lambda: read_amass(tmp_path / "y.npz")) == expected


def test_text_named_npz(tmp_path):
    file = tmp_path / "t.npz"
    file.write_text("frames: 3")
    expected = f"{file}: not an .npz archive (damaged, or another format under that name); export it again."
    assert error_of(lambda: read_amass(file)) == expected


def test_truncated_npz(tmp_path, clip):
    file = tmp_path / "t.npz"
    np.savez_compressed(file, **clip)
    file.write_bytes(file.read_bytes()[:-40])
    assert error_of(lambda: read_amass(file)).startswith(f"{file}: not an .npz archive (damaged")


def test_npz_with_damaged_bytes(tmp_path, clip):
    file = tmp_path / "t.npz"
    np.savez(file, **clip)
    content = bytearray(file.read_bytes())
    content[5000] ^= 255
    file.write_bytes(content)
    assert error_of(lambda: read_amass(file)).startswith(f"{file}: damaged .npz archive (Bad CRC-32")


def test_pickled_object_array(tmp_path, clip):
    file = tmp_path / "t.npz"
    np.savez(file, **{**clip, "gender": np.array([Bomb(tmp_path)], dtype=object)})
    expected = f'{file}: "gender" holds pickled Python objects, which are never run; save it as a plain array.'
    assert error_of(lambda: read_amass(file)) == expected
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"poses": None}, 'no "poses"; an AMASS clip has poses (or root_orient and pose_body) and trans.'),
        ({"trans": None}, 'no "trans"; an AMASS clip has poses (or root_orient and pose_body) and trans.'),
        (
            {"mocap_framerate": None},
            'no frame rate ("mocap_framerate" or "mocap_frame_rate"); pass --fps, e.g. --fps 120.',
        ),
        ({"gender": None}, "no gender; pass --gender, e.g. --gender neutral."),
        ({"gender": "other"}, 'gender "other" is not one of male, female, neutral.'),
        ({"mocap_framerate": 0.0}, "frame rate 0.0; expected frames a second, above 0 and up to 10000."),
        ({"mocap_framerate": np.nan}, "frame rate nan; expected frames a second, above 0 and up to 10000."),
        ({"poses": np.zeros((360, 57))}, '"poses" is (360, 57); expected (frames, 156), or 165, 72 or 66 wide.'),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "holds no frames; leave it out."),
        ({"trans": np.zeros((5, 3))}, '"trans" is (5, 3); expected (360, 3), a row for each pose.'),
        ({"trans": np.array(["x"] * 360)}, '"trans" holds <U1, not numbers; export the clip again.'),
        ({"betas": np.full(10, np.inf)}, '"betas" are not finite; set them to zero.'),
    ],
)
def test_arrays_that_make_no_motion(tmp_path, clip, change, text):
    file = tmp_path / "t.npz"
    np.savez(file, **{name: value for name, value in {**clip, **change}.items() if value is not None})
    assert error_of(lambda: read_amass(file)) == f"{file}: {text}"


def test_a_translation_in_millimetres(tmp_path, clip):
    np.savez(tmp_path / "t.npz", **{**clip, "trans": 1000 * clip["trans"]})
    text = error_of(lambda: load_clips(tmp_path / "t.npz", {"neutral": golden.body("neutral")}))
    found = re.fullmatch(
        rf"{tmp_path}/t\.npz: moves at (.*) m/s most of the time; give metres, and the right frames a second\.", text
    )
    assert 100 < float(found[1]) < 3000


def test_rates_that_disagree(tmp_path, clip):
    np.savez(tmp_path / "t.npz", **clip, mocap_frame_rate=60.0)
    assert error_of(lambda: read_amass(tmp_path / "t.npz")) == (
        f'{tmp_path}/t.npz: "mocap_framerate" is 120.0 and "mocap_frame_rate" is 60.0; remove the wrong one.'
    )


def test_frames_that_are_not_finite(tmp_path, clip):
    poses = clip["poses"].copy()
    poses[[7, 9], 4] = np.nan
    np.savez(tmp_path / "t.npz", **{**clip, "poses": poses})
    assert error_of(lambda: read_amass(tmp_path / "t.npz")) == (
        f'{tmp_path}/t.npz: "poses" is not finite in 2 of 360 frames, first in frame 7; cut those frames out.'
    )


def test_folder_without_motion(tmp_path, bodies):
    assert (
        error_of(lambda: load_clips(tmp_path, bodies))
        == f"{tmp_path}: no AMASS .npz files in this folder; name another."
    )
    np.savez(tmp_path / "shape.npz", betas=np.zeros(16))
    assert (
        error_of(lambda: load_clips(tmp_path, bodies))
        == f"{tmp_path}: no AMASS .npz files in this folder; name another."
    )
    np.savez(tmp_path / "t.npz", poses=np.zeros((3, 156)))
    assert error_of(lambda: load_clips(tmp_path, bodies)) == (
        f'{tmp_path}: none of 1 files can be used; the first: t.npz: no "trans"; '
        "an AMASS clip has poses (or root_orient and pose_body) and trans."
    )


def test_clip_that_the_rules_drop(tmp_path, bodies):
    np.savez(tmp_path / "t.npz", **synthetic_clip(seconds=1.0))
    assert error_of(lambda: load_clips(tmp_path / "t.npz", bodies)) == (
        f"{tmp_path}/t.npz: the processing rules drop it (0.80 s after trimming, under 1 s); give another clip."
    )


def test_unknown_precision():
    known = "fp32, tf32, bf16, fp16, bf16-weights, fp16-weights, fp8"
    assert error_of(lambda: Precision("fp12")) == f'precision "fp12" is not one of {known}.'


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights": None}, "no weights; expected an SMPL+H body with v_template, shapedirs, posedirs, J_regressor,"),
        ({"v_template": np.zeros((10475, 3))}, "10475 vertices; expected 6890 (SMPL+H or SMPL, not SMPL-X or MANO)."),
        (
            {"v_template": np.linspace(0, 1780, 3 * 6890).reshape(6890, 3)},
            '"v_template" is 1.78e+03 m large; expected a person in metres, correct the units.',
        ),
        ({"J_regressor": np.zeros((55, 6890))}, "55 joints; expected 52 (SMPL+H) or 24 (SMPL)."),
        ({"weights": np.zeros((6890, 24))}, '"weights" is float64 (6890, 24); expected numbers of shape (6890, 52).'),
        (
            {"v_template": np.full((6890, 3), np.nan)},
            '"v_template" has values that are not finite; use an undamaged file.',
        ),
        (
            {"kintree_table": np.zeros((2, 52), int)},
            '"kintree_table" is another tree than SMPL\'s; use an SMPL+H file.',
        ),
        ({"f": np.full((9, 3), 6890)}, '"f" is not a list of vertex triples below 6890; use an undamaged file.'),
        ({"shapedirs": np.zeros((6890, 16))}, '"shapedirs" is (6890, 16); expected finite (6890, 3, betas).'),
    ],
)
def test_arrays_that_make_no_body(tmp_path, change, text):
    file = tmp_path / "body.npz"
    arrays = {name: value for name, value in {**golden.body_arrays("male"), **change}.items() if value is not None}
    np.savez(file, **arrays)
    assert error_of(lambda: BodyModel.load(file)).startswith(f"{file}: {text}")


def test_body_of_another_format(tmp_path):
    expected = f"{tmp_path}/b.bvh: a body model is an .npz or .pkl file; name one, e.g. smplh/male/model.npz."
    assert error_of(lambda: BodyModel.load(tmp_path / "b.bvh")) == expected


class Bomb:
    """Leaves a file behind wherever it is unpickled by somebody who runs it."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "ran"),)


def test_malicious_pickle_as_a_body_model_is_not_run(tmp_path):
    file = tmp_path / "body.pkl"
    file.write_bytes(pickle.dumps({"v_template": Bomb(tmp_path)}))
    assert re.fullmatch(
        rf"{file}: the pickle names (posix|nt)\.mkdir, which is not an array type; nothing was run\. "
        r"Use the \.npz from the SMPL\+H site\.",
        error_of(lambda: BodyModel.load(file)),
    )
    assert not (tmp_path / "ran").exists()


def test_malicious_pickle_as_a_checkpoint_is_not_run(tmp_path):
    file = tmp_path / "c.pth"
    torch.save({"model": Bomb(tmp_path)}, file)
    text = error_of(lambda: HumorModel().load_checkpoint(file))
    assert text == (
        f"{file}: holds more than tensors and plain values, or is damaged, so it was not read; "
        'save {"model": model.state_dict()}.'
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"\x80", b"hello", b"\x80\x02}q\x00.", b"\x80\x04\x95\xff\xff\xff\xff"])
def test_damaged_pickles_and_checkpoints(tmp_path, content):
    for file, read in ((tmp_path / "b.pkl", BodyModel.load), (tmp_path / "c.pth", HumorModel().load_checkpoint)):
        file.write_bytes(content)
        assert error_of(lambda r=read, f=file: r(f)).startswith(f"{file}: ")


def test_checkpoint_without_a_model(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "c.pth")
    assert error_of(lambda: HumorModel().load_checkpoint(tmp_path / "c.pth")) == (
        f'{tmp_path}/c.pth: no "model" entry with tensors by name; save {{"model": model.state_dict()}}.'
    )
