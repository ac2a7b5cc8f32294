"""Names of modules and places: reported where two would have the same one."""

from __future__ import annotations

from resdsl.diagnostics import Mistake, Related
from resdsl.semantics.scope import Scope
from resdsl.source import Span


def report_taken(name: str, span: Span, scope: Scope) -> None:
    """Report a name that a module has already, with the place of that module."""
    path = f"{name}."
    first = next(
        node for node in scope.region.nodes if f"{node.name}.".startswith(path) or path.startswith(f"{node.name}.")
    )
    related: Related = (("first", first.span, {}),) if first.span != span else ()
    scope.problems.add(Mistake("R0213", span, {"name": name.removeprefix(scope.prefix)}, related))
    scope.region.is_poisoned = True


def report_place_taken(span: Span, first: Span, scope: Scope) -> None:
    """Report a place whose name another place has; each round of a repetition names the same place again."""
    related: Related = (("first", first, {}),) if first != span else ()
    repeated = None if related else "the repetition"
    scope.problems.add(Mistake("R0213", span, {"name": span.text, "repeated": repeated}, related))


def open_prefix(name: str, span: Span, scope: Scope) -> str:
    """The prefix of the names in a scope; reported where a single module has its name already."""
    if not scope.region.holds_module(name):
        return f"{name}."
    report_taken(name, span, scope)
    # A name that no module can have, so that what stands in the scope is not reported again.
    return f"{name}'."
