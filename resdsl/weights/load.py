"""Weights of a checkpoint into a module: all of them and verified or, with a clear error, none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from os import PathLike

from torch import Tensor, nn

from resdsl.weights.checkpoint import Checkpoint, checkpoint_of, read_checkpoint
from resdsl.weights.compare import Comparison, compare, equal_sibling
from resdsl.weights.errors import WeightsError
from resdsl.weights.permissions import Permissions, as_names
from resdsl.weights.prepare import Prepared, prepare
from resdsl.weights.receipt import Receipt


def load_weights(
    model: nn.Module,
    source: Mapping[str, Tensor] | str | PathLike[str],
    *,
    allow_fresh: Iterable[str] = (),
    allow_left_over: Iterable[str] = (),
    adapt_input: str | None = None,
    ema: bool = False,
    verify: bool | str = True,
) -> Receipt:
    """Load a checkpoint of any library into a module that `Net.to_torch` made.

    Layers are matched by structure: kind, shape, order, blocks and, where the file has it, topology; names decide only
    where they are those of the module. What cannot be matched, and what of the file stays over, is an error unless it
    is allowed by name. Shapes do not tell strides: where torchvision has a network of exactly these tensors, outputs
    are compared, on a copy. After an error nothing of the module has changed.

    Args:
        model: the module.
        source: a state dict, or the path of a torch, safetensors, npz or Keras file.
        allow_fresh: parts, blocks, layers or tensors of the module that may keep their first weights: `head`.
        allow_left_over: prefixes of names in the file that may go nowhere: `fc`.
        adapt_input: for another number of input channels: `sum` their weights to one, or `repeat` their mean.
        ema: take averaged weights where a file of torch holds both.
        verify: compare outputs; a network such as `timm:resnetv2_50` or `keras:ResNet50` insists on that one.

    Returns:
        A receipt with a row for each tensor.

    Raises:
        WeightsError: the file cannot be read, does not fit, gives other outputs, or a name or way is unknown.
    """
    permissions = Permissions(as_names(allow_fresh), as_names(allow_left_over), adapt_input)
    return load_checkpoint(model, open_checkpoint(source, ema=ema), permissions, verify)


def open_checkpoint(source: Mapping[str, Tensor] | str | PathLike[str], *, ema: bool = False) -> Checkpoint:
    """The checkpoint in a state dict or a file. Raises WeightsError."""
    return checkpoint_of(source, ema=ema) if isinstance(source, Mapping) else read_checkpoint(source, ema=ema)


def load_checkpoint(
    model: nn.Module, checkpoint: Checkpoint, permissions: Permissions, verify: bool | str = True
) -> Receipt:
    """load_weights for a checkpoint that is read already."""
    fitting = fit(model, checkpoint, permissions, verify)
    difference = fitting.difference
    if difference:
        wording = permissions.wording
        other = equal_sibling(fitting.prepared, checkpoint, permissions, verify)
        network = fitting.prepared.target.graph.network
        if other:
            raise WeightsError(f"{difference}; {other} is equal: {wording.network.format(network.source.name, other)}")
        way_out = f"; {wording.no_verify} compares no outputs" if wording.no_verify else ""
        raise WeightsError(f"{difference}{way_out}")
    fitting.prepared.write(model)
    return fitting.receipt


@dataclass(frozen=True, slots=True)
class Fitting:
    """Weights that fit a module, not yet written, and how its outputs compare with those they come with."""

    prepared: Prepared
    comparison: Comparison

    @property
    def difference(self) -> str:
        """That the weights fit but do something else; empty where that was not found."""
        found = self.comparison.verification
        return "" if found is None or found.is_equal else f"{self.prepared.receipt.network} fits, but {found}"

    @property
    def receipt(self) -> Receipt:
        """The receipt, which says why nothing was compared where something might have been."""
        receipt = self.prepared.receipt
        reason = self.comparison.reason
        return replace(receipt, notes=(*receipt.notes, f"outputs are not compared: {reason}")) if reason else receipt


def fit(model: nn.Module, checkpoint: Checkpoint, permissions: Permissions, verify: bool | str) -> Fitting:
    """Match, adapt and compare; the module stays as it is. Raises WeightsError."""
    prepared = prepare(model, checkpoint, permissions)
    return Fitting(prepared, compare(model, prepared, checkpoint, permissions, verify))
