"""Find the files of SMPL-family bodies where their archives unpack them."""

import re
from collections.abc import Collection
from pathlib import Path

from ..errors import FileError
from ..skeleton import GENDERS
from .files import find_files

# How the files are called, the folder in lower case: of AMASS's SMPL+H, of the SMPL+H site's, and of SMPL's.
_NAMES = (
    re.compile(r"(?P<gender>male|female|neutral)/model\.(npz|pkl)"),
    re.compile(r".*/smplh_(?P<gender>male|female|neutral)\.(npz|pkl)"),
    re.compile(r".*/smpl_(?P<gender>male|female|neutral)\.(npz|pkl)"),
    re.compile(r".*/basicmodel_(?P<gender>m|f|neutral)_lbs_.*\.(npz|pkl)"),
)
_SHORT = {"m": "male", "f": "female"}
_NO_BODIES = ("dmpl", "smplx", "mano", "star", "flame")  # whose folders hold male/model.npz, too


def find_bodies(folder: str | Path, wanted: Collection[str] = ()) -> dict[str, Path]:
    """The body file of each gender that a folder has, as archives unpack them: in it or in the folders below.

    They are called `male/model.npz`, `SMPLH_male.pkl`, `SMPL_MALE.npz` or `basicmodel_m_lbs_10_207_0_v1.1.0.pkl`, in
    capitals or not. All are of one folder: of several, of SMPL+H before SMPL, then the nearest. Raises FileError where
    there is none, or none of a wanted gender.
    """
    sets: dict[Path, dict[str, tuple[int, bool, Path]]] = {}
    for file in find_files(Path(folder))[0]:
        for kind, name in enumerate(_NAMES):
            match = name.fullmatch(f"{file.parent.name}/{file.name}".lower())
            if match is None:
                continue
            home = file.parent.parent if kind == 0 else file.parent
            if kind == 0 and home != Path(folder) and home.name.lower().startswith(_NO_BODIES):
                continue
            gender = _SHORT.get(match["gender"], match["gender"])
            found, rank = sets.setdefault(home, {}), (kind, file.suffix.lower() == ".pkl", file)
            found[gender] = min(rank, found.get(gender, rank))

    def preference(home: Path) -> tuple[bool, int, Path]:
        return min(kind for kind, *_ in sets[home].values()) > 1, len(home.parts), home

    files = {gender: file for gender, (*_, file) in sets[min(sets, key=preference)].items()} if sets else {}
    missing = [gender for gender in wanted or GENDERS[: not files] if gender not in files]
    if missing:
        beside = f" beside the {' and '.join(sorted(files))} one" if files else ""
        expected = f"{missing[0]}/model.npz or SMPLH_{missing[0].upper()}.npz"
        raise FileError(f"{folder}: no {missing[0]} body{beside}; expected {expected}.")
    return {gender: files[gender] for gender in GENDERS if gender in files}
