"""From the tensors of a file to usable weights: float32, finite, on the CPU."""

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from resdsl.weights.errors import WeightsError
from resdsl.weights.roles import last_part, role_of

SHOWN = 3


def usable_weights(path: str, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Weights as float32, what is no weight (counters, indices) with the reason, and notes on conversions.

    Raises:
        WeightsError: weights that are integer, complex, quantised, sparse, not finite or without values, and
            variances that are negative.
    """
    weights: dict[str, Tensor] = {}
    ignored: list[str] = []
    converted: Counter[torch.dtype] = Counter()
    for name, tensor in tensors.items():
        _check_storage(path, name, tensor)
        if not tensor.is_floating_point():
            last = last_part(name)
            if role_of(last) is not None or (last.isdecimal() and tensor.dim() > 1):
                raise WeightsError(f"{path}: {name} holds integers ({_dtype(tensor)}), not weights")
            ignored.append(f"{name}: a counter or index ({_dtype(tensor)})")
        elif tensor.numel() == 0:
            ignored.append(f"{name}: empty")
        else:
            if tensor.dtype != torch.float32:
                converted[tensor.dtype] += 1
            weights[name] = tensor.detach().to("cpu", torch.float32).contiguous()
    _check_finite(path, weights)
    _check_variances(path, weights)
    if not weights:
        raise WeightsError(f"{path} holds no weights")
    notes = [f"{count} {_tensors(count)} of {_name(dtype)} taken as float32" for dtype, count in converted.items()]
    return weights, ignored, notes


def _check_storage(path: str, name: str, tensor: Tensor) -> None:
    fault = ""
    if tensor.is_quantized:
        fault = "is quantised"
    elif tensor.layout != torch.strided:
        fault = "is sparse"
    elif tensor.is_meta:
        fault = "has no values (it was saved from the meta device)"
    elif tensor.is_complex():
        fault = f"holds complex numbers ({_dtype(tensor)}), not weights"
    elif tensor.numel() > max(tensor.untyped_storage().nbytes() // tensor.element_size(), 1):
        fault = f"claims {tensor.numel():,} numbers, but the file holds fewer"
    if fault:
        raise WeightsError(f"{path}: {name} {fault}")


def _check_finite(path: str, weights: Mapping[str, Tensor]) -> None:
    wrong = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise WeightsError(
            f"{path} holds NaN or infinite weights: {', '.join(wrong[:SHOWN])}{more} "
            f"({len(wrong)} of {len(weights)} tensors)"
        )


def _check_variances(path: str, weights: Mapping[str, Tensor]) -> None:
    """A negative variance gives NaN in evaluation mode."""
    for name, tensor in weights.items():
        if role_of(last_part(name)) == "running_var" and bool((tensor < 0).any()):
            raise WeightsError(f"{path}: {name} holds negative variances")


def _tensors(count: int) -> str:
    return "tensor" if count == 1 else "tensors"


def _dtype(tensor: Tensor) -> str:
    return _name(tensor.dtype)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
