"""Numbers that are the same in every step, brought to a device once."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """A tensor of these numbers, nested tuples for more dimensions. Nobody may change it.

    To make it in every step would be a copy from the host, which waits for the device and fits into no graph of its
    work.
    """
    return torch.tensor(values, device=device)
