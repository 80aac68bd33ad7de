"""AMASS's subsets: the published split into training and test, and the clips left out. Source: HuMoR, appendix."""

from pathlib import Path, PurePosixPath

SPLITS = {
    "train": (
        "CMU", "MPI_Limits", "TotalCapture", "Eyes_Japan_Dataset", "KIT", "BioMotionLab_NTroje", "BMLmovi", "EKUT",
        "ACCAD",
    ),
    "validation": ("MPI_HDM05", "SFU", "MPI_mosh"),
    "test": ("Transitions_mocap", "HumanEva"),
}  # fmt: skip
# What later releases of AMASS call some of them.
RENAMED = {
    "PosePrior": "MPI_Limits",
    "EyesJapanDataset": "Eyes_Japan_Dataset",
    "BMLrub": "BioMotionLab_NTroje",
    "HDM05": "MPI_HDM05",
    "MoSh": "MPI_mosh",
    "Transitions": "Transitions_mocap",
}
_SPLIT_OF = {subset: split for split, subsets in SPLITS.items() for subset in subsets}


def split_of(subset: str) -> str | None:
    """The split of a subset, by its old or new name: "train", "validation" or "test"; None for an unknown subset."""
    return _SPLIT_OF.get(RENAMED.get(subset, subset))


def subset_of(name: str) -> str:
    """The subset of a clip: the first folder of its name, or "" for a clip in no folder."""
    folder, slash, _ = name.partition("/")
    return folder if slash else ""


def tree_root(path: Path) -> Path:
    """The folder that clips are named relative to: the given one, or its parent where it is a single subset."""
    return path.parent if split_of(path.name) else path


def exclusion_reason(name: str) -> str | None:
    """Why a readable clip is left out of training, or None for one that is used."""
    path = PurePosixPath(name)
    subset = RENAMED.get(subset_of(name), subset_of(name))
    if subset == "BioMotionLab_NTroje" and {"treadmill", "normal"} & set(path.stem.split("_")[:2]):
        return "walks on a treadmill"  # 0017_normal_walk1 too
    if subset == "MPI_HDM05" and path.parent.name == "dg" and path.name.startswith("HDM_dg_07-01"):
        return "skates"
    return None
