"""What names mean at a place: parameters, then what the place in the network gives, then definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from resdsl.diagnostics import Mistake, Problems
from resdsl.ops import STEPS
from resdsl.semantics.library import Definition
from resdsl.semantics.region import Flow, Region
from resdsl.semantics.values import POISON, Ref, Value, key_of
from resdsl.source import Span
from resdsl.suggest import closest, listed
from resdsl.syntax import tree

CONTEXT_ARGUMENTS = ("filters", "stride", "shortcut")
PLACE_NAMES = ("channels", "height", "width", "filters", "stride")


@dataclass(frozen=True, slots=True)
class Definitions:
    """The blocks and shortcuts that a file can name: its own, those it uses, the library's."""

    by_name: Mapping[str, Definition]

    def find(self, name: str) -> Ref | None:
        """A block, a shortcut or a step of this name."""
        definition = self.by_name.get(name)
        if definition is not None:
            return Ref(name, definition)
        spec = STEPS.get(name)
        return None if spec is None else Ref(name, spec)

    def steps(self) -> Iterable[str]:
        """What can stand as a step: the blocks and the language's own."""
        yield from (name for name, found in self.by_name.items() if isinstance(found, tree.Block))
        yield from STEPS

    def shortcuts(self) -> list[str]:
        """What can be chosen as a shortcut, blocks and other steps aside."""
        own = [name for name, found in self.by_name.items() if isinstance(found, tree.Shortcut)]
        return ["identity", "none", *own]

    def names(self) -> Iterable[str]:
        """Everything that can be named."""
        yield from self.by_name
        yield from STEPS


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage hands to its blocks.

    Attributes:
        filters: the stage's filters, None where nothing states them.
        filters_rule: where they were set, when a rule or the stage set them.
        stride: the stride (down, across) that the stage or block owes in all.
        shortcut: the shortcut in force and where it was chosen; None before any choice.
        last_stride: the stride of the last round of a repeat, for a stage that halves its map at the end.
    """

    filters: int | None = None
    filters_place: Span | None = None
    stride: tuple[int, int] = (1, 1)
    shortcut: tuple[Value, Span] | None = None
    last_stride: tuple[int, int] | None = None

    def key(self) -> object:
        """What decides which ops a block makes of it."""
        return (self.filters, self.stride, None if self.shortcut is None else key_of(self.shortcut[0]))


@dataclass(slots=True)
class Scope:
    """Names at a place of a region; `flow` is the value that the next step takes.

    `beginning` is what `input` means where a block's body runs within another region, else None.
    """

    definitions: Definitions
    problems: Problems
    region: Region
    flow: Flow
    context: Context = field(default_factory=Context)
    values: dict[str, Value] = field(default_factory=dict)
    stride_base: tuple[float, float] = (1, 1)
    prefix: str = ""
    role: str = "trunk"
    beginning: Flow | None = None

    def lookup(self, name: str, span: Span) -> Value | None:
        """See resdsl.semantics.evaluate.Names."""
        if name in self.values:
            return self.values[name]
        if name in PLACE_NAMES and self.region.is_nowhere:
            self.problems.report("R0215", span, name=name)
            return POISON
        match name:
            case "filters":
                if self.context.filters is None:
                    # Behind an earlier mistake nobody knows which filters there would have been.
                    if not self.region.is_poisoned:
                        self.problems.report("R0215", span, name=name, stated="filters")
                    return POISON
                return self.context.filters
            case "stride":
                owed = self.owed_stride()
                return owed[0] if owed[0] == owed[1] else owed
            case "channels" | "height" | "width":
                return self._extent(name, span)
        return self.definitions.find(name)

    def _extent(self, name: str, span: Span) -> Value:
        shape = self.flow.shape
        if shape is None:
            return POISON
        if name == "channels":
            return shape[0]
        if self.region.limit is not None:
            shape = self.region.undilated(self.flow) or shape
        if len(shape) != 3:
            self.problems.report("R0216", span, name=name, shape=f"a vector of {shape[0]}")
            return POISON
        return shape[1 if name == "height" else 2]

    def known(self) -> Iterable[str]:
        """All names that would be found here."""
        yield from self.values
        yield from PLACE_NAMES
        yield from self.definitions.names()

    def owed_stride(self) -> tuple[int, int]:
        """The stride still to be done on the way to what the stage or block owes; 1 once it is done."""
        done = self.region.geometry(self.flow).pace
        owed = [1, 1]
        for axis in (0, 1):
            so_far = done[axis] / self.stride_base[axis]
            rest = self.context.stride[axis] / so_far
            owed[axis] = int(rest) if rest >= 1 and rest == int(rest) else 1
        return owed[0], owed[1]

    def inner(self, **changes: object) -> Scope:
        """A scope inside this one: its own values, the same region."""
        values = dict(self.values)
        scope = replace(self, values=values)
        for name, value in changes.items():
            setattr(scope, name, value)
        return scope


def unknown_shortcut(name: str, span: Span, definitions: Definitions, parameters: Iterable[str]) -> Mistake:
    """The mistake of a name that nothing defines where a shortcut is chosen."""
    known = definitions.shortcuts()
    guess = closest(name, (*parameters, *known))
    hints = () if guess else (f"the shortcuts are {listed(known)}; a block can be one too",)
    return Mistake("R0201", span, {"name": name, "guess": guess}, hints=hints)


def misplaced(statement: tree.Case | tree.Part | tree.Input | tree.Rules | tree.Expect | tree.Published) -> Mistake:
    """The mistake of a statement that stands in the wrong kind of definition."""
    match statement:
        case tree.Case():
            return Mistake("R0407", statement.keyword, {"what": "a case", "where": "in a shortcut"})
        case tree.Part():
            what = f"`{statement.kind}`"
            return Mistake("R0407", statement.heading, {"what": what, "where": "in a network, outside other parts"})
    word = type(statement).__name__.lower()
    return Mistake("R0407", statement.span, {"what": f"`{word}`", "where": "in a network, outside its parts"})
