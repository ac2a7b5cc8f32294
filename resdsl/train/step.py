"""One update of the weights, and the running sums of what it was like."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from resdsl.recipe import Recipe
from resdsl.train.distributed import ALONE, World
from resdsl.train.errors import TrainError
from resdsl.train.evaluate import Score
from resdsl.train.mix import Mixed, Targets
from resdsl.train.parallel import without_exchange
from resdsl.train.stream import FeedBase

Step = Callable[[Tensor, Targets], tuple[Tensor, Tensor]]


def make_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    feed: FeedBase,
    auxiliary_weights: Sequence[float],
    processes: int = 1,
    *,
    collect: Callable[[], None] = lambda: None,
) -> Step:
    """The function (inputs, targets) -> (mean loss of the main head, wrong images), both left on the device.

    With `accumulate` the batch goes through the network in equal parts whose gradients are added up; `collect` is
    called behind each part. Of `processes` each takes its share of the batch, and has its own loss; the model then
    exchanges gradients with the last part.
    """
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    add_gradients = make_gradients(model, recipe, feed, auxiliary_weights, processes, collect=collect)

    def step(inputs: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        loss, wrong = add_gradients(inputs, targets)
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        return loss, wrong

    return step


def make_gradients(
    model: nn.Module,
    recipe: Recipe,
    feed: FeedBase,
    auxiliary_weights: Sequence[float],
    processes: int = 1,
    *,
    collect: Callable[[], None] = lambda: None,
) -> Step:
    """The part of a step that adds a batch's gradients to those of the weights, and changes no weight."""
    weights = (1.0, *auxiliary_weights)
    size = recipe.batch // recipe.accumulate // processes

    def part(inputs: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        with feed.precision():
            output = model(inputs)
        heads = output if isinstance(output, tuple) else (output,)
        if len(heads) != len(weights):
            raise TrainError(f"the model has {len(heads) - 1} auxiliary heads, but {len(weights) - 1} loss weights")
        losses = [loss_of(logits, targets, recipe.label_smoothing) for logits in heads]
        total = sum((weight * loss for weight, loss in zip(weights[1:], losses[1:], strict=True)), start=losses[0])
        (total / recipe.accumulate).backward()  # type: ignore[no-untyped-call]
        collect()
        return losses[0].detach(), wrong_images(heads[0].detach(), targets)

    def add_gradients(inputs: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        *parts, last = zip(inputs.split(size), targets.split(size), strict=True)  # type: ignore[no-untyped-call]
        with without_exchange(model):
            done = [part(*pieces) for pieces in parts]
        losses, wrong = zip(*done, part(*last), strict=True)
        return torch.stack(losses).mean(), torch.stack(wrong).sum()

    return add_gradients


def loss_of(logits: Tensor, targets: Targets, smoothing: float) -> Tensor:
    """Mean cross entropy in nats of logits (N, classes) in any precision.

    Of mixed images the loss is that of both labels in their shares, which is the cross entropy of the mixed target.
    """
    logits = logits.float()
    if not isinstance(targets, Mixed):
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)
    own, other = (
        F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        for labels in (targets.labels, targets.others)
    )
    return (targets.shares * own + (1 - targets.shares) * other).mean()


def wrong_images(logits: Tensor, targets: Targets) -> Tensor:
    """How many first guesses are not the label; of mixed images, not the label of the larger share."""
    labels = targets.dominant if isinstance(targets, Mixed) else targets
    return (logits.argmax(dim=1) != labels).sum()


@dataclass(frozen=True, slots=True)
class Period:
    """Training between two evaluations: its score, and how many images it took in how many seconds."""

    score: Score
    images: int
    seconds: float


class Tally:
    """Sums of loss and errors, kept on the device: adding to them never waits for it, reading does.

    Each process keeps its own sums; what is read is the sum of all, and so all must read.
    """

    def __init__(self, device: torch.device, world: World = ALONE) -> None:
        self._world = world
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)  # loss times images, wrong images
        self._images = 0
        self._window = self._read()
        self.begin_period()

    def add(self, loss: Tensor, wrong: Tensor, images: int) -> None:
        """One step's mean loss over images and how many are wrong: the device's part, which a graph can hold."""
        self.sums += torch.stack([loss * images, wrong])

    def count(self, images: int) -> None:
        """The host's part of it: the images of all processes."""
        self._images += images

    def window(self) -> Score:
        """Mean over the steps since the last call. Waits for the device."""
        before, self._window = self._window, self._read()
        return _mean(before, self._window)

    def begin_period(self) -> None:
        """Start another period, and its clock."""
        self._period = self._read()
        self._begun = time.perf_counter()

    def state(self) -> dict[str, object]:
        """All sums, and how long the period has lasted. Waits for the device."""
        return {
            "now": list(self._read()),
            "window": list(self._window),
            "period": list(self._period),
            "seconds": time.perf_counter() - self._begun,
        }

    def own_sums(self) -> list[float]:
        """What this process alone has added up. Waits for the device."""
        sums: list[float] = self.sums.tolist()
        return sums

    def restore(self, state: dict[str, Any], own_sums: Sequence[float]) -> None:
        """Be as the tally that `state` was taken of."""
        self._images = state["now"][2]
        self.sums.copy_(torch.tensor(own_sums, dtype=torch.float64))
        self._window, self._period = tuple(state["window"]), tuple(state["period"])
        self._begun = time.perf_counter() - state["seconds"]

    def period(self) -> Period:
        """Mean over the period so far. Waits for the device, so that its seconds are true."""
        now = self._read()
        return Period(_mean(self._period, now), now[2] - self._period[2], time.perf_counter() - self._begun)

    def _read(self) -> tuple[float, float, int]:
        loss, wrong = self._world.sum(self.sums).tolist()
        return loss, wrong, self._images


def _mean(before: tuple[float, float, int], now: tuple[float, float, int]) -> Score:
    images = max(now[2] - before[2], 1)
    return Score((now[0] - before[0]) / images, (now[1] - before[1]) / images)
