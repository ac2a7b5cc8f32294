"""Layers from named tensors: which belong together, what each is, and what the topology says of them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from resdsl.weights.layers import SourceLayer
from resdsl.weights.match_names import natural_key
from resdsl.weights.raw import RawLayer, Topology
from resdsl.weights.roles import (
    DEPTHWISE,
    POINTWISE,
    ROLES,
    kind_of,
    role_of,
    roles_by_place,
    split_name,
    torch_layout,
)
from resdsl.weights.topology import facts_of, weighted_inputs


def group_by_name(names: Iterable[str]) -> tuple[RawLayer, ...]:
    """Layers from names alone, in the order of their first tensors."""
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        layer, last = split_name(name)
        groups.setdefault(layer, {})[last] = name
    return tuple(RawLayer(layer, parts) for layer, parts in groups.items())


def in_natural_order(layers: Iterable[RawLayer]) -> tuple[RawLayer, ...]:
    """Layers by their names, numbers in them compared as numbers."""
    return tuple(sorted(layers, key=lambda layer: (natural_key(layer.name), layer.name)))


def build_layers(
    raw_layers: Iterable[RawLayer], tensors: Mapping[str, Tensor], topology: Topology | None
) -> tuple[SourceLayer, ...]:
    """The layers that have at least one of the tensors, with facts and inputs where the topology is known."""
    pieces = [(raw, list(_split_layer(raw, tensors, topology))) for raw in raw_layers]
    weighted = {raw.name: [layer.name for layer in layers] for raw, layers in pieces if layers}
    result = []
    for raw, layers in pieces:
        facts: Mapping[str, Any] = {}
        inputs: tuple[str, ...] | None = None
        if topology is not None and raw.name in topology.feeds:
            facts = facts_of(raw.name, topology)
            inputs = tuple(weighted[name][-1] for name in weighted_inputs(raw.name, topology, weighted))
        for place, layer in enumerate(layers):
            # The second half of a separable convolution reads the first, which has the strides and the padding.
            feeding = inputs if place == 0 or inputs is None else (layers[place - 1].name,)
            own = facts if place == 0 else {key: facts[key] for key in ("activation",) if key in facts}
            result.append(SourceLayer(layer.name, layer.kind, layer.tensors, layer.names, own, feeding))
    return tuple(result)


def _split_layer(raw: RawLayer, tensors: Mapping[str, Tensor], topology: Topology | None) -> Iterator[SourceLayer]:
    """A file's layer as one of ours; a separable convolution as its two, tensors of no role apart as `other`."""
    present = {last: name for last, name in raw.parts.items() if name in tensors}
    settings = topology.settings.get(raw.name) if topology else None
    if present and all(last.isdecimal() for last in present):
        ranks = [tensors[name].dim() for name in present.values()]
        words = roles_by_place(ranks, settings)
        present = {word or last: name for word, (last, name) in zip(words, present.items(), strict=True)}
    is_depthwise = "depthwise" in _class_of(raw, topology).lower()
    if DEPTHWISE in present and POINTWISE in present:
        rest = {last: name for last, name in present.items() if last != DEPTHWISE}
        yield _make(f"{raw.name}/depthwise", {DEPTHWISE: present[DEPTHWISE]}, tensors, is_depthwise=True)
        yield _make(f"{raw.name}/pointwise", rest, tensors, is_depthwise=False)
        return
    known = {last: name for last, name in present.items() if role_of(last) is not None}
    if known:
        yield _make(raw.name, known, tensors, is_depthwise=is_depthwise)
    others = {last: name for last, name in present.items() if last not in known}
    if others:
        yield SourceLayer(raw.name, "other", {last: tensors[name] for last, name in others.items()}, others)


def _class_of(raw: RawLayer, topology: Topology | None) -> str:
    stated = topology.classes.get(raw.name) if topology else None
    # Files without a configuration name the layer, or its group, after the class.
    return stated or f"{raw.name} {next(iter(raw.parts.values()), '')}"


def _make(name: str, parts: Mapping[str, str], tensors: Mapping[str, Tensor], *, is_depthwise: bool) -> SourceLayer:
    by_role: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    for last, full in parts.items():
        role = role_of(last)
        assert role is not None
        by_role[role] = torch_layout(last, tensors[full], is_depthwise=is_depthwise)
        names[role] = full
    by_role = {role: by_role[role] for role in ROLES if role in by_role}
    kind = kind_of(by_role)
    if len(by_role) < len(parts) or kind == "other":
        return SourceLayer(name, "other", {last: tensors[full] for last, full in parts.items()}, dict(parts))
    return SourceLayer(name, kind, by_role, names)
