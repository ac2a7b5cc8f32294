"""Classification of whole image sets."""

from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from resdsl.train.distributed import ALONE, World
from resdsl.train.stream import AnyFeed


@dataclass(frozen=True, slots=True)
class Score:
    """Mean cross entropy in nats, and the share of images whose first guess is wrong (top-1 error)."""

    loss: float
    error: float


def main_output(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The logits (N, classes) of the main head, whether or not auxiliary heads come after it."""
    return output[0] if isinstance(output, tuple) else output


@torch.inference_mode()
def evaluate(model: nn.Module, feed: AnyFeed, world: World = ALONE, *, batches: int | None = None) -> Score:
    """Score over every image of the feed, one view each; the model is in evaluation mode only meanwhile.

    Several processes have feeds of their own, and the score is that of all their images. With `batches` only so many
    are computed, so that the score is good for nothing.
    """
    was_training = model.training
    model.eval()
    totals = torch.zeros(3, dtype=torch.float64, device=feed.labels.device)
    for inputs, labels in islice(feed.in_order(), batches):
        with feed.precision():
            logits = main_output(model(inputs)).float()
        loss = F.cross_entropy(logits, labels, reduction="sum")
        totals[:2] += torch.stack([loss, (logits.argmax(dim=1) != labels).sum()])
    totals[2] = len(feed.labels)
    model.train(was_training)
    loss_sum, wrong, images = world.sum(totals).tolist()  # the only wait for the device
    return Score(loss_sum / images, wrong / images)
