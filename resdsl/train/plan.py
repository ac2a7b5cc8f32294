"""What the next steps need of the host, in buffers on the device: then nothing that the host does differs from step to
step, and one graph of the device's work serves all of them.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from resdsl.train.augment import Draws

LENGTH = 64  # steps that a plan holds


@dataclass(frozen=True, slots=True)
class Future:
    """The steps of a run as functions of their number, counted from 0: draws on the CPU, learning rate, decay of the
    moving average and form of the batch; and how many there are.
    """

    draws: Callable[[int], Draws]
    rate: Callable[[int], float]
    decay: Callable[[int], float]
    form: Callable[[int], Hashable]
    steps: int


class StepPlan:
    """Draws, learning rates and decays of some steps in a row, of one form, which the device counts itself."""

    def __init__(self, device: torch.device, future: Future, first: int) -> None:
        self._future = future
        self.cursor = torch.zeros(1, dtype=torch.long, device=device)
        self._rates, self._decays = (torch.zeros(LENGTH, device=device) for _ in range(2))
        self._sample = future.draws(first)
        self._rows = [
            torch.zeros(LENGTH, *numbers.shape, dtype=numbers.dtype, device=device)
            for numbers in self._sample.tensors()
        ]
        self._first = self._end = first
        self._planned: list[float] = []
        self._stage: object = None
        self.next = first

    def prepare(self, step: int, stage: object) -> float:
        """Let the device do `step` next, and give its learning rate.

        `stage` is all that rates depend on besides the step: where it changes, the rates still to come do, too.
        """
        if step != self.next or step >= self._end:
            self._fill(step)
        elif stage != self._stage:
            self._write_rates()
        self._stage = stage
        self.next = step + 1
        return self._planned[step - self._first]

    # What follows is the device's: to be called once a step, by the host or in a graph.

    def draws(self) -> Draws:
        """The draws of the step, on the device."""
        return self._sample.like([rows.index_select(0, self.cursor).squeeze(0) for rows in self._rows])

    def rate(self) -> Tensor:
        """Its learning rate, without dimensions, in float32."""
        return self._rates.index_select(0, self.cursor).squeeze(0)

    def decay(self) -> Tensor:
        """Its decay of the moving average, likewise."""
        return self._decays.index_select(0, self.cursor).squeeze(0)

    def advance(self) -> None:
        """The step is done."""
        self.cursor.add_(1)

    def _fill(self, first: int) -> None:
        future = self._future
        form, last = future.form(first), max(min(first + LENGTH, future.steps), first + 1)
        self._first = first
        self._end = next((step for step in range(first, last) if future.form(step) != form), last)
        steps = range(first, self._end)
        drawn = zip(*(future.draws(step).tensors() for step in steps), strict=True)
        for rows, numbers in zip(self._rows, drawn, strict=True):
            _copy(rows, torch.stack(numbers))
        _copy(self._decays, torch.tensor([future.decay(step) for step in steps]))
        self._write_rates()
        self.cursor.zero_()

    def _write_rates(self) -> None:
        self._planned = [self._future.rate(step) for step in range(self._first, self._end)]
        _copy(self._rates, torch.tensor(self._planned))


def _copy(rows: Tensor, values: Tensor) -> None:
    """The first of the rows from the host, behind what the device still has to do with the old ones."""
    # Pinned anew each time: torch does not give the memory out again before the copy is done.
    source = values.pin_memory() if rows.is_cuda else values
    rows[: len(values)].copy_(source, non_blocking=True)
