"""Checkpoints of torch.save, read without running any code from them, and the state dict within."""

import os
import re
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from resdsl.weights.errors import WeightsError
from resdsl.weights.pickles import foreign_names
from resdsl.weights.raw import RawFile, check_size, reading

# Where training programs keep the weights, the likeliest first; any other name will do where it stands alone.
_USUAL = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "weights", "module")
_AVERAGED = re.compile(r"(^|[._])(ema|swa|average|averaged|shadow)([._]|$)")
_OPTIMIZER = re.compile(r"optimizer|^optim$")
_WRAPPERS = ("module.", "_orig_mod.")
_MOST_NESTED = 3
_MOST_SCANNED = 64 << 20


def read_torch_file(path: str, *, ema: bool) -> RawFile:
    """The state dict in a file of torch.save: zip or the older pickle. Raises WeightsError."""
    size = os.path.getsize(path)
    content = _load(path, size)
    raw = choose_state(content, path, ema=ema)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in raw.tensors.values())
    check_size(path, claimed, size)
    return replace(raw, record=_record(content))


def _record(content: object) -> Mapping[str, object]:
    """What resdsl wrote beside the weights: `metadata`, or a training run's own entries."""
    if not isinstance(content, Mapping):
        return {}
    metadata = content.get("metadata")
    if isinstance(metadata, Mapping):
        return metadata
    return {"network": content.get("network"), "spec_hash": content.get("hash")}


def _load(path: str, size: int) -> Any:
    with reading(path):
        if zipfile.is_zipfile(path):
            _check_archive(path, size)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pickle protocols; what matters comes as an error
                return torch.load(path, map_location="cpu", weights_only=True)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "allocate memory" in str(error):
                raise WeightsError(f"cannot read {path}: it claims more weights than fit in memory") from error
            raise _refusal(path) from error
        except OSError:
            raise
        except Exception as error:
            raise _refusal(path) from error


def _check_archive(path: str, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        check_size(path, sum(info.file_size for info in archive.infolist()), size)
        damaged = archive.testzip()  # torch.load takes what is there, whatever the checksum
    if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
        raise WeightsError(f"{path} is a TorchScript program, not weights: save its state_dict()")
    if damaged is not None:
        raise WeightsError(f"cannot read {path}: it is damaged: the checksum of {damaged} is wrong")


def _refusal(path: str) -> WeightsError:
    names = foreign_names(_pickle_of(path))
    if tarfile.is_tarfile(path):
        return WeightsError(f"{path} is a tar archive: unpack it; torch's own of before 2017 cannot be read safely")
    if names:
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return WeightsError(
            f"{path} is refused: its pickle wants {listed}, not only weights; save the state_dict alone"
        )
    return WeightsError(f"cannot read {path}: it is damaged or cut short, or no file of torch.save")


def _pickle_of(path: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                return file.read(_MOST_SCANNED)
    except (zipfile.BadZipFile, StopIteration, OSError, ValueError, NotImplementedError):
        with open(path, "rb") as plain:
            return plain.read(_MOST_SCANNED)


def choose_state(content: object, path: str, *, ema: bool) -> RawFile:
    """The one state dict in what a training program saved; averaged weights where `ema` asks for them.

    Raises:
        WeightsError: no state dict, several that none of the usual names tells apart, or no averaged weights.
    """
    found = dict(_state_dicts(content, ""))
    if isinstance(content, Tensor) or not found:
        raise WeightsError(f"{path} holds no weights: no tensors under names")
    averaged = {name: state for name, state in found.items() if _AVERAGED.search(name.lower())}
    plain = {name: state for name, state in found.items() if name not in averaged}
    notes = []
    if ema and averaged:
        chosen = next(iter(averaged))
    elif plain:
        chosen = _likeliest(plain, path)
    else:
        chosen = next(iter(averaged))
        notes.append(f"only averaged weights are there: {chosen}")
    ignored = [f"{key}: optimizer state" for key in _keys(content) if _OPTIMIZER.search(key.lower())]
    ignored += [f"{name}: {_why(name, averaged)} ({len(found[name])} tensors)" for name in found if name != chosen]
    state, duplicates = _without_averages(found[chosen], ema=ema)
    if ema and chosen not in averaged and not duplicates:
        raise WeightsError(f"{path} holds no averaged (EMA) weights")
    return RawFile("torch", state, "definition", (*ignored, *duplicates), tuple(notes))


def _keys(content: object) -> list[str]:
    items = content.items() if isinstance(content, Mapping) else ()
    return [key for key, value in items if isinstance(key, str) and not isinstance(value, Tensor)]


def _why(name: str, averaged: Mapping[str, object]) -> str:
    return "averaged weights, not asked for" if name in averaged else "not the model"


def _state_dicts(content: object, name: str) -> list[tuple[str, dict[str, Tensor]]]:
    """Every mapping from names to tensors in nested mappings, by its path; optimizers have numbers for names."""
    if not isinstance(content, Mapping):
        return []
    state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    found = []
    if any(tensor.is_floating_point() or tensor.is_complex() or "." in key for key, tensor in state.items()):
        found.append((name, state))
    if name.count(".") < _MOST_NESTED:
        for key, value in content.items():
            if isinstance(key, str) and not _OPTIMIZER.search(key.lower()):
                found += _state_dicts(value, f"{name}.{key}" if name else key)
    return found


def _likeliest(states: Mapping[str, Mapping[str, Tensor]], path: str) -> str:
    # One whose tensors belong to modules beats loose tensors such as means of the data.
    modular = [name for name, state in states.items() if any("." in key for key in state)] or list(states)
    by_usage = {usual: name for usual in _USUAL for name in modular if name.rpartition(".")[2] == usual}
    if len(modular) == 1 or "" in modular:
        return "" if "" in modular else modular[0]
    for usual in _USUAL:
        if usual in by_usage:
            return by_usage[usual]
    raise WeightsError(f"{path} holds several sets of weights ({', '.join(modular[:5])}): save the one that is meant")


def _without_averages(state: dict[str, Tensor], *, ema: bool) -> tuple[dict[str, Tensor], list[str]]:
    """One of two copies where averaged weights stand beside the others in one dict, as `ema.conv1.weight`."""
    copies: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        first, _, rest = name.partition(".")
        copies.setdefault(first, {})[rest] = tensor
    for first, copy in copies.items():
        if not _AVERAGED.search(first.lower()) or not any(copy):
            continue
        others = {name: tensor for name, tensor in state.items() if name.partition(".")[0] != first}
        modules = [each for name, each in copies.items() if name != first and any("." in rest for rest in each)]
        if any(_is_copy(copy, original) for original in (others, *modules)):
            averaged = {name: tensor for name, tensor in state.items() if name not in others}
            if ema:
                return averaged, [f"{len(others)} tensors beside {first}.*: the weights without averaging"]
            return others, [f"{first}.*: averaged weights, not asked for ({len(averaged)} tensors)"]
    return state, []


def _is_copy(copy: Mapping[str, Tensor], original: Mapping[str, Tensor]) -> bool:
    """Whether most tensors of the copy, which may count its updates beside them, are also in the original."""
    same = [name for name in copy.keys() & original.keys() if copy[name].shape == original[name].shape]
    return len(same) * 2 > len(copy)


def without_wrappers(name: str) -> str:
    """A name without what DataParallel, DistributedDataParallel and torch.compile put before it."""
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name
