"""A checkpoint carried over to a network: matched, adapted, verified; the whole of `resdsl weights` but its options."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import fx

from resdsl.net import Net
from resdsl.weights.checkpoint import Checkpoint
from resdsl.weights.errors import WeightsError
from resdsl.weights.load import prepare
from resdsl.weights.receipt import Receipt
from resdsl.weights.save import save_weights
from resdsl.weights.verify import Verification, find_peer, verify


@dataclass(frozen=True, slots=True)
class Carried:
    """A module with the weights of a checkpoint, the receipt, and what was verified, if anything."""

    model: fx.GraphModule
    receipt: Receipt
    verification: Verification | None

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
        """Write the module's weights; see save_weights."""
        save_weights(path, self.model.state_dict(), metadata)


def carry_over(
    net: Net,
    checkpoint: Checkpoint,
    *,
    allow_fresh: Iterable[str] = (),
    allow_left_over: Iterable[str] = (),
    adapt_input: str | None = None,
    peer: str | None = None,
    wants_verification: bool = True,
    needs_verification: bool = False,
) -> Carried:
    """A module of a network, with its auxiliary heads, that has the checkpoint's weights.

    Outputs are compared with those of `peer` (`timm:resnetv2_50`), else of torchvision's network whose tensors the file
    has; the verification says whether they are equal. `needs_verification` makes it an error that there is none.

    Raises:
        WeightsError: the checkpoint does not fit, or cannot be verified where it must.
    """
    model = net.to_torch(auxiliary=bool(net.auxiliary_weights))
    prepared = prepare(model, checkpoint, allow_fresh, allow_left_over, adapt_input)
    prepared.write(model)
    verification = None
    if wants_verification:
        other = find_peer(prepared, checkpoint, peer)
        if other is not None:
            verification = verify(model, prepared, checkpoint, other)
        elif needs_verification:
            raise WeightsError(
                f"{checkpoint.path} is no checkpoint of a network of torchvision: name what to compare with, "
                "such as --verify timm:resnetv2_50"
            )
    return Carried(model, prepared.receipt, verification)
