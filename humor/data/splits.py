"""What AMASS's names say: the split of a subset, clips to leave out, wrong frame rates. Source: HuMoR, appendix.

A name is a clip's path inside the tree, never the whole path: the folders above a tree say nothing of its clips.
"""

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
OTHERS = (  # AMASS's subsets that are in no split
    "BMLhandball", "CNRS", "DanceDB", "DFaust", "DFaust_67", "GRAB", "HUMAN4D", "MOYO", "SOMA", "SSM", "SSM_synced",
    "TCDHands", "TCD_handMocap", "WEIZMANN",
)  # fmt: skip
# Files whose stored rate is wrong, frames a second: all of a subset, and those with a part in their name.
SUBSET_RATES = {"BMLhandball": 240.0}
RATES = {"20160930_50032": 59.0, "20161014_50033": 59.0}
_SPLIT_OF = {subset: split for split, subsets in SPLITS.items() for subset in subsets}


def split_of(subset: str) -> str | None:
    """The split of a subset, by its old or new name: "train", "validation" or "test"; None for an unknown subset."""
    return _SPLIT_OF.get(RENAMED.get(subset, subset))


def subset_of(name: str) -> str:
    """The subset of a clip: the first folder of its name, or "" for a clip in no folder."""
    folder, slash, _ = name.partition("/")
    return folder if slash else ""


def tree_root(path: Path) -> Path:
    """The folder that the clips of a folder or file are named relative to.

    It is the one that holds the subsets: the parent of a single subset, the grandparent of a single subject of one;
    and the folder itself where it is neither.
    """
    folder = path if path.is_dir() else path.parent
    if is_subset(folder.name) and not any(is_subset(child.name) for child in folder.iterdir()):
        return folder.parent
    holds_motion = path.is_file() or any(child.suffix == ".npz" for child in folder.iterdir())
    return folder.parent.parent if is_subset(folder.parent.name) and holds_motion else folder


def is_subset(name: str) -> bool:
    """Whether a folder has the name of a subset of AMASS, old or new."""
    return split_of(name) is not None or name in OTHERS


def corrected_rate(name: str) -> float | None:
    """The frame rate of a clip whose file is known to hold a wrong one."""
    rates = [rate for subset, rate in SUBSET_RATES.items() if subset in PurePosixPath(name).parts]
    return next(iter(rates + [rate for part, rate in RATES.items() if part in name]), None)


def exclusion_reason(name: str) -> str | None:
    """Why a readable clip is left out of training, or None for one that is used."""
    path = PurePosixPath(name)
    subset = RENAMED.get(subset_of(name), subset_of(name))
    if subset == "BioMotionLab_NTroje" and {"treadmill", "normal"} & set(path.stem.split("_")[:2]):
        return "walks on a treadmill"  # 0017_normal_walk1 too
    if subset == "MPI_HDM05" and path.name.startswith("HDM_dg_07-01"):
        return "skates"
    return None
