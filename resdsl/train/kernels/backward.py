"""The launches of a chain's backward pass; names and layouts are those of `tiles.py`."""

import triton
import triton.language as tl

from resdsl.train.kernels.tiles import convolved, folded, shifted, sums_of, widened


@triton.jit
def ending_gradient(
    given, out, source, moments, gradient, rows,
    images: tl.constexpr, size: tl.constexpr, c: tl.constexpr, programs: tl.constexpr, tile: tl.constexpr,
):  # fmt: skip
    """Gives gradient = given where out > 0, with its sum and its product with the normalised source in `rows`."""
    program = tl.program_id(0)
    channel = tl.arange(0, c)
    mean = tl.load(moments + channel)
    deviation = tl.load(moments + c + channel)
    total = tl.zeros([tile, c], tl.float32)
    products = tl.zeros([tile, c], tl.float32)
    for turn in range((images * size + programs * tile - 1) // (programs * tile)):
        row = (program + turn * programs) * tile + tl.arange(0, tile)
        at = row[:, None] * c + channel[None, :]
        mask = (row < images * size)[:, None] & (channel >= 0)[None, :]
        passed = tl.load(out + at, mask=mask, other=0.0) > 0
        value = tl.where(passed, tl.load(given + at, mask=mask, other=0.0).to(tl.float32), 0.0)
        tl.store(gradient + at, value.to(gradient.dtype.element_ty), mask=mask)
        normal = (tl.load(source + at, mask=mask, other=0.0).to(tl.float32) - mean[None, :]) * deviation[None, :]
        total += value
        products += value * normal
    tl.store(rows + program * c + channel, tl.sum(total, 0))
    tl.store(rows + (programs + program) * c + channel, tl.sum(products, 0))


@triton.jit
def input_gradient(
    gradient, source, moments, before, gamma, weight, gamma_gradient, beta_gradient, conv_gradient, result,
    activated, source_below, moments_below, rows, shortcut,
    images: tl.constexpr, height: tl.constexpr, width: tl.constexpr, c: tl.constexpr,
    programs: tl.constexpr, padded: tl.constexpr, tile: tl.constexpr, pack: tl.constexpr, window: tl.constexpr,
    masked: tl.constexpr, add: tl.constexpr, dot: tl.constexpr,
):  # fmt: skip
    """Through bn and conv: `gradient` behind bn, `conv_gradient` between them, `result` before conv.

    `source` is the map between them, `before` has the rows of `gradient`. With `add`, the shortcut's gradient is added.
    With `masked`, result is also taken through the relu that gave `activated`, and summed up for the batch
    normalisation of `source_below`.
    """
    program = tl.program_id(0)
    channel = tl.arange(0, c)
    wide = tl.arange(0, pack * c)
    size: tl.constexpr = height * width // pack
    summed, product = sums_of(before, c, programs, padded)
    if program == 0:
        tl.store(beta_gradient + channel, summed)
        tl.store(gamma_gradient + channel, product)
    mean = tl.load(moments + wide % c)
    deviation = tl.load(moments + c + wide % c)
    scale = deviation * tl.load(gamma + wide % c)
    summed = widened(summed / (images * height * width), c, pack)
    product = widened(product / (images * height * width), c, pack)
    if masked:
        mean_below = tl.load(moments_below + wide % c)
        deviation_below = tl.load(moments_below + c + wide % c)
        total = tl.zeros([tile, pack * c], tl.float32)
        products = tl.zeros([tile, pack * c], tl.float32)
    for turn in range((images + programs - 1) // programs):
        image = program + turn * programs
        for start in range(0, size, tile):
            place = start + tl.arange(0, tile)
            at = (image * size + place)[:, None] * (pack * c) + wide[None, :]
            mask = ((place < size) & (image * size + place < images * size))[:, None] & (wide >= 0)[None, :]
            value = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
            normal = (tl.load(source + at, mask=mask, other=0.0).to(tl.float32) - mean[None, :]) * deviation[None, :]
            value = (value - summed[None, :] - normal * product[None, :]) * scale[None, :]
            tl.store(conv_gradient + at, value.to(conv_gradient.dtype.element_ty), mask=mask)
        tl.debug_barrier()
        for start in range(0, size, tile):
            place = start + tl.arange(0, tile)
            at = (image * size + place)[:, None] * (pack * c) + wide[None, :]
            mask = ((place < size) & (image * size + place < images * size))[:, None] & (wide >= 0)[None, :]
            value = convolved(conv_gradient, weight, image, place, images, height, width, c, pack, window, True, dot)
            if add:
                value += tl.load(shortcut + at, mask=mask, other=0.0).to(tl.float32)
            if masked:
                passed = tl.load(activated + at, mask=mask, other=0.0) > 0
                rounded = tl.where(passed, value, 0.0).to(result.dtype.element_ty)
                tl.store(result + at, rounded, mask=mask)
                value = rounded.to(tl.float32)
                below = tl.load(source_below + at, mask=mask, other=0.0).to(tl.float32)
                total += value
                products += value * (below - mean_below[None, :]) * deviation_below[None, :]
            else:
                tl.store(result + at, value.to(result.dtype.element_ty), mask=mask)
    if masked:
        tl.store(rows + program * c + channel, folded(tl.sum(total, 0), c, pack))
        tl.store(rows + (programs + program) * c + channel, folded(tl.sum(products, 0), c, pack))


@triton.jit
def _weight_part(
    source, gradient, parts, split, group,
    images: tl.constexpr, height: tl.constexpr, width: tl.constexpr, c: tl.constexpr,
    splits: tl.constexpr, tile: tl.constexpr, pack: tl.constexpr, window: tl.constexpr, dot: tl.constexpr,
):  # fmt: skip
    """One group of taps of a weight's gradient, summed over a share of all places, into a part for each of a pack."""
    wide = tl.arange(0, pack * c)
    k = tl.arange(0, window * c)[None, :]
    size: tl.constexpr = height * width // pack
    result = tl.zeros([pack * c, window * c], tl.float32)
    for turn in range((images * size + splits * tile - 1) // (splits * tile)):
        row = (split + turn * splits) * tile + tl.arange(0, tile)
        mask = (row < images * size)[:, None] & (wide >= 0)[None, :]
        given = tl.load(gradient + row[:, None] * (pack * c) + wide[None, :], mask=mask, other=0.0)
        seen = shifted(source, row // size, row % size, group, images, height, width, c, pack, window)
        result = tl.dot(tl.trans(given.to(dot)), seen.to(dot), result, input_precision="ieee")
    out = wide[:, None]
    column = k // c - out // c + (0 if window > 1 else group % 3)
    tap = (group if window > 1 else group // 3) * 3 + column
    part = split * pack + out // c
    at = part * (9 * c * c) + (out % c) * (9 * c) + tap * c + k % c
    tl.store(parts + at, result, mask=(column >= 0) & (column < 3))


@triton.jit
def weight_gradients(
    source, sources, gradients, parts,
    images: tl.constexpr, height: tl.constexpr, width: tl.constexpr, c: tl.constexpr,
    splits: tl.constexpr, tile: tl.constexpr, pack: tl.constexpr, window: tl.constexpr, dot: tl.constexpr,
):  # fmt: skip
    """The weight gradients of n convolutions in parts (n, splits * pack, C out, 9, C in).

    The grid is (splits, groups, n). `gradients` (n, N, H, W, C) are those behind the convolutions. The first one's
    input is `source`, those of the others are `sources` (n - 1, N, H, W, C).
    """
    split = tl.program_id(0)
    group = tl.program_id(1)
    conv = tl.program_id(2).to(tl.int64)
    values: tl.constexpr = images * height * width * c
    given = gradients + conv * values
    part = parts + conv * (splits * pack * 9 * c * c)
    if tl.program_id(2) == 0:
        _weight_part(source, given, part, split, group, images, height, width, c, splits, tile, pack, window, dot)
    else:
        here = sources + (conv - 1) * values
        _weight_part(here, given, part, split, group, images, height, width, c, splits, tile, pack, window, dot)


@triton.jit
def added_parts(parts, result, values: tl.constexpr, splits: tl.constexpr, padded: tl.constexpr, tile: tl.constexpr):
    """Gives result (n, values), parts (n, splits, values) summed over the splits; the grid is (values / tile, n)."""
    at = tl.program_id(0) * tile + tl.arange(0, tile)
    split = tl.arange(0, padded)
    conv = tl.program_id(1).to(tl.int64)
    mask = (split < splits)[:, None] & (at < values)[None, :]
    part = tl.load(parts + conv * (splits * values) + split[:, None] * values + at[None, :], mask=mask, other=0.0)
    tl.store(result + conv * values + at, tl.sum(part, 0).to(result.dtype.element_ty), mask=at < values)
