"""Crops and rectangles, each image at its own place: batched, without a look at the numbers from the CPU."""

import math

import torch
from torch import Tensor

from resdsl.recipe_types import Call

ATTEMPTS = 10  # at a rectangle that fits, as is usual for random resized crops
PLACES = 2 * ATTEMPTS + 2  # numbers for a rectangle: area and shape for each attempt, and then its place


def random_crop(images: Tensor, drawn: Tensor, size: int) -> Tensor:
    """Squares (N, C, size, size) of images (N, C, H, W), uniform in rows and columns; `drawn` (N, 2)."""
    height, width = images.shape[2:]
    tops, lefts = places(drawn[:, 0], height - size), places(drawn[:, 1], width - size)
    return crop(images, tops, lefts, size)


def places(drawn: Tensor, last: int | Tensor) -> Tensor:
    """Integers 0 to `last`, each with the same probability, of numbers uniform in [0, 1)."""
    # float64, since a product in float32 can be rounded up to last + 1.
    return (drawn.double() * (last + 1)).floor().long()


def crop(images: Tensor, tops: Tensor, lefts: Tensor, size: int) -> Tensor:
    """Squares (N, C, size, size) of images (N, C, H, W), each at its own place (N,)."""
    windows = images.unfold(2, size, 1).unfold(3, size, 1)  # a view (N, C, tops, lefts, size, size): nothing is copied
    return windows[torch.arange(len(images), device=images.device), :, tops, lefts]


def crop_of_resized(images: Tensor, lengths: Tensor, drawn: Tensor, sides: tuple[int, int], size: int) -> Tensor:
    """Random squares (N, C, size, size) of images (N, C, H, W) that were scaled so that the shorter side has a random
    length between `sides`; `lengths` (N, 1) and `drawn` (N, 2) are uniform in [0, 1). Only the square is computed.
    """
    height, width = images.shape[2:]
    shorter = sides[0] + places(lengths[:, 0], sides[1] - sides[0])
    heights, widths = shorter * height // min(height, width), shorter * width // min(height, width)
    tops, lefts = places(drawn[:, 0], heights - size), places(drawn[:, 1], widths - size)
    down, across = height / heights.double(), width / widths.double()
    rows = _weights(tops * down, down, size, torch.zeros_like(tops), torch.full_like(tops, height), height)
    columns = _weights(lefts * across, across, size, torch.zeros_like(lefts), torch.full_like(lefts, width), width)
    return _resample(images, rows, columns)


def random_resized_crop(images: Tensor, drawn: Tensor, step: Call) -> Tensor:
    """Rectangles of images (N, C, H, W), scaled to squares (N, C, size, size); `drawn` (N, PLACES).

    Where no attempt fits, the whole image is taken, or its middle where it is longer than the shapes allow.
    """
    height, width = images.shape[2:]
    heights, widths, fits = rectangles(drawn, step, (height, width))
    aspect = step.number("aspect")
    whole = (min(height, round(width * aspect)), min(width, round(height * aspect)))
    heights, widths = torch.where(fits, heights, whole[0]), torch.where(fits, widths, whole[1])
    tops = torch.where(fits, places(drawn[:, -2], height - heights), (height - heights) // 2)
    lefts = torch.where(fits, places(drawn[:, -1], width - widths), (width - widths) // 2)
    size = step.integer("size")
    rows = _weights(tops.double(), heights.double() / size, size, tops, tops + heights, height)
    columns = _weights(lefts.double(), widths.double() / size, size, lefts, lefts + widths, width)
    return _resample(images, rows, columns)


def rectangles(drawn: Tensor, step: Call, sides: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Heights, widths (N,) of the first of ATTEMPTS random rectangles that fits into `sides`, and whether one does.

    The area is uniform between the shares `smallest` and `largest`; width over height is uniform in its logarithm
    between 1 / `aspect` and `aspect`. `drawn` (N, PLACES) is uniform in [0, 1).
    """
    smallest, largest = step.number("smallest"), step.number("largest")
    area = sides[0] * sides[1] * (smallest + (largest - smallest) * drawn[:, :ATTEMPTS].double())
    shape = torch.exp(math.log(step.number("aspect")) * (2 * drawn[:, ATTEMPTS : 2 * ATTEMPTS].double() - 1))
    heights, widths = (area / shape).sqrt().round().long(), (area * shape).sqrt().round().long()
    fit = (heights > 0) & (widths > 0) & (heights <= sides[0]) & (widths <= sides[1])
    first = fit.int().argmax(dim=1, keepdim=True)
    chosen, across, fits = (values.gather(1, first).squeeze(1) for values in (heights, widths, fit))
    return chosen, across, fits


def erase(images: Tensor, drawn: Tensor, step: Call) -> Tensor:
    """Images (N, C, H, W) with a random rectangle of zeros in a share `p` of them; `drawn` (N, PLACES + 1)."""
    height, width = images.shape[2:]
    heights, widths, fits = rectangles(drawn[:, :PLACES], step, (height, width))
    tops, lefts = places(drawn[:, PLACES - 2], height - heights), places(drawn[:, PLACES - 1], width - widths)
    chosen = fits & (drawn[:, PLACES] < step.number("p"))
    inside = box(tops, lefts, tops + heights, lefts + widths, (height, width)) & chosen[:, None, None]
    return images.masked_fill(inside[:, None], 0.0)


def box(tops: Tensor, lefts: Tensor, bottoms: Tensor, rights: Tensor, sides: tuple[int, int]) -> Tensor:
    """Truths (N, H, W): which pixels lie in the rectangle of their image, its bottom and right edge left out."""
    rows = torch.arange(sides[0], device=tops.device)
    columns = torch.arange(sides[1], device=tops.device)
    in_rows = (rows >= tops[:, None]) & (rows < bottoms[:, None])
    in_columns = (columns >= lefts[:, None]) & (columns < rights[:, None])
    return in_rows[:, :, None] & in_columns[:, None, :]


def _weights(starts: Tensor, scales: Tensor, size: int, first: Tensor, end: Tensor, side: int) -> Tensor:
    """Weights (N, size, side) of the pixels of one axis in `size` places, the i-th at `starts` + `scales` * (i + 1/2).

    Bilinear interpolation with antialiasing: a triangle as wide as two places, or as two pixels where those are wider,
    over the pixels `first` to `end`.
    """
    centres = starts[:, None] + scales[:, None] * (torch.arange(size, device=starts.device) + 0.5)
    pixels = torch.arange(side, device=starts.device)
    distance = (pixels + 0.5 - centres[:, :, None]) / scales.clamp_min(1)[:, None, None]
    inside = (pixels >= first[:, None]) & (pixels < end[:, None])
    weights = (1 - distance.abs()).clamp_min(0) * inside[:, None, :]
    return (weights / weights.sum(dim=2, keepdim=True)).float()


def _resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels (N, C, size, size), rounded to integers, of pixels (N, C, H, W)."""
    across = images @ columns[:, None].transpose(2, 3)
    return (rows[:, None] @ across).round().clamp(0, 255)
