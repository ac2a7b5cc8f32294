"""Blocks that follow each other as one function of autograd: a launch a convolution forward, and another backward.

With x the input of a block, y1 = conv1(x), a1 = relu(bn1(y1)), y2 = conv2(a1) and out = relu(bn2(y2) + x), a pass is
cut only where a launch needs a sum over the whole batch: for the statistics of batch normalisation and, on the way
back, for their gradients. With dz behind and dy before a batch normalisation:

- forward, one launch gives a1 and y2 with its sums, and the next gives out and y1 of the block behind;
- backward, one launch gives dy2 and dz1 with its sums, and the next gives dy1 and dz2 of the block before, for which it
  adds the shortcut's gradient, this block's dz2;
- the weight gradients of all convolutions are computed at the end, in two launches.

Without shortcuts it is a sequence of convolutions, each followed by batch normalisation and relu. Every sum is added up
in one order, so equal inputs give equal bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from resdsl.train.kernels.tuning import Launches


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a batch normalisation keeps of the batches it has seen (C,), and its numbers."""

    mean: Tensor
    var: Tensor
    momentum: float
    eps: float

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> Statistics:
        """Those of a module with running statistics and a momentum."""
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None
        assert var is not None
        assert norm.momentum is not None
        return cls(mean, var, norm.momentum, norm.eps)


def fused_chain(x: Tensor, convs: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d], *, shortcuts: bool) -> Tensor:
    """Two or more convolutions with batch normalisation and relu as they are computed in training.

    With `shortcuts` each two of them are a block, and the block's input is added before its last relu. x (N, C, H, W)
    and the result have one type, bfloat16 but for tests. The norms' running statistics are brought up to date, their
    counters of batches too.
    """
    counters = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    if counters:
        torch._foreach_add_(counters, 1)
    tensors = [conv.weight for conv in convs]
    tensors += [norm.weight for norm in norms]
    tensors += [norm.bias for norm in norms]
    result: Tensor = _Chain.apply(x, shortcuts, [Statistics.of(norm) for norm in norms], *tensors)
    return result


class _Chain(torch.autograd.Function):
    """Numbers the n convolutions through: with shortcuts 2b and 2b + 1 are block b.

    `inputs` are those of all convolutions but the first, `outputs` are what they give.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, shortcuts: bool, kept: list[Statistics], *tensors: Tensor) -> Tensor:
        from resdsl.train.kernels import forward

        x = x.contiguous(memory_format=torch.channels_last)
        n = len(kept)
        weights, gammas, betas = tensors[:n], tensors[n : 2 * n], tensors[2 * n :]
        kernels = _kernels(weights, x.dtype)
        launches = _launches(x)
        inputs, outputs = _maps(x, n - 1), _maps(x, n)
        rows = x.new_empty(n, 2, launches.programs, launches.c, dtype=torch.float32)
        moments = x.new_empty(n, 2, launches.c, dtype=torch.float32)
        result = torch.empty_like(x)

        def norm(i: int) -> tuple[Any, ...]:
            return rows[i], gammas[i], betas[i], kept[i].mean, kept[i].var, moments[i]

        sizes = launches.convolution()
        for i in range(n):
            # The first has nothing to normalise: it takes no notice of the norm it is given.
            before = max(i - 1, 0)
            add = shortcuts and i > 0 and i % 2 == 0
            source = outputs[before] if i else x
            shortcut = _input_of(i - 2, x, inputs) if add else source
            through = (*norm(before), inputs[before], kept[before].momentum, kept[before].eps)
            forward.convolution[(launches.programs,)](
                source, shortcut, kernels[i], outputs[i], rows[i], *through, **sizes, normalise=i > 0, add=add
            )
        sizes = launches.ending()
        shortcut = _input_of(n - 2, x, inputs) if shortcuts else outputs[-1]
        through = (*norm(n - 1), kept[-1].momentum, kept[-1].eps)
        forward.ending[(sizes["shares"],)](outputs[-1], shortcut, result, *through, **sizes, add=shortcuts)
        ctx.save_for_backward(x, inputs, outputs, result, moments, *kernels, *gammas)
        ctx.launches, ctx.shortcuts, ctx.weight_type = launches, shortcuts, weights[0].dtype
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Any, ...]:
        from resdsl.train.kernels import backward

        x, inputs, outputs, result, moments, *others = ctx.saved_tensors
        n = len(outputs)
        kernels, gammas = others[:n], others[n:]
        launches: Launches = ctx.launches
        grid, sizes = (launches.programs,), launches.convolution()
        conv_gradients = _maps(x, n)
        gamma_gradients, beta_gradients = x.new_empty(2, n, launches.c, dtype=torch.float32)
        rows = x.new_empty(n, 2, launches.programs, launches.c, dtype=torch.float32)
        given = given.to(x.dtype).contiguous(memory_format=torch.channels_last)
        behind = gradient = torch.empty_like(x)
        first = (given, result, outputs[-1], moments[-1], gradient, rows[-1])
        backward.ending_gradient[grid](*first, **launches.ending_gradient())
        for i in reversed(range(n)):
            below = max(i - 1, 0)  # not looked at by the first convolution
            passed = torch.empty_like(x)
            norm = (outputs[i], moments[i], rows[i], gammas[i], kernels[i], gamma_gradients[i], beta_gradients[i])
            under = (inputs[below], outputs[below], moments[below], rows[below], behind)
            backward.input_gradient[grid](
                gradient, *norm, conv_gradients[i], passed, *under,
                **sizes, masked=i > 0, add=ctx.shortcuts and i % 2 == 0,
            )  # fmt: skip
            gradient = passed
            if i % 2 == 0:
                behind = passed
        weight_gradients = _weight_gradients(launches, x, inputs, conv_gradients, ctx.weight_type)
        return gradient, None, None, *weight_gradients, *gamma_gradients, *beta_gradients


def _launches(x: Tensor) -> Launches:
    import triton
    import triton.language as tl

    images, c, height, width = x.shape
    # Triton's interpreter multiplies the bits of bfloat16 as integers; its products in float32 are the same.
    is_plain = x.dtype != torch.bfloat16 or triton.knobs.runtime.interpret
    return Launches(images, height, width, c, tl.float32 if is_plain else tl.bfloat16)


def _weight_gradients(
    launches: Launches, x: Tensor, inputs: Tensor, conv_gradients: Tensor, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    from resdsl.train.kernels import backward

    n, c = len(conv_gradients), launches.c
    sizes = launches.weights(n)
    splits = sizes["splits"]
    added = launches.added(splits)
    parts = x.new_empty(n, added["splits"], added["values"], dtype=torch.float32)
    result = x.new_empty(n, c, 3, 3, c, dtype=dtype)
    backward.weight_gradients[splits, launches.groups, n](x, inputs, conv_gradients, parts, **sizes)
    backward.added_parts[-(-added["values"] // added["tile"]), n](parts, result, **added)
    return result.permute(0, 1, 4, 2, 3).unbind()


def _input_of(convolution: int, x: Tensor, inputs: Tensor) -> Tensor:
    return inputs[convolution - 1] if convolution else x


def _maps(x: Tensor, count: int) -> Tensor:
    """Room for maps like x, (count, N, H, W, C)."""
    images, c, height, width = x.shape
    return x.new_empty(count, images, height, width, c)


def _kernels(weights: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """(C out, C in, 3, 3) as (C out, 3, 3, C in) in the type of the maps."""
    dense = [weight.detach().permute(0, 2, 3, 1).contiguous() for weight in weights]
    if weights[0].dtype == dtype:
        return dense
    cast = [torch.empty_like(weight, dtype=dtype) for weight in dense]
    torch._foreach_copy_(cast, dense)
    return cast
