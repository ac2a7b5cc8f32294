"""What a spec claims of its networks: checked at every compile."""

from __future__ import annotations

import math

from resdsl.diagnostics import Mistake
from resdsl.ops import Shape, shape_text
from resdsl.semantics.evaluate import Evaluator
from resdsl.semantics.groups import report_unknown_place
from resdsl.semantics.model import REGION_INPUT, Network
from resdsl.semantics.scope import Scope
from resdsl.semantics.values import Poison, Value, Word, is_number
from resdsl.sizes import Amount, Size, first_difference
from resdsl.suggest import closest
from resdsl.syntax import tree

Measured = int | float | Amount


def measures(network: Network) -> dict[str, Measured]:
    """All numbers that a spec can claim: macs are multiply-adds, sizes are in places of the input map."""
    totals, way = network.totals, network.geometry
    return {
        "depth": way.depth,
        "parameters": totals.parameters,
        "macs": totals.macs,
        "activations": totals.activations,
        "buffers": totals.buffers,
        "receptive_field": _whole(max(way.reach) + 1),
        "stride": _whole(max(way.stride)),
    }


def _whole(value: float) -> int | float:
    return int(value) if math.isfinite(value) and value == int(value) else value


def check_expectations(evaluator: Evaluator, network: Network, expectations: list[tuple[tree.Expect, Scope]]) -> None:
    """Report every claim that does not hold."""
    for expect, scope in expectations:
        names = _with_free_sizes(network, scope)
        if expect.condition is not None:
            condition = evaluator.truth(expect.condition, names)
            if condition is not True:
                continue
        for claim in expect.claims:
            match claim:
                case tree.NumberClaim():
                    _check_number(evaluator, network, claim, names)
                case tree.ShapeClaim():
                    _check_shape(evaluator, network, claim, names)


def _with_free_sizes(network: Network, scope: Scope) -> Scope:
    names = scope.inner()
    for extent in network.input_shape:
        if isinstance(extent, Size):
            names.values.setdefault(extent.symbol, Size(extent.symbol))
    return names


def _check_number(evaluator: Evaluator, network: Network, claim: tree.NumberClaim, scope: Scope) -> None:
    subject = claim.subject.name
    found = measures(network).get(subject)
    if found is None:
        known = (*measures(network), "output")
        names = ", ".join(f"`{name}`" for name in known)
        evaluator.problems.report("R0502", claim.subject.span, name=subject, guess=closest(subject, known), known=names)
        return
    value = evaluator.evaluate(claim.value, scope)
    tolerance = 0.0 if claim.within is None else evaluator.evaluate(claim.within, scope)
    if isinstance(value, Poison) or isinstance(tolerance, Poison):
        return
    if isinstance(found, Amount):
        evaluator.problems.report("R0503", claim.span, subject=subject, found=str(found))
        return
    for part, given in ((claim.value, value), (claim.within, tolerance)):
        if part is not None and not is_number(given):
            evaluator.wrong_kind(part.span, given, "a number", scope)
            return
    assert isinstance(value, (int, float))
    assert isinstance(tolerance, (int, float))
    if abs(found - value) <= abs(value) * tolerance or found == value:
        return
    facts = {
        "subject": subject.replace("_", " "),
        "word": subject,
        "name": network.name,
        "found": _number(found),
        "claimed": _number(value),
        "difference": f" ({found - value:+,})" if math.isfinite(found) else "",
        "exact": f"{found:_}" if isinstance(found, int) else None,
        "within": _enough(found, value) if math.isfinite(found) else None,
        "written": claim.value.span.text,
    }
    related = (("network", network.span, facts),)
    evaluator.problems.add(Mistake("R0501", claim.span, facts, related))


def _number(value: float) -> str:
    return f"{value:,}" if math.isfinite(value) else "the whole map"


def _enough(found: float, value: float) -> str | None:
    """The tolerance with which a rounded claim would hold; None where it is far from the truth."""
    for percent in (1, 2, 5) if found > 1000 else ():
        if abs(found - value) <= abs(value) * percent / 100:
            return f"{percent}%"
    return None


def _check_shape(evaluator: Evaluator, network: Network, claim: tree.ShapeClaim, scope: Scope) -> None:
    index = network.output
    if claim.place is not None:
        place = network.places.get(claim.place.name)
        if place is None:
            place = next((part.output for part in network.parts if part.name == claim.place.name), None)
        if place is None:
            known = (*network.places, *(part.name for part in network.parts))
            report_unknown_place(evaluator.problems, claim.place.name, claim.place.span, dict.fromkeys(known))
            return
        index = place
    found = network.input_shape if index == REGION_INPUT else network.nodes[index].shape
    claimed = _claimed_shape(evaluator, claim, scope)
    if claimed is None or _is_same(found, claimed):
        return
    where = f"the output of {claim.place.name}" if claim.place else f"the output of {network.name}"
    facts = {"where": where, "found": shape_text(found), "claimed": shape_text(claimed)}
    evaluator.problems.add(Mistake("R0504", claim.span, facts, (("network", network.span, facts),)))


def _claimed_shape(evaluator: Evaluator, claim: tree.ShapeClaim, scope: Scope) -> Shape | None:
    shape: list[int | Size] = []
    for dim in claim.dims:
        value: Value = evaluator.evaluate(dim, scope)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Poison):
                return None
            if isinstance(part, Word) or not isinstance(part, (int, Size)) or isinstance(part, bool):
                evaluator.wrong_kind(dim.span, part, "a whole number or a size", scope)
                return None
            shape.append(part)
    return tuple(shape)


def _is_same(left: Shape, right: Shape) -> bool:
    return len(left) == len(right) and all(
        a == b or first_difference(a, b) is None for a, b in zip(left, right, strict=True)
    )
