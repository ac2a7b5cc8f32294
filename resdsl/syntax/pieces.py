"""Syntax nodes to pieces: words with the places between them where the formatter may break a line."""

from __future__ import annotations

from typing import Union

from resdsl.records import Record
from resdsl.syntax import tree

Node = Union[
    tree.Definition, tree.Statement, tree.Rule, tree.NumberClaim, tree.ShapeClaim, tree.Fact, tree.Setting, tree.Branch
]


class Brackets(Record):
    """`(a, b)` or `[a, b]` on one line, or the items on lines of their own, each with its comma."""

    opening: str
    items: tuple[Piece, ...]


class Braces(Record):
    """` { a; b }` on one line, or the nodes on lines of their own.

    The opening brace is the first one at or behind the offset `start`; the closing one ends at `end`.
    """

    start: int
    end: int
    nodes: tuple[Node, ...]
    joint: str = "; "


class Arrows(Record):
    """`a -> b -> c`, broken before an arrow; each with the offsets between which it stood."""

    steps: tuple[tuple[int, int, Piece], ...]


class Aligned(Record):
    """A piece that begins in one column with those of the lines above and below."""

    piece: Piece


class Together(Record):
    """Pieces whose braces are all on one line or all broken."""

    pieces: tuple[Piece, ...]


Piece = Union[str, tuple["Piece", ...], Brackets, Braces, Arrows, Aligned, Together]


def pieces_of(node: Node) -> Piece:
    """A definition, or what stands on a line of its own between braces."""
    match node:
        case tree.Use() | tree.Network() | tree.Block() | tree.Shortcut() | tree.Recipe() | tree.Train():
            return _definition(node)
        case tree.MapRule() | tree.ShortcutRule() | tree.DefaultRule() | tree.StrideRule():
            return _rule(node)
        case tree.NumberClaim() | tree.ShapeClaim():
            return _claim(node)
        case tree.Setting():
            return _setting(node)
        case tree.Fact():
            return (f"{node.word.name} ", _value(node.value))
        case tree.Branch():
            return ("branch" if node.name is None else f"branch {node.name.name}", _body(node.body))
        case _:
            return _statement(node)


def _definition(node: tree.Definition) -> Piece:
    match node:
        case tree.Use():
            return f"use {node.path.span.text}"
        case tree.Network():
            base: Piece = "" if node.base is None else (" = ", _call(node.base))
            body: Piece = "" if node.body is None else _body(node.body)
            return (f"network {node.name.name}", _parameters(node.parameters), base, body)
        case tree.Block():
            return (f"block {node.name.name}", _parameters(node.parameters), _body(node.body))
        case tree.Shortcut():
            return (f"shortcut {node.name.name}", _parameters(node.parameters), _body(node.body))
        case tree.Recipe():
            return (f"recipe {node.name.name}", _parameters(node.parameters), _settings(node.settings))
        case tree.Train():
            networks = ", ".join(name.name for name in node.networks)
            base = "" if node.base is None else (" with ", _call(node.base))
            settings: Piece = "" if node.settings is None else _settings(node.settings)
            return (f"train {networks}".rstrip(), base, settings)


def _statement(node: tree.Statement) -> Piece:
    match node:
        case tree.Chain():
            return _chain(node)
        case tree.If():
            return _condition(node)
        case tree.Case():
            word = "shape changes" if node.when_shape_changes else "same shape"
            return (word, Aligned((" -> ", _chain(node.chain))))
        case tree.Input():
            return f"input {_dims(node.dims)}"
        case tree.Rules():
            return ("rules", Braces(node.span.start, node.span.end, node.rules))
        case tree.Part():
            if node.kind != "stage":
                return (node.kind, _body(node.body))
            heading = ", ".join([f"stage {node.name.name}", *map(_attribute, node.attributes)])
            return (heading, Aligned(_body(node.body)))
        case tree.Expect():
            condition: Piece = "" if node.condition is None else (" when ", _value(node.condition))
            return ("expect", condition, Braces(node.span.start, node.span.end, node.claims))
        case tree.Published():
            return ("published", Braces(node.span.start, node.span.end, node.facts))
        case tree.Require():
            reason = "" if node.reason is None else f", {node.reason.span.text}"
            return ("require ", _value(node.condition), reason)


def _condition(node: tree.If) -> Together:
    """The whole `if ... else if ... else` in one row: there may be more of them than Python nests calls."""
    found: list[Piece] = ["if ", _value(node.condition), _body(node.then)]
    otherwise = node.otherwise
    while otherwise is not None:
        match otherwise.statements:
            case (tree.If() as following,) if following.span == otherwise.span:
                found += [" else if ", _value(following.condition), _body(following.then)]
                otherwise = following.otherwise
            case _:
                found += [" else", _body(otherwise)]
                otherwise = None
    return Together(tuple(found))


def _chain(node: tree.Chain) -> Arrows:
    return Arrows(tuple((step.span.start, step.span.end, _step(step)) for step in node.steps))


def _step(node: tree.Step) -> Piece:
    match node:
        case tree.Apply():
            call = _call(node.call)
            return call if node.label is None else (call, f" as {node.label.name}")
        case tree.Repeat():
            body = (" ", _call(node.body)) if isinstance(node.body, tree.Call) else _body(node.body)
            return (f"{_text(node.count)} x", body)
        case tree.Auxiliary():
            return (f"auxiliary {node.name.name}", _arguments(node.arguments), _body(node.body))
        case tree.Group(kind="gated"):
            return ("gated by", *(_body(branch.body) for branch in node.branches))
        case tree.Group(kind="residual" | "preactivation"):
            return (node.kind, _arguments(node.arguments), _body(node.branches[0].body))
        case tree.Group():
            return (node.kind, Braces(node.keyword.end, node.span.end, node.branches, joint=" "))


def _attribute(node: tree.Attribute) -> str:
    match node:
        case tree.MapAttribute():
            return ("halve map" if node.halve else "same map") + (" at end" if node.at_end else "")
        case tree.FiltersAttribute():
            return ("override " if node.override else "") + f"filters {_text(node.value)}"
        case tree.ShortcutAttribute():
            return f"shortcut {_text(node.value)}"


def _rule(node: tree.Rule) -> Piece:
    match node:
        case tree.MapRule():
            growth = f"{node.growth} filters" if isinstance(node.growth, str) else _text(node.growth)
            return ("halve map" if node.halve else "same map", Aligned(f" -> {growth}"))
        case tree.ShortcutRule():
            return ("shortcut", Aligned((" -> ", _value(node.value))))
        case tree.DefaultRule():
            return (f"default {node.step.name}", _arguments(node.arguments))
        case tree.StrideRule():
            return ("output stride ", _value(node.value))


def _claim(node: tree.NumberClaim | tree.ShapeClaim) -> str:
    match node:
        case tree.NumberClaim():
            within = "" if node.within is None else f" within {_text(node.within)}"
            return f"{node.subject.name} {_text(node.value)}{within}"
        case tree.ShapeClaim():
            place = "" if node.place is None else f" of {node.place.name}"
            return f"output{place} is {_dims(node.dims)}"


def _setting(node: tree.Setting) -> Piece:
    word = node.word.name
    until: Piece = "" if node.until is None else (" until ", _value(node.until))
    if not node.values:
        # `iterations (32k * n)` is a value, `warmup(lr = 0.01)` a call.
        is_value = node.arguments is not None and len(node.arguments) == 1 and node.arguments[0].name is None
        return (f"{word} " if is_value else word, _arguments(node.arguments), until)
    *values, last = node.values
    steps = [(value.span.start, value.span.end, _value(value)) for value in values]
    return (f"{word} ", Arrows((*steps, (last.span.start, last.span.end, (_value(last), until)))))


# --- what holds no statement ---


def _body(node: tree.Body) -> Braces:
    return Braces(node.span.start, node.span.end, node.statements)


def _settings(node: tree.Settings) -> Braces:
    return Braces(node.span.start, node.span.end, node.settings)


def _parameters(parameters: tuple[tree.Parameter, ...]) -> Piece:
    if not parameters:
        return ""
    return Brackets("(", tuple(_given(item.name, item.default) for item in parameters))


def _arguments(arguments: tuple[tree.Argument, ...] | None) -> Piece:
    if arguments is None:
        return ""
    return Brackets("(", tuple(_given(item.name, item.value) for item in arguments))


def _given(name: tree.Identifier | None, value: tree.Expr | None) -> Piece:
    label = "" if name is None else name.name
    if value is None:
        return label
    return (f"{label} = ", _value(value)) if label else _value(value)


def _call(node: tree.Call) -> Piece:
    return (node.callee.name, _arguments(node.arguments))


def _value(node: tree.Expr) -> Piece:
    """An expression: a call or a list can be broken, anything else stays on its line."""
    match node:
        case tree.Call():
            return _call(node)
        case tree.ListExpr():
            return Brackets("[", tuple(_value(item) for item in node.items))
        case _:
            return _text(node)


def _dims(dims: tuple[tree.Expr, ...]) -> str:
    return " x ".join(map(_text, dims))


def _text(node: tree.Expr) -> str:
    match node:
        case tree.Literal():
            return node.span.text
        case tree.Name():
            return node.name
        case tree.ListExpr():
            return f"[{', '.join(map(_text, node.items))}]"
        case tree.Operation(operator=operator, operands=(operand,)):
            return f"-{_text(operand)}" if operator == "-" else f"{operator} {_text(operand)}"
        case tree.Operation(operator=operator, operands=(left, right)):
            return f"{_text(left)} {operator} {_text(right)}"
        case tree.Conditional():
            return f"{_text(node.then)} if {_text(node.condition)} else {_text(node.otherwise)}"
        case tree.Index():
            return f"{_text(node.base)}[{_text(node.index)}]"
        case tree.Grouped():
            return f"({_text(node.inner)})"
        case tree.Call():
            return f"{node.callee.name}({', '.join(map(_argument_text, node.arguments or ()))})"
    raise AssertionError(node)


def _argument_text(node: tree.Argument) -> str:
    return _text(node.value) if node.name is None else f"{node.name.name} = {_text(node.value)}"
