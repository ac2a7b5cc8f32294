"""The comments of a text: no node of the tree holds them, the formatter puts each back beside its statement."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

from resdsl.source import SourceFile

_STRING_OR_COMMENT = re.compile(r'"[^"\n]*"|#[^\n]*')


class Comment(NamedTuple):
    """One comment: its text from the `#` on, and two character offsets, the end exclusive."""

    text: str
    start: int
    end: int


class Comments:
    """The comments of a text that parses, to be taken from it one stretch after another."""

    def __init__(self, source: SourceFile) -> None:
        found = [match for match in _STRING_OR_COMMENT.finditer(source.text) if match[0][0] == "#"]
        self._source = source
        self._left: list[Comment | None] = [
            Comment(match[0].rstrip(), match.start(), match.start() + len(match[0].rstrip())) for match in found
        ]
        self._starts = [match.start() for match in found]
        # Of the same length as the text, so that offsets hold: what comments and strings say is no syntax.
        self.bare_text = _STRING_OR_COMMENT.sub(lambda match: " " * len(match[0]), source.text)

    def take(self, start: int, end: int) -> list[Comment]:
        """The comments between two offsets that were not taken before."""
        first, last = bisect_left(self._starts, start), bisect_left(self._starts, end)
        taken = [comment for comment in self._left[first:last] if comment is not None]
        self._left[first:last] = [None] * (last - first)
        return taken

    def any_between(self, start: int, end: int) -> bool:
        """Whether a comment not yet taken lies between two offsets."""
        first, last = bisect_left(self._starts, start), bisect_left(self._starts, end)
        return any(self._left[first:last])

    def take_trailing(self, offset: int, limit: int) -> list[Comment]:
        """The comment that follows an offset on its line, and those that go on with it in the lines below.

        A comment goes on with the one above when both begin in the same column. None begins behind `limit`.
        """
        position = bisect_left(self._starts, offset)
        line, column = self._source.line_and_column(offset)[0], None
        taken: list[Comment] = []
        while position < len(self._starts) and self._starts[position] < limit:
            comment = self._left[position]
            place = self._source.line_and_column(self._starts[position])
            if comment is None or place != (line, column or place[1]):
                break
            taken.append(comment)
            self._left[position] = None
            line, column = line + 1, place[1]
            position += 1
        return taken

    def is_one_line(self, start: int, end: int) -> bool:
        """Whether the author wrote a stretch of text on one line."""
        return "\n" not in self._source.text[start:end]

    def has_blank_line(self, start: int, end: int) -> bool:
        """Whether a blank line lies in a stretch that holds no statement."""
        return self.bare_text.count("\n", start, end) >= 2
