"""The syntax tree of a `.res` file: frozen nodes, each with its place in the text.

The tree says what was written and nothing else: names are not resolved, defaults not filled in. Nodes compare by
identity, so that a node can key a table.
"""

from __future__ import annotations

from typing import Union

from resdsl.records import Record
from resdsl.source import SourceFile, Span


class Identifier(Record):
    """A name that is defined or referred to as such (of a stage, a parameter, an argument)."""

    span: Span
    name: str


# --- expressions ---------------------------------------------------------------------------------------------------


class Literal(Record):
    """A number, a string, `true`, `false` or a size such as `3x3` (a tuple); `span.text` is how it was written."""

    span: Span
    value: int | float | bool | str | tuple[int, ...]


class Name(Record):
    """A name used as a value."""

    span: Span
    name: str


class ListExpr(Record):
    """`[3, 4, 6, 3]`"""

    span: Span
    items: tuple[Expr, ...]


class Operation(Record):
    """An operator with one or two operands: `-a`, `not a`, `a + b`, `a <= b`, `a and b`."""

    span: Span
    operator: str
    operands: tuple[Expr, ...]


class Conditional(Record):
    """`then if condition else otherwise`"""

    span: Span
    condition: Expr
    then: Expr
    otherwise: Expr


class Index(Record):
    """`widths[2]`"""

    span: Span
    base: Expr
    index: Expr


class Grouped(Record):
    """An expression in parentheses."""

    span: Span
    inner: Expr


class Argument(Record):
    """`64` or `stride = 2` in a call."""

    span: Span
    name: Identifier | None
    value: Expr


class Call(Record):
    """`conv(3x3, 64)`, and `bn` where a step, a base or a recipe is named; `arguments` is None without parentheses."""

    span: Span
    callee: Identifier
    arguments: tuple[Argument, ...] | None


Expr = Union[Literal, Name, ListExpr, Operation, Conditional, Index, Grouped, Call]


# --- steps and statements ------------------------------------------------------------------------------------------


class Apply(Record):
    """One step of a chain, with the name of the place behind it if it has one: `relu as early`."""

    span: Span
    call: Call
    label: Identifier | None


class Repeat(Record):
    """`3 x basic` or `3 x { ... }`"""

    span: Span
    count: Expr
    body: Call | Body


class Branch(Record):
    """One way through a group: `branch left { ... }`."""

    span: Span
    name: Identifier | None
    body: Body


class Group(Record):
    """Ways that part and join: kind is residual, preactivation, concat, add, multiply or gated."""

    span: Span
    keyword: Span
    kind: str
    arguments: tuple[Argument, ...] | None
    branches: tuple[Branch, ...]


class Auxiliary(Record):
    """`auxiliary aux1(weight = 0.3) { ... }`"""

    span: Span
    name: Identifier
    arguments: tuple[Argument, ...] | None
    body: Body


class Chain(Record):
    """`conv(3x3, 64) -> bn -> relu`"""

    span: Span
    steps: tuple[Step, ...]


class If(Record):
    """`if ... { ... } else { ... }`; an `else if` is an If alone in `otherwise`."""

    span: Span
    condition: Expr
    then: Body
    otherwise: Body | None


class Case(Record):
    """A line of a shortcut: `shape changes -> projection`."""

    span: Span
    keyword: Span
    when_shape_changes: bool
    chain: Chain


class Body(Record):
    """Statements between braces."""

    span: Span
    statements: tuple[Statement, ...]


class Input(Record):
    """`input 3 x 224 x 224`"""

    span: Span
    dims: tuple[Expr, ...]


class MapRule(Record):
    """`halve map -> double filters`; growth is "same", "double" or an expression in `filters`."""

    span: Span
    halve: bool
    growth: str | Expr
    growth_span: Span


class ShortcutRule(Record):
    """`shortcut -> B`"""

    span: Span
    value: Expr


class DefaultRule(Record):
    """`default bn(eps = 1e-3)`"""

    span: Span
    step: Identifier
    arguments: tuple[Argument, ...]


class StrideRule(Record):
    """`output stride 16`"""

    span: Span
    value: Expr


Rule = Union[MapRule, ShortcutRule, DefaultRule, StrideRule]


class Rules(Record):
    """`rules { ... }`"""

    span: Span
    rules: tuple[Rule, ...]


class MapAttribute(Record):
    """`halve map` of a stage; `at_end` gives the stride to its last block."""

    span: Span
    halve: bool
    at_end: bool


class FiltersAttribute(Record):
    """`filters 64` or `override filters 64` of a stage."""

    span: Span
    override: bool
    value: Expr


class ShortcutAttribute(Record):
    """`shortcut C` of a stage."""

    span: Span
    value: Expr


Attribute = Union[MapAttribute, FiltersAttribute, ShortcutAttribute]


class Part(Record):
    """`stem { ... }`, `stage conv2, halve map { ... }` or `head { ... }`; `heading` spans what is before the brace."""

    span: Span
    heading: Span
    kind: str
    name: Identifier
    attributes: tuple[Attribute, ...]
    body: Body


class NumberClaim(Record):
    """`parameters 0.27M within 1%`"""

    span: Span
    subject: Identifier
    value: Expr
    within: Expr | None


class ShapeClaim(Record):
    """`output of conv5 is 512 x 7 x 7`; without a place it is the network's output."""

    span: Span
    place: Identifier | None
    dims: tuple[Expr, ...]


class Expect(Record):
    """`expect { ... }` or `expect when classes == 10 { ... }`"""

    span: Span
    condition: Expr | None
    claims: tuple[NumberClaim | ShapeClaim, ...]


class Fact(Record):
    """`top1_error 6.43%`"""

    span: Span
    word: Identifier
    value: Expr


class Published(Record):
    """`published { paper "He et al. 2015, Table 6"; top1_error 6.43% }`"""

    span: Span
    facts: tuple[Fact, ...]


class Require(Record):
    """`require size >= 32, "at least 32 x 32"`"""

    span: Span
    condition: Expr
    reason: Literal | None


Step = Union[Apply, Repeat, Group, Auxiliary]
Statement = Union[Chain, If, Case, Input, Rules, Part, Expect, Published, Require]


# --- definitions ---------------------------------------------------------------------------------------------------


class Parameter(Record):
    """`classes = 1000`"""

    span: Span
    name: Identifier
    default: Expr | None


class Use(Record):
    """`use "families/resnet.res"`"""

    span: Span
    path: Literal


class Network(Record):
    """A network of its own (`base` is None) or a variant of another one."""

    span: Span
    name: Identifier
    parameters: tuple[Parameter, ...]
    base: Call | None
    body: Body | None


class Block(Record):
    """`block bottleneck(expansion = 4) { ... }`"""

    span: Span
    name: Identifier
    parameters: tuple[Parameter, ...]
    body: Body


class Shortcut(Record):
    """`shortcut A { same shape -> identity; shape changes -> zero_pad }`"""

    span: Span
    name: Identifier
    parameters: tuple[Parameter, ...]
    body: Body


class Setting(Record):
    """One line of a recipe: `augment pad(4) -> flip`, `warmup(lr = 0.01) until train_error < 80%`."""

    span: Span
    word: Identifier
    arguments: tuple[Argument, ...] | None
    values: tuple[Expr, ...]
    until: Expr | None


class Settings(Record):
    """The settings of a recipe between their braces."""

    span: Span
    settings: tuple[Setting, ...]


class Recipe(Record):
    """`recipe he_cifar(iterations = 64k) { ... }`"""

    span: Span
    name: Identifier
    parameters: tuple[Parameter, ...]
    settings: Settings


class Train(Record):
    """`train { ... }`, `train resnet110 with he_cifar { ... }`"""

    span: Span
    networks: tuple[Identifier, ...]
    base: Call | None
    settings: Settings | None


Definition = Union[Use, Network, Block, Shortcut, Recipe, Train]


class File(Record):
    """A whole file."""

    source: SourceFile
    definitions: tuple[Definition, ...]
