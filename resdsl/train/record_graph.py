"""Work of a GPU recorded as a graph, which one call starts again."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[[], Tensor]
_WAITS = "synchronizing CUDA operation"  # what torch warns of
# Other warnings of its: as if the recording would not come, and that it may not find all waits.
_EXPECTED = ("is running without CUDA graph capture", "Synchronization debug mode is a prototype")


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
        here, drawn = torch.cuda.current_stream(self._stream.device), _drawn_on_host()
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
        graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._stream.device)
        try:
            # Threads that load images may use CUDA meanwhile: the recording is of this thread alone.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                result = work()
        except RuntimeError as error:
            torch.cuda.set_stream(here)
            self._clean_up()
            # Of a recording that failed the end fails, too, and says nothing of why.
            raise (error.__context__ if isinstance(error.__context__, RuntimeError) else error) from None

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    def _clean_up(self) -> None:
        """Undo what a recording that failed has left behind, which torch does for one that ends well."""
        device = self._stream.device.index
        with suppress(RuntimeError):  # where its end did not fail, it has been done
            # Else memory that another stream has used would never be given out again.
            torch._C._cuda_endAllocateToPool(device, self._pool)  # noqa: SLF001 (they have no other names)
            torch._C._cuda_releasePool(device, self._pool)  # noqa: SLF001
        # The state before takes every draw for one of the recording, and refuses it.
        generator = torch.cuda.default_generators[device]
        generator.graphsafe_set_state(generator.clone_state())


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
        elif not any(text in str(warning.message) for text in _EXPECTED):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
