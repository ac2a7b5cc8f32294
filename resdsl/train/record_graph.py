"""Work of a GPU recorded as a graph, which one call starts again."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[[], Tensor]
_WAITS = "synchronizing CUDA operation"  # what torch warns of
_REHEARSAL = "is running without CUDA graph capture"  # another warning of its: as if that would not come


class Recorder(Protocol):
    """Makes graphs of work that looks at no number and asks for nothing of the host."""

    def rehearse(self, work: Work) -> tuple[Tensor, str]:
        """Do the work once, and tell in words why it cannot be recorded: what in it waits for the device."""

    def record(self, work: Work) -> Work:
        """What does the recorded work again, into the same memory. The work itself is not done meanwhile."""


class CudaRecorder:
    """Records CUDA graphs, which share one pool of memory: no two of them run at once, nor read what others leave.

    Dropout and stochastic depth draw from the device's default generator. torch registers that with every graph: a
    replay begins at the generator's offset and moves it on by what the recorded work draws, as the same work would
    without a graph. So the generator's state between two steps, which checkpoints hold, is the same on either path.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def rehearse(self, work: Work) -> tuple[Tensor, str]:
        """On a stream of its own, as cuDNN and the gradients' memory want it before a recording."""
        here, drawn = torch.cuda.current_stream(), _drawn_on_host()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream), _told_of_waits() as waits:
            result = work()
        here.wait_stream(self._stream)
        result.record_stream(here)
        if drawn != _drawn_on_host():
            waits.append("it draws random numbers on the host, which would be the same in every step")
        return result, waits[0] if waits else ""

    def record(self, work: Work) -> Work:
        """Raises RuntimeError where CUDA cannot record it."""
        graph = torch.cuda.CUDAGraph()
        # Threads that load images may use CUDA meanwhile: the recording is of this thread alone.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = work()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


def _drawn_on_host() -> tuple[object, ...]:
    return torch.get_rng_state().numpy().tobytes(), random.getstate()


@contextmanager
def _told_of_waits() -> Iterator[list[str]]:
    """The places at which Python waited for the device."""
    waits: list[str] = []
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for warning in caught:
        if _WAITS in str(warning.message):
            waits.append(f"{warning.filename}:{warning.lineno} waits for the device")
        elif _REHEARSAL not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
