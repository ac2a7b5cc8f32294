"""Where to train, and whether with kernels that give the same bits each time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from resdsl.train.errors import TrainError


def choose_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" asks for. Raises TrainError where it is not there."""
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise TrainError("torch finds no CUDA device; --device auto takes what there is")
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """While it is open, torch takes only kernels that give the same bits each time, where that is wanted.

    An operation that has none raises RuntimeError, and so does cuBLAS where CUBLAS_WORKSPACE_CONFIG is not `:4096:8` in
    the environment.
    """
    if not wanted:
        yield
        return
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]
