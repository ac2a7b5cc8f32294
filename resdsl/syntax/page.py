"""The lines that the formatter writes: indentation, width, and what is aligned over consecutive lines."""

from __future__ import annotations

from collections.abc import Iterator

WIDTH = 100
COMMENT_COLUMN = 47
MAX_PADDING = 24
_GAP = 2  # blanks before a comment that does not fit at COMMENT_COLUMN


class Line:
    """One line: blanks, code (or a comment of its own), and a comment behind it."""

    __slots__ = ("comment", "indent", "mark", "text")

    def __init__(self, indent: int = 0, text: str = "", comment: str = "") -> None:
        self.indent = indent
        self.text = text
        self.comment = comment
        self.mark = 0  # where `->` or `{` stands in the text, if it is aligned with those of the next lines

    @property
    def width(self) -> int:
        """Columns up to the end of the code."""
        return self.indent + len(self.text)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is on the line."""
        return not self.text and not self.comment


class Page:
    """Lines one below the other; text is added to the last."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    @property
    def line(self) -> Line:
        """The last line."""
        return self.lines[-1]

    def start_line(self, indent: int, text: str = "", comment: str = "") -> None:
        """Begin a line."""
        self.lines.append(Line(indent, text, comment))

    def add(self, text: str) -> None:
        """Continue the last line."""
        self.line.text += text

    def fits(self, text: str, reserve: int = 0) -> bool:
        """Whether text without line breaks, and `reserve` characters behind it, fit into the last line."""
        return "\n" not in text and self.line.width + len(text) + reserve <= WIDTH

    def to_text(self) -> str:
        """Everything, aligned, with one line break at the end."""
        _align_marks(self.lines)
        columns = dict(_comment_columns(self.lines))
        shown = []
        for line in self.lines:
            text = " " * line.indent + line.text
            if line.comment:
                text = text.ljust(columns[line]) + line.comment
            shown.append(text.rstrip() + "\n")
        return "".join(shown)


def _align_marks(lines: list[Line]) -> None:
    """Pad `->` and `{` to one column in runs of lines that ask for it.

    A line that holds nothing but a comment does not end a run. Lines too long, or too different, stay as they are.
    """
    run: list[Line] = []
    for line in [*lines, Line()]:
        if line.text.startswith("#"):
            continue
        if run and (not line.mark or line.indent != run[0].indent):
            _align_run(run)
            run = []
        if line.mark:
            run.append(line)


def _align_run(run: list[Line]) -> None:
    column = max(line.mark for line in run)
    if all(column - line.mark <= min(MAX_PADDING, WIDTH - line.width) for line in run):
        for line in run:
            line.text = line.text[: line.mark] + " " * (column - line.mark) + line.text[line.mark :]


def _comment_columns(lines: list[Line]) -> Iterator[tuple[Line, int]]:
    """Where the comment of each line begins: at COMMENT_COLUMN if that works for all consecutive ones."""
    run: list[Line] = []
    for line in [*lines, Line()]:
        if line.comment:
            run.append(line)
        elif run:
            column = max(line.width for line in run) + _GAP
            longest = max(len(line.comment) for line in run)
            if column <= COMMENT_COLUMN and COMMENT_COLUMN + longest <= WIDTH:
                column = COMMENT_COLUMN
            yield from ((line, column) for line in run)
            run = []
