"""Text to syntax tree, and what lark says of wrong text in the user's words."""

from __future__ import annotations

import re
from typing import cast

from lark import Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from resdsl.collector import paused_collector
from resdsl.diagnostics import Mistake, MistakeFound, Related
from resdsl.source import SourceFile, Span
from resdsl.suggest import closest
from resdsl.syntax import tree
from resdsl.syntax.build import Builder
from resdsl.syntax.lexer import MAX_NESTING, NestingTooDeep
from resdsl.syntax.tables import load_parser

MAX_CHARACTERS = 2_000_000


class Parser:
    """The grammar's tables, read once a process, with the builder that makes the nodes."""

    def __init__(self) -> None:
        self._builder = Builder()
        self._lark = load_parser(self._builder)

    def parse(self, source: SourceFile) -> tree.File:
        """The syntax tree of a file.

        Raises:
            MistakeFound: the first syntax mistake. Going on behind it would report things that are not wrong.
        """
        if len(source.text) > MAX_CHARACTERS:
            raise MistakeFound(Mistake("R0002", Span(source, 0, 0), {"limit": f"{MAX_CHARACTERS:,} characters"}))
        self._builder.begin(source)
        try:
            with paused_collector():
                return cast(tree.File, self._lark.parse(source.text))
        except UnexpectedInput as error:
            raise MistakeFound(_syntax_mistake(source, error)) from None
        except NestingTooDeep as error:
            raise MistakeFound(Mistake("R0003", Span(source, error.start, error.end), {"limit": MAX_NESTING})) from None


_SIGNS = {
    "_SEP": "a new line", "$END": "the end of the file", "NAME": "a name", "NUMBER": "a number",
    "SIZE": "a size such as `3x3`", "STRING": "a text in double quotes", "CLASS": "a torch class such as `nn.GELU`",
    "ARROW": "`->`", "EQUAL": "`=`", "COMPARE": "a comparison", "PLUS": "`+`", "MINUS": "`-`", "STAR": "`*`",
    "SLASH": "`/`", "DOUBLE_SLASH": "`//`", "PERCENT": "`%`", "LBRACE": "`{`", "RBRACE": "`}`", "LPAR": "`(`",
    "RPAR": "`)`", "LBRACKET": "`[`", "RBRACKET": "`]`", "_COMMA": "`,`",
}  # fmt: skip
_VALUE_START = frozenset({"NUMBER", "SIZE", "STRING", "TRUE", "FALSE", "NAME", "LPAR", "LBRACKET", "MINUS", "NOT"})
_STATEMENT_START = frozenset({"RESIDUAL", "CONCAT", "GATED", "STAGE", "IF", "INPUT", "RULES", "EXPECT"})
_DEFINITION_START = frozenset({"NETWORK", "BLOCK", "SHORTCUT", "USE", "RECIPE", "TRAIN"})
_STEP_START = frozenset({"RESIDUAL", "CONCAT", "GATED", "NAME", "CLASS"})
_STEP_END = frozenset({"ARROW", "RBRACE", "_SEP"})
_NETWORK_WORDS = ("input", "rules", "stem", "stage", "head", "expect")
_STEP_WORDS = ("residual", "preactivation", "concat", "gated", "auxiliary", "branch", "if", "else")
_OPERATORS = frozenset(
    {"PLUS", "MINUS", "STAR", "SLASH", "DOUBLE_SLASH", "PERCENT", "COMPARE", "AND", "OR", "IF", "LBRACKET"}
)


def _syntax_mistake(source: SourceFile, error: UnexpectedInput) -> Mistake:
    if isinstance(error, UnexpectedToken):
        return _unexpected_token(source, error)
    assert isinstance(error, UnexpectedCharacters)
    start: int = error.pos_in_stream  # type: ignore[assignment]
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
        opened = _unclosed_bracket(source.text)
        related: Related = () if opened is None else (("opened", Span(source, opened, opened + 1), {}),)
        if opened is not None:
            expected = f"`{_CLOSING[source.text[opened]]}`"
        return Mistake("R0103", Span(source, max(0, end - 1), end), {"expected": expected}, related)
    start = token.start_pos or 0
    if token.type == "_SEP":
        span = Span(source, start, start + 1)
        return Mistake("R0101", span, {"found": "the end of the line", "expected": expected})
    span = Span(source, start, token.end_pos or start + 1)
    hints = _token_hints(source.text, token, frozenset(error.accepts or error.expected))
    return Mistake("R0101", span, {"found": f"`{str(token)[:24]}`", "expected": expected}, hints=hints)


def _token_hints(text: str, token: Token, accepted: frozenset[str]) -> tuple[str, ...]:
    """What the writer may have meant by a token that cannot stand at its place."""
    word, start = str(token), token.start_pos or 0
    is_between_definitions = accepted >= _DEFINITION_START
    if token.type == "DOUBLE_SLASH":
        return ("a comment begins with `#`",)
    if token.type == "MINUS" and text[start + 1 :].lstrip(" ").startswith(">"):
        return ("write `->` without a space",)
    if is_between_definitions and word in _NETWORK_WORDS:
        return ("this belongs between the braces of a network: `network NAME { ... }`",)
    if token.type == "NAME" and (guess := closest(word, _words_among(accepted))):
        return (f"did you mean `{guess}`?",)
    if token.type.isalpha() and "NAME" in accepted and word.isidentifier() and not accepted >= _STEP_START:
        return (f"`{token}` is a word of the language here: choose another name",)
    before = re.search(r"([A-Za-z_]\w*)[ \t]*\Z", text[max(0, start - 80) : start])
    if before is not None and token.type not in ("ARROW", "RBRACE"):
        guess = closest(before[1], (*_NETWORK_WORDS, *_STEP_WORDS))
        if guess is not None and guess != before[1]:
            return (f"did you mean `{guess}` instead of `{before[1]}`?",)
    return ()


def _words_among(kinds: frozenset[str]) -> list[str]:
    """The words of the language among kinds of tokens."""
    return [kind.lower() for kind in kinds if kind.isalpha() and kind not in _SIGNS and len(kind) > 2]


def _expected_words(kinds: frozenset[str]) -> str:
    """What could stand here, in words, the many ways to begin a value or a statement summed up."""
    words: list[str] = []
    left = set(kinds)
    for whole, text in ((_STATEMENT_START, "a step or a statement"), (_DEFINITION_START, "a definition")):
        if whole <= left:
            words.append(text)
            left = left & {"RBRACE", "_SEP"}
    if left >= _STEP_START:
        words.append("a step")
        left = left & {"RBRACE", "_SEP"}
    elif left >= _STEP_END:
        left = set(_STEP_END)
    if left >= _VALUE_START:
        words.append("a value")
        left -= _VALUE_START
    elif left & {"RPAR", "RBRACE", "_SEP", "LBRACE", "_COMMA"}:
        left -= _OPERATORS
    words.extend(sorted(_SIGNS.get(kind, f"`{kind.lower()}`") for kind in left if not kind.startswith("__")))
    if not words:
        return "something else"
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


_CLOSING = {"{": "}", "(": ")", "[": "]"}


def _unclosed_bracket(text: str) -> int | None:
    """The offset of the innermost bracket or brace that is never closed, strings and comments aside."""
    opened: list[int] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char in '#"':
            end = text.find("\n" if char == "#" else '"', position + 1)
            position = len(text) if end < 0 else end
        elif char in "{([":
            opened.append(position)
        elif char in "})]" and opened:
            opened.pop()
        position += 1
    return opened[-1] if opened else None
