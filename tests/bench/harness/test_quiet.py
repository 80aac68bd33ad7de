"""What a comparison sets before it measures."""

import multiprocessing
import resource

import pytest

from bench.harness.timing.quiet import keep_freed_memory

PAGES = (64 << 20) // resource.getpagesize()  # of one block below


def _count_faults(kept, answer):
    """How many pages the system provides for two blocks of 64 MB, after two others were freed."""
    has_kept = not kept or keep_freed_memory()
    faults = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [b"1" * (64 << 20), b"2" * (64 << 20)]
        del blocks
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    answer.send((has_kept, faults[1]))


@pytest.mark.parametrize("kept", [False, True], ids=["not kept", "kept"])
def test_freed_memory_is_kept_however_large_a_block_is(kept):
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_count_faults, args=(kept, there))
    process.start()  # a process of its own, because what malloc is set to stays
    has_kept, faults = here.recv()
    process.join()
    if not has_kept:
        pytest.skip("this C library cannot keep freed memory")
    assert faults < PAGES / 10 if kept else faults > PAGES / 10
