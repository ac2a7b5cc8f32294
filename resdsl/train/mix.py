"""Images mixed with the one before them in their batch, each in its own share, and what is then to be learned."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resdsl.recipe_types import Call
from resdsl.train.geometry import box, places


@dataclass(frozen=True, slots=True)
class Mixed:
    """Targets of N mixed images: `labels` (N,) with the weights `shares` (N,), `others` (N,) with what is left of 1."""

    labels: Tensor
    others: Tensor
    shares: Tensor

    @property
    def dominant(self) -> Tensor:
        """The label (N,) of the larger share."""
        return torch.where(self.shares >= 0.5, self.labels, self.others)

    def split(self, size: int) -> list["Mixed"]:
        """The same in parts of `size` images."""
        columns = (column.split(size) for column in (self.labels, self.others, self.shares))  # type: ignore[no-untyped-call]
        return [Mixed(*parts) for parts in zip(*columns, strict=True)]


Targets = Tensor | Mixed


def draw_mix(mix: Call, images: int, generator: torch.Generator) -> Tensor:
    """Numbers for N = `images` images: (N, 5), the share to be kept by mixup and by cutmix, the row and column of the
    rectangle, and whether to mix at all and how.
    """
    alphas = [mix.number(name if name in dict(mix.args) else "alpha") for name in ("mixup", "cutmix")]
    # torch draws from Beta with its own generator only.
    numbers = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    shares = [torch.from_numpy(numbers.beta(alpha, alpha, images)).float() for alpha in alphas]
    return torch.cat([torch.stack(shares, dim=1), torch.rand(images, 3, generator=generator)], dim=1)


def mix_batch(images: Tensor, labels: Tensor, mix: Call, drawn: Tensor, pieces: int = 0) -> tuple[Tensor, Mixed]:
    """Mixed images (N, C, H, W) and their targets, of images, labels (N,) and what draw_mix gave, (N, 5).

    They are a whole batch, or where it is shared among processes, so many equal pieces of it; each of those begins
    with the image before it in the batch, which is mixed into the next one and left out of the result.
    """
    if pieces:
        places = torch.arange(len(labels), device=labels.device).view(pieces, -1)
        own, before = places[:, 1:].flatten(), places[:, :-1].flatten()
        others, other_labels = images[before], labels[before]
        images, labels, drawn = images[own], labels[own], drawn[own]
    else:
        others, other_labels = images.roll(1, 0), labels.roll(1, 0)
    sides = (images.shape[2], images.shape[3])
    p = mix.number("p")
    is_mixed = drawn[:, 4] < p
    match mix.name:
        case "mixup":
            cuts = torch.zeros_like(is_mixed)
        case "cutmix":
            cuts = torch.ones_like(is_mixed)
        case _:
            cuts = drawn[:, 4] < p / 2  # among the mixed ones one half
    kept = torch.where(is_mixed & ~cuts, drawn[:, 0], 1.0)
    inside = _rectangle(drawn, sides) & (is_mixed & cuts)[:, None, None]
    weights = kept[:, None, None, None]
    blended = images * weights + others * (1 - weights)
    mixed = torch.where(inside[:, None], others, blended)
    shares = kept - inside.sum(dim=(1, 2)) / (sides[0] * sides[1])
    return mixed, Mixed(labels, other_labels, shares)


def _rectangle(drawn: Tensor, sides: tuple[int, int]) -> Tensor:
    """Truths (N, H, W): a rectangle of the image's shape around a uniform place; what lies outside is cut off."""
    halves = [(0.5 * (1 - drawn[:, 1]).sqrt() * side).long() for side in sides]
    middles = [places(drawn[:, 2 + axis], side - 1) for axis, side in enumerate(sides)]
    first = [middle - half for middle, half in zip(middles, halves, strict=True)]
    end = [middle + half for middle, half in zip(middles, halves, strict=True)]
    return box(first[0], first[1], end[0], end[1], sides)
