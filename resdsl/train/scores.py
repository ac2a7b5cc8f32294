"""What probabilities of many images say: top-1 and top-5 error, errors a class, confusion; mean and spread of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

import torch
from torch import Tensor

from resdsl.train.errors import TrainError


@dataclass(frozen=True, slots=True)
class Counts:
    """Images of a test set by what a network, or several together, made of them.

    `confusion` (classes, classes) counts images by their class (row) and first guess (column); `beyond_five` those
    whose class is not among the five likeliest.
    """

    confusion: Tensor
    beyond_five: int

    @property
    def images(self) -> int:
        """All images."""
        return int(self.confusion.sum())

    @property
    def top1_error(self) -> float:
        """Share of images whose first guess is wrong."""
        return self.wrong / self.images

    @property
    def wrong(self) -> int:
        """Images whose first guess is wrong."""
        return self.images - int(self.confusion.diagonal().sum())

    @property
    def top5_error(self) -> float | None:
        """Share of images whose class is not among the five likeliest; None with five classes or fewer."""
        return self.beyond_five / self.images if len(self.confusion) > 5 else None

    @property
    def class_errors(self) -> list[float | None]:
        """Top-1 error of each class; None for a class without images."""
        images = self.confusion.sum(dim=1).tolist()
        right = self.confusion.diagonal().tolist()
        return [(total - hits) / total if total else None for hits, total in zip(right, images, strict=True)]


def count(probabilities: Tensor, labels: Tensor) -> Counts:
    """Counts for probabilities (N, classes) and labels (N,). Of equal probabilities the first class counts as likelier.

    Raises TrainError where a probability is no number.
    """
    if not torch.isfinite(probabilities).all():
        raise TrainError("the network gives what is no number: its weights are lost")
    classes = probabilities.shape[1]
    of_label = probabilities.gather(1, labels.unsqueeze(1))
    places = torch.arange(classes)
    before = places < labels.unsqueeze(1)
    ranks = ((probabilities > of_label) | ((probabilities == of_label) & before)).sum(dim=1)
    # argmax promises nothing for equal values.
    is_largest = probabilities == probabilities.amax(dim=1, keepdim=True)
    guesses = torch.where(is_largest, places, classes).amin(dim=1)
    pairs = torch.bincount(labels * classes + guesses, minlength=classes * classes)
    return Counts(pairs.view(classes, classes), int((ranks >= 5).sum()))


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation (n - 1) of several values; no deviation of one alone."""

    count: int
    mean: float
    deviation: float | None


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of values, at least one."""
    mean = fsum(values) / len(values)
    if len(values) < 2:
        return Spread(len(values), mean, None)
    return Spread(len(values), mean, sqrt(fsum((value - mean) ** 2 for value in values) / (len(values) - 1)))
