"""How fast are windows cut, and does a training step wait for them? The study's "prepare data" row, Table 2."""

from time import sleep

import pytest
import torch

from humor.data import BatchLoader, MotionStore, WindowSampler
from humor.data.clip_files import read_processed
from humor.data.preprocess import CLIPS_FOLDER
from humor.data.windows import cut_windows

from .cases import DATA

STEP_SECONDS = 0.02  # of a consumer that only sleeps, like a fast step on a GPU; the rest of its time it waits for data


@pytest.mark.parametrize("implementation", ["store", "file for each window"])
@pytest.mark.parametrize("case", DATA.items(), ids=DATA.keys())
def bench_windows(case, implementation, workload, measure):
    """One batch, cut on the CPU. The published data set opens the clip's file for every window."""
    _, size = case
    folder = workload.stored_motion
    store = MotionStore.open(folder)
    clips, starts = WindowSampler(store, size.windows, seed=0).draw(0, 0)

    def window_of_file(name, start):
        return next(cut_windows(read_processed(folder / CLIPS_FOLDER / f"{name}.npz"), torch.tensor([start])))

    def prepare():
        if implementation == "store":
            return store.batch(clips, starts)
        return [window_of_file(store.clips[clip].name, start) for clip, start in zip(clips, starts, strict=True)]

    measure(prepare, f"data, {size.windows} windows", windows=size.windows)


@pytest.mark.sleeps
@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("case", DATA.items(), ids=DATA.keys())
def bench_step_that_waits_for_data(case, prefetch, workload, device, measure):
    """Ten steps of a consumer that sleeps while batches are prepared in the background."""
    _, size = case
    store = MotionStore.open(workload.stored_motion)
    loader = BatchLoader(WindowSampler(store, size.windows, seed=0).batch, 10, device, prefetch)

    def epoch():
        for _ in loader.epoch(0):
            sleep(STEP_SECONDS)

    epoch()
    group = f"data, ten steps of {1000 * STEP_SECONDS:g} ms, {size.windows} windows"
    measure(epoch, group, windows=size.windows, waited=loader.waited)
