"""Text of a spec and places in it."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple


class SourceFile:
    """One text with the name a user knows it by; lines and columns are worked out on demand.

    The first line starts at `begin`: what is before it was put there by the program and is never shown.
    """

    __slots__ = ("_begin", "_line_starts", "is_ours", "name", "path", "text")

    def __init__(self, name: str, text: str, path: str | None = None, *, is_ours: bool = False, begin: int = 0) -> None:
        self.name = name
        self.text = text
        self.path = path
        # A file that comes with resdsl: what goes wrong in it is shown where the user called it.
        self.is_ours = is_ours
        self._line_starts: list[int] | None = None
        self._begin = begin

    def line_starts(self) -> list[int]:
        """Offsets at which the lines begin."""
        if self._line_starts is None:
            starts = [self._begin]
            position = self.text.find("\n", self._begin)
            while position >= 0:
                starts.append(position + 1)
                position = self.text.find("\n", position + 1)
            self._line_starts = starts
        return self._line_starts

    def line_and_column(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both counted from 1 in characters."""
        starts = self.line_starts()
        offset = max(offset, self._begin)
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """The text of a line counted from 1, without its line break."""
        starts = self.line_starts()
        end = starts[line] - 1 if line < len(starts) else len(self.text)
        return self.text[starts[line - 1] : end].rstrip("\r")


class Span(NamedTuple):
    """A stretch of a source file: two character offsets, the end exclusive."""

    source: SourceFile
    start: int
    end: int

    @property
    def line(self) -> int:
        """Line of the first character, counted from 1."""
        return self.source.line_and_column(self.start)[0]

    @property
    def column(self) -> int:
        """Column of the first character, counted from 1."""
        return self.source.line_and_column(self.start)[1]

    @property
    def text(self) -> str:
        """The characters themselves."""
        return self.source.text[self.start : self.end]

    def place(self) -> str:
        """`file:line:column` as editors and compilers write it."""
        line, column = self.source.line_and_column(self.start)
        return f"{self.source.name}:{line}:{column}"

    def contains(self, other: Span) -> bool:
        """Whether the other stretch lies within this one."""
        return self.source is other.source and self.start <= other.start and other.end <= self.end

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of the other."""
        return Span(self.source, self.start, other.end)
