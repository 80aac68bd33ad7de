"""A store gives the windows of its clips, whole or not at all, and the same ones however they are loaded."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from humor.data import MotionStore, WindowSampler, evaluation_windows, process_clip
from humor.data.clip_files import arrays_from_clip, clip_from_arrays, write_processed
from humor.data.preprocess import CLIPS_FOLDER, build_store
from humor.data.windows import cut_windows
from humor.errors import FileError, HumorError, MotionError, SettingError
from humor.skeleton import GENDERS
from tests.support import golden_values as golden
from tests.support.clip_parts import LENGTHS, assert_same, part


@pytest.fixture
def folder(tmp_path, clips):
    """A store on disk."""
    for clip in clips:
        write_processed(tmp_path / CLIPS_FOLDER / f"{clip.name}.npz", clip)
    build_store(tmp_path)
    return tmp_path


@given(st.lists(st.tuples(st.sampled_from([0, 1, 3, 4, 5]), st.floats(0, 1)), min_size=1, max_size=20))
def test_a_batch_has_the_windows_that_cut_gives_one_by_one(store, clips, draws):
    chosen = np.array([clip for clip, _ in draws])
    starts = np.array([int(part * (LENGTHS[clip] - 11)) for clip, part in draws])
    batch = store.batch(chosen, starts, with_world=True)
    windows = [next(cut_windows(clips[c], torch.tensor([s]))) for c, s in zip(chosen, starts, strict=True)]
    windows.sort(key=lambda window: GENDERS.index(window.gender))
    assert batch.gender == [window.gender for window in windows]
    for row, window in enumerate(windows):
        for name in ("past", "current", "world"):
            ours = getattr(batch, name).map(lambda x, row=row: x[row]).to_vector()
            torch.testing.assert_close(ours, getattr(window, name).to_vector(), atol=2e-6, rtol=0)
        assert torch.equal(batch.contacts[row], window.contacts)
        assert torch.equal(batch.betas[row], window.betas.expand(10, -1))


def test_windows_far_from_the_origin_are_as_exact(clips):
    far = torch.tensor([300.0, -200.0, 0.0])
    state = replace(clips[0].state, trans=clips[0].state.trans + far, joints=clips[0].state.joints + far)
    clip = replace(clips[0], state=state)
    batch = MotionStore.in_memory([clip]).batch(np.array([0]), np.array([40]))
    window = next(cut_windows(clip, torch.tensor([40])))
    torch.testing.assert_close(batch.past.to_vector()[0], window.past.to_vector(), atol=5e-5, rtol=0)


def test_training_batches_have_no_world_and_evaluation_batches_have(store):
    assert store.batch(np.array([0]), np.array([0])).world is None
    assert next(store.evaluation_batches(4)).world is not None


def test_evaluation_batches_are_the_evaluation_windows_in_order(store, clips):
    batches = list(store.evaluation_batches(4))
    windows = evaluation_windows(clips)
    assert [len(batch) for batch in batches] == [4] * (len(windows) // 4) + [len(windows) % 4]
    for number, batch in enumerate(batches):
        own = sorted(windows[4 * number : 4 * number + 4], key=lambda window: GENDERS.index(window.gender))
        theirs = torch.stack([window.world.to_vector() for window in own])
        torch.testing.assert_close(batch.world.to_vector(), theirs, atol=2e-6, rtol=0)


def test_golden_windows_come_out_of_a_store():
    values = golden.arrays("windows")
    raws = [
        {k.removeprefix("raw_"): v for k, v in golden.arrays(f"process_{name}").items() if k.startswith("raw_")}
        for name in ("a120", "b60")
    ]
    store = MotionStore.in_memory([process_clip(raw, golden.bodies()) for raw in raws])
    (batch,) = store.evaluation_batches(100)
    assert len(batch) == values["length"]
    for q, index in enumerate(values["index"].tolist()):
        theirs = golden.state(values, f"{q}_in_").joints.reshape(10, 22, 3)
        ours = batch.past.joints[np.argsort([0] * 8 + [1] * 8, kind="stable")[index]]
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


def test_a_store_on_disk_gives_what_the_clips_in_memory_give(folder, clips):
    opened = MotionStore.open(folder)
    ordered = sorted(
        (clip_from_arrays(arrays_from_clip(clip), clip.name) for clip in clips), key=lambda clip: clip.name
    )
    in_memory = MotionStore.in_memory(ordered)
    assert opened.clips == in_memory.clips
    assert {clip.subset for clip in opened.clips} == {"CMU", "KIT"}
    for one, other in zip(opened.evaluation_batches(7), in_memory.evaluation_batches(7), strict=True):
        assert_same(one, other)


def test_a_store_is_mapped_and_not_read(folder):
    opened = MotionStore.open(folder)
    assert isinstance(opened.frame_data.base, np.memmap)
    assert not opened.frame_data.flags.writeable


def test_a_pickled_store_is_its_folder_and_its_choice(folder):
    chosen = MotionStore.open(folder).select(lambda clip: clip.subset == "CMU")
    packed = pickle.dumps(chosen)
    assert len(packed) < 1000
    again = pickle.loads(packed)  # noqa: S301
    assert again.clips == chosen.clips
    assert_same(next(again.evaluation_batches(3)), next(chosen.evaluation_batches(3)))


def test_a_store_in_memory_can_be_pickled_too(store):
    assert_same(next(pickle.loads(pickle.dumps(store)).evaluation_batches(3)), next(store.evaluation_batches(3)))  # noqa: S301


def test_a_selection_holds_the_windows_of_its_clips(store, clips):
    by_name, by_rule = (
        store.select(["CMU/5", "CMU/3"]),
        store.select(lambda clip: clip.subset == "CMU" and clip.frames > 20),
    )
    assert [clip.name for clip in by_name.clips] == [clip.name for clip in by_rule.clips] == ["CMU/3", "CMU/5"]
    for one, other in zip(
        by_name.evaluation_batches(5), MotionStore.in_memory([clips[3], clips[5]]).evaluation_batches(5), strict=True
    ):
        assert_same(one, other)


def test_a_name_that_is_not_there_is_told(store):
    with pytest.raises(SettingError) as error:
        store.select(["CMU/1", "CMU/7"])
    assert str(error.value) == "no clip CMU/7 among the store's 6; check the name."


@pytest.mark.parametrize(("clip", "start"), [(0, -1), (0, 140), (2, 0), (6, 0), (-1, 0)])
def test_a_window_outside_its_clip_is_refused(store, clip, start):
    with pytest.raises(MotionError) as error:
        store.batch(np.array([0, clip]), np.array([0, start]))
    assert str(error.value) == (f"window at frame {start} of clip {clip} is outside the store; draw it with a sampler.")


@pytest.mark.parametrize("lengths", [(), (10,), (10, 5)])
def test_motion_too_short_for_a_window_is_refused(clips, lengths):
    short = MotionStore.in_memory([part(clips[0], frames) for frames in lengths])
    assert list(short.evaluation_batches(4)) == []
    for call in (lambda: WindowSampler(short, 4, 0), lambda: short.batch(np.zeros(0, int), np.zeros(0, int))):
        with pytest.raises(MotionError) as error:
            call()
        assert str(error.value) == "no clip has the 11 frames of a window; use longer clips."


# --- drawing -----------------------------------------------------------------------------------------------------


def drawn(sampler, batches):
    pairs = [sampler.draw(0, index) for index in range(batches)]
    return np.concatenate([clips for clips, _ in pairs]), np.concatenate([starts for _, starts in pairs])


def test_by_clip_every_clip_is_as_likely_and_then_every_start(store):
    clips, starts = drawn(WindowSampler(store, 500, seed=3), 40)
    counts = np.bincount(clips, minlength=6)
    assert counts[2] == 0
    assert chisquare(counts[[0, 1, 3, 4, 5]]).pvalue > 0.01
    for clip in (0, 3, 4, 5):
        assert chisquare(np.bincount(starts[clips == clip], minlength=LENGTHS[clip] - 10)).pvalue > 0.01


def test_by_frames_every_window_is_as_likely(store):
    clips, starts = drawn(WindowSampler(store, 500, seed=3, sampling="frames"), 40)
    windows = np.bincount(clips * 1000 + starts, minlength=6000)
    possible = np.concatenate([1000 * clip + np.arange(max(0, frames - 10)) for clip, frames in enumerate(LENGTHS)])
    assert windows.sum() == windows[possible].sum()
    assert chisquare(windows[possible]).pvalue > 0.01


@pytest.mark.parametrize("sampling", ["clip", "frames"])
def test_a_draw_depends_on_seed_epoch_and_index_alone(store, sampling):
    one, other = WindowSampler(store, 20, 5, sampling), WindowSampler(store, 20, 5, sampling)
    other.draw(0, 0)
    np.testing.assert_array_equal(one.draw(3, 4), other.draw(3, 4))
    draws = [
        WindowSampler(store, 20, *key[:1], sampling).draw(*key[1:])
        for key in ((5, 3, 4), (6, 3, 4), (5, 4, 4), (5, 3, 5))
    ]
    assert len({np.array(draw).tobytes() for draw in draws}) == 4


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"sampling": "hour"}, 'sampling "hour" is neither "clip" nor "frames".'),
        ({"batch_size": 0}, "a batch of 0 windows; give 1 or more."),
        ({"seed": -1}, "seed -1; give 0 or more."),
    ],
)
def test_settings_that_make_no_sampler(store, settings, text):
    with pytest.raises(SettingError) as error:
        WindowSampler(store, **{"batch_size": 4, "seed": 0, **settings})
    assert str(error.value) == text


# --- damage ------------------------------------------------------------------------------------------------------


def told(folder):
    with pytest.raises(FileError) as error:
        MotionStore.open(folder)
    return str(error.value)


def test_a_folder_without_a_store(tmp_path):
    expected = f"{tmp_path}: no finished motion store (no index.json); build one with humor process."
    assert told(tmp_path) == expected
    assert told(tmp_path / "none") == expected.replace(str(tmp_path), f"{tmp_path}/none")


def test_a_store_whose_frames_are_cut_short_or_gone(folder):
    frames = folder / "frames.f32"
    whole = frames.read_bytes()
    frames.write_bytes(whole[:-4])
    assert told(folder) == (f"{frames}: {len(whole) - 4} bytes; the index wants {len(whole)}; run humor process again.")
    frames.unlink()
    assert told(folder) == f"{frames}: no such file; check the path."


@pytest.mark.parametrize(("key", "value"), [("version", 2), ("fields", {"trans": 3})])
def test_an_index_of_another_version(folder, key, value):
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, key: value}))
    version = 2 if key == "version" else 1
    assert told(folder) == (
        f"{folder}/index.json: version {version} of the store, or other fields; this humor reads 1; "
        "run humor process again."
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda text: text[: len(text) // 2], "damaged index ("),
        (lambda text: "", "damaged index (Expecting value: line 1 column 1 (char 0))"),
        (lambda text: "[]", "damaged index (list indices must be integers"),
        (lambda text: "[" * 100_000, "damaged index ("),
        (lambda text: text.replace("humor motion", "other"), 'damaged index (format "other store")'),
        (lambda text: text.replace('"first": 11', '"first": 12'), "damaged index (clip "),
        (lambda text: text.replace('"gender": "male"', '"gender": "none"'), "damaged index (clip "),
        (lambda text: text.replace('"frames": 359', '"frames": 360'), "damaged index (counts do not agree)"),
        (lambda text: text.replace('"betas": [', '"betas": [1, '), "damaged index (cannot reshape"),
        (lambda text: text.replace('"betas": [', '"betas": [NaN, 0], "more": ['), "damaged index ("),
    ],
)
def test_a_damaged_index(folder, change, text):
    path = folder / "index.json"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    message = told(folder)
    assert message.startswith(f"{path}: {text}")
    assert message.endswith("; run humor process again.")


def test_any_damage_to_an_index_is_one_sentence_or_none(folder):
    path, random = folder / "index.json", np.random.default_rng(0)
    before, sentences = path.read_bytes(), []
    for _ in range(200):
        damaged = bytearray(before)
        for at in random.integers(len(before), size=random.integers(1, 4)):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            MotionStore.open(folder)
        except HumorError as error:
            sentences.append(str(error))
    assert len(sentences) > 20
    assert not [sentence for sentence in sentences if "\n" in sentence or not sentence.endswith(".")]
