"""What a picture shows, before anything has a place: units, the wires between them, plates around repeated units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from resdsl.emit.picture.labels import op_label
from resdsl.ir.lower import OpNode
from resdsl.ir.summary import node_totals
from resdsl.ops import Shape
from resdsl.semantics.model import Totals

MAX_TOOLTIP_NUMBER = 120
MAX_WORDS = 60


@dataclass(frozen=True, slots=True)
class Tab:
    """An op drawn as a strip that touches its unit: a norm, an activation, a dropout."""

    key: str
    label: str
    tooltip: str


@dataclass(frozen=True, slots=True)
class Wire:
    """An input of a unit.

    Attributes:
        kind: trunk, branch, gate, identity (a shortcut that keeps the shape) or changed (one that does not).
        side: right or left of the trunk, for a wire that does not run on it.
        label: the shortcut's option, where the shortcut does more than hand on its input.
        leaves_at: how far below the top of its source, a box for several steps, it leaves; None: behind the source.
    """

    source: str
    kind: str = "trunk"
    side: str = "right"
    label: str = ""
    tooltip: str = ""
    leaves_at: float | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing drawn.

    Attributes:
        kind: box (an op or a block), pool, strip (tabs only), join, gate, concat, image, end, point or more.
        lines: its words.
        shape: of its result.
        wires: its inputs; the trunk runs through the wire at `primary`.
        before, after: strips above and below the words.
        first, last: the names of the ops that take and give its value: what DOT's edges join.
        plate: key of the plate around it, "" for none.
        section: part and block, by which networks side by side are aligned.
        role: of its ops: trunk, shortcut, gate or auxiliary.
        is_bold: whether its first line is a title.
        is_shape_told: whether its words say the shape of its result.
    """

    key: str
    kind: str
    lines: tuple[str, ...]
    tooltip: str
    part: str
    shape: Shape
    wires: tuple[Wire, ...]
    primary: int = 0
    before: tuple[Tab, ...] = ()
    after: tuple[Tab, ...] = ()
    ops: tuple[OpNode, ...] = ()
    plate: str = ""
    section: str = ""
    role: str = "trunk"
    is_bold: bool = False
    is_shape_told: bool = False

    @property
    def first(self) -> str:
        """The DOT node that the unit's inputs lead to."""
        return self.before[0].key if self.before else self.key

    @property
    def last(self) -> str:
        """The DOT node that the unit's result comes from."""
        return self.after[-1].key if self.after else self.before[-1].key if self.kind == "strip" else self.key


@dataclass(frozen=True, slots=True)
class Plate:
    """A frame around units that stand for several equal ones, with their count."""

    key: str
    count: int
    tooltip: str


@dataclass(frozen=True, slots=True)
class Sketch:
    """Units in an order in which each comes after its inputs."""

    units: tuple[Unit, ...]
    plates: tuple[Plate, ...] = ()


def rewired(unit: Unit, renamed: Mapping[str, str]) -> Unit:
    """A unit whose wires lead to other sources."""
    wires = tuple(replace(wire, source=renamed.get(wire.source, wire.source)) for wire in unit.wires)
    return replace(unit, wires=wires)


def brief(text: str) -> str:
    """Words cut to a length that fits a picture."""
    return text if len(text) <= MAX_WORDS else text[: MAX_WORDS - 1] + "…"


def size_text(shape: Shape) -> str:
    """A shape in a picture: `64 × 56 × 56`."""
    return " × ".join(str(extent) for extent in shape)


def amount_text(value: object) -> str:
    """A number with its thousands set apart, or an expression cut to a readable length."""
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text if len(text) <= MAX_TOOLTIP_NUMBER else text[: MAX_TOOLTIP_NUMBER - 1] + "…"


def op_tooltip(node: OpNode) -> str:
    """An op's name and words, its place in the text, its output and its costs."""
    lines = [f"{node.name}: {op_label(node.op)}", node.place.place(), f"output {size_text(node.shape)}"]
    return "\n".join([*lines, cost_text(node_totals(node))])


def cost_text(totals: Totals) -> str:
    """Parameters and multiply-adds in words."""
    return f"{amount_text(totals.parameters)} parameters, {amount_text(totals.macs)} multiply-adds"


def sum_totals(ops: tuple[OpNode, ...]) -> Totals:
    """The sums over some ops."""
    return Totals.of([node_totals(node) for node in ops])


def group_tooltip(name: str, ops: tuple[OpNode, ...]) -> str:
    """What several ops drawn as one are: their words, the place of the first, the output and the costs of all."""
    words = ", ".join(op_label(node.op) for node in ops[:12]) + (f", … {len(ops) - 12} more" if len(ops) > 12 else "")
    place = ops[0].place.place()
    return f"{name}: {words}\n{place}\noutput {size_text(ops[-1].shape)}\n{cost_text(sum_totals(ops))}"
