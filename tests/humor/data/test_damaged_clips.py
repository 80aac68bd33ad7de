"""A damaged file of motion is kept or refused in one sentence, and nothing else happens."""

import os
import random

import numpy as np

from humor.data.clip_files import read_processed
from humor.data.preprocess import ClipDefaults, find_jobs
from humor.data.synthetic.walker import synthetic_clip
from tests.support import golden_values as golden


def save(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def damaged(draw, content):
    """Bytes flipped, cut out, swapped or cut off."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        # Half of it near the archive's end or a member's start, where the structure is.
        end = len(data) if draw.random() < 0.5 else min(len(data), 600)
        a, b, span = draw.randrange(end), len(data) - 1 - draw.randrange(min(len(data), 1500)), draw.randrange(1, 40)
        kind = draw.randrange(4)
        if kind == 0:
            data[a if draw.random() < 0.5 else b] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[a : a + span]
        elif kind == 2:
            data[a : a + span], data[b : b + span] = data[b : b + span], data[a : a + span]
        else:
            data[a] = draw.randrange(256)
    return bytes(data[: draw.randrange(1, len(data) + 1)] if draw.random() < 0.1 else data)


def rewritten(draw, arrays):
    """Whole archives with wrong arrays: other numbers, types, shapes, or none."""
    changed = dict(arrays)
    for _ in range(draw.choice((1, 1, 2))):
        key = draw.choice(list(changed))
        value = np.array(changed[key])
        wild = draw.choice((np.nan, np.inf, -1e38, 1e30, -1.0, 0.0))
        kind = draw.randrange(7)
        if kind == 0:
            changed.pop(key)
        elif kind == 1 and value.dtype.kind == "f" and value.size:
            value.reshape(-1)[draw.randrange(value.size)] = wild
            changed[key] = value
        elif kind == 2 and value.ndim:
            changed[key] = value[: draw.randrange(len(value) + 1)]
        elif kind == 3:
            changed[key] = value[None]
        elif kind == 4:
            changed[key] = draw.choice((np.array(b"\xff\xfe"), np.array("x"), np.zeros((0,)), np.array([], "U1"), True))
        elif kind == 5 and value.dtype.kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                changed[key] = value.astype(draw.choice((np.float16, np.int8, np.float64, np.complex64)))
        elif value.dtype.kind == "f":
            with np.errstate(over="ignore"):
                changed[key] = value * value.dtype.type(draw.choice((1e6, 1e20, 1e-30)))
        if not changed:
            break
    return changed


def fuzz(folder, bodies, rounds, seed):
    """How many damaged files were kept, and how many were refused with a sentence."""
    draw, counts = random.Random(seed), {"kept": 0, "dropped": 0, "not readable": 0}
    raw, source = folder / "raw", folder / "raw/KIT/1_poses.npz"
    whole = [synthetic_clip(seconds=1.5), golden.processed_arrays("b60")]
    for number in range(rounds):
        arrays = draw.choice(whole)
        save(source, rewritten(draw, arrays) if number % 2 else arrays)
        if not number % 2:
            source.write_bytes(damaged(draw, source.read_bytes()))
        (job,) = find_jobs(raw, folder / "out", None, ClipDefaults())
        from humor.data.preprocess import process_file

        outcome = process_file(job, bodies)
        counts[outcome.kind] += 1
        assert "\n" not in outcome.reason, number
        if outcome.kind == "kept":
            clip = read_processed(job.target)
            assert clip.state.to_vector().isfinite().all(), number
    return counts


def test_damaged_files_are_kept_or_refused_and_nothing_else(tmp_path, bodies):
    counts = fuzz(tmp_path, bodies, rounds=300, seed=int(os.environ.get("HUMOR_FUZZ_SEED", "0")))
    assert counts["kept"] > 10
    assert counts["not readable"] > 100
