"""A recipe to paste into a spec that has none: one that runs with the spec's network as it is."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

DIGITS = 10  # classes
SMALLEST, LARGEST = 8, 512  # sides that the digits come in
FOLDER = "  # --data DIR, with images in DIR/train/CLASS/ and DIR/test/CLASS/"


def example_recipe(shape: Sequence[object], classes: int) -> str:
    """A `train` block for a network that takes (C, H, W) or a vector, free sizes included.

    For ten classes it needs no files: the digits. Else the images are the user's own.
    """
    data, augment = _digits(shape) if classes == DIGITS else ("", "")
    if not data:
        data, augment = _folder(shape)
    lines = [
        data,
        augment,
        "normalize mean_std",
        "batch 64",
        "optimizer sgd(lr = 0.1, momentum = 0.9, weight_decay = 5e-4)",
        "schedule cosine",
        "epochs 15",
    ]
    return "\n".join(["train {", *(f"  {line}" for line in lines if line), "}"]) + "\n"


def _digits(shape: Sequence[object]) -> tuple[str, str]:
    match shape:
        case (1 | 3, int(height), int(width)) if height == width:
            side = height
        case (1 | 3, height, width) if not isinstance(height, int) and not isinstance(width, int):
            side = 32
        case (int(length),):
            side = next((isqrt(length // c) for c in (1, 3) if length == c * isqrt(length // c) ** 2), 0)
        case _:
            return "", ""
    if not SMALLEST <= side <= LARGEST:
        return "", ""
    size = "" if side == 32 else f"(size = {side})"
    return f"data digits{size}", f"augment pad({max(1, side // 16)}) -> random_crop({side})"


def _folder(shape: Sequence[object]) -> tuple[str, str]:
    sides = [side for side in shape[1:] if isinstance(side, int)]
    if len(shape) != 3 or len(sides) == 1:
        return f"data folder{FOLDER}", ""
    if len(set(sides)) == 2:
        return f"data folder(resize = {max(sides)}){FOLDER}", ""
    side = sides[0] if sides else 224
    return f"data folder{FOLDER}", f"augment random_resized_crop({side}) -> flip"
