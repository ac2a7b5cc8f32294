"""Class probabilities of whole image sets, averaged over views of each image; ensembles of several networks."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from resdsl.train.crops import Views
from resdsl.train.errors import TrainError
from resdsl.train.evaluate import main_output
from resdsl.train.stream import AnyFeed

# In one forward pass, so that large images fit, too.
PIXELS_ON_CPU, PIXELS_ON_GPU = 1 << 18, 1 << 23
MOST_IMAGES = 2048

Done = Callable[[int], None]  # so many images are classified


@torch.inference_mode()
def predict(
    model: nn.Module, feed: AnyFeed, views: Views, *, whole: bool = False, done: Done | None = None
) -> tuple[Tensor, Tensor]:
    """Probabilities (N, classes) in float64, the softmax of each view averaged, and labels (N,); both on the CPU.

    With `whole` images in files are read whole, each with the shorter side that the views name, not cut to the
    network's size. A network whose output is a map after all, at sizes it was not made for, is a TrainError.
    """
    was_training = model.training
    model.eval()
    found, labels = [], []
    images = 0
    for inputs, those_labels in _batches(feed, views, whole=whole):
        total = sum((_probabilities(model, feed, view) for view in inputs[1:]), _probabilities(model, feed, inputs[0]))
        found.append((total / len(inputs)).cpu())
        labels.append(those_labels.cpu())
        images += len(those_labels)
        if done is not None:
            done(images)
    model.train(was_training)
    return torch.cat(found), torch.cat(labels)


def _probabilities(model: nn.Module, feed: AnyFeed, inputs: Tensor) -> Tensor:
    inputs = inputs.flatten(1) if feed.flat else inputs.contiguous(memory_format=torch.channels_last)
    with feed.precision():
        logits = main_output(model(inputs)).float()
    if logits.ndim != 2:
        raise TrainError("the network gives a map at this size, not one number a class")
    return logits.double().softmax(dim=1)


def _batches(feed: AnyFeed, views: Views, *, whole: bool) -> Iterator[tuple[list[Tensor], Tensor]]:
    """All views and the labels of many images at once: as many as have one size and fit."""
    reading = {"resize": views.resize, "crop": 0} if whole else {}
    kept: list[tuple[list[Tensor], Tensor]] = []
    for pixels, labels in feed.pixels_in_order(**reading):
        most = _images_at_once(feed, views, pixels)
        for some, those in zip(torch.split(pixels, most), torch.split(labels, most), strict=True):
            inputs = list(views.of(some, feed.normalization))
            if kept and not _fits(kept, inputs, most):
                yield _joined(kept)
                kept = []
            kept.append((inputs, those))
    if kept:
        yield _joined(kept)


def _images_at_once(feed: AnyFeed, views: Views, pixels: Tensor) -> int:
    shorter, longer = sorted(pixels.shape[2:])
    scale = max(1.0, (views.resize or 0) / shorter)
    budget = PIXELS_ON_GPU if feed.on_gpu else PIXELS_ON_CPU
    return max(1, min(MOST_IMAGES, int(budget / (shorter * longer * scale**2))))


def _fits(kept: list[tuple[list[Tensor], Tensor]], inputs: list[Tensor], most: int) -> bool:
    images = sum(len(labels) for _, labels in kept) + len(inputs[0])
    return images <= most and [view.shape[1:] for view in kept[0][0]] == [view.shape[1:] for view in inputs]


def _joined(kept: list[tuple[list[Tensor], Tensor]]) -> tuple[list[Tensor], Tensor]:
    views = [torch.cat(same) for same in zip(*(inputs for inputs, _ in kept), strict=True)]
    return views, torch.cat([labels for _, labels in kept])


def ensemble(members: Sequence[tuple[tuple[str, ...], Tensor]]) -> Tensor:
    """Mean of the members' probabilities, each (N, classes) with its class names, in the first one's order of classes.

    Raises TrainError where they do not tell the same classes of the same images apart.
    """
    names, first = members[0]
    total = torch.zeros_like(first)
    for others, probabilities in members:
        total += in_order_of(names, others, probabilities)
    return total / len(members)


def in_order_of(names: tuple[str, ...], others: tuple[str, ...], values: Tensor) -> Tensor:
    """Columns, one for each of `others`, in the order of `names`. Raises TrainError where these are not the same."""
    if sorted(names) != sorted(others):
        odd = sorted(set(names) ^ set(others))[:6]
        raise TrainError(f"these runs tell different classes apart ({', '.join(odd)} ...): no ensemble of them")
    return values[:, [others.index(name) for name in names]]
