"""What the kernels share: a tile of a 3x3 convolution, and sums over the batch that cross from launch to launch.

Maps are (N, H, W, C) without gaps, weights (C out, 3, 3, C in), both of the type of the pointers; `dot` is the type
that is multiplied. Sums are float32. Sizes and loop bounds are compile-time constants.

A launch has `programs` programs, which take the images (or tiles of rows) by turns and write one row of sums each:
first all rows of one sum, then all rows of the other. The next launch adds the rows up in their order, every program
for itself, as many as fit into `padded`, a power of two. That saves a launch, and gives the same bits each time, which
atomic additions would not.
"""

import triton
import triton.language as tl


@triton.jit
def shifted(
    source, image, place, group, images: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
    c: tl.constexpr, pack: tl.constexpr, window: tl.constexpr,
):  # fmt: skip
    """What the kernel sees at the places (T,) of an image: (T, window * C), zeros outside the map.

    A place is `pack` neighbours in a row. With `window` 1 a group is one of nine taps. With more it is one of three
    rows, and all that the row of the kernel sees at the place: pack + 2 neighbours, whose channels follow each other in
    memory, and zeros up to `window`, a power of two.
    """
    k = tl.arange(0, window * c)
    first = 0 if window > 1 else group % 3
    up = (group if window > 1 else group // 3) - 1
    columns: tl.constexpr = width // pack
    neighbour = first + k // c
    row = place // columns + up
    column = (place % columns * pack)[:, None] + neighbour[None, :] - 1
    at = image * (height * columns) + place
    there = (place < height * columns) & (at < images * height * columns) & (row >= 0) & (row < height)
    inside = there[:, None] & (neighbour < pack + 2)[None, :] & (column >= 0) & (column < width)
    start = (at + up * columns) * pack + first - 1
    return tl.load(source + start[:, None] * c + k[None, :], mask=inside, other=0.0)


@triton.jit
def convolved(
    source, weight, image, place, images: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
    c: tl.constexpr, pack: tl.constexpr, window: tl.constexpr, backward: tl.constexpr, dot: tl.constexpr,
):  # fmt: skip
    """The places (T,) of an image in a 3x3 convolution, (T, pack * C); `backward` is the gradient of its input."""
    k = tl.arange(0, window * c)[:, None]
    out = tl.arange(0, pack * c)[None, :]
    result = tl.zeros([place.shape[0], pack * c], tl.float32)
    for group in range(3 if window > 1 else 9):
        seen = shifted(source, image, place, group, images, height, width, c, pack, window)
        # The column of the kernel through which this neighbour adds to that member of the pack.
        column = k // c - out // c + (0 if window > 1 else group % 3)
        tap = (group if window > 1 else group // 3) * 3 + column
        # Backward it is the kernel turned around, its inputs and outputs exchanged.
        turned = (k % c) * (9 * c) + (8 - tap) * c + out % c
        places = turned if backward else (out % c) * (9 * c) + tap * c + k % c
        kernel = tl.load(weight + places, mask=(column >= 0) & (column < 3), other=0.0)
        result = tl.dot(seen.to(dot), kernel.to(dot), result, input_precision="ieee")
    return result


@triton.jit
def widened(vector, c: tl.constexpr, pack: tl.constexpr):
    """(C,) for each member of a pack: (pack * C,)."""
    return tl.reshape(tl.broadcast_to(vector[None, :], [pack, c]), [pack * c])


@triton.jit
def folded(vector, c: tl.constexpr, pack: tl.constexpr):
    """The sum over the members of a pack, from (pack * C,) to (C,)."""
    return tl.sum(tl.reshape(vector, [pack, c]), 0)


@triton.jit
def moments_of(
    rows, images: tl.constexpr, size: tl.constexpr, c: tl.constexpr, programs: tl.constexpr, padded: tl.constexpr
):
    """Mean and biased variance (C,) over the batch, from each program's mean and sum of squares about that mean.

    These are put together as Chan et al. 1979 do, which loses nothing where the mean is far larger than the deviation.
    """
    program = tl.arange(0, padded)[:, None]
    channel = tl.arange(0, c)[None, :]
    there = (program < programs) & (channel >= 0)
    count = tl.where(there, (images - program + programs - 1) // programs * size, 0).to(tl.float32)
    means = tl.load(rows + program * c + channel, mask=there, other=0.0)
    squares = tl.load(rows + programs * c + program * c + channel, mask=there, other=0.0)
    mean = tl.sum(means * count, 0) / (images * size)
    away = means - mean[None, :]
    return mean, tl.sum(squares + count * away * away, 0) / (images * size)


@triton.jit
def sums_of(rows, c: tl.constexpr, programs: tl.constexpr, padded: tl.constexpr):
    """Two sums (C,) over the rows of all programs."""
    program = tl.arange(0, padded)[:, None]
    channel = tl.arange(0, c)[None, :]
    there = (program < programs) & (channel >= 0)
    one = tl.load(rows + program * c + channel, mask=there, other=0.0)
    other = tl.load(rows + programs * c + program * c + channel, mask=there, other=0.0)
    return tl.sum(one, 0), tl.sum(other, 0)


@triton.jit
def keep_statistics(
    mean, variance, deviation, moments, running_mean, running_var, momentum,
    values: tl.constexpr, c: tl.constexpr,
):  # fmt: skip
    """Write what the backward pass needs, and what torch's batch normalisation keeps of a batch of `values`."""
    channel = tl.arange(0, c)
    tl.store(moments + channel, mean)
    tl.store(moments + c + channel, deviation)
    kept_mean = tl.load(running_mean + channel)
    kept_var = tl.load(running_var + channel)
    unbiased = variance * (values / (values - 1))
    tl.store(running_mean + channel, kept_mean + momentum * (mean - kept_mean))
    tl.store(running_var + channel, kept_var + momentum * (unbiased - kept_var))
