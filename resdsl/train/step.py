"""One update of the weights, and the running sums of what it was like."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from resdsl.recipe import Recipe
from resdsl.train.errors import TrainError
from resdsl.train.evaluate import Score
from resdsl.train.stream import Feed

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, feed: Feed, auxiliary_weights: Sequence[float]
) -> Step:
    """The function (inputs, labels) -> (mean loss of the main head, wrong images), both left on the device."""
    weights = (1.0, *auxiliary_weights)

    def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)

    def step(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with feed.precision():
            output = model(inputs)
        heads = output if isinstance(output, tuple) else (output,)
        if len(heads) != len(weights):
            raise TrainError(f"the model has {len(heads) - 1} auxiliary heads, but {len(weights) - 1} loss weights")
        losses = [loss_of(logits, labels) for logits in heads]
        total = sum((weight * loss for weight, loss in zip(weights[1:], losses[1:], strict=True)), start=losses[0])
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return losses[0].detach(), (heads[0].detach().argmax(dim=1) != labels).sum()

    return step


@dataclass(frozen=True, slots=True)
class Period:
    """Training between two evaluations: its score, and how many images it took in how many seconds."""

    score: Score
    images: int
    seconds: float


class Tally:
    """Sums of loss and errors, kept on the device: adding to them never waits for it, reading does."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)  # loss times images, wrong images
        self._images = 0
        self._window = self._read()
        self.begin_period()

    def add(self, loss: Tensor, wrong: Tensor, images: int) -> None:
        """One step's mean loss and number of wrong images."""
        self._sums += torch.stack([loss * images, wrong])
        self._images += images

    def window(self) -> Score:
        """Mean over the steps since the last call. Waits for the device."""
        before, self._window = self._window, self._read()
        return _mean(before, self._window)

    def begin_period(self) -> None:
        """Start another period, and its clock."""
        self._period = self._read()
        self._begun = time.perf_counter()

    def period(self) -> Period:
        """Mean over the period so far. Waits for the device, so that its seconds are true."""
        now = self._read()
        return Period(_mean(self._period, now), now[2] - self._period[2], time.perf_counter() - self._begun)

    def _read(self) -> tuple[float, float, int]:
        loss, wrong = self._sums.tolist()
        return loss, wrong, self._images


def _mean(before: tuple[float, float, int], now: tuple[float, float, int]) -> Score:
    images = max(now[2] - before[2], 1)
    return Score((now[0] - before[0]) / images, (now[1] - before[1]) / images)
