"""What the catalogue says of one code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """The words for one kind of mistake.

    Title, label, the labels of second places and hints are templates over the mistake's facts. A hint that mentions a
    fact which the mistake does not have, or has as None, is left out. `wrong` is a file with exactly this mistake and
    `right` the file repaired; `beside` are the files that `wrong` uses. Empty examples: the mistake is not in the text.
    """

    code: str
    title: str
    label: str
    explanation: str
    wrong: str
    right: str
    related: Mapping[str, str] = field(default_factory=dict)
    hints: tuple[str, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
