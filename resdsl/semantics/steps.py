"""Bodies to regions: chains, repeats, conditions, ops and block calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from resdsl.diagnostics import Mistake, Problems
from resdsl.ops import STEPS, Op, OpSpec, Shape, ShapeFault, shape_text
from resdsl.semantics import groups
from resdsl.semantics.binding import Given, bind_op_arguments, given_arguments, match_arguments
from resdsl.semantics.blocks import enter_block
from resdsl.semantics.circles import Circles
from resdsl.semantics.evaluate import Evaluator
from resdsl.semantics.halving import run_halving_at_end
from resdsl.semantics.model import Template
from resdsl.semantics.naming import report_place_taken, report_taken
from resdsl.semantics.region import Flow, Region
from resdsl.semantics.requirements import is_met
from resdsl.semantics.scope import Definitions, Scope, misplaced
from resdsl.semantics.values import POISON, Poison, Ref, Word, describe, key_of, plain
from resdsl.source import Span
from resdsl.suggest import closest_step
from resdsl.syntax import tree

MAX_OPS = 1_000_000
MAX_EVALUATED_STEPS = 200_000
MAX_DEPTH = 80
MAX_MISTAKES = 1_000

ForeignOp = Callable[[str, tuple[Given, ...], Shape], OpSpec]


class StepResolver:
    """Turns the statements of blocks and parts into nodes; equal block calls are worked out once."""

    def __init__(self, problems: Problems, definitions_of: Callable[[Any], Definitions], foreign: ForeignOp) -> None:
        self.problems = problems
        self.evaluator = Evaluator(problems)
        self.definitions_of = definitions_of
        self.foreign = foreign
        self.op_defaults: dict[str, tuple[Given, ...]] = {}
        self._defaults_key: tuple[object, ...] = ()
        self.rounds: dict[Span, int] = {}
        self.misfits: set[Span] = set()
        self._templates: dict[object, Template | None] = {}
        self._circles = Circles(problems, definitions_of)
        self._broken: set[int] = set()
        self._evaluated = 0
        self._times = 1
        self._depth = 0

    def begin_network(self) -> None:
        """Forget what belongs to the network before: defaults that rules set, shortcuts reported not to fit."""
        self.op_defaults = {}
        self._defaults_key = ()
        self.misfits = set()

    def set_default(self, step: str, given: tuple[Given, ...]) -> None:
        """From here on a step takes these arguments where a spec does not state them: `default bn(eps = 1e-3)`."""
        self.op_defaults[step] = given
        self._defaults_key = tuple(
            (name, *((argument.name, key_of(argument.value)) for argument in arguments))
            for name, arguments in self.op_defaults.items()
        )

    # --- statements ---

    def run_body(self, body: tree.Body, scope: Scope) -> Flow:
        """Run the statements of a body one after the other; returns what the last one gives."""
        if self._depth >= MAX_DEPTH:
            self.problems.report("R0218", self._outermost(body.span), how=f"more than {MAX_DEPTH} levels deep")
            scope.flow = scope.region.poison()
            return scope.flow
        self._depth += 1
        for statement in body.statements:
            self.run_statement(statement, scope)
        self._depth -= 1
        return scope.flow

    def run_statement(self, statement: tree.Statement, scope: Scope) -> None:
        """Run one statement; scope.flow is the value before and after."""
        match statement:
            case tree.Chain():
                for step in statement.steps:
                    self.run_step(step, scope)
            case tree.If():
                condition = self.evaluator.truth(statement.condition, scope)
                if isinstance(condition, Poison):
                    scope.flow = scope.region.poison()
                elif condition:
                    self.run_body(statement.then, scope)
                elif statement.otherwise is not None:
                    self.run_body(statement.otherwise, scope)
            case tree.Require():
                if not is_met(self.evaluator, statement, scope):
                    scope.flow = scope.region.poison()
            case tree.Case() | tree.Part() | tree.Input() | tree.Rules() | tree.Expect() | tree.Published():
                self.problems.add(misplaced(statement))

    def run_step(self, step: tree.Step, scope: Scope) -> None:
        """Run one step of a chain."""
        self._evaluated += 1
        if self._evaluated > MAX_EVALUATED_STEPS:
            self._too_large(step.span, scope)
            return
        if len(self.problems) > MAX_MISTAKES:
            scope.flow = scope.region.poison()
            return
        match step:
            case tree.Apply():
                self._apply(step, scope)
            case tree.Repeat():
                self._repeat(step, scope)
            case tree.Group():
                groups.run_group(self, step, scope)
            case tree.Auxiliary():
                groups.run_auxiliary(self, step, scope)

    def _outermost(self, span: Span) -> Span:
        """The call in the network that led here, or the place itself where there is none."""
        return self.problems.calls[0] if self.problems.calls else span

    def _too_large(self, span: Span, scope: Scope) -> None:
        self.problems.report("R0004", self._outermost(span), limit=f"{MAX_OPS:,}")
        scope.flow = scope.region.poison()

    # --- ops and blocks by name ---

    def _apply(self, step: tree.Apply, scope: Scope) -> None:
        name, label = step.call.callee.name, step.label
        if label is not None and label.name in scope.region.places:
            report_place_taken(label.span, scope.region.places[label.name][1], scope)
            label = None
        elif label is not None and label.name == "input":
            self.problems.report("R0221", label.span, name=label.name)
            label = None
        if name in groups.PLACE_JOINS:
            groups.join_place(self, step, scope)
        else:
            target = self._target(step.call, scope)
            if isinstance(target, Poison):
                scope.flow = scope.region.poison()
            else:
                given = given_arguments(step.call.arguments, self.evaluator, scope)
                self.apply_target(target, given, step.call.span, scope, label=label)
        if label is not None:
            scope.region.places[label.name] = (scope.flow, label.span)

    def _target(self, call: tree.Call, scope: Scope) -> Ref | Poison:
        callee = call.callee
        if callee.name.startswith("nn."):
            return Ref(callee.name, STEPS["identity"])
        value = scope.values.get(callee.name)
        if value is None:
            value = scope.definitions.find(callee.name)
        if value is None:
            parameters = [name for name, given in scope.values.items() if isinstance(given, Ref)]
            guess = closest_step(callee.name, (*parameters, *scope.definitions.steps()))
            self.problems.report("R0202", callee.span, name=callee.name, guess=guess)
            return POISON
        if isinstance(value, Word):
            return self.evaluator.unknown_name(value.name, value.span, scope)
        if not isinstance(value, Ref):
            if not isinstance(value, Poison):
                self.problems.report("R0205", callee.span, found=describe(value), wanted="a step or a block")
            return POISON
        return value

    def apply_target(
        self,
        target: Ref,
        given: tuple[Given, ...],
        span: Span,
        scope: Scope,
        label: tree.Identifier | None = None,
        index_name: bool = False,
    ) -> None:
        """Append what a name stands for: an op, or the call of a block."""
        bound = tuple(Given(name, value, place, place) for name, value, place in target.arguments) + given
        definition = target.target
        if isinstance(definition, OpSpec):
            self._apply_op(target.name, definition, bound, span, scope, label)
        elif isinstance(definition, tree.Shortcut):
            self.problems.report("R0217", span, name=target.name)
            scope.flow = scope.region.poison()
        else:
            self._call_block(target.name, definition, bound, span, scope, label, index_name)

    def _apply_op(
        self,
        name: str,
        spec: OpSpec,
        given: tuple[Given, ...],
        span: Span,
        scope: Scope,
        label: tree.Identifier | None,
    ) -> None:
        if name.startswith("nn."):
            self._apply_foreign(name, given, span, scope, label)
            return
        args = self.bind_op(name, spec, given, span, scope)
        if args is None:
            scope.flow = scope.region.poison()
        elif spec.family != "identity":
            node_name = f"{scope.prefix}{label.name}" if label else scope.region.numbered(scope.prefix, name)
            self.append(node_name, Op(spec, args), (scope.flow,), span, scope)

    def bind_op(
        self, name: str, spec: OpSpec, given: tuple[Given, ...], span: Span, scope: Scope
    ) -> dict[str, Any] | None:
        """The op's arguments; what the network's rules set as default comes before the op table's."""
        defaults: dict[str, Any] = {}
        if name in self.op_defaults:
            stated = match_arguments(
                name, [arg.name for arg in spec.args], self.op_defaults[name], self.evaluator, span
            )
            names = [arg for arg in spec.args if stated and arg.name in stated]
            bound = bind_op_arguments(name, names, self.op_defaults[name], self.evaluator, scope, span)
            defaults = bound or {}
        args = bind_op_arguments(name, spec.args, given, self.evaluator, scope, span, defaults)
        return None if args is None else dict(spec.settle(args))

    def _apply_foreign(
        self, name: str, given: tuple[Given, ...], span: Span, scope: Scope, label: tree.Identifier | None
    ) -> None:
        if scope.flow.shape is None or any(isinstance(argument.value, Poison) for argument in given):
            scope.flow = scope.region.poison()
            return
        try:
            spec = self.foreign(name, given, scope.flow.shape)
        except ShapeFault as fault:
            self.problems.add(Mistake(fault.code, span, {**fault.facts, "name": name}, hints=fault.hints))
            scope.flow = scope.region.poison()
            return
        base = name.removeprefix("nn.").lower()
        node_name = f"{scope.prefix}{label.name}" if label else scope.region.numbered(scope.prefix, base)
        args = {argument.name or str(number): plain(argument.value) for number, argument in enumerate(given)}
        self.append(node_name, Op(spec, args), (scope.flow,), span, scope)

    def append(self, name: str, op: Op, inputs: tuple[Flow, ...], span: Span, scope: Scope, **link: Any) -> None:
        """Append an op to the scope's region, or report why its inputs do not suit it."""
        if scope.region.is_taken(name):
            report_taken(name, span, scope)
            scope.region.is_poisoned = True
            return
        try:
            scope.flow = scope.region.add_op(name, op, inputs, span, scope.role, **link)
        except ShapeFault as fault:
            shape = inputs[0].shape
            facts = {"step": op.name, "input": shape_text(shape or ()), **fault.facts}
            self.problems.add(Mistake(fault.code, span, facts, hints=fault.hints))
            scope.flow = scope.region.poison()

    # --- blocks ---

    def _call_block(
        self,
        name: str,
        block: tree.Block,
        given: tuple[Given, ...],
        span: Span,
        scope: Scope,
        label: tree.Identifier | None,
        index_name: bool,
    ) -> None:
        template = None if self._circles.leads_into(block) else self.block_template(name, block, given, span, scope)
        if template is None:
            scope.flow = scope.region.poison()
            return
        if label is not None:
            node_name = f"{scope.prefix}{label.name}"
        elif index_name:
            node_name = scope.region.indexed(scope.prefix)
        else:
            node_name = scope.region.numbered(scope.prefix, name)
        if scope.region.is_taken(node_name):
            report_taken(node_name, span if label is None else label.span, scope)
        if id(template) in self._broken:
            # A mistake was reported in it, yet its shape is certain: what follows can be checked.
            scope.region.is_poisoned = True
        scope.flow = scope.region.add_call(node_name, template, scope.flow, span, scope.role)

    def block_template(
        self, name: str, block: tree.Block, given: tuple[Given, ...], span: Span, scope: Scope
    ) -> Template | None:
        """The block for these arguments, this input and this context; None after reports."""
        shape = scope.flow.shape
        region = scope.region.called(scope.flow)
        begin = region.input()
        base = region.geometry(begin).pace
        fresh = Scope(scope.definitions, self.problems, region, begin, role=scope.role, stride_base=base)
        self.problems.calls.append(span)
        inner = enter_block(self, name, block, given, span, scope, fresh)
        template = None
        if inner is not None:
            values = tuple(key_of(value) for value in inner.values.values())
            key = (block, values, inner.context.key(), shape, scope.role, self._defaults_key, region.dilation_key())
            if key not in self._templates:
                self._templates[key] = self._finish(name, block, inner, region)
            template = self._templates[key]
        self.problems.calls.pop()
        return template

    def _finish(self, name: str, block: tree.Block, scope: Scope, region: Region) -> Template | None:
        output = self.run_body(block.body, scope)
        if output.shape is None or region.input_shape is None:
            return None
        region.settle((output.index,))
        totals = region.totals(frozenset({"trunk", "shortcut", "gate", "auxiliary"}))
        totals = totals.replaced(calls=totals.calls + 1)
        # Calls count as well: blocks without steps could call each other 2^70 times.
        if totals.ops + totals.calls > MAX_OPS:
            self._too_large(block.name.span, scope)
            return None
        arguments = ", ".join(f"{key}={plain(value)}" for key, value in scope.values.items())
        template = Template(
            name, arguments, block.name.span, tuple(region.nodes), output.index, region.input_shape, output.shape,
            region.geometry(output), totals, region.level, dict(region.least),
        )  # fmt: skip
        if region.is_poisoned:
            self._broken.add(id(template))
        return template

    # --- repetition ---

    def _repeat(self, step: tree.Repeat, scope: Scope) -> None:
        count = self.evaluator.integer(step.count, scope, "how many times")
        if isinstance(count, Poison):
            scope.flow = scope.region.poison()
            return
        if count < 0:
            facts = {"what": "a repetition's count", "wanted": "a whole number (0 or more)", "found": count}
            self.problems.add(Mistake("R0207", step.count.span, facts))
            return
        times = self._times * max(1, count)
        if times > MAX_OPS:
            self._too_large(step.count.span, scope)
            return
        before, self._times = self._times, times
        for index in range(count):
            if not self._run_iteration(step, index, count, scope):
                break
        self._times = before

    def _run_iteration(self, step: tree.Repeat, index: int, count: int, scope: Scope) -> bool:
        """One round of a repeat; False when going on would only repeat what was reported."""
        self._evaluated += 1
        self.rounds[step.span] = index + 1
        inner = scope.inner()
        inner.values.update(index=index, count=count)
        last_stride = scope.context.last_stride if index == count - 1 else None
        inner.context = replace(scope.context, stride=last_stride or scope.context.stride, last_stride=None)
        if isinstance(step.body, tree.Call):
            target = self._target(step.body, inner)
            if not isinstance(target, Poison):
                given = given_arguments(step.body.arguments, self.evaluator, inner)
                self.apply_target(target, given, step.span, inner, index_name=True)
            else:
                inner.flow = scope.region.poison()
        else:
            inner.prefix = scope.region.indexed(scope.prefix) + "."
            if last_stride is None:
                self.run_body(step.body, inner)
            else:
                run_halving_at_end(self, step.body.statements, last_stride, inner)
        scope.flow = inner.flow
        if scope.flow.shape is None:
            return False
        if self._evaluated > MAX_EVALUATED_STEPS or len(scope.region.nodes) > MAX_OPS:
            self._too_large(step.span, scope)
            return False
        return True
