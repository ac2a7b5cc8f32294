"""The syntax tree of a `.res` file: frozen nodes, each with its place in the text.

The tree says what was written and nothing else: names are not resolved, defaults not filled in. Nodes compare by
identity, so that a node can key a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from resdsl.source import SourceFile, Span


@dataclass(frozen=True, slots=True, eq=False)
class Identifier:
    """A name that is defined or referred to as such (of a stage, a parameter, an argument)."""

    span: Span
    name: str


# --- expressions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A number, a string, `true`, `false` or a size such as `3x3` (a tuple); `span.text` is how it was written."""

    span: Span
    value: int | float | bool | str | tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A name used as a value."""

    span: Span
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class ListExpr:
    """`[3, 4, 6, 3]`"""

    span: Span
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """An operator with one or two operands: `-a`, `not a`, `a + b`, `a <= b`, `a and b`."""

    span: Span
    operator: str
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Conditional:
    """`then if condition else otherwise`"""

    span: Span
    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """`widths[2]`"""

    span: Span
    base: Expr
    index: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """An expression in parentheses."""

    span: Span
    inner: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Argument:
    """`64` or `stride = 2` in a call."""

    span: Span
    name: Identifier | None
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """`conv(3x3, 64)`, and `bn` where a step, a base or a recipe is named; `arguments` is None without parentheses."""

    span: Span
    callee: Identifier
    arguments: tuple[Argument, ...] | None


Expr = Union[Literal, Name, ListExpr, Operation, Conditional, Index, Grouped, Call]


# --- steps and statements ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Apply:
    """One step of a chain, with the name of the place behind it if it has one: `relu as early`."""

    span: Span
    call: Call
    label: Identifier | None


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """`3 x basic` or `3 x { ... }`"""

    span: Span
    count: Expr
    body: Call | Body


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One way through a group: `branch left { ... }`."""

    span: Span
    name: Identifier | None
    body: Body


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Ways that part and join: kind is residual, preactivation, concat, add, multiply or gated."""

    span: Span
    keyword: Span
    kind: str
    arguments: tuple[Argument, ...] | None
    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Auxiliary:
    """`auxiliary aux1(weight = 0.3) { ... }`"""

    span: Span
    name: Identifier
    arguments: tuple[Argument, ...] | None
    body: Body


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """`conv(3x3, 64) -> bn -> relu`"""

    span: Span
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, eq=False)
class If:
    """`if ... { ... } else { ... }`; an `else if` is an If alone in `otherwise`."""

    span: Span
    condition: Expr
    then: Body
    otherwise: Body | None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A line of a shortcut: `shape changes -> projection`."""

    span: Span
    keyword: Span
    when_shape_changes: bool
    chain: Chain


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """Statements between braces."""

    span: Span
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """`input 3 x 224 x 224`"""

    span: Span
    dims: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MapRule:
    """`halve map -> double filters`; growth is "same", "double" or an expression in `filters`."""

    span: Span
    halve: bool
    growth: str | Expr
    growth_span: Span


@dataclass(frozen=True, slots=True, eq=False)
class ShortcutRule:
    """`shortcut -> B`"""

    span: Span
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class DefaultRule:
    """`default bn(eps = 1e-3)`"""

    span: Span
    step: Identifier
    arguments: tuple[Argument, ...]


Rule = Union[MapRule, ShortcutRule, DefaultRule]


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """`rules { ... }`"""

    span: Span
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MapAttribute:
    """`halve map` of a stage; `at_end` gives the stride to its last block."""

    span: Span
    halve: bool
    at_end: bool


@dataclass(frozen=True, slots=True, eq=False)
class FiltersAttribute:
    """`filters 64` or `override filters 64` of a stage."""

    span: Span
    override: bool
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class ShortcutAttribute:
    """`shortcut C` of a stage."""

    span: Span
    value: Expr


Attribute = Union[MapAttribute, FiltersAttribute, ShortcutAttribute]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """`stem { ... }`, `stage conv2, halve map { ... }` or `head { ... }`; `heading` spans the words before the brace."""

    span: Span
    heading: Span
    kind: str
    name: Identifier
    attributes: tuple[Attribute, ...]
    body: Body


@dataclass(frozen=True, slots=True, eq=False)
class NumberClaim:
    """`parameters 0.27M within 1%`"""

    span: Span
    subject: Identifier
    value: Expr
    within: Expr | None


@dataclass(frozen=True, slots=True, eq=False)
class ShapeClaim:
    """`output of conv5 is 512 x 7 x 7`; without a place it is the network's output."""

    span: Span
    place: Identifier | None
    dims: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Expect:
    """`expect { ... }` or `expect when classes == 10 { ... }`"""

    span: Span
    condition: Expr | None
    claims: tuple[NumberClaim | ShapeClaim, ...]


Step = Union[Apply, Repeat, Group, Auxiliary]
Statement = Union[Chain, If, Case, Input, Rules, Part, Expect]


# --- definitions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """`classes = 1000`"""

    span: Span
    name: Identifier
    default: Expr | None


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """`use "families/resnet.res"`"""

    span: Span
    path: Literal


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network of its own (`base` is None) or a variant of another one."""

    span: Span
    name: Identifier
    parameters: tuple[Parameter, ...]
    base: Call | None
    body: Body | None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """`block bottleneck(expansion = 4) { ... }`"""

    span: Span
    name: Identifier
    parameters: tuple[Parameter, ...]
    body: Body


@dataclass(frozen=True, slots=True, eq=False)
class Shortcut:
    """`shortcut A { same shape -> identity; shape changes -> zero_pad }`"""

    span: Span
    name: Identifier
    parameters: tuple[Parameter, ...]
    body: Body


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """One line of a recipe: `augment pad(4) -> flip`, `warmup(lr = 0.01) until train_error < 80%`."""

    span: Span
    word: Identifier
    arguments: tuple[Argument, ...] | None
    values: tuple[Expr, ...]
    until: Expr | None


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """The settings of a recipe between their braces."""

    span: Span
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """`recipe he_cifar(iterations = 64k) { ... }`"""

    span: Span
    name: Identifier
    parameters: tuple[Parameter, ...]
    settings: Settings


@dataclass(frozen=True, slots=True, eq=False)
class Train:
    """`train { ... }`, `train resnet110 with he_cifar { ... }`"""

    span: Span
    networks: tuple[Identifier, ...]
    base: Call | None
    settings: Settings | None


Definition = Union[Use, Network, Block, Shortcut, Recipe, Train]


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """A whole file."""

    source: SourceFile
    definitions: tuple[Definition, ...]
