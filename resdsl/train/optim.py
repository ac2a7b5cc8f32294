"""Optimizers as a recipe names them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from resdsl.recipe import Recipe


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the trainable parameters; the learning rate is set anew for each step."""
    call = recipe.optimizer
    groups = _groups(model.parameters(), call.number("weight_decay"), everything=call["decay"] == "all")
    if call.name == "adamw":
        betas = (call.number("beta1"), call.number("beta2"))
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, fused=True)
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=call.number("momentum"), nesterov=bool(call["nesterov"]), fused=True
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use this learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def used_lr(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate that the optimizer holds."""
    return float(optimizer.param_groups[0]["lr"])


@contextmanager
def lr_on_device(optimizer: torch.optim.Optimizer, lr: Tensor) -> Iterator[None]:
    """Meanwhile the optimizer reads its learning rate from the device, where a graph can hold the reading.

    Behind it the groups hold numbers again, as checkpoints do, so that those do not depend on how a run is computed.
    """
    before = [dict(group) for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = lr
        if "capturable" in group:
            group["capturable"] = True
    try:
        yield
    finally:
        for group, kept in zip(optimizer.param_groups, before, strict=True):
            group.update({key: kept[key] for key in ("lr", "capturable") if key in kept})


def _groups(parameters: Iterable[nn.Parameter], decay: float, *, everything: bool) -> list[dict[str, object]]:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if everything:
        return [{"params": trained, "weight_decay": decay}]
    # Kernels and matrices have two dimensions or more; biases and the scales and shifts of BN have one.
    kernels = [parameter for parameter in trained if parameter.ndim >= 2]
    others = [parameter for parameter in trained if parameter.ndim < 2]
    groups = ((kernels, decay), (others, 0.0))
    return [{"params": members, "weight_decay": share} for members, share in groups if members]
