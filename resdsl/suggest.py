"""Suggestions: the candidate that a misspelt word most likely stands for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

# The distance is quadratic in the length; nobody misspells by a letter or two what is longer than this.
_LONGEST = 64
# A file with more names than these has mistakes enough to wait for.
_MOST = 400
_MOST_LISTED = 20
# What torch, Keras and ONNX call the steps of the language, in small letters and without underscores.
_ELSEWHERE = {
    "conv2d": "conv", "convolution": "conv", "convolution2d": "conv", "depthwiseconv2d": "depthwise_conv",
    "convtranspose": "transposed_conv", "convtranspose2d": "transposed_conv", "conv2dtranspose": "transposed_conv",
    "batchnorm": "bn", "batchnorm2d": "bn", "batchnormalization": "bn", "groupnorm": "group_norm",
    "groupnormalization": "group_norm", "layernorm": "layer_norm", "layernormalization": "layer_norm",
    "dense": "linear", "fc": "linear", "gemm": "linear", "maxpool": "max_pool", "maxpool2d": "max_pool",
    "maxpooling2d": "max_pool", "avgpool": "avg_pool", "avgpool2d": "avg_pool", "averagepool": "avg_pool",
    "averagepooling2d": "avg_pool", "adaptiveavgpool2d": "adaptive_avg_pool",
    "adaptivemaxpool2d": "adaptive_max_pool", "globalaveragepool": "global_avg_pool", "gap": "global_avg_pool",
    "globalaveragepooling2d": "global_avg_pool", "globalmaxpool": "global_max_pool",
    "globalmaxpooling2d": "global_max_pool", "dropout2d": "channel_dropout", "spatialdropout2d": "channel_dropout",
    "droppath": "stochastic_depth", "localresponsenorm": "lrn", "swish": "silu", "hardswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid", "leakyrelu": "leaky_relu", "zeropad2d": "pad", "zeropadding2d": "pad",
    "upsampling2d": "upsample",
}  # fmt: skip


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate nearest to the word, or None when none is near.

    Near means: equal but for upper and lower case, or within an edit distance of a third of the word's length (at
    least one edit) that leaves a letter in common. Of equally near candidates the alphabetically first is taken.
    """
    folded = word.casefold()
    limit = max(1, len(word) // 3)
    best: tuple[int, str] | None = None
    for candidate in islice(candidates, _MOST):
        distance = _distance_within(folded, candidate.casefold(), limit)
        if distance is not None and (best is None or (distance, candidate) < best):
            best = (distance, candidate)
    return best and best[1]


def closest_step(word: str, candidates: Iterable[str]) -> str | None:
    """The step or block that a name stands for, as another library has it or misspelt."""
    return _ELSEWHERE.get(word.casefold().replace("_", "")) or closest(word, candidates)


def listed(words: Iterable[str]) -> str | None:
    """Words in a sentence, the first of many; None without any."""
    quoted = [f"`{word}`" for word in islice(words, _MOST_LISTED + 1)]
    if len(quoted) > _MOST_LISTED:
        quoted[-1] = "..."
    return ", ".join(quoted) or None


def _distance_within(word: str, other: str, limit: int) -> int | None:
    if word == other:
        return 0
    longer = max(len(word), len(other))
    if longer > _LONGEST or abs(len(word) - len(other)) > limit:
        return None
    distance = _edit_distance(word, other)
    return distance if distance <= limit and distance < longer else None


def _edit_distance(word: str, other: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that turn one word into the other."""
    before_last: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(word, start=1):
        current = [row]
        for column, target in enumerate(other, start=1):
            cost = min(last[column] + 1, current[-1] + 1, last[column - 1] + (letter != target))
            is_swap = row > 1 and column > 1 and letter == other[column - 2] and word[row - 2] == target
            if is_swap:
                cost = min(cost, before_last[column - 2] + 1)
            current.append(cost)
        before_last, last = last, current
    return last[-1]
