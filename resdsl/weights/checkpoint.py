"""Reading a checkpoint of any library into layers with roles; what is in the file decides, not its extension."""

import os
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike

from torch import Tensor

from resdsl.weights.build import build_layers, group_by_name, in_natural_order
from resdsl.weights.errors import WeightsError
from resdsl.weights.keras_file import CONFIG, WEIGHTS, read_h5, read_keras_archive
from resdsl.weights.layers import Checkpoint, SourceLayer
from resdsl.weights.match_names import is_shuffled
from resdsl.weights.plain_files import read_npz, read_safetensors
from resdsl.weights.raw import RawFile, RawLayer, reading
from resdsl.weights.record import HASH, NETWORK, facts_in, name_in
from resdsl.weights.torch_file import choose_state, read_torch_file, without_wrappers
from resdsl.weights.values import usable_weights

__all__ = ["Checkpoint", "SourceLayer", "checkpoint_of", "read_checkpoint"]

_TORCH_ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".th", ".tar", ".pkl", ".pickle")
_KNOWN_ENDINGS = (*_TORCH_ENDINGS, ".safetensors", ".npz", ".h5", ".hdf5", ".keras")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MOST_HEADER = 100 << 20  # what the format allows


def read_checkpoint(path: str | PathLike[str], *, ema: bool = False) -> Checkpoint:
    """The weights of a file of torch.save, safetensors, npz or Keras (.h5, .weights.h5, .keras).

    No code from the file runs. `ema` chooses averaged weights where a torch file holds both.

    Raises:
        WeightsError: no such file, another kind of file, damage, a pickle that wants more than weights, tensors
            that are no finite weights, or claimed sizes that the file's own does not explain.
    """
    shown = os.fspath(path)
    kind = _kind_of(shown)
    match kind:
        case "torch":
            raw = read_torch_file(shown, ema=ema)
        case "safetensors":
            raw = read_safetensors(shown)
        case "npz":
            raw = read_npz(shown)
        case "keras":
            raw = read_keras_archive(shown)
        case _:
            raw = read_h5(shown)
    if ema and kind != "torch":
        raise WeightsError(f"{shown} holds no averaged (EMA) weights: only files of torch.save keep both")
    return _checkpoint(raw, shown)


def checkpoint_of(state_dict: Mapping[str, Tensor], path: str = "", *, ema: bool = False) -> Checkpoint:
    """The checkpoint that a state dict in memory amounts to, or what a training program keeps around one.

    Raises:
        WeightsError: as read_checkpoint.
    """
    shown = path or "the state dict"
    return _checkpoint(choose_state(state_dict, shown, ema=ema), shown)


def _checkpoint(raw: RawFile, path: str) -> Checkpoint:
    weights, ignored, notes = usable_weights(path, raw.tensors)
    order, layers = raw.order, raw.layers
    if layers is None:
        tensors = list(weights)
        layers = _unwrapped(group_by_name(tensors))
        # A library that sorts names as text has lost the order of definition, and so has a shuffled dict.
        if order == "names" or tensors == sorted(tensors) or is_shuffled(layer.name for layer in layers):
            order, layers = "names", in_natural_order(layers)
    with reading(path):
        built = build_layers(layers, weights, raw.topology)
    stated = facts_in(path, raw.record)
    built = tuple(replace(layer, facts=stated[layer.name]) if layer.name in stated else layer for layer in built)
    everything = (*raw.ignored, *ignored)
    names = name_in(raw.record, NETWORK), name_in(raw.record, HASH)
    return Checkpoint(path, raw.format, built, everything, order, (*raw.notes, *notes), *names)


def _unwrapped(layers: tuple[RawLayer, ...]) -> tuple[RawLayer, ...]:
    bare = tuple(RawLayer(without_wrappers(layer.name), layer.parts) for layer in layers)
    return bare if len({layer.name for layer in bare}) == len(layers) else layers


def _kind_of(path: str) -> str:
    """torch, safetensors, npz, keras or h5, by the file's first bytes or its table of contents."""
    with reading(path):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise WeightsError(f"{path} is a folder: name the file of weights in it")
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError(f"{path} is no regular file")
        if status.st_size == 0:
            raise WeightsError(f"{path} is empty")
        with open(path, "rb") as file:
            start = file.read(512)
        if start.startswith(b"PK\x03\x04"):
            return _archive_kind(path)
    if start.startswith(_HDF5):
        return "h5"
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _MOST_HEADER:
        return "safetensors"
    if start[:1] == b"\x80" or start[257:262] == b"ustar":
        return "torch"
    raise _unknown(path, start)


def _archive_kind(path: str) -> str:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "torch"
    if CONFIG in names and WEIGHTS in names:
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise WeightsError(f"{path} is a zip archive without weights in it")


def _unknown(path: str, start: bytes) -> WeightsError:
    text = start.lstrip()[:64].lower()
    if text.startswith(b"version https://git-lfs"):
        return WeightsError(f"{path} is a pointer of Git LFS, not the file itself: run `git lfs pull`")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return WeightsError(f"{path} is a web page, not weights")
    if path.lower().endswith(_KNOWN_ENDINGS):
        return WeightsError(f"cannot read {path}: it is damaged or cut short, or not what its name says")
    return WeightsError(f"{path} is no file of weights: torch, safetensors, npz and Keras files are read")
