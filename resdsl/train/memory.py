"""Out of memory: telling it from other errors, and how much would fit."""

import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import torch

# What torch says where it raises a plain RuntimeError: on the CPU, inside CUDA libraries, and of CUDA itself.
_SIGNS = ("DefaultCPUAllocator", "can't allocate memory", "out of memory", "ALLOC_FAILED")
_REFINEMENTS = 3  # between a size that fits and one that does not: within an eighth of the difference


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the device or the machine, did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def largest_batch(attempt: Callable[[int], object], batch: int) -> int | None:
    """About the largest batch up to `batch` with which `attempt` does not run out of memory; None for none.

    Halves until one fits, then looks between it and the one that did not. Batches of one image are not tried: batch
    normalisation has no variance for them.
    """
    too_large, fits = batch + 1, batch
    while fits >= 2 and not _succeeds(attempt, fits):
        too_large, fits = fits, fits // 2
    if fits < 2:
        return None
    for _ in range(_REFINEMENTS):
        between = (fits + too_large) // 2
        if between == fits:
            break
        if _succeeds(attempt, between):
            fits = between
        else:
            too_large = between
    return fits


def peak_memory(device: torch.device | str) -> int:
    """The most bytes that this process has held so far: of a GPU what torch reserved on it, else of the machine."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10  # elsewhere in KiB


def release_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _succeeds(attempt: Callable[[int], object], size: int) -> bool:
    try:
        attempt(size)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    # Only here, outside of the handler, nothing holds the failed attempt's tensors any more.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def free_memory(device: torch.device) -> int:
    """Bytes that are free on the machine and, for a GPU, on that, too."""
    free = [_free_on_machine()]
    if device.type == "cuda":
        free.append(torch.cuda.mem_get_info(device)[0])
    return min(free)


def _free_on_machine() -> int:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, IndexError):
        # Pages that only cache files count as free; sysconf does not know of them.
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
        free = 1024 * int(available[0])
    with suppress(OSError, ValueError):
        # A container's limit; "max" where there is none.
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, max(limit - used, 0))
    return free
