"""The one canonical layout of a spec: the meaning stays, and so do all comments.

A body that the author wrote on one line stays there if it fits; a blank line between statements stays, several become
one. Everything else is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from resdsl.source import SourceFile
from resdsl.syntax import tree
from resdsl.syntax.comments import Comment, Comments
from resdsl.syntax.page import WIDTH, Line, Page
from resdsl.syntax.parse import Parser
from resdsl.syntax.pieces import Aligned, Arrows, Braces, Brackets, Node, Piece, Together, pieces_of

INDENT = 2
CONTINUATION = 4
_SHORT_ITEM = 20
_BROKEN = "\n"  # stands for what does not fit on one line in a text that should


def format_source(source: SourceFile) -> str:
    """The text in its canonical layout.

    Raises:
        MistakeFound: the text has a syntax mistake.
    """
    return format_file(Parser().parse(source))


def format_file(file: tree.File) -> str:
    """The canonical layout of a file that was parsed."""
    return _Formatter(file.source).format(file)


class _Formatter:
    """Writes the nodes of one file to a page, each with its comments."""

    def __init__(self, source: SourceFile) -> None:
        self._comments = Comments(source)
        self._page = Page()
        self._flat_braces: dict[int, str] = {}

    def format(self, file: tree.File) -> str:
        places = self._write_nodes(file.definitions, 0, len(file.source.text), 0)
        neighbours = list(pairwise(zip(file.definitions, places, strict=True)))
        for (above, (first, last)), (below, (next_first, next_last)) in reversed(neighbours):
            are_lines = first == last and next_first == next_last and type(above) is type(below)
            if not are_lines and not any(line.is_blank for line in self._page.lines[last + 1 : next_first]):
                self._page.lines.insert(last + 1, Line())
        return self._page.to_text()

    # --- lines ---

    def _write_nodes(self, nodes: Sequence[Node], start: int, end: int, indent: int) -> list[tuple[int, int]]:
        """Write what stands between two offsets; return the first and the last line of each node."""
        places = []
        previous = None
        limits = [*(node.span.start for node in nodes[1:]), end]
        for node, limit in zip(nodes, limits, strict=True) if nodes else ():
            previous = self._write_comments(self._comments.take(start, node.span.start), previous, indent)
            self._keep_blank_line(previous, node.span.start)
            first = len(self._page.lines)
            self._write_node(node, indent)
            previous = start = self._write_trailing(node.span.end, limit, indent)
            places.append((first, len(self._page.lines) - 1))
        self._write_comments(self._comments.take(start, end), previous, indent)
        return places

    def _write_comments(self, comments: list[Comment], previous: int | None, indent: int) -> int | None:
        for comment in comments:
            self._keep_blank_line(previous, comment.start)
            self._page.start_line(indent, comment.text)
            previous = comment.end
        return previous

    def _keep_blank_line(self, previous: int | None, start: int) -> None:
        if previous is not None and self._comments.has_blank_line(previous, start):
            self._page.start_line(0)

    def _write_node(self, node: Node, indent: int) -> None:
        first = len(self._page.lines)
        self._page.start_line(indent)
        self._write(pieces_of(node), 0)
        if isinstance(node, tree.Part) and self._page.line is not self._page.lines[first]:
            self._page.lines[first].mark = 0  # only stages of one line are a table
        homeless = self._comments.take(node.span.start, node.span.end)
        self._page.lines[first:first] = [Line(indent, comment.text) for comment in homeless]

    def _write_trailing(self, offset: int, limit: int, indent: int) -> int:
        """Put the comment behind an offset on the last line; return where the author's line ends."""
        comments = self._comments.take_trailing(offset, limit)
        for number, comment in enumerate(comments):
            if number:
                self._page.start_line(indent)
            self._page.line.comment = comment.text
        return comments[-1].end if comments else offset

    # --- pieces ---

    def _flat(self, piece: Piece) -> str:
        """A piece on one line; holds a line break where that cannot be."""
        match piece:
            case str():
                return piece
            case tuple():
                return "".join(map(self._flat, piece))
            case Together(pieces):
                return "".join(map(self._flat, pieces))
            case Brackets(opening, items):
                return f"{opening}{', '.join(map(self._flat, items))}{_CLOSING[opening]}"
            case Aligned(inner):
                return self._flat(inner)
            case Arrows(steps):
                has_comments = self._comments.any_between(steps[0][1], steps[-1][0])
                return _BROKEN if has_comments else " -> ".join(self._flat(step) for _, _, step in steps)
            case Braces():
                return self._flat_body(piece)

    def _flat_body(self, piece: Braces) -> str:
        if not piece.nodes:
            return _BROKEN if self._comments.any_between(self._opening(piece), piece.end) else " {}"
        if not self._comments.is_one_line(self._opening(piece), piece.end):
            return _BROKEN
        known = self._flat_braces.get(piece.end)
        if known is None:
            text = f" {{ {piece.joint.join(self._flat(pieces_of(node)) for node in piece.nodes)} }}"
            known = self._flat_braces[piece.end] = text if len(text) <= WIDTH else _BROKEN
        return known

    def _opening(self, piece: Braces) -> int:
        return self._comments.bare_text.index("{", piece.start)

    def _write(self, piece: Piece, reserve: int) -> None:
        """Add a piece to the page, broken where it must be; `reserve` characters follow it on its last line."""
        match piece:
            case str():
                self._page.add(piece)
            case tuple():
                self._write_row(piece, reserve)
            case Together(pieces):
                text = self._flat(piece)
                if self._page.fits(text, reserve):
                    self._page.add(text)
                else:
                    self._write_row(pieces, reserve, with_broken_braces=True)
            case Brackets():
                self._write_brackets(piece, reserve)
            case Aligned(inner):
                self._page.line.mark = len(self._page.line.text)
                self._write(inner, reserve)
            case Arrows():
                self._write_arrows(piece, reserve)
            case Braces():
                self._write_braces(piece, self._flat(piece), reserve)

    def _write_row(self, pieces: tuple[Piece, ...], reserve: int, *, with_broken_braces: bool = False) -> None:
        present = [piece for piece in pieces if piece != ""]
        for piece, following in zip(present, [*present[1:], None], strict=True):
            needed = reserve if following is None else _least_width(following)
            if with_broken_braces and isinstance(piece, Braces) and piece.nodes:
                self._write_braces(piece, _BROKEN, needed)
            else:
                self._write(piece, needed)

    def _write_brackets(self, piece: Brackets, reserve: int) -> None:
        text = self._flat(piece)
        if self._page.fits(text, reserve) or not piece.items:
            self._page.add(text)
            return
        indent = self._page.line.indent
        texts = [f"{self._flat(item)}," for item in piece.items]
        self._page.add(piece.opening)
        if piece.opening == "[" and max(map(len, texts)) <= _SHORT_ITEM:
            self._fill_lines(texts, indent + INDENT)
        else:
            for item in piece.items:
                self._page.start_line(indent + INDENT)
                self._write(item, 1)
                self._page.add(",")
        self._page.start_line(indent, _CLOSING[piece.opening])

    def _fill_lines(self, texts: list[str], indent: int) -> None:
        self._page.start_line(indent, texts[0])
        for text in texts[1:]:
            if self._page.fits(f" {text}"):
                self._page.add(f" {text}")
            else:
                self._page.start_line(indent, text)

    def _write_arrows(self, piece: Arrows, reserve: int) -> None:
        indent = self._page.line.indent + CONTINUATION
        before, last = None, piece.steps[-1]
        for step in piece.steps:
            start, end, inner = step
            if before is not None:
                self._write_joint(inner, before, start, reserve if step is last else 0, indent)
            self._write(inner, reserve if step is last else 0)
            before = end

    def _write_joint(self, inner: Piece, before: int, start: int, reserve: int, indent: int) -> None:
        """The arrow to a step, on a new line where comments come between or the step would not fit."""
        has_comments = self._comments.any_between(before, start)
        if has_comments:
            trailing = self._write_trailing(before, start, indent)
            for comment in self._comments.take(trailing, start):
                self._page.start_line(indent, comment.text)
        text = self._flat(inner)
        if _BROKEN in text or indent + len(f"-> {text}") + reserve > WIDTH:
            text = self._head(inner)  # it will be broken, and need not fit as a whole
        is_new_line = has_comments or not self._page.fits(f" -> {text}", reserve)
        if is_new_line:
            self._page.start_line(indent)
        self._page.add("-> " if is_new_line else " -> ")

    def _head(self, piece: Piece) -> str:
        """The part of a piece that stands before its first line break."""
        if isinstance(piece, Braces):
            return " {"
        if not isinstance(piece, tuple):
            return self._flat(piece)
        texts = []
        for part in piece:
            texts.append(self._head(part))
            if isinstance(part, Braces):
                break
        return "".join(texts)

    def _write_braces(self, piece: Braces, text: str, reserve: int) -> None:
        if self._page.fits(text, reserve):
            self._page.add(text)
            return
        indent = self._page.line.indent
        start = self._opening(piece) + 1
        first = piece.nodes[0].span.start if piece.nodes else piece.end
        self._page.add(" {")
        start = self._write_trailing(start, first, indent + INDENT)
        self._write_nodes(piece.nodes, start, piece.end, indent + INDENT)
        self._page.start_line(indent, "}")


_CLOSING = {"(": ")", "[": "]"}


def _least_width(piece: Piece) -> int:
    """The characters of a piece that cannot go to a new line."""
    match piece:
        case str():
            return len(piece)
        case tuple():
            return _least_width(piece[0]) if piece else 0
        case Brackets():
            return 1
        case Aligned(inner):
            return _least_width(inner)
        case Together() | Arrows():
            return 0
        case Braces():
            return len(" {")
