"""What a user allows: names that may stay fresh or left over, and which to write where something is not allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resdsl.suggest import closest
from resdsl.weights.adapt import INPUT_WAYS
from resdsl.weights.checkpoint import Checkpoint
from resdsl.weights.errors import WeightsError
from resdsl.weights.target import Target
from resdsl.weights.wording import PYTHON, Wording

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Permissions:
    """What may be fresh or left over, how other input channels are adapted, and how messages are to name all that.

    Raises:
        WeightsError: an unknown way to adapt.
    """

    fresh: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    adapt_input: str | None = None
    wording: Wording = PYTHON

    def __post_init__(self) -> None:
        if self.adapt_input is not None and self.adapt_input not in INPUT_WAYS:
            raise WeightsError(f"adapt_input is {self.adapt_input!r}, not one of {', '.join(INPUT_WAYS)}")


class Allowed:
    """Names given on the command line or in a call, and which names they cover; `signs` end a name's part.

    Raises:
        WeightsError: one covers nothing.
    """

    def __init__(self, given: Iterable[str], known: Iterable[str], where: str, signs: str) -> None:
        self._given = tuple(given)
        self._signs = signs
        names = list(known)
        for one in self._given:
            if not one or not any(self._covers(one, name) for name in names):
                guess = closest(one, {name.split(".")[0] for name in names} | set(names))
                parts = [part for part in dict.fromkeys(name.partition(".")[0] for name in names) if part]
                hint = f"; did you mean {guess!r}?" if guess else f", which has {_listed(parts)}" if parts else ""
                raise WeightsError(f"{one!r} names nothing of {where}{hint}")

    def covers(self, names: Iterable[str]) -> bool:
        """Whether all names, or parts that they lie in, were given."""
        return all(any(self._covers(one, name) for one in self._given) for name in names)

    def _covers(self, prefix: str, name: str) -> bool:
        return name.startswith(prefix) and (len(name) == len(prefix) or name[len(prefix)] in self._signs)


def as_names(given: Iterable[str]) -> tuple[str, ...]:
    """Names given as a list, or a single one as a text."""
    return (given,) if isinstance(given, str) else tuple(given)


def what_would_allow(
    target: Target, checkpoint: Checkpoint, lone: Sequence[int], left: Sequence[int], wording: Wording
) -> list[str]:
    """What would allow a few layers to stay alone: the largest parts that hold no others."""
    if not 0 < len(lone) + len(left) <= _SHOWN:
        return []
    ours = [layer.name for layer in target.layers if layer.is_present]
    theirs = [layer.name for layer in checkpoint.layers]
    fresh = _wholes([target.layers[t].name for t in lone], ours)
    unused = _wholes([checkpoint.layers[s].name for s in left], theirs)
    options = wording.permissions(fresh, unused)
    return [f"where that is meant: {options}"] if options else []


def _listed(parts: Sequence[str]) -> str:
    shown = [*parts[:_SHOWN], *(["..."] if len(parts) > _SHOWN else [])]
    return ", ".join(shown)


def _wholes(names: Sequence[str], everything: Sequence[str]) -> list[str]:
    others = set(everything).difference(names)
    found: dict[str, None] = {}
    for name in names:
        ends = [place for place, sign in enumerate(name) if sign in "./"] + [len(name)]
        prefixes = (name[:end] for end in ends)
        found[next((p for p in prefixes if not any(o.startswith(p) for o in others)), name)] = None
    return list(found)
