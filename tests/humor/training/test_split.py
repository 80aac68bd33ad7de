"""Clips are split into those that train and those that validate, by subset or by name."""

import numpy as np
import pytest

from humor.data import MotionStore
from humor.data.store import ClipInfo
from humor.errors import MotionError
from humor.training.split import split_clips


def infos(*subsets):
    return [ClipInfo(f"{subset}/{n}", "male", 30, 20 * n, 20, subset) for n, subset in enumerate(subsets)]


def store_of(clips):
    return MotionStore(np.zeros((20 * len(clips), 348), np.float32), clips, np.zeros((len(clips), 16)))


def test_subsets_tell_training_from_validation():
    split = split_clips(store_of(infos("CMU", "KIT", "SFU", "HumanEva", "mine")))
    assert [clip.subset for clip in split.train.clips] == ["CMU", "KIT", "mine"]
    assert [clip.subset for clip in split.validation.clips] == ["SFU"]
    assert split.rule == "3 clips train and 1 validate, by their subsets"
    only = split_clips(store_of(infos("CMU", "KIT", "SFU")), ("CMU",))
    assert [clip.subset for clip in only.train.clips] == ["CMU"]
    assert only.fingerprint != split.fingerprint


def test_without_a_validation_subset_a_tenth_of_the_clips_is_held_out_whatever_their_order():
    clips = infos(*["CMU"] * 40)
    split, shuffled = split_clips(store_of(clips)), split_clips(store_of(clips[::-1]))
    names = {clip.name for clip in split.validation.clips}
    assert (len(split.train), len(names)) == (36, 4)
    assert names == {clip.name for clip in shuffled.validation.clips}
    assert not names & {clip.name for clip in split.train.clips}
    assert split.rule == (
        "36 clips train and 4 validate, held out by a hash of their names: no subset is there to validate on"
    )
    assert split_clips(store_of(infos("CMU"))).rule == "1 clip trains and none validates: there is no other"


NONE = "no clip of 11 frames to train on among"


@pytest.mark.parametrize(
    ("subsets", "only", "message"),
    [
        (("SFU",), (), f"{NONE} 1 clips of SFU; add clips of a training subset, e.g. CMU."),
        (("KIT", "SFU"), ("CMU",), f"{NONE} 2 clips of KIT, SFU; name other --subsets."),
        ((), (), f"{NONE} 0 clips of no subset; add clips of a training subset, e.g. CMU."),
    ],
)  # fmt: skip
def test_a_store_without_training_clips_is_refused(subsets, only, message):
    with pytest.raises(MotionError) as error:
        split_clips(store_of(infos(*subsets)), only)
    assert str(error.value) == message
