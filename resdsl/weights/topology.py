"""Keras' configuration of a model: the order of its layers, their settings, and which layers feed which."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from resdsl.weights.raw import Topology

_SPATIAL = {"strides": "strides", "dilation_rate": "dilation"}


def read_topology(text: str | bytes) -> Topology | None:
    """The topology that a configuration in JSON states; None where it states none, or two layers share a name.

    Raises:
        ValueError, RecursionError: not JSON.
    """
    config = json.loads(text)
    walk = _Walk()
    model = _mapping(_mapping(config).get("config"))
    if not isinstance(model.get("layers"), list):
        return None
    walk.add_model(_mapping(config), ())
    if walk.is_ambiguous:
        return None
    feeds = {name: tuple(each for each in feeding if each in walk.feeds) for name, feeding in walk.feeds.items()}
    return Topology(tuple(feeds), walk.classes, walk.settings, feeds, walk.map_shapes)


def group_paths(topology: Topology) -> dict[str, str]:
    """Names of layers by the names that Keras gives their groups in a file: conv2d, conv2d_1 and so on."""
    counts: dict[str, int] = {}
    paths = {}
    for name in topology.order:
        stem = _snake_case(topology.classes[name])
        number = counts.get(stem, 0)
        counts[stem] = number + 1
        paths[f"layers/{stem}_{number}" if number else f"layers/{stem}"] = name
    return paths


def weighted_inputs(name: str, topology: Topology, weighted: Collection[str]) -> tuple[str, ...]:
    """The layers with weights that feed a layer, through any number without."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = list(reversed(topology.feeds.get(name, ())))
    while waiting:
        feeding = waiting.pop()
        if feeding in seen:
            continue
        seen.add(feeding)
        if feeding in weighted:
            found[feeding] = None
        else:
            waiting.extend(reversed(topology.feeds.get(feeding, ())))
    return tuple(found)


def facts_of(name: str, topology: Topology) -> dict[str, Any]:
    """What the configuration says of a layer, in the words of PyTorch; see SourceLayer."""
    settings = topology.settings[name]
    facts: dict[str, Any] = {}
    for theirs, ours in _SPATIAL.items():
        if theirs in settings:
            facts[ours] = _pair(settings[theirs])
    if "epsilon" in settings:
        facts["eps"] = settings["epsilon"]
    if isinstance(settings.get("groups"), int):
        facts["groups"] = settings["groups"]
    if "padding" in settings:
        facts["padding"] = _padding(name, topology)
    activation = settings.get("activation")
    activation = _mapping(activation).get("class_name", activation)
    if isinstance(activation, str) and activation != "linear":
        facts["activation"] = activation
    if "units" in settings:
        flattened = _flattened(name, topology)
        if flattened is not None:
            facts["flattened"] = flattened
    return facts


def _padding(name: str, topology: Topology) -> Any:
    """The layer's own padding, or that of a padding layer right before it."""
    own = topology.settings[name]["padding"]
    before = topology.feeds[name]
    if own == "valid" and len(before) == 1 and topology.classes.get(before[0], "").startswith("ZeroPadding"):
        padding = topology.settings[before[0]].get("padding")
        if isinstance(padding, list) and all(isinstance(side, list) for side in padding):
            return tuple(tuple(side) for side in padding)
    return own


def _flattened(name: str, topology: Topology) -> tuple[int | None, ...] | None:
    """(H, W, C) of the map that a flattening before a linear layer reads; () if unknown, None without flattening."""
    feeding = topology.feeds[name]
    for _ in topology.order:  # a damaged file may lead in circles
        if len(feeding) != 1 or "units" in topology.settings[feeding[0]]:
            return None
        before = feeding[0]
        if topology.classes[before] == "Flatten":
            if topology.settings[before].get("data_format") == "channels_first":
                return None
            shape = topology.map_shapes.get(before, ())
            return shape if len(shape) != 1 else None
        if topology.classes[before].startswith("Global"):
            return None
        feeding = topology.feeds[before]
    return None


class _Walk:
    """Goes through a model's configuration, into models that stand in it as layers."""

    def __init__(self) -> None:
        self.classes: dict[str, str] = {}
        self.settings: dict[str, Mapping[str, Any]] = {}
        self.feeds: dict[str, tuple[str, ...]] = {}
        self.map_shapes: dict[str, tuple[int | None, ...]] = {}
        self.is_ambiguous = False

    def add_model(self, model: Mapping[str, Any], inputs: tuple[str, ...]) -> tuple[str, ...]:
        """Add a model's layers, fed by layers outside; gives the layers whose outputs are the model's."""
        config = _mapping(model.get("config"))
        is_chain = model.get("class_name") == "Sequential"
        last = inputs
        inner: dict[str, tuple[str, ...]] = {}
        for layer in map(_mapping, config["layers"]):
            settings = _mapping(layer.get("config"))
            name = str(layer.get("name", settings.get("name", "")))
            node = layer.get("inbound_nodes", [])
            named = tuple(dict.fromkeys(_tensor_sources(node)))
            feeding = last if is_chain else tuple(end for each in named for end in inner.get(each, (each,)))
            if layer.get("class_name") == "InputLayer":
                feeding = inputs
            if isinstance(settings.get("layers"), list):
                last = self.add_model(layer, feeding)
            else:
                self._add_layer(name, str(layer.get("class_name", "")), settings, feeding)
                self._note_shape(name, node)
                last = (name,)
            inner[name] = last
        stated = [name for name in _tensor_sources(config.get("output_layers", [])) if name in inner]
        return tuple(end for name in stated for end in inner[name]) if stated else last

    def _add_layer(self, name: str, kind: str, settings: Mapping[str, Any], feeding: tuple[str, ...]) -> None:
        self.is_ambiguous |= name in self.feeds
        self.classes[name] = kind
        self.settings[name] = settings
        self.feeds[name] = feeding

    def _note_shape(self, name: str, node: object) -> None:
        for tensor in _keras_tensors(node):
            shape = tensor.get("shape")
            if isinstance(shape, list) and name not in self.map_shapes:
                self.map_shapes[name] = tuple(size if isinstance(size, int) else None for size in shape[1:])


def _keras_tensors(value: object) -> Iterator[Mapping[str, Any]]:
    """Every mapping with a `keras_history` in a value, as Keras 3 writes its connections."""
    if isinstance(value, dict):
        if "keras_history" in value:
            yield value
        for item in value.values():
            yield from _keras_tensors(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keras_tensors(item)


def _tensor_sources(value: object) -> Iterator[str]:
    """Names of the layers whose outputs are meant: `[name, 0, 0]`, in whatever lists and mappings it stands."""
    match value:
        case [str(name), int(), int(), *_]:
            yield name
        case list():
            for item in value:
                yield from _tensor_sources(item)
        case dict():
            for item in value.values():
                yield from _tensor_sources(item)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _pair(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _snake_case(name: str) -> str:
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
