"""Weights of a checkpoint into a module: all of them or, with a clear error, none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike

import torch
from torch import Tensor, nn

from resdsl.suggest import closest
from resdsl.weights.adapt import INPUT_WAYS, Adapter, Transfer
from resdsl.weights.checkpoint import Checkpoint, checkpoint_of, read_checkpoint
from resdsl.weights.closest import closest_network
from resdsl.weights.errors import MismatchError, WeightsError
from resdsl.weights.facts import differences
from resdsl.weights.match import Match, closest_source, match_layers
from resdsl.weights.match_tokens import shape_of
from resdsl.weights.receipt import FRESH, LEFT_OVER, Receipt, Row, shape_text
from resdsl.weights.target import Target, TargetLayer

_SHOWN = 8


def load_weights(
    model: nn.Module,
    source: Mapping[str, Tensor] | str | PathLike[str] | Checkpoint,
    *,
    allow_fresh: Iterable[str] = (),
    allow_left_over: Iterable[str] = (),
    adapt_input: str | None = None,
    ema: bool = False,
) -> Receipt:
    """Load a checkpoint of any library into a module that `Net.to_torch` made.

    Layers are matched by structure: kind, shape, order, blocks and, where the file has it, topology; names decide only
    where they are those of the module. What cannot be matched, and what of the file stays over, is an error unless it
    is allowed by name; then nothing of the module has changed.

    Args:
        model: the module.
        source: a state dict, or the path of a torch, safetensors, npz or Keras file.
        allow_fresh: parts, blocks, layers or tensors of the module that may keep their first weights: `head`.
        allow_left_over: prefixes of names in the file that may go nowhere: `fc`.
        adapt_input: for another number of input channels: `sum` their weights to one, or `repeat` their mean.
        ema: take averaged weights where a file of torch holds both.

    Returns:
        A receipt with a row for each tensor.

    Raises:
        WeightsError: the file cannot be read or does not fit, or a name or way is unknown.
    """
    if adapt_input is not None and adapt_input not in INPUT_WAYS:
        raise WeightsError(f"adapt_input is {adapt_input!r}, not one of {', '.join(INPUT_WAYS)}")
    if isinstance(source, Checkpoint):
        checkpoint = source
    elif isinstance(source, Mapping):
        checkpoint = checkpoint_of(source, ema=ema)
    else:
        checkpoint = read_checkpoint(source, ema=ema)
    prepared = prepare(model, checkpoint, allow_fresh, allow_left_over, adapt_input)
    prepared.write(model)
    return prepared.receipt


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


def prepare(
    model: nn.Module,
    checkpoint: Checkpoint,
    allow_fresh: Iterable[str] = (),
    allow_left_over: Iterable[str] = (),
    adapt_input: str | None = None,
) -> Prepared:
    """Match and adapt everything, without changing the module. Raises WeightsError; see load_weights."""
    target = Target(model)
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        raise WeightsError("the module is on the meta device: it has no memory for weights")
    fresh = _Allowed(allow_fresh, [name for layer in target.layers for name in _tensors(layer)], "the network", ".")
    unused = _Allowed(allow_left_over, _source_names(checkpoint), "the file", "./_:")
    match = match_layers(target, checkpoint)
    transfer = _transfer(model, target, checkpoint, match, adapt_input)
    rows, faults = _settle(target, checkpoint, match, transfer, fresh, unused)
    if faults:
        raise _mismatch(target, checkpoint, faults)
    values = {name: value for name, value in transfer.values.items() if name in rows}
    everything = (*rows.values(), *_left_over_rows(checkpoint, match, transfer, target, rows))
    receipt = Receipt(target.graph.network.name, checkpoint.path or "state dict", everything, checkpoint.notes)
    return Prepared(values, receipt, target, match)


class _Allowed:
    """Names given on the command line or in a call, and which names they cover; `signs` end a name's part."""

    def __init__(self, given: Iterable[str], known: Iterable[str], where: str, signs: str) -> None:
        self._given = (given,) if isinstance(given, str) else tuple(given)
        self._signs = signs
        names = list(known)
        for one in self._given:
            if not one or not any(self._covers(one, name) for name in names):
                guess = closest(one, {name.split(".")[0] for name in names} | set(names))
                parts = [part for part in dict.fromkeys(name.partition(".")[0] for name in names) if part]
                hint = f"; did you mean {guess!r}?" if guess else f", which has {_listed(parts)}" if parts else ""
                raise WeightsError(f"{one!r} names nothing of {where}{hint}")

    def covers(self, names: Iterable[str]) -> bool:
        """Whether all names, or parts that they lie in, were given."""
        return all(any(self._covers(one, name) for one in self._given) for name in names)

    def _covers(self, prefix: str, name: str) -> bool:
        return name.startswith(prefix) and (len(name) == len(prefix) or name[len(prefix)] in self._signs)


def _listed(parts: Sequence[str]) -> str:
    shown = [*parts[:_SHOWN], *(["..."] if len(parts) > _SHOWN else [])]
    return ", ".join(shown)


def _source_names(checkpoint: Checkpoint) -> list[str]:
    return [name for layer in checkpoint.layers for name in (layer.name, *layer.names.values())]


def _transfer(
    model: nn.Module, target: Target, checkpoint: Checkpoint, match: Match, adapt_input: str | None
) -> Transfer:
    eps = {
        name: module.eps for name, module in model.named_modules() if isinstance(getattr(module, "eps", None), float)
    }
    adapter = Adapter(target, eps, checkpoint.format == "keras", adapt_input)
    nodes = {node.name: node for node in target.graph.nodes}
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
    target: Target, checkpoint: Checkpoint, match: Match, transfer: Transfer, fresh: _Allowed, unused: _Allowed
) -> tuple[dict[str, Row], list[str]]:
    """Rows of the module's tensors, and the faults that nobody allowed."""
    rows: dict[str, Row] = {}
    faults: list[str] = []
    explained: set[int] = set()
    lone: list[int] = []
    left: list[int] = []
    for t, layer in enumerate(target.layers):
        if not layer.is_present:
            continue
        if match.pairs[t] is not None and layer.name not in transfer.faults:
            rows.update((name, transfer.rows[name]) for name in _tensors(layer))
        elif fresh.covers(_tensors(layer)):
            rows.update(
                (name, Row(name, "", FRESH, "allowed", layer.shapes[name.rpartition(".")[2]]))
                for name in _tensors(layer)
            )
        elif layer.name in transfer.faults:
            faults += transfer.faults[layer.name]
        else:
            lone.append(t)
            faults.append(_lone(target, checkpoint, match, t, explained))
    for s in match.left_over:
        layer_names = checkpoint.layers[s].names
        if s not in explained and not (
            unused.covers(layer_names.values()) or unused.covers([checkpoint.layers[s].name])
        ):
            role = "weight" if "weight" in layer_names else next(iter(layer_names))
            shape = shape_text(checkpoint.layers[s].tensors[role].shape)
            faults.append(f"{layer_names[role]} ({shape}) is left over")
            left.append(s)
    if len(lone) + len(left) == len(faults) <= _SHOWN:
        faults += _permissions(target, checkpoint, lone, left)
    return rows, faults


def _permissions(target: Target, checkpoint: Checkpoint, lone: Sequence[int], left: Sequence[int]) -> list[str]:
    """What would allow a few layers to stay alone: the largest parts that hold no others."""
    ours = [layer.name for layer in target.layers if layer.is_present]
    theirs = [layer.name for layer in checkpoint.layers]
    fresh = _wholes([target.layers[t].name for t in lone], ours)
    unused = _wholes([checkpoint.layers[s].name for s in left], theirs)
    options = [f"--allow-fresh {name}" for name in fresh] + [f"--allow-left-over {name}" for name in unused]
    return [f"where that is meant: {' '.join(options)}"] if options else []


def _wholes(names: Sequence[str], everything: Sequence[str]) -> list[str]:
    others = set(everything).difference(names)
    found: dict[str, None] = {}
    for name in names:
        ends = [place for place, sign in enumerate(name) if sign in "./"] + [len(name)]
        prefixes = (name[:end] for end in ends)
        found[next((p for p in prefixes if not any(o.startswith(p) for o in others)), name)] = None
    return list(found)


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
    if near is not None and near.network != target.graph.network.name:
        shown.append(str(near))
    where = checkpoint.path or "the state dict"
    return MismatchError(f"{where} does not fit {target.graph.network.name}", shown)
