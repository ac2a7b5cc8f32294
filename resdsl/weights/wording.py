"""How messages name what a user can allow or choose: arguments in Python, options on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """The ways to write permissions and choices; an empty one is not offered there.

    `fresh` and `left_over` take names and are joined by `between`; the others are formats with one place.
    """

    fresh: str
    left_over: str
    is_list: bool
    adapt_input: str
    verify: str
    no_verify: str
    network: str

    def permissions(self, fresh: Sequence[str], left_over: Sequence[str]) -> str:
        """What allows these names, as it is to be written; empty where nothing can be."""
        if not self.fresh:
            return ""
        if self.is_list:
            given = [f"{what}={_listed(names)}" for what, names in self._pairs(fresh, left_over) if names]
            return ", ".join(given)
        return " ".join(f"{what} {name}" for what, names in self._pairs(fresh, left_over) for name in names)

    def _pairs(self, fresh: Sequence[str], left_over: Sequence[str]) -> tuple[tuple[str, Sequence[str]], ...]:
        return (self.fresh, fresh), (self.left_over, left_over)


def _listed(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


PYTHON = Wording(
    "allow_fresh", "allow_left_over", True, 'adapt_input="{}"', 'verify="{}"', "verify=False", 'resdsl.load("{}", "{}")'
)
WEIGHTS_COMMAND = Wording(
    "--allow-fresh", "--allow-left-over", False, "--adapt-input {}", "--verify {}", "--no-verify", "--network {1}"
)
# Functions that take weights and offer no choices.
NO_CHOICES = Wording("", "", True, "", "", "", 'resdsl.load("{}", "{}")')
DEEPEN_COMMAND = Wording("", "", False, "", "", "--no-verify", "--network {1}")
