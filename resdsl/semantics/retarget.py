"""Retargeting: a network with another input, stem, head or output stride is a variant, made from texts given elsewhere.

Each text is parsed by itself, between words that no message shows, and must be one statement and nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from resdsl.diagnostics import Mistake, MistakeFound, Problems
from resdsl.source import SourceFile, Span
from resdsl.syntax import tree
from resdsl.syntax.parse import Parser

HEADS = {"none": "identity", "avg": "global_avg_pool", "max": "global_max_pool"}

# What stands around the text of each change in the variant.
_AROUND = {
    "input": ("network n = n { input ", "\n}"),
    "output_stride": ("network n = n { rules { output stride ", "\n} }"),
    "stem": ("network n = n { stem { ", "\n} }"),
    "head": ("network n = n { head { ", "\n} }"),
}
_BRACES = re.compile(r"#[^\n]*|\"[^\"\n]*\"|[{}]")


class Changes:
    """What is to be changed in a network: texts of the language by what they state, each with its place's name."""

    __slots__ = ("texts",)

    def __init__(self, texts: Iterable[tuple[str, str, str]] = ()) -> None:
        """Texts as (what, name of the place, text); what is `input`, `stem`, `head` or `output_stride`."""
        self.texts = {what: (where, text) for what, where, text in texts}

    def then(self, later: Changes) -> Changes:
        """These changes, then others, which come in their place where both change one thing."""
        changed = Changes()
        changed.texts = {**self.texts, **later.texts}
        return changed


def variant_of(
    network: tree.Network, changes: Changes, main: SourceFile, parser: Parser, problems: Problems
) -> tree.Network | None:
    """The variant of a network that has the changes, to be resolved in the file `main`; None after reports."""
    statements = [
        _statement(what, where, HEADS.get(text.strip(), text) if what == "head" else text, parser, problems)
        for what, (where, text) in changes.texts.items()
    ]
    found = tuple(statement for statement in statements if statement is not None)
    if len(found) < len(statements):
        return None
    nowhere = Span(main, 0, 0)
    base = tree.Call(network.name.span, network.name, None)
    return tree.Network(nowhere, network.name, (), base, tree.Body(nowhere, found))


def _statement(what: str, where: str, text: str, parser: Parser, problems: Problems) -> tree.Statement | None:
    before, behind = _AROUND[what]
    source = SourceFile(where, f"{before}{text}{behind}", begin=len(before))
    end = len(before) + len(text)
    stray = _stray_brace(text)
    if stray is not None:
        _report_stray(Span(source, len(before) + stray, end), problems)
        return None
    try:
        file = parser.parse(source)
    except MistakeFound as found:
        problems.add(_within(found.mistake, source, len(before), end))
        return None
    (network,) = file.definitions
    assert isinstance(network, tree.Network)
    assert network.body is not None
    statement, *others = network.body.statements
    inner = statement.rules if isinstance(statement, tree.Rules) else ()
    second = next(iter((*others, *inner[1:])), None)
    if second is not None:
        _report_stray(Span(source, second.span.start, end), problems)
        return None
    if not isinstance(statement, tree.Part):
        return statement
    # The part's own words are not the user's: what is said of the part is shown at the text.
    given = Span(source, len(before), end)
    return statement.replaced(heading=given, name=tree.Identifier(given, statement.name.name))  # type: ignore[no-any-return]


def _stray_brace(text: str) -> int | None:
    """The offset of a brace that closes what the text did not open."""
    depth = 0
    for match in _BRACES.finditer(text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth < 0:
            return match.start()
    return None


def _report_stray(span: Span, problems: Problems) -> None:
    problems.report("R0101", span, found=f"`{span.text[:24]}`", expected="nothing more")


def _within(mistake: Mistake, source: SourceFile, begin: int, end: int) -> Mistake:
    """The mistake; one that shows behind the text only is that the text ends too early."""
    if mistake.span.start < end:
        return mistake
    expected = mistake.facts.get("expected", "more")
    return Mistake("R0103", Span(source, max(begin, end - 1), end), {"expected": expected})
