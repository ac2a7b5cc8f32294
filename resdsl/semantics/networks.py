"""Networks: parameters, variants with replaced parts, input, parts in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from resdsl.diagnostics import Mistake, Related
from resdsl.ops import Shape
from resdsl.semantics.binding import Given, bind_parameters, given_arguments
from resdsl.semantics.circles import MAX_VARIANTS, is_circular
from resdsl.semantics.expectations import check_expectations
from resdsl.semantics.model import Auxiliary, Network, Publication
from resdsl.semantics.parts import PartResolver
from resdsl.semantics.published import publication
from resdsl.semantics.region import Flow, Region
from resdsl.semantics.requirements import is_met
from resdsl.semantics.scope import Definitions, Scope, misplaced
from resdsl.semantics.steps import StepResolver
from resdsl.semantics.values import POISON, Poison, Ref, Value, Word, plain
from resdsl.sizes import Size
from resdsl.source import Span
from resdsl.suggest import closest, listed
from resdsl.syntax import tree

MAX_EXTENT = 1 << 24


class FileNames(Protocol):
    """What a file can name: its own definitions and those it uses."""

    @property
    def definitions(self) -> Definitions:
        """Blocks and shortcuts."""

    @property
    def networks(self) -> Mapping[str, tree.Network]:
        """Networks."""


@dataclass(slots=True)
class Assembly:
    """A network's statements with their scope, and what variants changed: the parts, the input, the rules."""

    statements: tuple[tree.Statement, ...]
    scope: Scope
    replaced: dict[str, tuple[tree.Part, Scope]] = field(default_factory=dict)
    input: tuple[tree.Input, Scope] | None = None
    rules: list[tuple[tree.Rules, Scope]] = field(default_factory=list)
    expectations: list[tuple[tree.Expect, Scope]] = field(default_factory=list)
    published: list[tuple[tree.Published, Scope]] = field(default_factory=list)
    requirements: list[tuple[tree.Require, Scope]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


class NetworkResolver:
    """Resolves networks of one program; block calls are shared between them."""

    def __init__(self, names_of: Callable[[tree.Network], FileNames], steps: StepResolver) -> None:
        self.names_of = names_of
        self.steps = steps
        self.problems = steps.problems

    def resolve(self, network: tree.Network, given: tuple[Given, ...] = ()) -> Network | None:
        """A checked network for arguments given by name; None after reports."""
        before = len(self.problems)
        self.problems.variant = None if network.base is None else network.base.span
        self.steps.begin_network()
        is_endless = is_circular(network, lambda item: self.names_of(item).networks, self.problems)
        assembly = None if is_endless else self._assemble(network, given, network.name.span, 0)
        if assembly is None:
            return None
        region = self._begin(network, assembly)
        if region is None:
            return None
        flow = region.input()
        parts = PartResolver(self.steps)
        for rules, scope in assembly.rules:
            parts.add_rules(rules, scope)
        region.limit_stride(parts.rules.output_stride)
        for requirement, scope in assembly.requirements:
            if not is_met(self.steps.evaluator, requirement, scope):
                return None
        flow = self._run(assembly.statements, assembly, parts, flow)
        self._check_replaced(network, assembly)
        if flow.shape is None or region.is_poisoned or len(self.problems) > before:
            return None
        if not region.nodes:
            self.problems.report("R0409", network.name.span, name=network.name.name)
            return None
        resolved = _finished(network, assembly, region, parts, flow, self._publication(assembly))
        check_expectations(self.steps.evaluator, resolved, assembly.expectations)
        return None if len(self.problems) > before else resolved

    def _publication(self, assembly: Assembly) -> Publication | None:
        for statement, _ in assembly.published[1:]:
            related: Related = (("first", assembly.published[0][0].span, {}),)
            self.problems.add(Mistake("R0408", statement.span, {"what": "`published`"}, related))
        return next((publication(self.steps.evaluator, *found) for found in assembly.published), None)

    # --- variants ---

    def _assemble(self, network: tree.Network, given: tuple[Given, ...], span: Span, depth: int) -> Assembly | None:
        if depth > MAX_VARIANTS:
            self.problems.report("R0218", span, how=f"more than {MAX_VARIANTS} levels deep")
            return None
        region = Region(None)
        scope = Scope(self.names_of(network).definitions, self.problems, region, region.input())
        own, passed_on = _split_arguments(network, given)
        bound = bind_parameters(network.name.name, network.parameters, own, self.steps.evaluator, scope, span)
        if bound is None:
            return None
        body = network.body.statements if network.body is not None else ()
        if network.base is None:
            if network.body is None:
                self.problems.report("R0409", network.name.span, name=network.name.name)
                return None
            assembly = Assembly(body, scope)
            self._take_rules_and_claims(body, assembly, scope, bool(given))
            return assembly
        return self._variant(network, network.base, body, scope, given, passed_on, depth)

    def _variant(
        self, network: tree.Network, call: tree.Call, body: tuple[tree.Statement, ...], scope: Scope,
        given: tuple[Given, ...], passed_on: tuple[Given, ...], depth: int,
    ) -> Assembly | None:  # fmt: skip
        known = self.names_of(network).networks
        base = known.get(call.callee.name)
        if base is None:
            others = [name for name in known if name != network.name.name]
            guess = closest(call.callee.name, others)
            known_here = None if guess else listed(others)
            self.problems.report("R0220", call.callee.span, name=call.callee.name, guess=guess, known=known_here)
            return None
        stated = given_arguments(call.arguments, self.steps.evaluator, scope)
        if any(isinstance(argument.value, Poison) for argument in stated):
            return None
        again = {argument.name for argument in passed_on}
        stated = tuple(argument for argument in stated if argument.name is None or argument.name not in again)
        assembly = self._assemble(base, (*stated, *passed_on), call.span, depth + 1)
        if assembly is None:
            return None
        # What the base claims of itself with its defaults says nothing about a variant.
        assembly.published = []
        is_changed = any(isinstance(statement, (tree.Part, tree.Input, tree.Rules)) for statement in body)
        kept = [] if is_changed else assembly.expectations
        assembly.expectations = [(claim, where) for claim, where in kept if claim.condition]
        inner = assembly.scope.inner(definitions=scope.definitions)
        inner.values.update(scope.values)
        for statement in body:
            match statement:
                case tree.Part():
                    assembly.replaced[statement.name.name] = (statement, inner)
                case tree.Input():
                    assembly.input = (statement, inner)
                case tree.Rules() | tree.Expect() | tree.Published():
                    pass
                case tree.Require():
                    assembly.requirements.append((statement, inner))
                case _:
                    self.problems.report("R0412", statement.span, base=base.name.name, known=_part_names(assembly))
        self._take_rules_and_claims(body, assembly, inner, bool(given))
        return assembly

    def _take_rules_and_claims(
        self, body: tuple[tree.Statement, ...], assembly: Assembly, scope: Scope, is_changed: bool
    ) -> None:
        for statement in body:
            match statement:
                case tree.Rules():
                    assembly.rules.append((statement, scope))
                case tree.Expect() if statement.condition is not None or not is_changed:
                    assembly.expectations.append((statement, scope))
                case tree.Published() if not is_changed:
                    assembly.published.append((statement, scope))
                case tree.Input():
                    self._take_input(statement, assembly, scope)
                case tree.If():
                    self._report_conditional(statement)

    def _take_input(self, statement: tree.Input, assembly: Assembly, scope: Scope) -> None:
        if assembly.input is None:
            assembly.input = (statement, scope)
        elif assembly.input[0] is not statement:
            related: Related = (("first", assembly.input[0].span, {}),)
            self.problems.add(Mistake("R0408", statement.span, {"what": "the input"}, related))

    def _check_replaced(self, network: tree.Network, assembly: Assembly) -> None:
        for name, (part, _) in assembly.replaced.items():
            if name not in assembly.used and network.base is not None:
                facts = {
                    "name": name,
                    "base": network.base.callee.name,
                    "known": _part_names(assembly),
                    "guess": closest(name, assembly.used),
                }
                self.problems.add(Mistake("R0410", part.name.span, facts, (("base", network.base.span, facts),)))

    # --- input ---

    def _begin(self, network: tree.Network, assembly: Assembly) -> Region | None:
        if assembly.input is None:
            self.problems.report("R0413", network.name.span, name=network.name.name)
            return None
        statement, scope = assembly.input
        dims = [self._extent(dim, position, scope) for position, dim in enumerate(statement.dims)]
        flat: list[Value] = []
        for dim in dims:
            flat.extend(dim if isinstance(dim, tuple) else (dim,))
        if len(flat) not in (1, 3):
            self.problems.report("R0405", statement.span, count=len(flat))
            return None
        if any(isinstance(dim, Poison) for dim in flat):
            return None
        shape: Shape = tuple(dim for dim in flat if isinstance(dim, (int, Size)))
        region = Region(shape)
        region.auxiliaries = []
        inner = [scope for _, scope in (*assembly.replaced.values(), *assembly.requirements)]
        for where in (assembly.scope, *inner):
            where.region, where.flow = region, region.input()
        for _, where in (*assembly.rules, *assembly.expectations):
            where.region = region
        return region

    def _extent(self, dim: tree.Expr, position: int, scope: Scope) -> Value:
        free = None if isinstance(dim, tree.Name) else _free_size_in(dim, scope)
        if free is not None:
            self.problems.report("R0417", dim.span, name=free)
            return POISON
        value = self.steps.evaluator.evaluate(dim, scope)
        if isinstance(value, Poison):
            return POISON
        if isinstance(dim, tree.Name) and isinstance(value, Word) and position > 0 and not dim.name.isupper():
            hints = (f"a free size is written in capitals: `{dim.name.upper()}`",)
            facts = {"name": value.name, "guess": closest(dim.name, scope.values)}
            self.problems.add(Mistake("R0201", value.span, facts, hints=hints))
            return POISON
        if isinstance(dim, tree.Name) and dim.name.isupper() and isinstance(value, (Word, Ref)):
            # A free size is a name in capitals; the options A, B and C are no sizes, so they are free here too.
            if position == 0:
                self.problems.report("R0414", dim.span, name=dim.name)
                return POISON
            return Size(dim.name)
        if isinstance(value, tuple) and isinstance(dim, tree.Literal):
            wrong = next((part for part in value if not 1 <= part <= MAX_EXTENT), None)
            if wrong is None:
                return value
        elif isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_EXTENT:
            return value
        elif not isinstance(value, int) or isinstance(value, bool):
            return self.steps.evaluator.wrong_kind(
                dim.span, value, "a whole number, or a free size in capitals such as H", scope
            )
        wanted = f"a whole number (1 to {MAX_EXTENT:,})"
        self.problems.report("R0207", dim.span, what="a size of the input", wanted=wanted, found=dim.span.text)
        return POISON

    # --- statements ---

    def _run(self, statements: tuple[tree.Statement, ...], assembly: Assembly, parts: PartResolver, flow: Flow) -> Flow:
        scope = assembly.scope
        scope.flow = flow
        for statement in statements:
            match statement:
                case tree.Part():
                    name = statement.name.name
                    part, where = assembly.replaced.get(name, (statement, scope))
                    assembly.used.add(name)
                    where.flow = scope.flow
                    parts.run_part(part, where)
                    scope.flow = where.flow
                case tree.If():
                    condition = self.steps.evaluator.truth(statement.condition, scope)
                    if isinstance(condition, Poison):
                        scope.flow = scope.region.poison()
                        continue
                    chosen = statement.then if condition else statement.otherwise
                    if chosen is not None:
                        self._run(chosen.statements, assembly, parts, scope.flow)
                case tree.Chain():
                    parts.run_sequence(statement, scope)
                case tree.Case() | tree.Require():
                    self.steps.run_statement(statement, scope)
                case tree.Input() | tree.Rules() | tree.Expect() | tree.Published():
                    pass
        return scope.flow

    def _report_conditional(self, statement: tree.If) -> None:
        """Input, rules and claims hold for the whole network: they cannot hang on a condition."""
        for body in (statement.then, statement.otherwise):
            for inner in body.statements if body is not None else ():
                if isinstance(inner, (tree.Input, tree.Rules, tree.Expect, tree.Published)):
                    mistake = misplaced(inner)
                    facts = {**mistake.facts, "where": "in the network itself, not behind a condition"}
                    self.problems.add(Mistake(mistake.code, mistake.span, facts))


def _free_size_in(expr: tree.Expr, scope: Scope) -> str | None:
    """The first name within an expression that would be a free size if it stood alone."""
    match expr:
        case tree.Name(name=name):
            return name if name.isupper() and isinstance(scope.lookup(name, expr.span), (Ref, type(None))) else None
        case tree.Grouped():
            return _free_size_in(expr.inner, scope)
        case tree.Operation():
            return next((free for item in expr.operands if (free := _free_size_in(item, scope)) is not None), None)
    return None


def _part_names(assembly: Assembly) -> str:
    """The parts of a base in a sentence."""
    names = [f"`{item.name.name}`" for item in assembly.statements if isinstance(item, tree.Part)]
    return ", ".join(names) or "no parts"


def _split_arguments(network: tree.Network, given: tuple[Given, ...]) -> tuple[tuple[Given, ...], tuple[Given, ...]]:
    """What a network takes itself, and what a variant passes on to its base."""
    if network.base is None:
        return given, ()
    names = {parameter.name.name for parameter in network.parameters}
    passed_on = tuple(argument for argument in given if argument.name is not None and argument.name not in names)
    return tuple(argument for argument in given if argument not in passed_on), passed_on


def _finished(
    network: tree.Network, assembly: Assembly, region: Region, parts: PartResolver, flow: Flow,
    published: Publication | None,
) -> Network:  # fmt: skip
    assert region.input_shape is not None
    region.settle((flow.index, *(way.index for _, _, way, _ in region.auxiliaries or ())))
    arguments = {name: plain(value) for name, value in assembly.scope.values.items()}
    return Network(
        network.name.name, network.span.source, network.name.span, arguments, region.input_shape,
        tuple(region.nodes), flow.index, tuple(parts.parts),
        tuple(Auxiliary(name, weight, way.index, span) for name, weight, way, span in region.auxiliaries or ()),
        {name: way.index for name, (way, _) in region.places.items()},
        region.geometry(flow), region.totals(), dict(region.least), published,
    )  # fmt: skip
