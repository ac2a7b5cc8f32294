"""Checkpoints: everything a run needs to go on, or a model to be used, in one file that is never half written."""

import pickle
from pathlib import Path
from typing import Any

import torch

from resdsl.files import replace_file
from resdsl.train.errors import CheckpointError

VERSION = 1
FILE_NAME = "checkpoint.pt"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values; an earlier file stays until the new one is complete on the disk."""
    replace_file(path, lambda file: torch.save({"version": VERSION, **content}, file))


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What save_checkpoint wrote; never runs code from the file. Raises CheckpointError."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise CheckpointError(f"{path} was written by another version of resdsl")
    return content


def random_state() -> dict[str, Any]:
    """The states of torch's own generators, which dropout and stochastic depth draw from."""
    gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": gpu}
