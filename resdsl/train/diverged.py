"""Where the first number that is not finite came from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class NotFiniteError(Exception):
    """A loss or a weight is no longer a finite number; found only when somebody looked."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong in a step: `layer` is a module's path, `what` names the kind of number: output or gradient."""

    layer: str
    what: str


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds a nan or an infinity. Waits for the device once."""
    found = [tensor.isfinite().all() for tensor in tensors if tensor.is_floating_point()]
    return not found or bool(torch.stack(found).all())


def blame(model: nn.Module, step: Callable[[], object]) -> Fault | None:
    """The first layer whose output is not finite in this step, else the last one whose gradient is not.

    The step runs forward, backward and the update once more, so the model must be as it was before the step.
    """
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and not all_finite(_tensors(output)):
                found.append(name)

        return look

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        step()
    finally:
        for hook in hooks:
            hook.remove()
    if found:
        return Fault(found[0], "output")
    # Gradients go from the last layer to the first: the last one hit is where it began.
    gradients = [(name, weight.grad) for name, weight in model.named_parameters() if weight.grad is not None]
    hit = [name for name, gradient in gradients if not all_finite([gradient])]
    return Fault(hit[-1].rpartition(".")[0], "gradient") if hit else None


def first_bad_tensor(model: nn.Module) -> Fault | None:
    """The first weight or running mean that is not finite."""
    for name, tensor in model.state_dict().items():
        if not all_finite([tensor]):
            layer, _, tensor_name = name.rpartition(".")
            return Fault(layer, f"new {tensor_name}")
    return None


def _tensors(output: Any) -> list[Tensor]:
    match output:
        case Tensor():
            return [output]
        case list() | tuple():
            return [tensor for item in output for tensor in _tensors(item)]
        case dict():
            return _tensors(list(output.values()))
        case _:
            return []
