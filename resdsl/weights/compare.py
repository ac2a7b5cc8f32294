"""Weights that fit are tried on a copy: its outputs must be those of the network that the checkpoint is from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from resdsl.emit.torch_module import FORM, NetModule, build_module
from resdsl.ir.lower import FlatGraph
from resdsl.weights.checkpoint import Checkpoint
from resdsl.weights.errors import WeightsError
from resdsl.weights.permissions import Permissions
from resdsl.weights.prepare import Prepared, prepare
from resdsl.weights.reference import is_dilated, siblings, unchanged
from resdsl.weights.target import Target
from resdsl.weights.verify import IncomparableError, Verification, find_peer, verify


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was verified; None where outputs were not compared, with the reason if that should be told."""

    verification: Verification | None = None
    reason: str = ""


def compare(
    model: nn.Module, prepared: Prepared, checkpoint: Checkpoint, permissions: Permissions, wanted: bool | str
) -> Comparison:
    """Outputs of the network with these weights beside those of the one they are from; the module stays as it is.

    `wanted` is False, True for torchvision's network of exactly these tensors if there is one, or names another one:
    `timm:resnetv2_50`. Where the module has parts only, the whole network is compared; where it has an output stride,
    another head or stem, the network that it was made of.

    Raises:
        WeightsError: a network was named that cannot be compared with.
    """
    if wanted is False:
        return Comparison()
    # Neither the copy nor the other library's network may change what the user draws next.
    with torch.random.fork_rng(devices=[]):
        peer = find_peer(prepared, checkpoint, wanted if isinstance(wanted, str) else None)
        if peer is None:
            is_ours = set(prepared.receipt.reasons()) == {"same name"}
            return Comparison(reason="" if is_ours else "torchvision has no network of exactly these tensors")
        reason = ""
        try:
            for copy, fitting in _copies(model, prepared, checkpoint, permissions):
                try:
                    return Comparison(verify(copy, fitting, checkpoint, peer))
                except IncomparableError as error:
                    reason = reason or str(error)
        except WeightsError as error:
            if isinstance(wanted, str):
                raise
            reason = str(error).splitlines()[0]
    reason = reason or f"{prepared.receipt.network} has an output stride, and is not known without it"
    if isinstance(wanted, str):
        raise WeightsError(f"nothing to verify: {reason}")
    return Comparison(reason=reason)


def equal_sibling(prepared: Prepared, checkpoint: Checkpoint, permissions: Permissions, wanted: bool | str) -> str:
    """The name of another network of the same spec whose outputs are equal; "" where there is none."""
    with torch.random.fork_rng(devices=[]):
        for net in siblings(prepared.target.graph.network):
            model = net.to_torch(auxiliary=bool(net.auxiliary_weights))
            try:
                fitting = _prepared(model, checkpoint, permissions)
                found = compare(model, fitting, checkpoint, permissions, wanted).verification
            except WeightsError:
                continue
            if found is not None and found.is_equal:
                return net.name
    return ""


def _copies(
    model: nn.Module, prepared: Prepared, checkpoint: Checkpoint, permissions: Permissions
) -> Iterator[tuple[NetModule, Prepared]]:
    """Whole networks on the CPU with the weights in them: the module's own, then the one it was made of."""
    graph = prepared.target.graph
    eps = getattr(model, "meta", {})[FORM]["bn_eps"]
    if not is_dilated(graph):
        yield _filled(graph, eps, prepared, checkpoint, permissions)
    net = unchanged(graph.network)
    if net is not None and not is_dilated(net.flat):
        yield _filled(net.flat, eps, None, checkpoint, permissions)


def _filled(
    graph: FlatGraph, eps: float | None, prepared: Prepared | None, checkpoint: Checkpoint, permissions: Permissions
) -> tuple[NetModule, Prepared]:
    module = build_module(graph, init="torch", bn_eps=eps, auxiliary=bool(graph.auxiliaries))
    if prepared is None or not all(layer.is_present for layer in prepared.target.layers):
        absent = () if prepared is None else tuple(x.name for x in prepared.target.layers if not x.is_present)
        prepared = _prepared(module, checkpoint, replace(permissions, fresh=(*permissions.fresh, *absent)))
    prepared.write(module)
    return module, prepared


def _prepared(module: NetModule, checkpoint: Checkpoint, permissions: Permissions) -> Prepared:
    """As far as the names that the user gave are of this network; its last layers may always be fresh."""
    layers = Target(module).layers
    lasts = [layer.name for layer in layers if layer.is_last]
    known = [f"{layer.name}." for layer in layers]
    fresh = [name for name in permissions.fresh if any(each.startswith(f"{name}.") for each in known)]
    return prepare(module, checkpoint, replace(permissions, fresh=(*fresh, *lasts)))
