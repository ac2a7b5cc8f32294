"""Weights of Keras: the older .h5, Keras 3's .weights.h5, and the .keras archive around one."""

import io
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from resdsl.weights.errors import WeightsError
from resdsl.weights.match_names import natural_key
from resdsl.weights.plain_files import tensor_of
from resdsl.weights.raw import RawFile, RawLayer, Topology, check_size, reading
from resdsl.weights.roles import split_name
from resdsl.weights.topology import group_paths, read_topology

if TYPE_CHECKING:
    import h5py

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
_MOST_CONFIG = 64 << 20
_OPTIMIZER = ("optimizer", "optimizer_weights")
_DEPTH_ORDER = "keras depth order"


def read_keras_archive(path: str) -> RawFile:
    """A .keras file: the configuration gives names, order and topology. Raises WeightsError."""
    size = os.path.getsize(path)
    with reading(path), zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if WEIGHTS not in members:
            raise WeightsError(f"{path} holds no {WEIGHTS}")
        check_size(path, sum(members[name].file_size for name in (CONFIG, WEIGHTS)), size)
        config = _read_member(archive, members[CONFIG], _MOST_CONFIG)
        weights = _read_member(archive, members[WEIGHTS], members[WEIGHTS].file_size)
        return _read(path, io.BytesIO(weights), len(weights), read_topology(config))


def read_h5(path: str) -> RawFile:
    """An HDF5 file of Keras; `model.save` writes the topology, `save_weights` does not. Raises WeightsError."""
    with reading(path):
        return _read(path, path, os.path.getsize(path), None)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(info) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise WeightsError(f"{archive.filename} is refused: {info.filename} is larger than it states")
    return content


def _read(path: str, source: str | io.BytesIO, size: int, topology: Topology | None) -> RawFile:
    try:
        import h5py
    except ImportError as error:
        raise WeightsError(f"reading {path} needs h5py: pip install 'resdsl[keras]'") from error
    with h5py.File(source, "r") as file:
        datasets, groups = _contents(file, path, size)
        config = file.attrs.get("model_config")
        if topology is None and isinstance(config, str | bytes):
            topology = read_topology(config)
        top = "model_weights" if "model_weights" in groups else ""
        listed = _words(groups[top].attrs, "layer_names")
        if listed:
            layers, order = _legacy_layers(path, top, listed, datasets, groups), _DEPTH_ORDER
        else:
            layers, order = _numbered_layers(datasets, groups, topology)
        used = {full for layer in layers for full in layer.parts.values()}
        tensors = {full: _tensor(path, full, datasets[full]) for layer in layers for full in layer.parts.values()}
    ignored = [f"{name}: optimizer state" for name in datasets if name.partition("/")[0] in _OPTIMIZER]
    left = len(datasets) - len(used) - len(ignored)
    ignored = [f"optimizer: its state ({len(ignored)} tensors)"] if ignored else []
    ignored += [f"{left} tensors outside the layers that the file lists"] if left else []
    return RawFile("keras", tensors, order, tuple(ignored), layers=layers, topology=topology)


def _contents(file: "h5py.File", path: str, size: int) -> tuple[dict[str, "h5py.Dataset"], dict[str, "h5py.Group"]]:
    """The file's own datasets and groups by their paths; the root is the group ""."""
    import h5py

    datasets: dict[str, h5py.Dataset] = {}
    groups: dict[str, h5py.Group] = {"": file}
    claimed = 0

    # Only what is stored here: links may lead to any other file of this machine.
    def visit(name: str, item: object) -> None:
        nonlocal claimed
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                raise WeightsError(f"{path} is refused: {name} takes its values from another file")
            claimed += item.dtype.itemsize * _count(item.shape)
            check_size(path, claimed, size)
            datasets[name] = item
        elif isinstance(item, h5py.Group):
            groups[name] = item

    file.visititems(visit)
    return datasets, groups


def _count(shape: tuple[int, ...] | None) -> int:
    count = 1
    for extent in shape or ():
        count *= extent
    return count


def _legacy_layers(
    path: str, top: str, listed: Iterable[str], datasets: Mapping[str, object], groups: Mapping[str, "h5py.Group"]
) -> tuple[RawLayer, ...]:
    """Layers as the attributes list them; a model within the model is one entry with the weights of many layers."""
    layers = []
    for name in listed:
        group = f"{top}/{name}" if top else name
        written = _words(groups[group].attrs, "weight_names") if group in groups else []
        parts: dict[str, dict[str, str]] = {}
        for weight in written:
            if f"{group}/{weight}" not in datasets:
                raise WeightsError(f"{path}: the tensor {weight} of layer {name} is missing")
            prefix, last = split_name(weight)
            parts.setdefault(prefix, {})[last] = f"{group}/{weight}"
        if len(parts) == 1:
            layers.append(RawLayer(name, next(iter(parts.values()))))
        else:
            layers += [RawLayer(prefix.rpartition("/")[2], each) for prefix, each in parts.items()]
    return tuple(layers)


def _numbered_layers(
    datasets: Mapping[str, object], groups: Mapping[str, "h5py.Group"], topology: Topology | None
) -> tuple[tuple[RawLayer, ...], str]:
    """Layers of Keras 3: groups called after classes and counted, with variables 0, 1 and so on.

    Without a topology those of one class stand in Keras' depth order, but not between those of another: HDF5 keeps
    no order, and where the groups lie in the file depends on what space was free.
    """
    variables: dict[str, dict[str, str]] = {}
    for full in sorted(datasets, key=natural_key):
        group, last = split_name(full)
        if full.partition("/")[0] not in _OPTIMIZER:
            variables.setdefault(group, {})[last] = full
    from_config = group_paths(topology) if topology else {}
    layers: dict[str, RawLayer] = {}
    taken: set[str] = set()
    for group, parts in variables.items():
        bare = group.removesuffix("/vars")
        noted = groups[group].attrs.get("name")
        name = noted if isinstance(noted, str) else from_config.get(bare, bare)
        # Layers of models within the model may share a name; their paths differ.
        name = bare if name in taken else name
        taken.add(name)
        layers[group] = RawLayer(name, parts)
    if topology is not None:
        place = {name: index for index, name in enumerate(topology.order)}
        ordered = sorted(layers.values(), key=lambda layer: place.get(layer.name, len(place)))
        return tuple(ordered), _DEPTH_ORDER
    return tuple(layers.values()), "names"


def _words(attributes: Any, name: str) -> list[str]:
    """A list of texts among the attributes; long ones are cut into name0, name1 and so on."""
    pieces = [attributes[name]] if name in attributes else []
    while name not in attributes and f"{name}{len(pieces)}" in attributes:
        pieces.append(attributes[f"{name}{len(pieces)}"])
    words = [word for piece in pieces for word in np.asarray(piece).reshape(-1).tolist()]
    return [word.decode("utf-8") if isinstance(word, bytes) else str(word) for word in words]


def _tensor(path: str, name: str, dataset: "h5py.Dataset") -> Tensor:
    values = np.asarray(dataset[()])
    if dataset.attrs.get("dtype") == "bfloat16" and values.dtype.itemsize == 2:
        return torch.from_numpy(values.view(np.int16).copy()).view(torch.bfloat16)
    return tensor_of(path, name, values)
