"""The receipt of a transfer of weights: one row a tensor, so that nothing happens silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LOADED, ADAPTED, FRESH, LEFT_OVER = "loaded", "adapted", "fresh", "left over"
BY_ORDER = "order only"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one tensor.

    Attributes:
        target: the tensor's name in the module; empty where a tensor of the file is left over.
        source: the name, or names, in the file; empty where the module's tensor keeps its first weights.
        status: `loaded`, `adapted`, `fresh` or `left over`.
        how: what decided that the two belong together, how the values were adapted, or why there is no other side.
        shape: of the module's tensor, else of the file's.
    """

    target: str
    source: str
    status: str
    how: str
    shape: tuple[int, ...]

    @property
    def is_by_order(self) -> bool:
        """Whether only the order in the file told the tensor from others of its shape."""
        return self.how == BY_ORDER

    def __str__(self) -> str:
        sides = " <- ".join(side for side in (self.target, self.source) if side)
        return f"{sides}: {self.status}" + (f", {self.how}" if self.how else "")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of all tensors of a checkpoint and of a module; `str` gives all but those loaded as they are."""

    network: str
    source: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def loaded(self) -> tuple[Row, ...]:
        """Rows of tensors taken as they are."""
        return self._having(LOADED)

    @property
    def adapted(self) -> tuple[Row, ...]:
        """Rows of tensors whose values or shape were changed."""
        return self._having(ADAPTED)

    @property
    def fresh(self) -> tuple[Row, ...]:
        """Rows of the module's tensors that keep their first weights."""
        return self._having(FRESH)

    @property
    def left_over(self) -> tuple[Row, ...]:
        """Rows of the file's tensors that went nowhere."""
        return self._having(LEFT_OVER)

    @property
    def by_order(self) -> tuple[Row, ...]:
        """Rows where other tensors have the same shape and only the order in the file told them apart."""
        return tuple(row for row in self.rows if row.is_by_order)

    def _having(self, status: str) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.status == status)

    def counts(self) -> dict[str, int]:
        """Number of tensors by status, also where it is 0."""
        found = Counter(row.status for row in self.rows)
        return {status: found[status] for status in (LOADED, ADAPTED, FRESH, LEFT_OVER)}

    def counts_text(self) -> str:
        """The counts in words: `45 loaded, 2 fresh, 2 left over`."""
        return ", ".join(f"{count} {status}" for status, count in self.counts().items() if count)

    def reasons(self) -> dict[str, int]:
        """How many of the tensors taken as they are each reason decided, the commonest first."""
        return dict(Counter(row.how for row in self.loaded).most_common())

    def source_of(self, target: str) -> str:
        """The name in the file for a tensor of the module. Raises KeyError."""
        for row in self.rows:
            if row.target == target:
                return row.source
        raise KeyError(target)

    def __str__(self) -> str:
        lines = [f"{self.source} to {self.network}: {self.counts_text()}"]
        lines += [f"  {row}" for row in self.rows if row.status != LOADED]
        if self.by_order:
            lines.append(f"  {len(self.by_order)} tensors are told from others of their shape by order only")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """The receipt as plain data: what `resdsl weights --json` prints."""
        return {
            "network": self.network,
            "source": self.source,
            "counts": self.counts(),
            "by_order": len(self.by_order),
            "notes": list(self.notes),
            "tensors": [
                {
                    "target": row.target or None,
                    "source": row.source or None,
                    "status": row.status,
                    "how": row.how,
                    "shape": list(row.shape),
                }
                for row in self.rows
            ],
        }


def shape_text(shape: Sequence[int]) -> str:
    """A shape in words: `64 x 3 x 7 x 7`."""
    return " x ".join(str(extent) for extent in shape) or "a single number"
