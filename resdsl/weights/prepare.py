"""A checkpoint matched to a module and adapted, before anything is written: all of it fits or, clearly said, none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from resdsl.ir.summary import meaning_hash
from resdsl.weights.adapt import Adapter, Transfer
from resdsl.weights.checkpoint import Checkpoint
from resdsl.weights.closest import closest_network
from resdsl.weights.errors import MismatchError, WeightsError
from resdsl.weights.facts import differences
from resdsl.weights.match import Match, closest_source, match_layers
from resdsl.weights.match_tokens import shape_of
from resdsl.weights.permissions import Allowed, Permissions, what_would_allow
from resdsl.weights.receipt import FRESH, LEFT_OVER, Receipt, Row, shape_text
from resdsl.weights.reference import undilated_nodes
from resdsl.weights.target import Target, TargetLayer

_SHOWN = 8
_OF_HASH = 12


class Prepared:
    """Weights that fit, not yet written, and the receipt."""

    def __init__(self, values: Mapping[str, Tensor], receipt: Receipt, target: Target, match: Match) -> None:
        self._values = values
        self.receipt = receipt
        self.target = target
        self.match = match

    def write(self, model: nn.Module) -> None:
        """Copy the values into the module."""
        state = model.state_dict()
        with torch.no_grad():
            for name, value in self._values.items():
                state[name].copy_(value)


def prepare(model: nn.Module, checkpoint: Checkpoint, permissions: Permissions) -> Prepared:
    """Match and adapt everything, without changing the module. Raises WeightsError; see load_weights."""
    target = Target(model)
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        raise WeightsError("the module is on the meta device: it has no memory for weights")
    ours = [name for layer in target.layers for name in _tensors(layer)]
    fresh = Allowed(permissions.fresh, ours, "the network", ".")
    unused = Allowed(permissions.left_over, _source_names(checkpoint), "the file", "./_:")
    match = match_layers(target, checkpoint)
    transfer = _transfer(model, target, checkpoint, match, permissions)
    rows, faults = _settle(target, checkpoint, match, transfer, (fresh, unused), permissions)
    if faults:
        raise _mismatch(target, checkpoint, faults)
    values = {name: value for name, value in transfer.values.items() if name in rows}
    everything = (*rows.values(), *_left_over_rows(checkpoint, match, transfer, target, rows))
    notes = (*checkpoint.notes, *_other_network(target, checkpoint))
    receipt = Receipt(target.graph.network.name, checkpoint.path or "state dict", everything, notes)
    return Prepared(values, receipt, target, match)


def _other_network(target: Target, checkpoint: Checkpoint) -> Iterator[str]:
    """A note where the file says that it was written for a network of another hash."""
    if checkpoint.spec_hash and checkpoint.spec_hash != (own := meaning_hash(target.graph)):
        name = checkpoint.network or "another network"
        yield f"written for {name} of hash {checkpoint.spec_hash[:_OF_HASH]}; here the hash is {own[:_OF_HASH]}"


def _source_names(checkpoint: Checkpoint) -> list[str]:
    return [name for layer in checkpoint.layers for name in (layer.name, *layer.names.values())]


def _transfer(
    model: nn.Module, target: Target, checkpoint: Checkpoint, match: Match, permissions: Permissions
) -> Transfer:
    eps = {
        name: module.eps for name, module in model.named_modules() if isinstance(getattr(module, "eps", None), float)
    }
    adapter = Adapter(target, eps, checkpoint.format == "keras", permissions.adapt_input, permissions.wording)
    nodes = undilated_nodes(target.graph)
    pairs = [
        (layer, checkpoint.layers[s], reason)
        for layer, s, reason in zip(target.layers, match.pairs, match.reasons, strict=True)
        if s is not None and layer.is_present
    ]
    for layer, source, reason in pairs:
        adapter.add(layer, source, reason)
        for sentence in differences(layer, source, nodes):
            adapter.transfer.fault(layer, sentence)
    for layer, source, _ in pairs:
        adapter.add_surplus(layer, source)
    return adapter.transfer


def _settle(
    target: Target,
    checkpoint: Checkpoint,
    match: Match,
    transfer: Transfer,
    allowed: tuple[Allowed, Allowed],
    permissions: Permissions,
) -> tuple[dict[str, Row], list[str]]:
    """Rows of the module's tensors, and the faults that nobody allowed."""
    fresh, unused = allowed
    rows: dict[str, Row] = {}
    faults: list[str] = []
    explained: set[int] = set()
    lone: list[int] = []
    for t, layer in enumerate(target.layers):
        if not layer.is_present:
            continue
        names = _tensors(layer)
        if match.pairs[t] is not None and layer.name not in transfer.faults:
            rows.update((name, transfer.rows[name]) for name in names)
        elif fresh.covers(names):
            shapes = layer.shapes.values()
            rows.update((name, Row(name, "", FRESH, "allowed", each)) for name, each in zip(names, shapes, strict=True))
        elif layer.name in transfer.faults:
            faults += transfer.faults[layer.name]
        else:
            lone.append(t)
            faults.append(_lone(target, checkpoint, match, t, explained))
    released = set(_released(target, checkpoint, match, rows))
    left: list[int] = []
    for s in match.left_over:
        layer_names = checkpoint.layers[s].names
        is_allowed = unused.covers(layer_names.values()) or unused.covers([checkpoint.layers[s].name])
        if s not in explained and s not in released and not is_allowed:
            role = "weight" if "weight" in layer_names else next(iter(layer_names))
            shape = shape_text(checkpoint.layers[s].tensors[role].shape)
            faults.append(f"{layer_names[role]} ({shape}) is left over")
            left.append(s)
    if len(lone) + len(left) == len(faults):
        faults += what_would_allow(target, checkpoint, lone, left, permissions.wording)
    return rows, faults


def _released(target: Target, checkpoint: Checkpoint, match: Match, rows: Mapping[str, Row]) -> Iterator[int]:
    """Layers of the file in the place of those that may be fresh or are not in the module, at one of the ends.

    They are before the first loaded one, or after the last. Where the file's order is that of names, which puts `fc`
    before `layer1`, there must be no more of a kind than of those.
    """
    layers = target.layers
    loaded = [t for t, s in enumerate(match.pairs) if s is not None and _is_loaded(layers[t], rows)]
    if not loaded:
        return
    lone = [t for t, s in enumerate(match.pairs) if s is None]
    fresh = [t for t in lone if not layers[t].is_present or _tensors(layers[t])[0] in rows]
    before = [layers[t].kind for t in fresh if t < loaded[0]]
    after = [layers[t].kind for t in fresh if t > loaded[-1]]
    sources = [s for t in loaded if (s := match.pairs[t]) is not None]
    first, last = min(sources), max(sources)
    kinds = Counter(checkpoint.layers[s].kind for s in match.left_over)
    for s in match.left_over:
        kind = checkpoint.layers[s].kind
        if checkpoint.order == "names":
            is_released = kinds[kind] <= (*before, *after).count(kind)
        else:
            is_released = bool(before if s < first else after if s > last else ())
        if is_released:
            yield s


def _is_loaded(layer: TargetLayer, rows: Mapping[str, Row]) -> bool:
    return not layer.is_present or any(name in rows and rows[name].status != FRESH for name in _tensors(layer))


def _lone(target: Target, checkpoint: Checkpoint, match: Match, t: int, explained: set[int]) -> str:
    layer = target.layers[t]
    name = f"{layer.name}.weight" if "weight" in layer.shapes else _tensors(layer)[0]
    own = f"{name} ({shape_text(layer.shape)})"
    near = closest_source(target, checkpoint, match, t)
    if near is None or near in explained:
        return f"{own} has no counterpart in the file"
    explained.add(near)
    other = checkpoint.layers[near]
    missing = [role for role in layer.shapes if role not in other.tensors]
    if shape_of(other) == layer.shape and missing:
        shape = shape_text(layer.shapes[missing[0]])
        return f"{layer.name}.{missing[0]} ({shape}) has no counterpart: {other.name} in the file lacks it"
    theirs = other.names["weight"] if "weight" in other.names else next(iter(other.names.values()))
    return f"{name} is {shape_text(layer.shape)}, in the file {theirs} is {shape_text(shape_of(other))}"


def _left_over_rows(
    checkpoint: Checkpoint, match: Match, transfer: Transfer, target: Target, rows: Mapping[str, Row]
) -> list[Row]:
    found = list(transfer.unused)
    for s in match.left_over:
        found += _rows_of(checkpoint, s, "allowed")
    for layer, paired in zip(target.layers, match.pairs, strict=True):
        if paired is None:
            continue
        if not layer.is_present:
            found += _rows_of(checkpoint, paired, f"{layer.name} is not in this module")
        elif rows[_tensors(layer)[0]].status == FRESH:
            found += _rows_of(checkpoint, paired, f"{layer.name} is fresh")
    return found


def _rows_of(checkpoint: Checkpoint, s: int, how: str) -> list[Row]:
    layer = checkpoint.layers[s]
    return [Row("", name, LEFT_OVER, how, tuple(layer.tensors[role].shape)) for role, name in layer.names.items()]


def _tensors(layer: TargetLayer) -> list[str]:
    return [f"{layer.name}.{role}" for role in layer.shapes]


def _mismatch(target: Target, checkpoint: Checkpoint, faults: list[str]) -> WeightsError:
    shown = faults[:_SHOWN]
    if len(faults) > _SHOWN:
        shown.append(f"and {len(faults) - _SHOWN} more")
    near = closest_network(checkpoint, better_than=target.graph)
    if near is not None and target.graph.network.name not in near.networks:
        shown.append(str(near))
    where = checkpoint.path or "the state dict"
    return MismatchError(f"{where} does not fit {target.graph.network.name}", shown)
