"""A checkpoint carried over to a network: matched, adapted, verified; the whole of `resdsl weights` but its options."""

from __future__ import annotations

import os
from dataclasses import dataclass

from resdsl.emit.torch_module import NetModule
from resdsl.net import Net
from resdsl.weights.checkpoint import Checkpoint
from resdsl.weights.errors import WeightsError
from resdsl.weights.load import Fitting, fit
from resdsl.weights.permissions import Permissions
from resdsl.weights.record import record_of
from resdsl.weights.save import save_weights


@dataclass(frozen=True, slots=True)
class Carried:
    """A module of a network with the weights of a checkpoint, and how they fit."""

    net: Net
    model: NetModule
    fitting: Fitting

    def save(self, path: str | os.PathLike[str], source: str, version: str) -> dict[str, str]:
        """Write the module's weights with what they are, which is returned; see save_weights."""
        record = record_of(self.model, self.net, source, version)
        save_weights(path, self.model.state_dict(), record)
        return record


def carry_over(
    net: Net,
    checkpoint: Checkpoint,
    permissions: Permissions,
    verify: bool | str = True,
    *,
    needs_verification: bool = False,
) -> Carried:
    """A module of a network, with its auxiliary heads, that has the checkpoint's weights.

    Outputs are compared as load_weights does; that they differ is no error here, so that another network may be tried.
    `needs_verification` makes it one that nothing could be compared.

    Raises:
        WeightsError: the checkpoint does not fit, or cannot be verified where it must.
    """
    model = net.to_torch(auxiliary=bool(net.auxiliary_weights))
    fitting = fit(model, checkpoint, permissions, verify)
    if needs_verification and fitting.comparison.verification is None:
        example = permissions.wording.verify.format("timm:resnetv2_50")
        reason = fitting.comparison.reason or "it is of no network of torchvision"
        raise WeightsError(f"{checkpoint.path} cannot be verified: {reason}; {example} names what to compare with")
    fitting.prepared.write(model)
    return Carried(net, model, fitting)
