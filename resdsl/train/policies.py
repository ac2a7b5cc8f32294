"""RandAugment and TrivialAugment: operations drawn for each image by itself, as torchvision's references define them.

All images go through every kind of operation, most of them with a strength that leaves them as they are: so the work
is the same whatever was drawn, and nothing waits for the CPU to look at it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from resdsl.train.colours import autocontrast, blend, equalize, gray, mean_gray, posterize, sharpness, solarize
from resdsl.train.constants import constant

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
LEVELS = 31  # strengths, evenly spaced from none to the full one


@dataclass(frozen=True, slots=True)
class Range:
    """The full strength of each kind of operation."""

    shear: float
    translate: tuple[float, float]  # pixels across and down
    degrees: float
    blend: float
    bits: float  # how many of the eight posterize takes away


WIDE = Range(shear=0.99, translate=(32.0, 32.0), degrees=135.0, blend=0.99, bits=6)


def usual_range(height: int, width: int) -> Range:
    """RandAugment's, whose moves are in proportion to the image: by 150 pixels in one of 331."""
    reach = 150 / 331
    return Range(shear=0.3, translate=(reach * width, reach * height), degrees=30.0, blend=0.9, bits=4)


def rand_augment(pixels: Tensor, drawn: Tensor, magnitude: int) -> Tensor:
    """Operations of one strength (Cubuk et al. 2019) on pixels (N, C, H, W); `drawn` (N, 2 * operations)."""
    height, width = pixels.shape[2:]
    full = usual_range(height, width)
    level = torch.full((len(pixels),), float(magnitude), device=pixels.device)
    for first in range(0, drawn.shape[1], 2):
        which, sign = drawn[:, first], drawn[:, first + 1]
        pixels = apply(pixels, _choice(which), level, sign >= 0.5, full)
    return pixels


def trivial_augment(pixels: Tensor, drawn: Tensor) -> Tensor:
    """One operation of random strength (Müller and Hutter 2021, "wide") on pixels (N, C, H, W); `drawn` (N, 3)."""
    which, level, sign = drawn.unbind(dim=1)
    return apply(pixels, _choice(which), (level * LEVELS).floor().clamp_max(LEVELS - 1), sign >= 0.5, WIDE)


def _choice(drawn: Tensor) -> Tensor:
    return (drawn * len(OPERATIONS)).floor().long().clamp_max(len(OPERATIONS) - 1)


def apply(pixels: Tensor, which: Tensor, levels: Tensor, is_positive: Tensor, full: Range) -> Tensor:
    """Pixels (N, C, H, W) after the operation `which` (N,) of OPERATIONS, at `levels` (N,) of 0 to LEVELS - 1."""

    def strength(none: float, full: float) -> Tensor:
        # Rounded as torchvision's tables are: of values that are rounded down later one digit more makes one level.
        return torch.linspace(none, full, LEVELS, device=pixels.device)[levels.long()]

    def signed(full: float) -> Tensor:
        return torch.where(is_positive, strength(0, full), -strength(0, full))

    def of(name: str) -> Tensor:
        return which == OPERATIONS.index(name)

    def only(name: str, amount: Tensor) -> Tensor:
        return torch.where(of(name), amount, 0.0)

    pixels = _moved(pixels, _matrices(only, signed, full, (pixels.shape[2], pixels.shape[3])))
    others = torch.zeros_like(pixels)
    for name, mixed_in in (("colour", gray(pixels)), ("contrast", mean_gray(pixels))):
        others = torch.where(of(name)[:, None, None, None], mixed_in, others)
    is_blended = of("brightness") | of("contrast") | (of("colour") if pixels.shape[1] == 3 else False)
    pixels = blend(pixels, others, 1 + torch.where(is_blended, signed(full.blend), 0.0))
    pixels = sharpness(pixels, 1 + only("sharpness", signed(full.blend)))
    pixels = posterize(pixels, 8 - only("posterize", (levels * (full.bits / (LEVELS - 1))).round()))
    pixels = solarize(pixels, torch.where(of("solarize"), (255 * strength(1, 0).double()).float(), 256.0))
    pixels = torch.where(of("autocontrast")[:, None, None, None], autocontrast(pixels), pixels)
    return torch.where(of("equalize")[:, None, None, None], equalize(pixels), pixels)


def _matrices(
    only: Callable[[str, Tensor], Tensor], signed: Callable[[float], Tensor], full: Range, sides: tuple[int, int]
) -> Tensor:
    """(N, 2, 3): where in the image, in pixels from its centre, each place of the result comes from."""
    height, width = sides
    angle = torch.deg2rad(only("rotate", signed(full.degrees)))
    shear_x, shear_y = (only(name, signed(full.shear)) for name in ("shear_x", "shear_y"))
    across, down = (
        only(name, signed(reach).trunc())
        for name, reach in zip(("translate_x", "translate_y"), full.translate, strict=True)
    )
    cosine, sine = angle.cos(), angle.sin()
    # Shears keep the upper or the left edge in its place.
    rows = (
        torch.stack([cosine, -sine + shear_x, shear_x * (height / 2) - across], dim=1),
        torch.stack([sine + shear_y, cosine, shear_y * (width / 2) - down], dim=1),
    )
    return torch.stack(rows, dim=1)


def _moved(pixels: Tensor, matrices: Tensor) -> Tensor:
    """The nearest pixel of each place, 0 outside."""
    height, width = pixels.shape[2:]
    half = constant((width / 2, height / 2), pixels.device)
    columns = torch.linspace((1 - width) / 2, (width - 1) / 2, width, device=pixels.device)
    rows = torch.linspace((1 - height) / 2, (height - 1) / 2, height, device=pixels.device)
    grid = torch.stack([*torch.meshgrid(columns, rows, indexing="xy"), torch.ones_like(pixels[0, 0])], dim=-1)
    places = grid.view(1, -1, 3) @ (matrices.transpose(1, 2) / half)
    places = places.view(-1, height, width, 2)
    return F.grid_sample(pixels, places, mode="nearest", padding_mode="zeros", align_corners=False)
