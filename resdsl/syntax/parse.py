"""Text to syntax tree. The only user of lark."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from resdsl.diagnostics import Mistake, MistakeFound
from resdsl.source import SourceFile, Span
from resdsl.syntax import tree
from resdsl.syntax.build import Builder

MAX_CHARACTERS = 2_000_000
MAX_NESTING = 48
_GRAMMAR = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "grammars", "res.lark")


class Layout:
    """Decides which line breaks separate statements, and bounds the nesting of brackets; sits between lexer and parser."""

    always_accept = ("_SEP",)
    _NO_STATEMENT_BEFORE = frozenset(
        "LBRACE ARROW EQUAL COMPARE PLUS MINUS STAR SLASH DOUBLE_SLASH PERCENT COMMA ELSE".split()
    )

    def __init__(self) -> None:
        self.source: SourceFile | None = None

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """Pass on all tokens but the separators inside ( ) and [ ], at the beginning, and after a sign that goes on."""
        brackets = braces = 0
        previous = "LBRACE"
        for token in stream:
            kind = token.type
            if kind == "_SEP":
                if brackets or previous in self._NO_STATEMENT_BEFORE:
                    continue
            elif kind in ("LPAR", "LBRACKET"):
                brackets += 1
            elif kind in ("RPAR", "RBRACKET"):
                brackets = max(0, brackets - 1)
            elif kind == "LBRACE":
                # A brace cannot stand inside parentheses: forget those that were never closed, for better messages.
                brackets = 0
                braces += 1
            elif kind == "RBRACE":
                braces -= 1
            if brackets + braces > MAX_NESTING:
                assert self.source is not None
                span = Span(self.source, token.start_pos or 0, token.end_pos or 0)
                raise MistakeFound(Mistake("R0003", span, {"limit": MAX_NESTING}))
            previous = kind
            yield token


class Parser:
    """The grammar's tables, read once a process, with the builder that makes the nodes."""

    def __init__(self) -> None:
        self._builder = Builder()
        self._layout = Layout()
        with open(_GRAMMAR, encoding="utf-8") as file:
            grammar = file.read()
        self._lark = Lark(
            grammar,
            parser="lalr",
            start="file",
            maybe_placeholders=True,
            cache=_cache_path(grammar),
            transformer=self._builder,
            postlex=self._layout,
        )

    def parse(self, source: SourceFile) -> tree.File:
        """The syntax tree of a file.

        Raises:
            MistakeFound: the first syntax mistake. Going on behind it would report things that are not wrong.
        """
        if len(source.text) > MAX_CHARACTERS:
            raise MistakeFound(Mistake("R0002", Span(source, 0, 0), {"limit": f"{MAX_CHARACTERS:,}"}))
        self._layout.source = source
        self._builder.begin(source)
        # Parsing makes many objects and no cycles; the collector would double its time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            result: tree.File = self._lark.parse(source.text)
            return result
        except UnexpectedInput as error:
            raise MistakeFound(_syntax_mistake(source, error)) from None
        finally:
            if collecting:
                gc.enable()


def _cache_path(grammar: str) -> str | bool:
    """Where lark keeps the tables it made from the grammar: a folder that only this user can write, or nowhere."""
    folder = os.path.join(os.path.expanduser("~"), ".cache", "resdsl")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.stat(folder)
    except OSError:
        return False
    is_private = status.st_uid == os.getuid() and not status.st_mode & 0o022 if hasattr(os, "getuid") else True
    return os.path.join(folder, f"grammar-{len(grammar)}.tables") if is_private and os.access(folder, os.W_OK) else False


_SIGNS = {
    "_SEP": "a new line", "$END": "the end of the file", "NAME": "a name", "NUMBER": "a number",
    "SIZE": "a size such as `3x3`", "STRING": "a text in double quotes", "CLASS": "a torch class such as `nn.GELU`",
    "ARROW": "`->`", "EQUAL": "`=`", "COMPARE": "a comparison", "PLUS": "`+`", "MINUS": "`-`", "STAR": "`*`",
    "SLASH": "`/`", "DOUBLE_SLASH": "`//`", "PERCENT": "`%`", "LBRACE": "`{`", "RBRACE": "`}`", "LPAR": "`(`",
    "RPAR": "`)`", "LBRACKET": "`[`", "RBRACKET": "`]`", "COMMA": "`,`",
}  # fmt: skip
_VALUE_START = frozenset({"NUMBER", "SIZE", "STRING", "TRUE", "FALSE", "NAME", "LPAR", "LBRACKET", "MINUS", "NOT"})
_STATEMENT_START = frozenset({"RESIDUAL", "CONCAT", "GATED", "STAGE", "IF", "INPUT", "RULES", "EXPECT"})
_DEFINITION_START = frozenset({"NETWORK", "BLOCK", "SHORTCUT", "USE", "RECIPE", "TRAIN"})
_OPERATORS = frozenset(
    {"PLUS", "MINUS", "STAR", "SLASH", "DOUBLE_SLASH", "PERCENT", "COMPARE", "AND", "OR", "IF", "LBRACKET"}
)


def _syntax_mistake(source: SourceFile, error: UnexpectedInput) -> Mistake:
    if isinstance(error, UnexpectedToken):
        return _unexpected_token(source, error)
    assert isinstance(error, UnexpectedCharacters)
    start = error.pos_in_stream or 0
    end = start
    while end < len(source.text) and (source.text[end].isalnum() or source.text[end] in "_."):
        end += 1
    span = Span(source, start, max(end, start + 1))
    return Mistake("R0102", span, {"text": span.text[:24]}, hints=_character_hints(source.text, start, span.text))


def _character_hints(text: str, start: int, word: str) -> tuple[str, ...]:
    count, x, rest = word.partition("x")
    if count.isdecimal() and x and not rest[:1].isdecimal():
        return (f"put spaces around the x: `{count} x {rest or '...'}`",)
    match text[start]:
        case "'":
            return ("texts stand in double quotes",)
        case ":":
            return ("a value is given by `=` or follows its word: `stride = 2`, `depth 34`",)
        case '"':
            return ("close the text with a double quote on the same line",)
        case "." if text[start + 1 : start + 2].isdecimal():
            return ("write a digit before the point: `0.5`",)
        case "&" | "|" | "!":
            return ("write `and`, `or`, `not`",)
    return ()


def _unexpected_token(source: SourceFile, error: UnexpectedToken) -> Mistake:
    token = error.token
    expected = _expected_words(frozenset(error.accepts or error.expected))
    if token.type == "$END":
        end = len(source.text.rstrip())
        opened = _unclosed_brace(source.text)
        related = () if opened is None else (("opened", Span(source, opened, opened + 1), {}),)
        return Mistake("R0103", Span(source, max(0, end - 1), end), {"expected": expected}, related)
    start = token.start_pos or 0
    if token.type == "_SEP":
        span = Span(source, start, start + 1)
        return Mistake("R0101", span, {"found": "the end of the line", "expected": expected})
    span = Span(source, start, token.end_pos or start + 1)
    hints: tuple[str, ...] = ()
    if token.type == "DOUBLE_SLASH":
        hints = ("a comment begins with `#`",)
    elif token.type.isalpha() and "NAME" in (error.accepts or ()) and str(token).isidentifier():
        hints = (f"`{token}` is a word of the language here: choose another name",)
    return Mistake("R0101", span, {"found": f"`{str(token)[:24]}`", "expected": expected}, hints=hints)


def _expected_words(kinds: frozenset[str]) -> str:
    """What could stand here, in words, the many ways to begin a value or a statement summed up."""
    words: list[str] = []
    left = set(kinds)
    for whole, text in ((_STATEMENT_START, "a step or a statement"), (_DEFINITION_START, "a definition")):
        if whole <= left:
            words.append(text)
            left = left & {"RBRACE", "_SEP"}
    if _VALUE_START <= left:
        words.append("a value")
        left -= _VALUE_START
    elif left & {"RPAR", "RBRACE", "_SEP", "LBRACE", "COMMA"}:
        left -= _OPERATORS
    words.extend(sorted(_SIGNS.get(kind, f"`{kind.lower()}`") for kind in left if not kind.startswith("__")))
    if not words:
        return "something else"
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _unclosed_brace(text: str) -> int | None:
    """The offset of the innermost `{` that is never closed, strings and comments aside."""
    opened: list[int] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char in '#"':
            end = text.find("\n" if char == "#" else '"', position + 1)
            position = len(text) if end < 0 else end
        elif char == "{":
            opened.append(position)
        elif char == "}" and opened:
            opened.pop()
        position += 1
    return opened[-1] if opened else None
