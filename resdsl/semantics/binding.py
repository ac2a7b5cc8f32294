"""Arguments to parameters: of ops by the kinds of the op table, of blocks and networks by their defaults."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from resdsl.diagnostics import Mistake
from resdsl.ops.core import REQUIRED, Arg, value_text
from resdsl.semantics.evaluate import Evaluator, Names
from resdsl.semantics.values import POISON, Poison, Value, Word, describe, is_number
from resdsl.source import Span
from resdsl.suggest import closest
from resdsl.syntax import tree


@dataclass(frozen=True, slots=True)
class Given:
    """An argument as given in a call: its name if stated, its value, its place and that of its value."""

    name: str | None
    value: Value
    span: Span
    value_span: Span


def given_arguments(
    arguments: tuple[tree.Argument, ...] | None, evaluator: Evaluator, names: Names
) -> tuple[Given, ...]:
    """Evaluate the arguments of a call in the order written."""
    return tuple(
        Given(
            None if arg.name is None else arg.name.name,
            evaluator.evaluate(arg.value, names),
            arg.span if arg.name is None else arg.name.span,
            arg.value.span,
        )
        for arg in arguments or ()
    )


def match_arguments(
    callee: str,
    parameters: Sequence[str],
    given: Iterable[Given],
    evaluator: Evaluator,
    span: Span,
    also: Sequence[str] = (),
) -> dict[str, Given] | None:
    """Give each argument its parameter; None after reporting one that has none.

    `also` are names that may be given by name only (the context's: filters, stride, shortcut).
    """  # fmt: skip
    matched: dict[str, Given] = {}
    is_right = True
    for position, argument in enumerate(given):
        name = argument.name
        if name is None:
            if position >= len(parameters):
                evaluator.problems.report(
                    "R0209", argument.span, callee=callee, count=len(parameters), names=_names(parameters)
                )
                return None
            name = parameters[position]
        elif name not in parameters and name not in also:
            guess = closest(name, (*parameters, *also))
            evaluator.problems.report(
                "R0203", argument.span, callee=callee, name=name, guess=guess, names=_names((*parameters, *also))
            )
            is_right = False
            continue
        if name in matched:
            evaluator.problems.add(
                Mistake("R0212", argument.span, {"callee": callee, "name": name},
                        (("first", matched[name].span, {}),))
            )  # fmt: skip
            is_right = False
            continue
        matched[name] = argument
    return matched if is_right else None


def _names(parameters: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in parameters) or "no arguments"


def bind_op_arguments(
    callee: str,
    specs: Sequence[Arg],
    given: Iterable[Given],
    evaluator: Evaluator,
    names: Names,
    span: Span,
    defaults: dict[str, Any] | None = None,
) -> dict[str, Any] | None:
    """The arguments of an op with all defaults filled in; None after a report."""  # fmt: skip
    matched = match_arguments(callee, [spec.name for spec in specs], given, evaluator, span)
    if matched is None:
        return None
    bound: dict[str, Any] = {}
    for spec in specs:
        argument = matched.get(spec.name)
        if argument is not None:
            bound[spec.name] = convert(spec, argument.value, argument.value_span, callee, evaluator, names)
        elif defaults is not None and spec.name in defaults:
            bound[spec.name] = defaults[spec.name]
        elif spec.default is REQUIRED:
            evaluator.problems.report("R0206", span, callee=callee, name=spec.name, wanted=wanted_text(spec))
            bound[spec.name] = POISON
        else:
            bound[spec.name] = spec.default
    return None if any(isinstance(value, Poison) for value in bound.values()) else bound


def wanted_text(spec: Arg) -> str:
    """What an argument takes, in words."""
    words = {
        "int": "a whole number",
        "number": "a number",
        "float": "a number",
        "bool": "true or false",
        "size": "a size such as `3x3`, or one number for both sides",
        "padding": "a size such as `1x1`, or one number for both sides",
        "bias": "true, false, or the initial value",
        "choice": " or ".join(f"`{choice}`" for choice in spec.choices),
    }
    text = words[spec.kind]
    if spec.least is not None and spec.most is not None:
        return f"{text} ({spec.least} to {spec.most:,})"
    return text if spec.least is None else f"{text} ({spec.least} or more)"


def convert(spec: Arg, value: Value, span: Span, callee: str, evaluator: Evaluator, names: Names) -> Any:
    """A value as an op's argument takes it; POISON after a report."""
    if isinstance(value, Poison):
        return POISON
    if spec.kind == "choice":
        text = value.name if isinstance(value, Word) else getattr(value, "name", value)
        if text in spec.choices:
            return text
        guess = closest(str(text), spec.choices)
        facts = {"what": f"`{spec.name}` of `{callee}`", "wanted": wanted_text(spec), "found": describe(value)}
        evaluator.problems.report("R0207", span, **facts, guess=guess)
        return POISON
    converted = _converted(spec.kind, value)
    if converted is None:
        return evaluator.wrong_kind(span, value, f"{wanted_text(spec)} for `{spec.name}` of `{callee}`", names)
    parts = converted if isinstance(converted, tuple) else (converted,)
    for part in parts:
        if isinstance(part, bool):
            continue
        is_low = spec.least is not None and part < spec.least
        is_high = spec.most is not None and part > spec.most
        if is_low or is_high or not math.isfinite(part) or abs(part) > 1 << 31:
            facts = {"what": f"`{spec.name}` of `{callee}`", "wanted": wanted_text(spec), "found": value_text(value)}
            evaluator.problems.report("R0207", span, **facts)
            return POISON
    return converted


def _converted(kind: str, value: Value) -> Any:
    match kind:
        case "bool":
            return value if isinstance(value, bool) else None
        case "bias":
            return value if isinstance(value, bool) else float(value) if is_number(value) else None  # type: ignore[arg-type]
        case "int":
            return _whole(value)
        case "number":
            return float(value) if is_number(value) else None  # type: ignore[arg-type]
    if isinstance(value, tuple):
        parts = tuple(_whole(part) for part in value)
        return parts if len(parts) == 2 and None not in parts else None
    whole = _whole(value)
    return None if whole is None else (whole, whole)


def _whole(value: Value) -> int | None:
    if not is_number(value):
        return None
    return int(value) if value == int(value) else None  # type: ignore[arg-type]


def bind_parameters(
    callee: str,
    parameters: tuple[tree.Parameter, ...],
    given: Iterable[Given],
    evaluator: Evaluator,
    names: Any,
    span: Span,
    also: Sequence[str] = (),
) -> tuple[dict[str, Value], dict[str, Given]] | None:
    """Values of a definition's parameters, and the arguments that go to the context; None after a report.

    `names` is the definition's own scope: defaults are evaluated in it, each seeing the parameters before it.
    """
    matched = match_arguments(callee, [parameter.name.name for parameter in parameters], given, evaluator, span, also)
    if matched is None:
        return None
    is_right = True
    for parameter in parameters:
        name = parameter.name.name
        argument = matched.pop(name, None)
        if argument is not None:
            value = argument.value
        elif parameter.default is not None:
            value = evaluator.evaluate(parameter.default, names)
        else:
            evaluator.problems.add(
                Mistake("R0206", span, {"callee": callee, "name": name, "wanted": "a value"},
                        (("parameter", parameter.span, {"name": name}),))
            )  # fmt: skip
            value = POISON
        is_right = is_right and value is not POISON
        names.values[name] = value
    return (dict(names.values), matched) if is_right else None
