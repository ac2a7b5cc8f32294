"""Parser reductions to syntax nodes: one method for each rule of grammars/res.lark.

The methods receive what lark matched: tokens (text with offsets) and finished nodes. Each node takes its span from its
first and last part. Nesting of expressions is bounded here, so that no later recursion can run out of stack.
"""

from __future__ import annotations

from typing import Any, TypeVar

from resdsl.diagnostics import Mistake, MistakeFound
from resdsl.source import SourceFile, Span
from resdsl.syntax import tree

MAX_EXPRESSION_DEPTH = 100
MAX_NUMBER = 1 << 62
_SUFFIXES = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}

Items = list[Any]
_Node = TypeVar("_Node", bound=tree.Expr | tree.If)


class Builder:
    """Builds the nodes of one file at a time; given to lark as its transformer."""

    def __init__(self) -> None:
        self.source = SourceFile("", "")
        self._depth: dict[int, int] = {}

    def begin(self, source: SourceFile) -> None:
        """Nodes made from here on lie in this source."""
        self.source = source
        self._depth = {}

    # --- places ---

    def span(self, first: Any, last: Any) -> Span:
        start = first.start_pos if hasattr(first, "start_pos") else first.span.start
        end = last.end_pos if hasattr(last, "end_pos") else last.span.end
        return Span(self.source, start, end)

    def covering(self, items: Items) -> Span:
        present = [item for item in items if item is not None]
        last = present[-1]
        while isinstance(last, tuple):
            last = last[-1] if last else present[-2]
        return self.span(present[0], last)

    def identifier(self, token: Any) -> tree.Identifier:
        return tree.Identifier(self.span(token, token), str(token))

    # --- expressions ---

    def deeper(self, node: _Node, *children: Any) -> _Node:
        depth = 1 + max((self._depth.get(id(child), 0) for child in children), default=0)
        if depth > MAX_EXPRESSION_DEPTH:
            raise MistakeFound(Mistake("R0003", node.span, {"limit": MAX_EXPRESSION_DEPTH}))
        self._depth[id(node)] = depth
        return node

    def number(self, items: Items) -> tree.Literal:
        token = items[0]
        span = self.span(token, token)
        value = _number(str(token))
        if value is None:
            raise MistakeFound(Mistake("R0104", span, {"text": _shortened(str(token))}))
        return tree.Literal(span, value)

    def size(self, items: Items) -> tree.Literal:
        token = items[0]
        span = self.span(token, token)
        if len(token) > 60:
            raise MistakeFound(Mistake("R0104", span, {"text": _shortened(str(token))}))
        return tree.Literal(span, tuple(int(part) for part in token.split("x")))

    def string(self, items: Items) -> tree.Literal:
        return tree.Literal(self.span(items[0], items[0]), str(items[0])[1:-1])

    def true(self, items: Items) -> tree.Literal:
        return tree.Literal(self.span(items[0], items[0]), True)

    def false(self, items: Items) -> tree.Literal:
        return tree.Literal(self.span(items[0], items[0]), False)

    def name(self, items: Items) -> tree.Name:
        return tree.Name(self.span(items[0], items[0]), str(items[0]))

    def list(self, items: Items) -> tree.ListExpr:
        inner = [item for item in items[1:-1] if item is not None]
        return self.deeper(tree.ListExpr(self.span(items[0], items[-1]), tuple(inner)), *inner)

    def unary(self, items: Items) -> tree.Operation:
        operator, operand = items
        return self.deeper(tree.Operation(self.span(operator, operand), str(operator), (operand,)), operand)

    def binary(self, items: Items) -> tree.Operation:
        left, operator, right = items
        return self.deeper(tree.Operation(self.span(left, right), str(operator), (left, right)), left, right)

    def conditional(self, items: Items) -> tree.Conditional:
        then, _, condition, _, otherwise = items
        node = tree.Conditional(self.span(then, otherwise), condition, then, otherwise)
        return self.deeper(node, condition, then, otherwise)

    def index(self, items: Items) -> tree.Index:
        base, _, index, bracket = items
        return self.deeper(tree.Index(self.span(base, bracket), base, index), base, index)

    def name_index(self, items: Items) -> tree.Index:
        return self.index([self.name(items[:1]), *items[1:]])

    def grouped(self, items: Items) -> tree.Grouped:
        return self.deeper(tree.Grouped(self.span(items[0], items[2]), items[1]), items[1])

    def call(self, items: Items) -> tree.Call | tree.Name:
        token, arguments = items
        if arguments is None:
            return self.name([token])
        values = [argument.value for argument in arguments[1]]
        return self.deeper(self.reference(items), *values)

    def reference(self, items: Items) -> tree.Call:
        token, arguments = items
        if arguments is None:
            return tree.Call(self.span(token, token), self.identifier(token), None)
        return tree.Call(Span(self.source, token.start_pos, arguments[0].end), self.identifier(token), arguments[1])

    callee = reference

    def arguments(self, items: Items) -> tuple[Span, tuple[tree.Argument, ...]]:
        present = tuple(item for item in items[1:-1] if item is not None)
        return self.span(items[0], items[-1]), present

    def argument(self, items: Items) -> tree.Argument:
        name, _, value = items
        label = None if name is None else self.identifier(name)
        return tree.Argument(self.span(label or value, value), label, value)

    # --- statements ---

    def chain(self, items: Items) -> tree.Chain:
        return tree.Chain(self.span(items[0], items[-1]), tuple(items[::2]))

    def labelled(self, items: Items) -> tree.Apply:
        call, _, label = items
        place = None if label is None else self.identifier(label)
        return tree.Apply(self.span(call, place or call), call, place)

    def repeat(self, items: Items) -> tree.Repeat:
        count, _, body = items
        return tree.Repeat(self.span(count, body), count, body)

    def body(self, items: Items) -> tree.Body:
        statements = tuple(item for item in items[1:-1] if item is not None)
        return tree.Body(self.span(items[0], items[-1]), statements)

    def branch(self, items: Items) -> tree.Branch:
        word, name, body = items
        return tree.Branch(self.span(word, body), None if name is None else self.identifier(name), body)

    def single_group(self, items: Items) -> tree.Group:
        word, arguments, body = items
        branch = tree.Branch(body.span, None, body)
        given = None if arguments is None else arguments[1]
        return tree.Group(self.span(word, body), self.span(word, word), str(word), given, (branch,))

    def branch_group(self, items: Items) -> tree.Group:
        word, branches = items[0], items[2:-1]
        return tree.Group(self.span(word, items[-1]), self.span(word, word), str(word), None, tuple(branches))

    def gated_group(self, items: Items) -> tree.Group:
        word, by, gate, transform = items
        branches = (tree.Branch(gate.span, None, gate), tree.Branch(transform.span, None, transform))
        return tree.Group(self.span(word, transform), self.span(word, by), "gated", None, branches)

    def auxiliary(self, items: Items) -> tree.Auxiliary:
        word, name, arguments, body = items
        given = None if arguments is None else arguments[1]
        return tree.Auxiliary(self.span(word, body), self.identifier(name), given, body)

    def condition(self, items: Items) -> tree.If:
        word, condition, then, _, otherwise = items
        following = otherwise
        if isinstance(otherwise, tree.If):
            otherwise = tree.Body(otherwise.span, (otherwise,))
        node = tree.If(self.span(word, otherwise or then), condition, then, otherwise)
        return self.deeper(node, following)

    def same_case(self, items: Items) -> tree.Case:
        return self._case(items, when_shape_changes=False)

    def changes_case(self, items: Items) -> tree.Case:
        return self._case(items, when_shape_changes=True)

    def _case(self, items: Items, *, when_shape_changes: bool) -> tree.Case:
        first, second, _, chain = items
        return tree.Case(self.span(first, chain), self.span(first, second), when_shape_changes, chain)

    def input(self, items: Items) -> tree.Input:
        return tree.Input(self.span(items[0], items[1][-1]), items[1])

    def dims(self, items: Items) -> tuple[tree.Expr, ...]:
        return tuple(items[::2])

    # --- rules, stages, expectations ---

    def rules(self, items: Items) -> tree.Rules:
        present = tuple(item for item in items[2:-1] if item is not None)
        return tree.Rules(self.span(items[0], items[-1]), present)

    def map_change(self, items: Items) -> tuple[Span, bool]:
        return self.span(items[0], items[1]), str(items[0]) == "halve"

    def map_rule(self, items: Items) -> tree.MapRule:
        (span, halve), _, (growth_span, growth) = items
        return tree.MapRule(Span(self.source, span.start, growth_span.end), halve, growth, growth_span)

    def word_growth(self, items: Items) -> tuple[Span, str]:
        return self.span(items[0], items[1]), str(items[0])

    def formula_growth(self, items: Items) -> tuple[Span, tree.Expr]:
        return items[0].span, items[0]

    def shortcut_rule(self, items: Items) -> tree.ShortcutRule:
        return tree.ShortcutRule(self.span(items[0], items[2]), items[2])

    def default_rule(self, items: Items) -> tree.DefaultRule:
        word, step, arguments = items
        span = Span(self.source, word.start_pos, arguments[0].end)
        return tree.DefaultRule(span, self.identifier(step), arguments[1])

    def stride_rule(self, items: Items) -> tree.StrideRule:
        return tree.StrideRule(self.span(items[0], items[2]), items[2])

    def end_part(self, items: Items) -> tree.Part:
        word, body = items
        heading = self.span(word, word)
        return tree.Part(self.span(word, body), heading, str(word), self.identifier(word), (), body)

    def stage_part(self, items: Items) -> tree.Part:
        word, name, *attributes, body = items
        heading = self.span(word, attributes[-1] if attributes else name)
        return tree.Part(self.span(word, body), heading, "stage", self.identifier(name), tuple(attributes), body)

    def map_attribute(self, items: Items) -> tree.MapAttribute:
        (span, halve), at_word, end_word = items
        end = span.end if end_word is None else end_word.end_pos
        return tree.MapAttribute(Span(self.source, span.start, end), halve, at_word is not None)

    def filters_attribute(self, items: Items) -> tree.FiltersAttribute:
        override, word, value = items
        return tree.FiltersAttribute(self.span(override or word, value), override is not None, value)

    def shortcut_attribute(self, items: Items) -> tree.ShortcutAttribute:
        return tree.ShortcutAttribute(self.span(items[0], items[1]), items[1])

    def expect(self, items: Items) -> tree.Expect:
        word, _, condition, *rest = items
        claims = tuple(item for item in rest[1:-1] if item is not None)
        return tree.Expect(self.span(word, rest[-1]), condition, claims)

    def number_claim(self, items: Items) -> tree.NumberClaim:
        name, value, _, within = items
        return tree.NumberClaim(self.span(name, within or value), self.identifier(name), value, within)

    def shape_claim(self, items: Items) -> tree.ShapeClaim:
        word, _, place, _, dims = items
        label = None if place is None else self.identifier(place)
        return tree.ShapeClaim(self.span(word, dims[-1]), label, dims)

    def fact(self, items: Items) -> tree.Fact:
        return tree.Fact(self.span(items[0], items[1]), self.identifier(items[0]), items[1])

    def published(self, items: Items) -> tree.Published:
        facts = tuple(item for item in items[2:-1] if item is not None)
        return tree.Published(self.span(items[0], items[-1]), facts)

    def require(self, items: Items) -> tree.Require:
        word, condition, reason = items
        text = None if reason is None else self.string([reason])
        return tree.Require(self.span(word, text or condition), condition, text)

    # --- definitions ---

    def use(self, items: Items) -> tree.Use:
        return tree.Use(self.span(items[0], items[1]), self.string(items[1:]))

    def network(self, items: Items) -> tree.Network:
        word, name, parameters, _, base, body = items
        span = self.covering([word, name, parameters, base, body])
        return tree.Network(span, self.identifier(name), parameters or (), base, body)

    def block(self, items: Items) -> tree.Block:
        word, name, parameters, body = items
        return tree.Block(self.span(word, body), self.identifier(name), parameters or (), body)

    def shortcut(self, items: Items) -> tree.Shortcut:
        word, name, parameters, body = items
        return tree.Shortcut(self.span(word, body), self.identifier(name), parameters or (), body)

    def parameters(self, items: Items) -> tuple[tree.Parameter, ...]:
        return tuple(item for item in items[1:-1] if item is not None)

    def parameter(self, items: Items) -> tree.Parameter:
        name, _, default = items
        label = self.identifier(name)
        return tree.Parameter(self.span(label, default or label), label, default)

    def settings(self, items: Items) -> tree.Settings:
        present = tuple(item for item in items[1:-1] if item is not None)
        return tree.Settings(self.span(items[0], items[-1]), present)

    def setting(self, items: Items) -> tree.Setting:
        word, arguments, _, until = items
        end = until.span.end if until else arguments[0].end if arguments else word.end_pos
        given = None if arguments is None else arguments[1]
        return tree.Setting(Span(self.source, word.start_pos, end), self.identifier(word), given, (), until)

    def chain_setting(self, items: Items) -> tree.Setting:
        word, *values, _, until = items
        steps = tuple(values[::2])
        return tree.Setting(self.span(word, until or steps[-1]), self.identifier(word), None, steps, until)

    def recipe(self, items: Items) -> tree.Recipe:
        word, name, parameters, settings = items
        return tree.Recipe(self.span(word, settings), self.identifier(name), parameters or (), settings)

    def train(self, items: Items) -> tree.Train:
        word, networks, _, base, settings = items
        span = self.covering([word, networks, base, settings])
        return tree.Train(span, networks or (), base, settings)

    def train_networks(self, items: Items) -> tuple[tree.Identifier, ...]:
        return tuple(self.identifier(item) for item in items)

    def file(self, items: Items) -> tree.File:
        return tree.File(self.source, tuple(item for item in items if item is not None))


def _number(text: str) -> int | float | None:
    """The value of a number as written, or None where it is too large: `64k`, `21_797_672`, `1e-4`, `80%`."""
    if len(text) > 40:
        return None
    percent = text.endswith("%")
    body = text[:-1] if percent else text
    factor = _SUFFIXES.get(body[-1], 1)
    if factor != 1:
        body = body[:-1]
    body = body.replace("_", "")
    is_whole = body.isdecimal() and not percent
    value: int | float = int(body) * factor if is_whole else float(body) * factor
    if factor != 1 and not percent and value == int(value):
        value = int(value)
    if percent:
        value /= 100
    return value if abs(value) <= MAX_NUMBER else None


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else text[:20] + "..."
