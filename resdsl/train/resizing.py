"""Progressive resizing: a run begins with smaller training images, which cost less, and ends with those of the test."""

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from resdsl.recipe import Recipe
from resdsl.recipe_types import Call
from resdsl.train.data import Images, NetworkInput
from resdsl.train.errors import DataError
from resdsl.train.memory import is_out_of_memory
from resdsl.train.schedule import run_length

Sides = tuple[int, int]  # (H, W)


class ImageSizes:
    """The size of the training images of each step: a pure function of the step, of the recipe and of the data.

    `full` is the size of the test's images, `images` counts those of the training set.
    """

    def __init__(self, recipe: Recipe, images: int, full: Sides) -> None:
        self.full = full
        self._resizing = recipe.progressive_resizing
        self._steps = run_length(recipe, images).steps

    def at(self, step: int) -> Sides:
        """(H, W) in a step, counted from 0."""
        if self._resizing is None:
            return self.full
        return _with_shorter(self.full, shorter_side(self._resizing, min(self.full), step / self._steps))

    def all(self) -> list[Sides]:
        """Every size that may come up, the smallest first."""
        if self._resizing is None:
            return [self.full]
        first, multiple, last = self._resizing.integer("from"), self._resizing.integer("multiple"), min(self.full)
        between = range(first // multiple * multiple + multiple, last, multiple)
        return [_with_shorter(self.full, side) for side in dict.fromkeys([first, *between, last])]


def shorter_side(resizing: Call, full: int, done: float) -> int:
    """Pixels of the shorter side where a share `done` of the run is over.

    From `from` pixels at the share `start` it grows along a straight line to `full` ones at `end`, rounded to a
    multiple of `multiple`.
    """
    first, start, end = resizing.integer("from"), resizing.number("start"), resizing.number("end")
    if done >= end:
        return full
    if done <= start:
        return first
    multiple = resizing.integer("multiple")
    side = first + (full - first) * (done - start) / (end - start)
    return min(max(round(side / multiple) * multiple, first), full)


def resized(images: Tensor, sides: Sides) -> Tensor:
    """Images (N, C, *sides) of images (N, C, H, W), bilinear with antialiasing; the same ones where nothing changes."""
    if tuple(images.shape[2:]) == sides:
        return images
    return F.interpolate(images, sides, mode="bilinear", antialias=True)


def check_resizing(make_model: Callable[[], nn.Module], recipe: Recipe, takes: NetworkInput, images: Images) -> None:
    """Raise DataError where images cannot begin so small, or the network does not take one of their sizes.

    The network is tried, in training and with two black images of each size, on a copy: nothing about it changes, nor
    does torch's random state.
    """
    if recipe.progressive_resizing is None:
        return
    channels, *full = images.shape
    first = recipe.progressive_resizing.integer("from")
    if first > min(full):
        raise DataError(f"progressive_resizing begins with {first} pixels, but the images have only {min(full)}")
    advice = "it needs one that takes images of any size, such as one whose head begins with a global pool"
    if takes.flat:
        raise DataError(f"progressive_resizing is not for a network that takes a vector: {advice}")
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.no_grad(), torch.random.fork_rng(gpus):
        tried = deepcopy(make_model()).train()
        device = next((parameter.device for parameter in tried.parameters()), torch.device("cpu"))
        for sides in ImageSizes(recipe, len(images), (full[0], full[1])).all():
            try:
                tried(torch.zeros(2, channels, *sides, device=device))
            except (RuntimeError, ValueError) as error:
                if is_out_of_memory(error):
                    raise
                found = f"the network does not take images of {sides[0]} x {sides[1]} pixels"
                raise DataError(f"progressive_resizing: {found}; {advice}") from None


def _with_shorter(full: Sides, shorter: int) -> Sides:
    height, width = (round(side * shorter / min(full)) for side in full)
    return height, width
