"""Mistakes that can be seen without running a definition: in what no network uses, and in conditions not taken.

A definition is checked in full where it is used, for the arguments and shapes it gets there. This light check finds
what is wrong everywhere: names of steps, arguments and values that nothing defines, statements out of place. What both
find is reported once, since both report it with one code at one place.
"""

from __future__ import annotations

from collections.abc import Iterable

from resdsl.diagnostics import Mistake, Problems
from resdsl.ops import OpSpec
from resdsl.semantics.binding import Given, match_arguments
from resdsl.semantics.circles import Circles, is_circular
from resdsl.semantics.evaluate import FUNCTIONS, Evaluator
from resdsl.semantics.groups import PLACE_JOINS
from resdsl.semantics.program import FileScope, Program
from resdsl.semantics.scope import CONTEXT_ARGUMENTS, PLACE_NAMES, Definitions, misplaced, unknown_shortcut
from resdsl.semantics.values import POISON
from resdsl.source import Span
from resdsl.suggest import closest, closest_step
from resdsl.syntax import tree

_ALWAYS_KNOWN = frozenset({*PLACE_NAMES, "none", "index", "count"})


def check_unused(program: Program, problems: Problems) -> None:
    """Check every definition of the spec and of the files it uses, used or not."""
    circles = Circles(problems, program.definitions_of)
    for scope in program.scopes.values():
        for definition in scope.file.definitions:
            if isinstance(definition, (tree.Network, tree.Block, tree.Shortcut)):
                _DefinitionCheck(problems, scope, definition).check()
            if isinstance(definition, tree.Block):
                circles.leads_into(definition)
            elif isinstance(definition, tree.Network):
                is_circular(definition, lambda network: program.scope_of(network).networks, problems)


class _DefinitionCheck:
    """The check of one definition."""

    def __init__(
        self, problems: Problems, scope: FileScope, definition: tree.Network | tree.Block | tree.Shortcut
    ) -> None:
        self.problems = problems
        self.evaluator = Evaluator(problems)
        self.definition = definition
        self.definitions: Definitions = scope.definitions
        self.parameters = _parameters(definition, scope)

    def known(self) -> Iterable[str]:
        """All names that would be found here."""
        yield from self.parameters
        yield from PLACE_NAMES
        yield from self.definitions.names()

    def check(self) -> None:
        """Check the defaults and the body."""
        for parameter in self.definition.parameters:
            if parameter.default is not None:
                self._expr(parameter.default)
        if self.definition.body is not None:
            if isinstance(self.definition, tree.Shortcut):
                self._cases(self.definition)
            self._body(self.definition.body)

    # --- statements ---

    def _cases(self, shortcut: tree.Shortcut) -> None:
        """A shortcut is a chain or cases, each case once."""
        seen: dict[bool, Span] = {}
        for statement in shortcut.body.statements:
            if not isinstance(statement, tree.Case):
                continue
            first = seen.setdefault(statement.when_shape_changes, statement.keyword)
            if first is not statement.keyword:
                facts = {"what": f"`{statement.keyword.text}`"}
                self.problems.add(Mistake("R0408", statement.keyword, facts, (("first", first, {}),)))
        other = next((item for item in shortcut.body.statements if not isinstance(item, tree.Case)), None)
        if seen and other is not None:
            self.problems.report("R0317", other.span, name=shortcut.name.name)

    def _body(self, body: tree.Body, is_residual: bool = False) -> None:
        for number, statement in enumerate(body.statements):
            self._statement(statement, is_residual and number == 0)

    def _statement(self, statement: tree.Statement, may_share: bool) -> None:
        match statement:
            case tree.Chain():
                self._chain(statement, may_share)
            case tree.If():
                self._value(statement.condition)
                self._body(statement.then)
                if statement.otherwise is not None:
                    self._body(statement.otherwise)
            case tree.Case() if isinstance(self.definition, tree.Shortcut):
                self._chain(statement.chain)
            case tree.Require():
                self._value(statement.condition)
            case tree.Part() | tree.Input() | tree.Rules() | tree.Expect() | tree.Published() if isinstance(
                self.definition, tree.Network
            ):
                self._network_statement(statement)
            case _:
                self.problems.add(misplaced(statement))

    def _network_statement(self, statement: tree.Part | tree.Input | tree.Rules | tree.Expect | tree.Published) -> None:
        match statement:
            case tree.Part():
                for attribute in statement.attributes:
                    if isinstance(attribute, tree.FiltersAttribute):
                        self._value(attribute.value)
                    elif isinstance(attribute, tree.ShortcutAttribute):
                        self._shortcut(attribute.value)
                self._body(statement.body)
            case tree.Rules():
                for rule in statement.rules:
                    if isinstance(rule, tree.ShortcutRule):
                        self._shortcut(rule.value)
                    elif isinstance(rule, tree.MapRule) and not isinstance(rule.growth, str):
                        self._value(rule.growth)
                    elif isinstance(rule, tree.StrideRule):
                        self._value(rule.value)
            case tree.Input() | tree.Expect() | tree.Published():
                # Their names can be sizes that the input leaves free.
                pass

    def _chain(self, chain: tree.Chain, may_share: bool = False) -> None:
        for number, step in enumerate(chain.steps):
            match step:
                case tree.Apply():
                    if step.call.callee.name not in PLACE_JOINS:
                        self._call(step.call, step.call.span)
                case tree.Repeat():
                    self._value(step.count)
                    if isinstance(step.body, tree.Call):
                        self._call(step.body, step.span)
                    else:
                        self._body(step.body)
                case tree.Group():
                    if step.kind == "preactivation" and not (may_share and number == 0):
                        self.problems.report("R0406", step.keyword)
                    self._group(step)
                case tree.Auxiliary():
                    self._body(step.body)

    def _group(self, group: tree.Group) -> None:
        names = ["shortcut"] if group.kind == "residual" else []
        self._match(group.kind, names, group.arguments, group.keyword)
        for branch in group.branches:
            self._body(branch.body, is_residual=group.kind == "residual")

    # --- calls ---

    def _call(self, call: tree.Call, span: Span) -> None:
        name = call.callee.name
        for argument in call.arguments or ():
            self._expr(argument.value)
        if name.startswith("nn.") or name in self.parameters:
            return
        found = self.definitions.find(name)
        if found is None:
            guess = closest_step(name, (*self.parameters, *self.definitions.steps()))
            self.problems.report("R0202", call.callee.span, name=name, guess=guess)
        elif isinstance(found.target, tree.Shortcut):
            self.problems.report("R0217", span, name=name)
        elif isinstance(found.target, tree.Block):
            names = [parameter.name.name for parameter in found.target.parameters]
            self._match(name, names, call.arguments, span, CONTEXT_ARGUMENTS)
        else:
            self._op_call(name, found.target, call, span)

    def _op_call(self, name: str, spec: OpSpec, call: tree.Call, span: Span) -> None:
        matched = self._match(name, [arg.name for arg in spec.args], call.arguments, span)
        values = {argument.value.span: argument.value for argument in call.arguments or ()}
        for arg in spec.args:
            if matched is not None and arg.name in matched and arg.kind != "choice":
                self._value(values[matched[arg.name].value_span])

    def _match(
        self, callee: str, names: list[str], arguments: tuple[tree.Argument, ...] | None, span: Span,
        also: tuple[str, ...] = (),
    ) -> dict[str, Given] | None:  # fmt: skip
        given = [
            Given(
                None if argument.name is None else argument.name.name,
                POISON,
                argument.span if argument.name is None else argument.name.span,
                argument.value.span,
            )
            for argument in arguments or ()
        ]
        return match_arguments(callee, names, given, self.evaluator, span, also)

    # --- expressions ---

    def _value(self, expr: tree.Expr) -> None:
        """An expression whose value is used as such: a name in it must be known."""
        if isinstance(expr, tree.Name):
            self._name(expr)
        elif isinstance(expr, tree.Grouped):
            self._value(expr.inner)
        else:
            self._expr(expr)

    def _expr(self, expr: tree.Expr) -> None:
        match expr:
            case tree.Operation(operator="==" | "!="):
                for operand in expr.operands:
                    self._expr(operand)
            case tree.Operation():
                for operand in expr.operands:
                    self._value(operand)
            case tree.Conditional():
                self._value(expr.condition)
                self._expr(expr.then)
                self._expr(expr.otherwise)
            case tree.Index():
                self._value(expr.base)
                self._value(expr.index)
            case tree.Grouped():
                self._expr(expr.inner)
            case tree.ListExpr():
                for item in expr.items:
                    self._expr(item)
            case tree.Call():
                self._function(expr)
            case tree.Literal() | tree.Name():
                pass

    def _function(self, call: tree.Call) -> None:
        name = call.callee.name
        if not self._is_known(name) and name not in FUNCTIONS:
            guess = closest(name, (*FUNCTIONS, *self.known()))
            self.problems.report("R0201", call.callee.span, name=name, guess=guess)
        for argument in call.arguments or ():
            if name in FUNCTIONS:
                self._value(argument.value)
            else:
                self._expr(argument.value)

    def _shortcut(self, expr: tree.Expr) -> None:
        """The choice of a shortcut."""
        if not isinstance(expr, tree.Name):
            self._value(expr)
        elif not self._is_known(expr.name):
            self.problems.add(unknown_shortcut(expr.name, expr.span, self.definitions, self.parameters))

    def _is_known(self, name: str) -> bool:
        return name in self.parameters or name in _ALWAYS_KNOWN or self.definitions.find(name) is not None

    def _name(self, expr: tree.Name) -> None:
        name = expr.name
        if self._is_known(name):
            return
        self.problems.report("R0201", expr.span, name=name, guess=closest(name, self.known()))


def _parameters(definition: tree.Network | tree.Block | tree.Shortcut, scope: FileScope) -> set[str]:
    """The names of a definition's parameters; a variant also sees those of the networks it is made of."""
    names: set[str] = set()
    seen: set[int] = set()
    current: tree.Network | tree.Block | tree.Shortcut | None = definition
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        names.update(parameter.name.name for parameter in current.parameters)
        base = current.base if isinstance(current, tree.Network) else None
        current = None if base is None else scope.networks.get(base.callee.name)
    return names
