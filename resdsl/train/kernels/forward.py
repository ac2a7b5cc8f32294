"""The launches of a chain's forward pass; names and layouts are those of `tiles.py`."""

import triton
import triton.language as tl

from resdsl.train.kernels.tiles import convolved, folded, keep_statistics, moments_of, widened


@triton.jit
def convolution(
    source, shortcut, weight, result, rows,
    before, gamma, beta, running_mean, running_var, moments, activated, momentum, eps,
    images: tl.constexpr, height: tl.constexpr, width: tl.constexpr, c: tl.constexpr,
    programs: tl.constexpr, padded: tl.constexpr, tile: tl.constexpr, pack: tl.constexpr, window: tl.constexpr,
    normalise: tl.constexpr, add: tl.constexpr, dot: tl.constexpr,
):  # fmt: skip
    """Gives result = conv(source), with each program's mean and squares in `rows`.

    With `normalise`, activated = relu(bn(source)) is convolved, with `add` relu(bn(source) + shortcut); `before` has
    the rows of `source`. A program owns whole images, so that it reads only what it has itself activated.
    """
    program = tl.program_id(0)
    channel = tl.arange(0, c)
    wide = tl.arange(0, pack * c)
    size: tl.constexpr = height * width // pack
    if normalise:
        mean, variance = moments_of(before, images, height * width, c, programs, padded)
        deviation = 1.0 / tl.sqrt(variance + eps)
        if program == 0:
            values: tl.constexpr = images * height * width
            keep_statistics(mean, variance, deviation, moments, running_mean, running_var, momentum, values, c)
        mean = widened(mean, c, pack)
        scale = widened(deviation * tl.load(gamma + channel), c, pack)
        offset = widened(tl.load(beta + channel), c, pack)
    shift = tl.zeros([c], tl.float32)
    total = tl.zeros([tile, pack * c], tl.float32)
    squares = tl.zeros([tile, pack * c], tl.float32)
    for turn in range((images + programs - 1) // programs):
        image = program + turn * programs
        if normalise:
            for start in range(0, size, tile):
                place = start + tl.arange(0, tile)
                at = (image * size + place)[:, None] * (pack * c) + wide[None, :]
                mask = ((place < size) & (image * size + place < images * size))[:, None] & (wide >= 0)[None, :]
                value = tl.load(source + at, mask=mask, other=0.0).to(tl.float32)
                value = (value - mean[None, :]) * scale[None, :] + offset[None, :]
                if add:
                    value += tl.load(shortcut + at, mask=mask, other=0.0).to(tl.float32)
                tl.store(activated + at, tl.maximum(value, 0.0).to(activated.dtype.element_ty), mask=mask)
            tl.debug_barrier()
        for start in range(0, size, tile):
            place = start + tl.arange(0, tile)
            if normalise:
                value = convolved(activated, weight, image, place, images, height, width, c, pack, window, False, dot)
            else:
                value = convolved(source, weight, image, place, images, height, width, c, pack, window, False, dot)
            at = (image * size + place)[:, None] * (pack * c) + wide[None, :]
            valid = (place < size) & (image * size + place < images * size)
            mask = valid[:, None] & (wide >= 0)[None, :]
            # The statistics are those of the map as it is stored.
            rounded = value.to(result.dtype.element_ty)
            tl.store(result + at, rounded, mask=mask)
            value = tl.where(mask, rounded.to(tl.float32), 0.0)
            if turn + start == 0:
                # Squares about a mean near the batch's keep their digits.
                shift = folded(tl.sum(value, 0), c, pack) / (tl.sum(valid.to(tl.float32), 0) * pack)
            away = tl.where(mask, value - widened(shift, c, pack)[None, :], 0.0)
            total += away
            squares += away * away
    count = ((images - program + programs - 1) // programs * (height * width)).to(tl.float32)
    mean_away = folded(tl.sum(total, 0), c, pack) / count
    squared = folded(tl.sum(squares, 0), c, pack) - count * mean_away * mean_away
    tl.store(rows + program * c + channel, shift + mean_away)
    tl.store(rows + (programs + program) * c + channel, squared)


@triton.jit
def ending(
    source, shortcut, result,
    before, gamma, beta, running_mean, running_var, moments, momentum, eps,
    images: tl.constexpr, size: tl.constexpr, c: tl.constexpr, programs: tl.constexpr, padded: tl.constexpr,
    tile: tl.constexpr, shares: tl.constexpr, add: tl.constexpr,
):  # fmt: skip
    """Gives result = relu(bn(source) + shortcut), or without the shortcut; `before` has the rows of `source`."""
    program = tl.program_id(0)
    channel = tl.arange(0, c)
    mean, variance = moments_of(before, images, size, c, programs, padded)
    deviation = 1.0 / tl.sqrt(variance + eps)
    if program == 0:
        keep_statistics(mean, variance, deviation, moments, running_mean, running_var, momentum, images * size, c)
    scale = deviation * tl.load(gamma + channel)
    offset = tl.load(beta + channel)
    for turn in range((images * size + shares * tile - 1) // (shares * tile)):
        row = (program + turn * shares) * tile + tl.arange(0, tile)
        at = row[:, None] * c + channel[None, :]
        mask = (row < images * size)[:, None] & (channel >= 0)[None, :]
        value = tl.load(source + at, mask=mask, other=0.0).to(tl.float32)
        value = (value - mean[None, :]) * scale[None, :] + offset[None, :]
        if add:
            value += tl.load(shortcut + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(result + at, tl.maximum(value, 0.0).to(result.dtype.element_ty), mask=mask)
