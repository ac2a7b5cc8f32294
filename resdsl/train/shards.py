"""Which images of a batch a process takes: the shares of all processes are the batch, each image once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from resdsl.recipe import Recipe
from resdsl.train.distributed import World


@dataclass(frozen=True, slots=True)
class Shard:
    """The share of one of `size` processes. A batch that is done in `parts` is shared part by part, so that each part
    has the images it has with one process. With `is_led`, the image before each piece comes along, to be mixed with.
    """

    rank: int = 0
    size: int = 1
    parts: int = 1
    is_led: bool = False

    @property
    def pieces(self) -> int:
        """How many pieces come behind an image that is not of the share; 0 where none does."""
        return self.parts if self.is_led and self.size > 1 else 0

    def rows(self, batch: int) -> Tensor:
        """Places in the batch: (batch / size,), or (batch / size + parts,) where the pieces are led."""
        if self.size == 1:
            return torch.arange(batch)
        piece = batch // (self.size * self.parts)
        firsts = torch.arange(self.parts) * (batch // self.parts) + self.rank * piece
        return ((firsts[:, None] + torch.arange(-1 if self.is_led else 0, piece)) % batch).flatten()


WHOLE = Shard()


def shard_of(world: World, recipe: Recipe) -> Shard:
    """A process's share of a recipe's batches."""
    return Shard(world.rank, world.size, recipe.accumulate, is_led=recipe.mix is not None)
