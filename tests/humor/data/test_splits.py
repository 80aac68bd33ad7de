"""A clip's subset decides its split, and its name whether it is left out."""

import pytest

from humor.data.splits import SPLITS, corrected_rate, exclusion_reason, split_of, subset_of, tree_root


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
        ("HDM05/HDM_dg/HDM_dg_07-01_03_120_poses", "skates"),
        ("MPI_HDM05/bk/HDM_bk_07-01_03_120_poses", None),
    ],
)
def test_clips_that_are_left_out(name, reason):
    assert exclusion_reason(name) == reason


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("BMLhandball/S01/Trial_poses", 240),
        ("amass/BMLhandball/S01/Trial_poses", 240),
        ("SSM_synced/20160930_50032/punch_poses", 59),
        ("SSM/20161014_50033/jump_stageii", 59),
        ("BMLhandball_vs_CMU/CMU/01/01_01_poses", None),
        ("CMU/01/BMLhandball_like_poses", None),
    ],
)
def test_a_rate_is_corrected_by_the_folders_of_the_tree(name, rate):
    assert corrected_rate(name) == rate


@pytest.mark.parametrize(
    ("files", "given", "root"),
    [
        (["CMU/01/a.npz", "KIT/3/b.npz"], ".", "."),
        (["CMU/01/a.npz"], "CMU", "."),
        (["CMU/01/a.npz"], "CMU/01", "."),
        (["CMU/01/a.npz"], "CMU/01/a.npz", "."),
        (["BMLhandball/S1/a.npz"], "BMLhandball", "."),
        (["BMLhandball/S1/a.npz"], "BMLhandball/S1", "."),
        # Folders above a tree say nothing of what is in it, whatever they are called.
        (["BMLhandball/CMU/01/a.npz"], "BMLhandball", "BMLhandball"),
        (["BMLhandball/raw/CMU/01/a.npz"], "BMLhandball/raw", "BMLhandball/raw"),
        (["CMU/data/mine/walks/a.npz"], "CMU/data/mine", "CMU/data/mine"),
        (["mine/a.npz"], "mine/a.npz", "mine"),
    ],
)
def test_names_begin_at_the_folder_that_holds_the_subsets(tmp_path, files, given, root):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    assert tree_root(tmp_path / given) == tmp_path / root
