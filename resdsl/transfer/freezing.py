"""Freezing: parts of a network that further training leaves as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from resdsl.emit.torch_names import module_path
from resdsl.suggest import closest

_MODES = ("fixed", "updated")


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a call froze or thawed: paths of the parameters, and of the batch normalisations it fixed or freed."""

    parameters: tuple[str, ...]
    batch_norms: tuple[str, ...]


class _Fixed(_BatchNorm):
    """Batch normalisation as a constant affine map: in evaluation mode, whatever the module around it does."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own word
        """The map, without torch's checks, which torch.fx cannot trace in a class that is not torch's."""
        return functional.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        del mode
        return super().train(False)


class FixedBatchNorm1d(_Fixed, nn.BatchNorm1d):
    """Fixed batch normalisation of vectors, (N, F)."""


class FixedBatchNorm2d(_Fixed, nn.BatchNorm2d):
    """Fixed batch normalisation of maps, (N, C, H, W)."""


_FIXED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: FixedBatchNorm1d,
    nn.BatchNorm2d: FixedBatchNorm2d,
}
_FREE = {fixed: free for free, fixed in _FIXED.items()}


def freeze(model: nn.Module, *names: str, batch_norm: str = "fixed") -> Frozen:
    """Exclude parts of a model from training: their parameters get no gradients.

    Args:
        model: a module of `net.to_torch`, or any other that may contain one.
        names: parts, such as `"stem", "conv2"`: stem, stages, head, or any module by its path (`"conv3.0"`).
        batch_norm: `fixed` keeps the parts' batch normalisations at their running statistics, also after
            `model.train()`; `updated` lets the statistics follow the new data.

    The state dict stays the same, copies of the model stay frozen, and `unfreeze` undoes it. An optimizer made of
    parameters that are frozen later leaves them alone, as they have no gradients.

    Raises:
        ValueError: no names, an unknown one, another value of `batch_norm`, or a batch normalisation that cannot be
            fixed. Nothing is frozen then.
    """
    if batch_norm not in _MODES:
        raise ValueError(f"batch_norm is {' or '.join(map(repr, _MODES))}, not {batch_norm!r}")
    parts = _parts(model, names)
    norms = _batch_norms(parts)
    if batch_norm == "fixed":
        _fix(norms)
    else:
        _free(norms, model)
    return Frozen(_set_trained(parts, False), tuple(norms) if batch_norm == "fixed" else ())


def fix_batch_norm(model: nn.Module, *names: str) -> Frozen:
    """Make the batch normalisations of parts constant affine maps, and train everything else there.

    As He et al. 2015 (appendix A) do to train a detector, whose batches are too small for statistics. Without names
    it is those of the whole model.

    Raises:
        ValueError: an unknown name.
    """
    norms = _batch_norms(_parts(model, names or ("",)))
    _fix(norms)
    return Frozen(_set_trained(norms.items(), False), tuple(norms))


def unfreeze(model: nn.Module, *names: str) -> Frozen:
    """Let parts of a model be trained again, their batch normalisations too; without names all of it.

    Raises:
        ValueError: an unknown name.
    """
    parts = _parts(model, names or ("",))
    norms = _batch_norms(parts)
    _free(norms, model)
    return Frozen(_set_trained(parts, True), tuple(norms))


def _parts(model: nn.Module, names: tuple[str, ...]) -> list[tuple[str, nn.Module]]:
    known = ", ".join(name for name, _ in model.named_children())
    if not names:
        raise ValueError(f"name the parts to freeze; known are {known}")
    modules = dict(model.named_modules())
    parts = []
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a part is named by a text, such as 'conv2', not {name!r}")
        path = name if name in modules else module_path(name)
        if path not in modules:
            guess = closest(name, (path for path in modules if path.count(".") == name.count(".")))
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise ValueError(f"there is no part {name!r}; known are {known}{hint}")
        parts.append((path, modules[path]))
    return parts


def _batch_norms(parts: Iterable[tuple[str, nn.Module]]) -> dict[str, nn.Module]:
    modules = (pair for path, part in parts for pair in part.named_modules(prefix=path))
    return {path: module for path, module in modules if isinstance(module, _BatchNorm)}


def _fix(norms: dict[str, nn.Module]) -> None:
    for path, norm in norms.items():
        if type(norm) not in _FIXED and type(norm) not in _FREE:
            raise ValueError(f"{path!r} is a {type(norm).__name__}, which cannot be fixed; only BatchNorm1d and 2d can")
        if getattr(norm, "running_mean", None) is None:
            raise ValueError(f"{path!r} keeps no running statistics, at which it could be fixed")
    for norm in norms.values():
        # A class of its own, not a hook or an attribute: copies and pickles of the module keep it.
        norm.__class__ = _FIXED.get(type(norm), type(norm))
        norm.eval()


def _free(norms: dict[str, nn.Module], model: nn.Module) -> None:
    for norm in norms.values():
        norm.__class__ = _FREE.get(type(norm), type(norm))
        norm.train(model.training)


def _set_trained(parts: Iterable[tuple[str, nn.Module]], is_trained: bool) -> tuple[str, ...]:
    names: dict[str, None] = {}  # in order, and each once
    for path, part in parts:
        for name, parameter in part.named_parameters(prefix=path):
            parameter.requires_grad_(is_trained)
            if not is_trained:
                # An optimizer would go on with what is left of the last step.
                parameter.grad = None
            names[name] = None
    return tuple(names)
