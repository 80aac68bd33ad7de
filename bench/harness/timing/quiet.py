"""Settings that reduce the variance of times on a CPU, for the duration of a comparison."""

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt


@contextmanager
def quiet(threads: int | None) -> Iterator[None]:
    """Fix the number of threads, keep freed memory, and exempt what is alive now from garbage collection.

    One thread is the default of a comparison on a CPU: a parallel region ends with its slowest thread, and beside a
    busy process that thread waits for a core, up to ten times as long as the work takes. Memory is kept because glibc
    returns every block over 128 kB to the system when it is freed and maps it anew, page by page: a matrix multiply of
    1024 x 1024 over 80 rows then takes anything from 1.3 to 3.6 ms. Blocks of any size are kept: with glibc's largest
    threshold, 32 MB, two versions of a layer of 4096 x 4096 compete for the kept memory that larger blocks fit into,
    and whichever was built second is up to 2.2 times slower.
    """
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(before)


def keep_freed_memory() -> bool:
    """Have malloc keep freed memory for the rest of the process; return whether it can, which takes glibc."""
    if os.name != "posix":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
