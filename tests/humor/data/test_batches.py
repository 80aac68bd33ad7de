"""Batches are loaded ahead of time, the same ones however they are loaded."""

import itertools
import threading
import time

import numpy as np
import pytest
import torch

from humor.data import BatchLoader, WindowSampler
from humor.data import batches as batches_module
from humor.errors import MotionError
from tests.support.clip_parts import assert_same


def loaded(store, prefetch, first=0, steps=6):
    return list(BatchLoader(WindowSampler(store, 9, 1).batch, steps, "cpu", prefetch).epoch(2, first))


@pytest.mark.parametrize("prefetch", [0, 1, 2, 20])
def test_batches_are_the_same_whatever_the_prefetch(store, prefetch):
    sampler = WindowSampler(store, 9, 1)
    batches = loaded(store, prefetch)
    assert len(batches) == 6
    for index, batch in enumerate(batches):
        assert_same(batch, store.batch(*sampler.draw(2, index)))


def test_an_epoch_goes_on_from_any_batch(store):
    for one, other in zip(loaded(store, 2, first=4), loaded(store, 2)[4:], strict=True):
        assert_same(one, other)
    assert loaded(store, 2, first=6) == []


def test_what_goes_wrong_in_the_thread_is_raised_where_batches_are_taken(store):
    class Broken(WindowSampler):
        def draw(self, epoch, index):
            return super().draw(epoch, index) if index < 2 else (np.array([99]), np.array([0]))

    batches = BatchLoader(Broken(store, 4, 0).batch, 5).epoch(0)
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(MotionError) as error:
        next(batches)
    assert str(error.value) == "window at frame 0 of clip 99 is outside the store; draw it with a sampler."
    assert not threads()


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("prefetch", [0, 3])
def test_so_many_batches_and_no_more_are_prepared_ahead(store, prefetch):
    drawn_so_far = []

    class Noting(WindowSampler):
        def draw(self, epoch, index):
            drawn_so_far.append(index)
            return super().draw(epoch, index)

    batches = BatchLoader(Noting(store, 4, 0).batch, 100, prefetch=prefetch).epoch(0)
    for taken in range(1, 5):
        next(batches)
        wait_until(lambda taken=taken: len(drawn_so_far) == taken + prefetch)
        assert drawn_so_far == list(range(taken + prefetch))
    batches.close()


def test_the_thread_computes_on_one_core_and_leaves_the_others_to_the_step(store):
    threads_of_operators = []

    class Noting(WindowSampler):
        def draw(self, epoch, index):
            threads_of_operators.append(torch.get_num_threads())
            return super().draw(epoch, index)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert len(list(BatchLoader(Noting(store, 4, 0).batch, 3).epoch(0))) == 3
        assert (threads_of_operators, torch.get_num_threads()) == ([1, 1, 1], 3)
    finally:
        torch.set_num_threads(before)


def wait_until(holds):
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.001)


def test_closing_an_epoch_ends_its_thread(store, monkeypatch):
    monkeypatch.setattr(batches_module, "perf_counter", itertools.count().__next__)
    loader = BatchLoader(WindowSampler(store, 4, 0).batch, 1000, prefetch=4)
    batches = loader.epoch(0)
    next(batches)
    assert len(threads()) == 1
    batches.close()
    assert not threads()
    assert loader.waited == 1  # from one reading of the clock to the next


@pytest.mark.cuda
def test_batches_arrive_on_the_device_unchanged(store, device):
    sampler = WindowSampler(store, 9, 1)
    for index, batch in enumerate(BatchLoader(sampler.batch, 8, device, 3).epoch(0)):
        assert batch.past.trans.device.type == device.type
        assert_same(batch.to("cpu"), store.batch(*sampler.draw(0, index)))
