"""The words of all diagnostics: mistakes to diagnostics, codes to explanations. Imported only where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from string import Formatter
from textwrap import fill
from typing import Any

from resdsl.catalogue import expectations, files, names, recipes, rules, shapes, syntax
from resdsl.catalogue.entry import Entry
from resdsl.diagnostics import Diagnostic, Label, Mistake
from resdsl.suggest import closest

__all__ = ["ENTRIES", "Entry", "all_codes", "diagnose", "diagnose_all", "explain", "is_code", "plain_title"]

EXPLANATION_WIDTH = 100
_AREAS = (files, syntax, names, shapes, rules, expectations, recipes)
ENTRIES: Mapping[str, Entry] = {entry.code: entry for area in _AREAS for entry in area.ENTRIES}

_CALLS = {"call": "in this call", "variant": "in this variant"}


def all_codes() -> tuple[str, ...]:
    """Every code, in order."""
    return tuple(sorted(ENTRIES))


def diagnose_all(mistakes: Iterable[Mistake]) -> tuple[Diagnostic, ...]:
    """The mistakes in words, in the order given."""
    return tuple(diagnose(mistake) for mistake in mistakes)


def diagnose(mistake: Mistake) -> Diagnostic:
    """The mistake in words; repairs that its finder worded come before the catalogue's."""
    entry = ENTRIES[mistake.code]
    templates = {**_CALLS, "origin": entry.label, **entry.related}
    # With an origin the place that the label is about lies in a file of ours, and the first place is the user's call.
    is_call = any(key == "origin" for key, _, _ in mistake.related)
    hints = (_hint(template, mistake.facts) for template in entry.hints)
    return Diagnostic(
        mistake.code,
        _filled(entry.title, mistake.facts),
        Label(mistake.span, _CALLS["call"] if is_call else _filled(entry.label, mistake.facts)),
        tuple(Label(span, _filled(templates[key], {**mistake.facts, **facts})) for key, span, facts in mistake.related),
        (*mistake.hints, *(hint for hint in hints if hint)),
    )


def is_code(code: str) -> bool:
    """Whether a diagnostic of this code exists; upper and lower case are one."""
    return code.upper() in ENTRIES


def explain(code: str, report: Callable[[str], str] | None = None) -> str:
    """What a code means, with a wrong and a right example.

    `report` gives the diagnostics of a text as they are shown; with it the wrong example is followed by its own.

    Raises:
        KeyError: there is no such code; the message suggests a near one.
    """
    entry = ENTRIES.get(code.upper())
    if entry is None:
        guess = closest(code.upper(), ENTRIES)
        raise KeyError(f"there is no diagnostic {code}" + (f"; did you mean {guess}?" if guess else ""))
    paragraphs = [f"{entry.code}: {plain_title(entry.title)}", fill(entry.explanation, EXPLANATION_WIDTH)]
    if entry.wrong:
        paragraphs.append("Wrong:\n\n" + _indented(entry.wrong))
        paragraphs.extend(f"with {name} beside it:\n\n{_indented(text)}" for name, text in entry.beside.items())
        if report is not None and not entry.beside:
            paragraphs.append(_indented(report(entry.wrong)))
    if entry.right:
        paragraphs.append("Right:\n\n" + _indented(entry.right))
    return "\n\n".join(paragraphs) + "\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").split("\n"))


class _Shown(dict[str, Any]):
    """Facts for a template; one that the finder left out shows as dots rather than as a failure."""

    def __missing__(self, key: str) -> str:
        return "..."


def _filled(template: str, facts: Mapping[str, object]) -> str:
    return template.format_map(_Shown(facts)) if "{" in template else template


def _hint(template: str, facts: Mapping[str, object]) -> str | None:
    names = _fields(template)
    return _filled(template, facts) if all(facts.get(name) is not None for name in names) else None


def plain_title(title: str) -> str:
    """The title without particular facts."""
    return _filled(title, dict.fromkeys(_fields(title), "...")).replace("`...`", "...")


def _fields(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name]
