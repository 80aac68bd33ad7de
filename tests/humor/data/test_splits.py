"""A clip's subset decides its split, and its name whether it is left out."""

import pytest

from humor.data.splits import SPLITS, exclusion_reason, split_of, subset_of


def test_every_subset_is_in_one_split_by_its_old_and_new_name():
    subsets = [subset for split in SPLITS.values() for subset in split]
    assert len(subsets) == len(set(subsets)) == 14
    assert [split_of(s) for s in ("CMU", "PosePrior", "MPI_HDM05", "HDM05", "HumanEva", "GRAB", "")] == [
        "train", "train", "validation", "validation", "test", None, None
    ]  # fmt: skip
    assert (subset_of("CMU/01/01_01_poses"), subset_of("clip")) == ("CMU", "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("BioMotionLab_NTroje/rub001/0017_normal_walk1_poses", "walks on a treadmill"),
        ("BMLrub/rub001/0000_treadmill_fast_stageii", "walks on a treadmill"),
        ("BioMotionLab_NTroje/rub001/treadmill_norm_poses", "walks on a treadmill"),
        ("BioMotionLab_NTroje/rub001/0005_normal_jog3_poses_100_frames_30_fps", "walks on a treadmill"),
        ("BioMotionLab_NTroje/rub001/0012_knocking1_poses", None),
        ("KIT/3/0017_normal_walk1_poses", None),
        ("MPI_HDM05/dg/HDM_dg_07-01_03_120_poses", "skates"),
        ("MPI_HDM05/dg/HDM_dg_07-02_03_120_poses", None),
        ("MPI_HDM05/bk/HDM_bk_07-01_03_120_poses", None),
    ],
)
def test_clips_that_are_left_out(name, reason):
    assert exclusion_reason(name) == reason
