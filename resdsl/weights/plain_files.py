"""Files that hold nothing but named arrays: safetensors and npz."""

import os
import zipfile

import numpy as np
import torch
from torch import Tensor

from resdsl.weights.errors import WeightsError
from resdsl.weights.raw import RawFile, check_size, reading


def read_safetensors(path: str) -> RawFile:
    """Tensors of a .safetensors file, whose order is its own, not the model's. Raises WeightsError."""
    from safetensors import safe_open

    with reading(path), safe_open(path, framework="pt", device="cpu") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        record = file.metadata() or {}
    return RawFile("safetensors", tensors, "names", record=record)


def read_npz(path: str) -> RawFile:
    """Arrays of an .npz file in the order they were written. Raises WeightsError."""
    size = os.path.getsize(path)
    with reading(path):
        with zipfile.ZipFile(path) as archive:
            # numpy allocates what an array's header claims before it reads: both sizes must be plausible.
            check_size(path, sum(info.file_size for info in archive.infolist()), size)
            check_size(path, sum(_claimed_size(archive, info) for info in archive.infolist()), size)
        tensors = {}
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                tensors[name] = tensor_of(path, name, arrays[name])
    return RawFile("npz", tensors, "definition")


def tensor_of(path: str, name: str, array: object) -> Tensor:
    """A tensor of a numpy array. Raises WeightsError for an array of anything but numbers."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
        kind = str(array.dtype) if isinstance(array, np.ndarray) else type(array).__name__
        raise WeightsError(f"{path}: {name} holds no numbers ({kind})")
    if array.dtype.itemsize > 8 and array.dtype.kind == "f":
        array = array.astype(np.float64)
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(native.reshape(array.shape).copy())


def _claimed_size(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    if not info.filename.endswith(".npy"):
        return 0
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.hasobject:
        raise WeightsError(f"{archive.filename} is refused: {info.filename} holds Python objects, not numbers")
    count = 1
    for extent in shape:
        count *= extent
    return count * dtype.itemsize
