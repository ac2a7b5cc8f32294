"""How the work of the kernels is cut up: one table by filters, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Tiling:
    """Sizes of tiles in places of a map, warps to a program, and stages of loads in flight.

    Attributes:
        pack: neighbours in a row that are computed as one place: few filters would not fill a multiplication, and
            what their windows share is read once. 1 where the width is no multiple of it.
        tile, warps, stages: of the convolutions, forward and backward.
        rows, row_warps: of what is done element by element.
        weight_tile, weight_warps, weight_stages: of the weights' gradients.
    """

    pack: int
    tile: int
    warps: int
    stages: int
    rows: int
    row_warps: int
    weight_tile: int
    weight_warps: int
    weight_stages: int


# First guesses for the 132 multiprocessors and 227 KiB of an H200; not yet measured. By filters.
TILINGS = {
    16: Tiling(2, 128, 8, 3, 256, 8, 128, 4, 3),
    32: Tiling(2, 64, 8, 3, 128, 8, 64, 4, 3),
    64: Tiling(1, 64, 8, 3, 64, 8, 64, 4, 3),
    128: Tiling(1, 64, 8, 3, 32, 8, 64, 8, 3),
}
PROGRAMS = 128  # at most this many share the images: one to a multiprocessor, and few enough for all to add up
ENDING_PROGRAMS = 264  # of the end of a chain, which leaves no sums behind
WEIGHT_PROGRAMS = 1056  # about so many compute the weight gradients of a chain
ADDED = 64  # values to a program that adds parts of weight gradients up


@dataclass(frozen=True, slots=True)
class Launches:
    """The compile-time arguments of the launches for maps (N, C, H, W); `dot` is the type that is multiplied."""

    images: int
    height: int
    width: int
    c: int
    dot: Any
    tiling: Tiling = field(init=False)
    programs: int = field(init=False)

    def __post_init__(self) -> None:
        turns = -(-self.images // PROGRAMS)
        object.__setattr__(self, "tiling", TILINGS[self.c])
        object.__setattr__(self, "programs", -(-self.images // turns))

    @property
    def places(self) -> int:
        """Values of a channel."""
        return self.images * self.height * self.width

    @property
    def pack(self) -> int:
        """Neighbours that are one place."""
        return self.tiling.pack if self.width % self.tiling.pack == 0 else 1

    @property
    def groups(self) -> int:
        """Of taps that are multiplied at once: all rows of the kernel, or all taps."""
        return 9 if self.pack == 1 else 3

    def convolution(self) -> dict[str, Any]:
        """Of `convolution` and `input_gradient`."""
        tiling = self.tiling
        return {
            **self._map(),
            **self._sums(),
            **self._window(),
            "tile": tiling.tile,
            "num_warps": tiling.warps,
            "num_stages": tiling.stages,
        }

    def ending(self) -> dict[str, Any]:
        """Of `ending`; `shares` is its grid."""
        tile = self.tiling.rows
        shares = min(-(-self.places // tile), ENDING_PROGRAMS)
        return {**self._flat(), **self._sums(), "tile": tile, "shares": shares, "num_warps": self.tiling.row_warps}

    def ending_gradient(self) -> dict[str, Any]:
        """Of `ending_gradient`."""
        tiling = self.tiling
        return {**self._flat(), "programs": self.programs, "tile": tiling.rows, "num_warps": tiling.row_warps}

    def weights(self, convolutions: int) -> dict[str, Any]:
        """Of `weight_gradients`, whose grid is (`splits`, `groups`, convolutions)."""
        tiling = self.tiling
        wanted = -(-WEIGHT_PROGRAMS // (self.groups * convolutions))
        return {
            **self._map(),
            "splits": min(-(-self.places // self.pack // tiling.weight_tile), wanted),
            **self._window(),
            "tile": tiling.weight_tile,
            "num_warps": tiling.weight_warps,
            "num_stages": tiling.weight_stages,
        }

    def added(self, splits: int) -> dict[str, Any]:
        """Of `added_parts` for all parts, `pack` to a split; its grid is (values / tile, convolutions)."""
        splits = splits * self.pack
        return {"values": 9 * self.c * self.c, "splits": splits, "padded": _power_of_two(splits), "tile": ADDED}

    def _map(self) -> dict[str, Any]:
        return {"images": self.images, "height": self.height, "width": self.width, "c": self.c}

    def _window(self) -> dict[str, Any]:
        window = 1 if self.pack == 1 else _power_of_two(self.pack + 2)
        return {"pack": self.pack, "window": window, "dot": self.dot}

    def _flat(self) -> dict[str, Any]:
        return {"images": self.images, "size": self.height * self.width, "c": self.c}

    def _sums(self) -> dict[str, Any]:
        return {"programs": self.programs, "padded": _power_of_two(self.programs)}


def _power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()
