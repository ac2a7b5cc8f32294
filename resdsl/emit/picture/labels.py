"""The words of ops: which are told where a box stands for several of them, and rates, one or from ... to ..."""

from __future__ import annotations

import re
from collections.abc import Sequence

from resdsl.ops import Op

STRIP_FAMILIES = frozenset({"norm", "activation", "dropout", "identity"})
# Only `op_label` writes a number behind these words and a space.
_RATE = re.compile(r"(?:(?<=dropout )|(?<=stochastic depth )|(?<=scale ))-?\d\S*")


def op_label(op: Op) -> str:
    """An op's words, with the rate at which it drops or the factor by which it scales."""
    rate = _rate(op)
    return op.label() if rate is None else f"{op.name.replace('_', ' ')} {rate:.2g}"


def _rate(op: Op) -> float | None:
    rate: float | None = op.args.get("by", op.args.get("drop"))
    return rate


def is_told(op: Op) -> bool:
    """Whether a box for several ops tells this one: not what belongs to a layer, nor sums, which the shortcuts tell."""
    if op.spec.is_join:
        return op.name == "concat"
    if op.spec.has_weights_layer or _rate(op) is not None:
        return True
    return op.spec.family not in STRIP_FAMILIES and op.name != "flatten"


def without_rates(text: str) -> str:
    """The same words whatever the rates."""
    return _RATE.sub("", text)


def with_ranges(texts: Sequence[str]) -> str:
    """Words that differ in their rates only as one: `stochastic depth 0.1 to 0.5`."""
    ranges = iter([_range(column) for column in zip(*(_RATE.findall(text) for text in texts), strict=True)])
    return _RATE.sub(lambda _: next(ranges), texts[0])


def _range(rates: Sequence[str]) -> str:
    least, most = min(rates, key=float), max(rates, key=float)
    if least == most:
        return least
    return f"{most} to {least}" if float(rates[0]) > float(rates[-1]) else f"{least} to {most}"
