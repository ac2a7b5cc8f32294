"""Batches that go to the GPU while it works on the one before."""

from collections.abc import Iterator

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]


class CopiedAhead:
    """The pairs of an iterator whose tensors lie in pinned memory, copied one ahead on a stream of their own."""

    def __init__(self, batches: Iterator[Pair], device: torch.device) -> None:
        self._batches, self._device = batches, device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._ahead: Pair | None = None

    def __iter__(self) -> Iterator[Pair]:
        return self

    def __next__(self) -> Pair:
        """The next pair, on the device; what reads it there comes behind its copy."""
        here = self._ahead or self._copied()
        self._ahead = None
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for tensor in here:
            # Its memory was taken on the other stream, and must not go back to it before this one has read it.
            tensor.record_stream(current)
        self._ahead = self._copied()
        return here

    def _copied(self) -> Pair:
        with torch.cuda.stream(self._stream):
            return next(self._batches)
