"""Mistakes as data: what was found and where. The words come from the catalogue, the layout from the renderer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from resdsl.source import Span

MAX_REPORTED = 100
Related = tuple[tuple[str, Span, Mapping[str, object]], ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake of the user: a stable code, the place, and the facts that its sentences mention.

    `related` names the second places, each with facts of its own; `hints` are repairs that only the finder can word
    (with sizes and costs), shown before those of the catalogue.
    """

    code: str
    span: Span
    facts: Mapping[str, object] = field(default_factory=dict)
    related: Related = ()
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """A place with a few words about it."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A mistake in words, ready to be shown: see resdsl.render for text, `as_dict` for editors."""

    code: str
    title: str
    primary: Label
    secondary: tuple[Label, ...]
    hints: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """The diagnostic as plain data: lines and columns count from 1, the end column is exclusive."""
        return {
            "code": self.code,
            "severity": "error",
            "message": self.title,
            **_label_dict(self.primary),
            "related": [_label_dict(label) for label in self.secondary],
            "hints": list(self.hints),
        }

    def __str__(self) -> str:
        return f"{self.primary.span.place()}: error[{self.code}]: {self.title}"


def _label_dict(label: Label) -> dict[str, object]:
    source = label.span.source
    line, column = source.line_and_column(label.span.start)
    end_line, end_column = source.line_and_column(label.span.end)
    return {
        "file": source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "label": label.text,
    }


class MistakeFound(Exception):
    """Carries a mistake up to where mistakes are collected; never leaves the compiler."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.code)
        self.mistake = mistake


# What a name that nothing defines leads to; it says nothing where a file that may define it could not be read.
_OF_MISSING_NAMES = frozenset({"R0201", "R0202", "R0219", "R0220", "R0703", "R0707", "R0709"})


class Problems:
    """The mistakes found so far, without repetitions.

    Attributes:
        calls: the calls that led to where the compiler is now, outermost first.
        variant: the call of the base when the network at hand is a variant.
        lacks_names: whether a file that the spec uses could not be read.
    """

    def __init__(self) -> None:
        self.calls: list[Span] = []
        self.variant: Span | None = None
        self.lacks_names = False
        self._mistakes: dict[tuple[str, int, int, int], Mistake] = {}
        self._met = 0

    def add(self, mistake: Mistake) -> None:
        """Keep a mistake unless the same one was found at the same place."""
        self._met += 1
        if self.lacks_names and mistake.code in _OF_MISSING_NAMES:
            return
        mistake = self._with_calls(mistake)
        span = mistake.span
        self._mistakes.setdefault((mistake.code, id(span.source), span.start, span.end), mistake)

    def _with_calls(self, mistake: Mistake) -> Mistake:
        """The mistake with the calls that led to it; one in a file of ours is shown at the call in the user's."""
        span, related = mistake.span, mistake.related
        calls = [call for call in reversed(self.calls) if not call.source.is_ours]
        if span.source.is_ours and (calls or self.variant is not None):
            site = calls[0] if calls else self.variant
            assert site is not None
            related = (("origin", span, {}), *related)
            mistake = Mistake(mistake.code, site, mistake.facts, related, mistake.hints)
        known = {mistake.span, *(place for _, place, _ in related)}
        further: list[tuple[str, Span, Mapping[str, object]]] = [
            ("call", call, {})
            for call in (*calls[:1], *calls[1:][-1:])
            if call not in known and not call.contains(mistake.span)
        ]
        if self.variant is not None and self.variant not in known and not _stands_in(self.variant, mistake.span):
            further.append(("variant", self.variant, {}))
        if not further:
            return mistake
        return Mistake(mistake.code, mistake.span, mistake.facts, (*related, *further), mistake.hints)

    def report(self, code: str, span: Span, /, **facts: object) -> None:
        """Keep a mistake that has no second place."""
        self.add(Mistake(code, span, facts))

    def __bool__(self) -> bool:
        return bool(self._mistakes)

    def __len__(self) -> int:
        """How many mistakes were met, repetitions and suppressed ones included: it grows with every one."""
        return self._met

    def sorted(self) -> list[Mistake]:
        """All mistakes in the order of the text, file by file."""
        return sorted(self._mistakes.values(), key=lambda m: (m.span.source.name, m.span.start, m.span.end, m.code))


def _stands_in(call: Span, span: Span) -> bool:
    """Whether a place stands behind a variant's call of its base in one file: in the variant itself."""
    return call.source is span.source and span.start >= call.start


class CompileError(Exception):
    """The spec is wrong; `diagnostics` says where, why, and what to write."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("\n".join(str(diagnostic) for diagnostic in diagnostics))
        self.diagnostics = diagnostics


class InternalError(Exception):
    """A bug of resdsl, never the user's mistake."""
