"""Writing weights: safetensors with what they are, or a file of torch.save by the suffix."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from resdsl.files import replace_bytes, replace_file
from resdsl.weights.errors import WeightsError

TORCH_ENDINGS = (".pth", ".pt")
SAFETENSORS = ".safetensors"


def check_ending(path: str) -> None:
    """Raises WeightsError for a name whose ending says no format that is written."""
    if not path.lower().endswith((SAFETENSORS, *TORCH_ENDINGS)):
        raise WeightsError(f"{path}: weights are written as {SAFETENSORS}, {' or '.join(TORCH_ENDINGS)}")


def save_weights(path: str | os.PathLike[str], state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state dict, all of it or nothing.

    A file of safetensors holds the metadata in its header; one of torch.save is a dict of `state_dict` and `metadata`.

    Raises:
        WeightsError: another ending.
        OSError: the file cannot be written.
    """
    shown = os.fspath(path)
    check_ending(shown)
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in state.items()}
    if shown.lower().endswith(SAFETENSORS):
        from safetensors.torch import save

        replace_bytes(shown, save(tensors, metadata=dict(metadata)))
    else:
        replace_file(shown, lambda file: torch.save({"state_dict": tensors, "metadata": dict(metadata)}, file))


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
