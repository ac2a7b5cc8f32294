"""How commands show diagnostics."""

from __future__ import annotations

from collections.abc import Iterable

from resdsl.diagnostics import Diagnostic

from .console import Console


def print_text(console: Console, diagnostics: Iterable[Diagnostic]) -> None:
    """Diagnostics with excerpts on standard error, then how many there are."""
    from resdsl.render import ansi_colour, no_colour, render_all

    found = list(diagnostics)
    console.begin_error()
    console.print_note(render_all(found, ansi_colour if console.colored_errors else no_colour).rstrip("\n"))
    console.print_note("")
    console.print_error(f"{len(found)} mistake" + ("" if len(found) == 1 else "s"))


def print_json(console: Console, diagnostics: Iterable[Diagnostic]) -> None:
    """Diagnostics as one JSON object on standard output."""
    import json

    console.print(json.dumps({"diagnostics": [diagnostic.as_dict() for diagnostic in diagnostics]}, indent=2))


def unique(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Each diagnostic once: files that use the same file report its mistakes alike."""
    seen: dict[tuple[str, str], Diagnostic] = {}
    for diagnostic in diagnostics:
        seen.setdefault((diagnostic.primary.span.place(), diagnostic.code), diagnostic)
    return list(seen.values())
