"""What a tensor is to its layer, from the last part of its name, its rank and its company."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

# The words of PyTorch, then of Keras and JAX, for the four tensors that layers have.
_ROLE_WORDS = {
    "weight": ("weight", "kernel", "gamma", "scale"),
    "bias": ("bias", "beta", "offset"),
    "running_mean": ("running_mean", "moving_mean", "mean"),
    "running_var": ("running_var", "moving_variance", "moving_var", "variance", "var"),
}
ROLES = tuple(_ROLE_WORDS)
_ROLE_OF = {word: role for role, words in _ROLE_WORDS.items() for word in words}
_KERNEL = "kernel"
DEPTHWISE = "depthwise_kernel"
POINTWISE = "pointwise_kernel"


def role_of(last: str) -> str | None:
    """The role that the last part of a name stands for; None for any other word."""
    return "weight" if last in (DEPTHWISE, POINTWISE) else _ROLE_OF.get(last)


def split_name(name: str) -> tuple[str, str]:
    """A full name as layer and last part: `conv1.weight`, `conv1/kernel:0`, or `conv1_kernel` with a known word."""
    bare = re.sub(r":\d+$", "", name)
    cut = max(bare.rfind("."), bare.rfind("/"))
    layer, last = (bare[:cut], bare[cut + 1 :]) if cut >= 0 else ("", bare)
    if role_of(last) is None:
        for word in _ROLE_OF:
            if last.endswith(f"_{word}"):
                stem = last[: -len(word) - 1]
                return bare[: cut + 1] + stem, word
    return layer, last


def last_part(name: str) -> str:
    """The last part of a full name, which tells the role."""
    return split_name(name)[1]


def roles_by_place(ranks: Sequence[int], settings: Mapping[str, Any] | None) -> list[str | None]:
    """Words for the numbered tensors of a Keras layer, in Keras' order; `settings` are the layer's, if known."""
    count = len(ranks)
    if not count or 0 in ranks:
        return [None] * count
    matrices = sum(rank >= 2 for rank in ranks)
    if matrices == 0:
        return list(_norm_words(count, settings))
    words: dict[int, list[str | None]] = {1: [_KERNEL], 2: [DEPTHWISE, POINTWISE]}
    is_plain = matrices in words and all(rank >= 2 for rank in ranks[:matrices]) and count <= matrices + 1
    if not is_plain or (matrices == 2 and min(ranks[:2]) < 3):
        return [None] * count
    return [*words[matrices], *["bias"] * (count - matrices)]


def _norm_words(count: int, settings: Mapping[str, Any] | None) -> list[str | None]:
    everything: list[str | None] = ["gamma", "beta", "moving_mean", "moving_variance"]
    if settings is not None and "momentum" in settings:
        has = [settings.get("scale", True), settings.get("center", True), True, True]
        stated = [word for word, is_there in zip(everything, has, strict=True) if is_there]
        if len(stated) == count:
            return stated
    # Without a configuration: a lone shift is more common than a lone scale, which the next ReLU layer absorbs.
    by_count: dict[int, list[str | None]] = {4: everything, 3: everything[1:], 2: everything[:2]}
    return by_count.get(count, [None] * count)


def torch_layout(last: str, tensor: Tensor, *, is_depthwise: bool) -> Tensor:
    """A kernel (kH, kW, I, O) as (O, I, kH, kW), a dense one (in, out) as (out, in), a depthwise one as groups.

    Only tensors called kernels are in that layout; a depthwise kernel (kH, kW, C, M) becomes (C * M, 1, kH, kW).
    """
    rank = tensor.dim()
    if last not in (_KERNEL, DEPTHWISE, POINTWISE) or rank < 2:
        return tensor
    spatial = range(rank - 2)
    if rank > 2 and (is_depthwise or last == DEPTHWISE):
        moved = tensor.permute(rank - 2, rank - 1, *spatial)
        return moved.reshape(moved.shape[0] * moved.shape[1], 1, *moved.shape[2:]).contiguous()
    return tensor.permute(rank - 1, rank - 2, *spatial).contiguous()


def kind_of(tensors: Mapping[str, Tensor]) -> str:
    """conv, linear, norm or other, from the tensors of a layer by role."""
    weight = tensors.get("weight")
    vectors = [tensor for role, tensor in tensors.items() if role != "weight"]
    if weight is not None and weight.dim() and [tensor.shape for tensor in vectors] == [weight.shape]:
        return "norm"
    if any(tensor.dim() != 1 for tensor in vectors):
        return "other"
    if weight is None or weight.dim() == 1:
        lengths = {tensor.shape for tensor in tensors.values()}
        has_statistics = {"running_mean", "running_var"} <= tensors.keys()
        is_norm = has_statistics or {"weight", "bias"} == tensors.keys()
        return "norm" if is_norm and len(lengths) == 1 else "other"
    if tensors.keys() - {"weight", "bias"} or weight.dim() == 0:
        return "other"
    return "linear" if weight.dim() == 2 else "conv"
