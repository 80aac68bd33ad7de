"""Body files are found as their archives unpack them, and only those that are needed are asked for."""

from pathlib import Path

import pytest

from humor import BodyModel
from humor.data.loading import require_bodies
from humor.errors import FileError
from humor.io.body_files import find_bodies

SITE = "models/SMPLH_male.pkl models/SMPLH_female.pkl models/MANO_LEFT.pkl models/info.txt"
AMASS = "male/model.npz female/model.npz neutral/model.npz"


def lay_out(folder: Path, files: str) -> None:
    for file in files.split():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def within(prefix: str, files: str) -> str:
    return " ".join(f"{prefix}/{file}" for file in files.split())


@pytest.mark.parametrize(
    ("files", "given", "found"),
    [
        (SITE, "models", "models/SMPLH_male.pkl models/SMPLH_female.pkl"),
        (within("mano_v1_2", SITE), ".", "mano_v1_2/models/SMPLH_male.pkl mano_v1_2/models/SMPLH_female.pkl"),
        (AMASS, ".", AMASS),
        (within("smplh", AMASS) + " " + within("dmpls", AMASS), ".", within("smplh", AMASS)),
        ("smplh/Male/MODEL.NPZ", "smplh", "smplh/Male/MODEL.NPZ"),
        ("smpl/models/basicmodel_m_lbs_10_207_0_v1.1.0.pkl smpl/models/basicModel_f_lbs_10_207_0_v1.0.0.pkl "
         "smpl/models/basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl", "smpl",
         "smpl/models/basicmodel_m_lbs_10_207_0_v1.1.0.pkl smpl/models/basicModel_f_lbs_10_207_0_v1.0.0.pkl "
         "smpl/models/basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"),
        ("smpl/SMPL_MALE.npz smplh/SMPLH_MALE.pkl smplh/SMPLH_MALE.npz", ".", "smplh/SMPLH_MALE.npz"),
        ("SMPLH_MALE.npz SMPL_NEUTRAL.pkl", ".", "SMPLH_MALE.npz SMPL_NEUTRAL.pkl"),
        ("smplx/male/model.npz smplx/SMPLX_MALE.npz smpl_male.npz", ".", "smpl_male.npz"),
    ],
)  # fmt: skip
def test_bodies_are_found_as_archives_unpack_them(tmp_path: Path, files: str, given: str, found: str) -> None:
    lay_out(tmp_path, files)
    assert [str(file.relative_to(tmp_path)) for file in find_bodies(tmp_path / given).values()] == found.split()


@pytest.mark.parametrize(
    ("files", "wanted", "text"),
    [
        ("SMPLX_MALE.npz", (), "no male body; expected male/model.npz or SMPLH_MALE.npz."),
        (SITE, ("neutral",),
         "no neutral body beside the female and male one; expected neutral/model.npz or SMPLH_NEUTRAL.npz."),
    ],
)  # fmt: skip
def test_a_body_that_is_needed_and_not_there_is_named(
    tmp_path: Path, files: str, wanted: tuple[str, ...], text: str
) -> None:
    lay_out(tmp_path, files)
    with pytest.raises(FileError) as error:
        find_bodies(tmp_path, wanted)
    assert str(error.value) == f"{tmp_path}: {text}"


def test_motion_needs_the_bodies_of_its_genders_alone() -> None:
    bodies = {"male": BodyModel.mannequin("male")}
    require_bodies(bodies, ["male", "male"], "f")
    with pytest.raises(FileError) as error:
        require_bodies(bodies, ["male", "neutral"], "f")
    assert str(error.value) == (
        "f: no neutral body, which the motion needs; put neutral/model.npz or SMPLH_NEUTRAL.npz beside the male one."
    )
