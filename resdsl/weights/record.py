"""What is written beside weights, and read back: which network they are of, and what its layers do with them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from resdsl.emit.torch_names import module_path
from resdsl.net import Net
from resdsl.weights.errors import WeightsError
from resdsl.weights.facts import settings_of
from resdsl.weights.reference import undilated_nodes
from resdsl.weights.save import file_hash

LAYERS = "layers"
NETWORK = "network"
HASH = "spec_hash"
_VERSION = "resdsl"
_LONGEST = 4 << 20
_LONGEST_NAME = 200
_LARGEST = 1 << 20


def record_of(model: nn.Module, net: Net, source: str | os.PathLike[str], version: str) -> dict[str, str]:
    """The metadata of a file that is written from the checkpoint `source`: texts only, as safetensors takes them."""
    return {
        _VERSION: version,
        NETWORK: net.name,
        HASH: net.hash,
        "source": os.path.basename(source),
        "source_sha256": file_hash(source),
        LAYERS: json.dumps(_settings(model, net), separators=(",", ":")),
    }


def _settings(model: nn.Module, net: Net) -> dict[str, dict[str, Any]]:
    nodes = undilated_nodes(net.flat)
    modules = dict(model.named_modules())
    found: dict[str, dict[str, Any]] = {}
    for name, node in nodes.items():
        path = module_path(name)
        eps = getattr(modules.get(path), "eps", None)
        settings = settings_of(node, nodes) or ({} if eps is None else {"eps": eps})
        if settings and path in modules:
            found[path] = settings
    return found


def facts_in(path: str, record: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    """What a record says of the layers by their names, as SourceLayer.facts has it; nothing where it is not ours.

    Raises:
        WeightsError: it says something that no layer can have.
    """
    text = record.get(LAYERS)
    if _VERSION not in record or not isinstance(text, str):
        return {}
    try:
        stated = json.loads(text) if len(text) <= _LONGEST else None
        if not isinstance(stated, dict):
            raise TypeError("no object")
        return {str(name): _facts(given) for name, given in stated.items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"cannot read {path}: what it says of its layers is damaged") from error


def name_in(record: Mapping[str, object], key: str) -> str:
    """The network's name or hash in a record; empty where it has none that can be shown."""
    value = record.get(key)
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME and value.isprintable() else ""


def _facts(given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise TypeError("no object")
    facts: dict[str, Any] = {}
    for name, value in given.items():
        match name:
            case "strides" | "dilation":
                facts[name] = _pair(value, 1)
            case "padding":
                first, second = value
                facts[name] = _pair(first, 0), _pair(second, 0)
            case "groups":
                facts[name] = _whole(value, 1)
            case "eps":
                facts[name] = _epsilon(value)
    return facts


def _pair(value: object, least: int) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError("no pair")
    return _whole(value[0], least), _whole(value[1], least)


def _whole(value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise TypeError("no size")
    return value


def _epsilon(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value) or not 0 <= value < 1:
        raise TypeError("no epsilon")
    return value
