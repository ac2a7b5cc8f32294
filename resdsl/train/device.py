"""Where to train."""

import torch

from resdsl.train.errors import TrainError


def choose_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" asks for. Raises TrainError where it is not there."""
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise TrainError("torch finds no CUDA device; --device auto takes what there is")
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")
