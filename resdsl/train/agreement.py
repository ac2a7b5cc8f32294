"""Whether two ways to compute a step agree within rounding, tried on the run itself and undone again."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from resdsl.train.checkpoint import random_state, set_random_state

# How far results may lie apart: so many times as far as the plain path's own move when each weight moves by about one
# rounding step, and besides so much of the tensor's own length and of that of all tensors together, which is what
# noise around zero is measured by.
TIMES, SHARE, SHARE_OF_ALL = 4.0, 0.05, 0.005

Named = dict[str, Tensor]
Compute = Callable[[], tuple[Tensor, Tensor]]  # mean loss and wrong images


class Snapshot:
    """The values of some tensors, and where the random numbers stand."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = list(tensors)
        self._values = [tensor.detach().clone() for tensor in tensors]
        self.random = random_state()

    @torch.no_grad()
    def restore(self) -> None:
        """Bit for bit as it was, in the same memory."""
        for tensor, value in zip(self._tensors, self._values, strict=True):
            tensor.copy_(value)
        set_random_state(self.random)

    @torch.no_grad()
    def moves(self) -> list[Tensor]:
        """What has become of each tensor since, less what it was."""
        pairs = zip(self._tensors, self._values, strict=True)
        return [tensor.detach().double() - value.double() for tensor, value in pairs]


@torch.no_grad()
def first_apart(one: Named, other: Named, noise: Named | None = None) -> str | None:
    """The name of the first tensor in which two results lie farther apart than rounding explains, None where none does.

    A number that is not finite is farther than any other, unless both have it. Waits for the device.
    """
    if one.keys() != other.keys():
        return min(one.keys() ^ other.keys())
    names = list(one)
    lengths = _lengths([one[name] for name in names])
    apart = _lengths([one[name].double() - other[name].double() for name in names])
    allowed = SHARE * lengths + SHARE_OF_ALL * lengths.square().sum().sqrt()
    if noise is not None:
        allowed = allowed + TIMES * _lengths([noise[name].double() - one[name].double() for name in names])
    both_lost = ~lengths.isfinite() & ~_lengths([other[name] for name in names]).isfinite()
    wrong = (~(apart <= allowed) & ~both_lost).tolist()
    return next((name for name, is_wrong in zip(names, wrong, strict=True) if is_wrong), None)


def _lengths(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.double().norm() for tensor in tensors])


def gradients_apart(
    model: nn.Module,
    plain: Compute,
    fast: Compute,
    precision: Callable[[], AbstractContextManager[object]],
) -> str | None:
    """Where loss, gradients or batch statistics of two ways to compute them differ by more than rounding.

    Both add to the gradients of the model's weights. Weights, statistics and random numbers are afterwards as they
    were before, and there are no gradients.
    """
    before = Snapshot([*model.parameters(), *model.buffers()])

    def results(compute: Compute) -> tuple[Named, Named, Named]:
        model.zero_grad(set_to_none=True)
        try:
            loss, _ = compute()
            gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
            buffers = {name: buffer.clone() for name, buffer in model.named_buffers() if buffer.is_floating_point()}
            found = {"loss": loss.clone()}, {f"{name} (gradient)": grad for name, grad in gradients.items()}, buffers
        finally:
            model.zero_grad(set_to_none=True)
            before.restore()
        return found

    expected, found = results(plain), results(fast)
    with precision():
        is_half = torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu")
    step = torch.finfo(torch.bfloat16 if is_half else torch.float32).eps
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + step * (2 * torch.rand_like(weight) - 1))
        set_random_state(before.random)
    # Each kind of result by itself: statistics would make light of gradients, which are much smaller.
    kinds = zip(expected, found, results(plain), strict=True)
    return next((name for kind in kinds if (name := first_apart(*kind)) is not None), None)
