"""Comparing a net with an implementation that nobody here wrote: carry its weights over, expect one function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, fx, nn

import resdsl


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with normalisations that do something, as after training, and activations of moderate size."""
    generator = torch.Generator().manual_seed(seed)

    def draw(values: Tensor, low: float, high: float) -> None:
        values.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                draw(layer.running_mean, -0.1, 0.1)
                draw(layer.running_var, 0.8, 1.2)
                draw(layer.weight, 0.3, 0.6)
                draw(layer.bias, -0.1, 0.1)
    return module


def carry_weights(peer: nn.Module, module: fx.GraphModule) -> dict[str, str]:
    """Load the weights of `peer` into `module` as users do.

    Returns:
        the names of our tensors, each with that of the peer's.

    Raises:
        WeightsError: one side has a layer that the other lacks.
    """
    receipt = resdsl.load_weights(module, peer.state_dict(), verify=False)  # the comparison follows
    return {row.target: row.source for row in receipt.rows if row.target and row.source}


def assert_same_function(
    peer: nn.Module,
    module: nn.Module,
    pairs: dict[str, str],
    sizes: Sequence[tuple[int, int]],
    *,
    channels: int = 3,
    training_size: tuple[int, int] | None = None,
    batch: int = 2,
    tolerance: float = 1e-4,
    outputs: Callable[[object], Iterable[Tensor]] | None = None,
) -> None:
    """Equal outputs in evaluation mode at every size; equal outputs, gradients and statistics after a training step.

    Args:
        sizes: heights and widths of the images, (N, C, H, W) of them are drawn at random.
        training_size: size of the training step; the last of `sizes` unless stated.
        tolerance: largest difference relative to the largest value of the tensor.
        outputs: what to compare of a module's result, where it is not one tensor.
    """
    torch.manual_seed(1)
    unpack = outputs or _tensors
    peer.eval()
    module.eval()
    with torch.inference_mode():
        for height, width in sizes:
            images = torch.randn(1, channels, height, width)
            for ours, theirs in zip(unpack(module(images)), unpack(peer(images)), strict=True):
                assert_close(ours, theirs, tolerance, f"output for {height} x {width}")
    peer.train()
    module.train()
    images = torch.randn(batch, channels, *(training_size or sizes[-1]))
    results = []
    for net in (module, peer):
        net.zero_grad()
        torch.manual_seed(2)  # dropouts of both draw alike where their order is one
        values = list(unpack(net(images)))
        weights = [torch.linspace(-1, 1, value.numel()).reshape(value.shape) for value in values]
        sum((value * weight).sum() for value, weight in zip(values, weights, strict=True)).backward()  # type: ignore[union-attr]
        results.append(values)
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, tolerance, "output in training mode")
    ours_by_name, theirs_by_name = dict(module.named_parameters()), dict(peer.named_parameters())
    for name, parameter in ours_by_name.items():
        found, expected = parameter.grad, theirs_by_name[pairs[name]].grad
        assert found is not None, f"{name} has no gradient"
        assert expected is not None, f"{pairs[name]} has no gradient"
        # A 1x1 convolution of a 1x1 map is a linear layer: its gradient has two dimensions more.
        assert_close(found, expected.reshape(found.shape), 10 * tolerance, f"gradient of {name}")
    statistics = dict(peer.named_buffers())
    for name, buffer in module.named_buffers():
        if name in pairs:  # what only counts the batches is no weight
            assert_close(buffer, statistics[pairs[name]], tolerance, name)


def assert_close(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Differences at most `tolerance` of the largest value."""
    assert found.shape == expected.shape, f"{what}: {tuple(found.shape)} is not {tuple(expected.shape)}"
    # The largest absolute value, without a copy of what may be a hundred million numbers.
    scale = max(torch.linalg.vector_norm(expected, torch.inf).item(), 1e-12)
    error = torch.linalg.vector_norm(found - expected, torch.inf).item() / scale
    assert error <= tolerance, f"{what} differs by {error:.1e} of its largest value"


def _tensors(result: object) -> list[Tensor]:
    match result:
        case Tensor():
            return [result]
        case dict():
            return list(result.values())
        case tuple() | list():
            return list(result)
    raise TypeError(f"no tensors in {type(result).__name__}")
