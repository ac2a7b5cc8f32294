"""Definitions that call each other in a circle whatever their arguments are: found without running them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from resdsl.diagnostics import Mistake, Problems
from resdsl.semantics.scope import Definitions
from resdsl.source import Span
from resdsl.syntax import tree

MAX_SHOWN = 8
MAX_VARIANTS = 32
_Calls = list[tuple[str, Span]]


class Circles:
    """Which blocks never end. Only calls that every call of a block makes count: a condition may end a recursion."""

    def __init__(self, problems: Problems, definitions_of: Callable[[Any], Definitions]) -> None:
        self.problems = problems
        self.definitions_of = definitions_of
        self._leads_into: dict[int, bool] = {}

    def leads_into(self, block: tree.Block) -> bool:
        """Whether each call of a block leads into a circle; the circle is reported once."""
        if id(block) not in self._leads_into:
            self._search(block)
        return self._leads_into[id(block)]

    def _search(self, start: tree.Block) -> None:
        """Settle a block and those it calls, depth first; the stack is a list, for chains of many blocks."""
        path = [start]
        places = {id(start): 0}
        spans: _Calls = []
        waiting = [self._calls(start)]
        while path:
            step = next(waiting[-1], None)
            if step is None:
                done = id(path.pop())
                del places[done]
                self._leads_into[done] = False
                waiting.pop()
                del spans[-1:]
                continue
            block, span = step
            place = places.get(id(block))
            if place is not None:
                _report(self.problems, [*spans[place:], (path[-1].name.name, span)])
            if place is not None or self._leads_into.get(id(block)):
                self._leads_into.update((id(before), True) for before in path)
                return
            if id(block) not in self._leads_into:
                spans.append((path[-1].name.name, span))
                places[id(block)] = len(path)
                path.append(block)
                waiting.append(self._calls(block))

    def _calls(self, block: tree.Block) -> Iterator[tuple[tree.Block, Span]]:
        definitions = self.definitions_of(block)
        own = {parameter.name.name for parameter in block.parameters}
        for name, span in _calls_in(block.body):
            found = None if name in own else definitions.find(name)
            if found is not None and isinstance(found.target, tree.Block):
                yield found.target, span


def _calls_in(body: tree.Body) -> Iterator[tuple[str, Span]]:
    """The calls that a body makes whatever its arguments are."""
    for statement in body.statements:
        for step in statement.steps if isinstance(statement, tree.Chain) else ():
            match step:
                case tree.Apply():
                    yield step.call.callee.name, step.call.span
                case tree.Repeat(count=tree.Literal(value=int(count)), body=repeated) if count > 0:
                    if isinstance(repeated, tree.Call):
                        yield repeated.callee.name, repeated.span
                    else:
                        yield from _calls_in(repeated)
                case tree.Group():
                    for branch in step.branches:
                        yield from _calls_in(branch.body)


def is_circular(
    network: tree.Network, networks_of: Callable[[tree.Network], Mapping[str, tree.Network]], problems: Problems
) -> bool:
    """Whether a network is, at the end, a variant of itself; the circle is reported.

    One of more than MAX_VARIANTS networks is left to the limit on variants of variants.
    """
    seen: dict[int, int] = {}
    calls: _Calls = []
    current: tree.Network | None = network
    while current is not None and current.base is not None and len(seen) <= MAX_VARIANTS:
        if id(current) in seen:
            _report(problems, calls[seen[id(current)] :])
            return True
        seen[id(current)] = len(calls)
        calls.append((current.name.name, current.base.span))
        current = networks_of(current).get(current.base.callee.name)
    return False


def _report(problems: Problems, calls: _Calls) -> None:
    """Report a circle at the call that comes first in the text, wherever it was entered."""
    first = min(range(len(calls)), key=lambda number: (calls[number][1].source.name, calls[number][1].start))
    turned = [*calls[first:], *calls[:first]]
    names = [name for name, _ in turned]
    shown = names if len(names) <= MAX_SHOWN else [*names[: MAX_SHOWN - 1], "..."]
    problems.add(Mistake("R0218", turned[0][1], {"how": " -> ".join([*shown, names[0]])}))
