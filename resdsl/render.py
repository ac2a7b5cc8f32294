"""Diagnostics as text: the title, an excerpt with underlined columns and second places, hints."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from resdsl.diagnostics import MAX_REPORTED, Diagnostic, Label
from resdsl.source import SourceFile

Paint = Callable[[str, str], str]
MAX_WIDTH = 160
_TAB = " " * 4


def no_colour(text: str, role: str) -> str:
    """The text as it is."""
    return text


def ansi_colour(text: str, role: str) -> str:
    """The text in the terminal's colour for its role: error, place, second, hint, code."""
    code = {"error": "1;31", "place": "1;34", "second": "1;36", "hint": "1;32", "title": "1"}[role]
    return f"\x1b[{code}m{text}\x1b[0m"


def render_all(diagnostics: Iterable[Diagnostic], paint: Paint = no_colour) -> str:
    """All diagnostics, a blank line between them, the first MAX_REPORTED in full."""
    everything = list(diagnostics)
    shown = [render(diagnostic, paint) for diagnostic in everything[:MAX_REPORTED]]
    if len(everything) > MAX_REPORTED:
        shown.append(f"... and {len(everything) - MAX_REPORTED} more\n")
    return "\n".join(shown)


def render(diagnostic: Diagnostic, paint: Paint = no_colour) -> str:
    """One diagnostic as lines of text, each ending in a line break."""
    lines = [paint(f"error[{diagnostic.code}]", "error") + paint(f": {_visible(diagnostic.title)}", "title")]
    files = _by_file(diagnostic)
    gutter = max(len(str(line)) for marks in files.values() for line in marks)
    for number, (source, marks) in enumerate(files.items()):
        anchor = diagnostic.primary if number == 0 else next(iter(marks.values()))[0]
        line, column = source.line_and_column(anchor.span.start)
        arrow = "-->" if number == 0 else ":::"
        lines.append(f"{' ' * gutter}{paint(arrow, 'place')} {_visible(source.name)}:{line}:{column}")
        if source.text:
            lines.extend(_excerpt(source, marks, diagnostic.primary, gutter, paint))
    for hint in diagnostic.hints:
        first, *rest = _visible(hint, keep_lines=True).split("\n")
        lines.append(f"{' ' * gutter} {paint('=', 'place')} {paint('hint:', 'hint')} {first}")
        lines.extend(f"{' ' * gutter}         {line}" for line in rest)
    return "\n".join(lines) + "\n"


def _by_file(diagnostic: Diagnostic) -> dict[SourceFile, dict[int, list[Label]]]:
    """Labels by file and by line, the file of the primary label first."""
    files: dict[SourceFile, dict[int, list[Label]]] = {diagnostic.primary.span.source: {}}
    for label in (diagnostic.primary, *diagnostic.secondary):
        files.setdefault(label.span.source, {}).setdefault(label.span.line, []).append(label)
    return files


def _excerpt(source: SourceFile, marks: dict[int, list[Label]], primary: Label, gutter: int, paint: Paint) -> list[str]:
    bar = paint("|", "place")
    lines = [f"{' ' * gutter} {bar}"]
    previous = None
    for line in sorted(marks):
        if previous is not None and line > previous + 1:
            lines.append(f"{' ' * gutter} {bar}")
        previous = line
        text = source.line_text(line)
        first = min(source.line_and_column(label.span.start)[1] for label in marks[line])
        offset = _first_shown_column(text, first)
        excerpt = _visible(text[offset : offset + MAX_WIDTH])
        lines.append(f"{paint(str(line).rjust(gutter), 'place')} {bar} {excerpt}".rstrip())
        for label in marks[line]:
            mark = "^" if label is primary else "-"
            role = "error" if label is primary else "second"
            lines.append(f"{' ' * gutter} {bar} " + _underline(text, offset, label, mark, role, paint))
    return lines


def _first_shown_column(text: str, column: int) -> int:
    """How many characters of a very long line to leave out before the place."""
    return max(0, column - MAX_WIDTH // 2) if len(text) > MAX_WIDTH else 0


def _underline(text: str, offset: int, label: Label, mark: str, role: str, paint: Paint) -> str:
    source = label.span.source
    line, column = source.line_and_column(label.span.start)
    end_line, end_column = source.line_and_column(label.span.end)
    start = column - 1
    end = end_column - 1 if end_line == line else len(text.rstrip())
    before = " " * _cells(_visible(text[offset:start]))
    width = max(1, _cells(_visible(text[start : min(end, offset + MAX_WIDTH)])))
    return before + paint(mark * width + (f" {_visible(label.text)}" if label.text else ""), role)


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian letters and pictures take two, accents none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _visible(text: str, keep_lines: bool = False) -> str:
    """Text without control characters that could fool a terminal; tabs become spaces."""
    if text.isascii() and text.isprintable():
        return text
    kept = "\n" if keep_lines else ""
    return "".join(
        char if char.isprintable() or char == kept else _TAB if char == "\t" else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
