"""Text to syntax tree, and what lark says of wrong text in the user's words."""

from __future__ import annotations

import re
import threading
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

_OF_THREAD = threading.local()


class Parser:
    """The grammar's tables, read once a thread, with the builder that makes the nodes."""

    def __init__(self) -> None:
        if not hasattr(_OF_THREAD, "lark"):
            _OF_THREAD.builder = Builder()
            _OF_THREAD.lark = load_parser(_OF_THREAD.builder)
        self._builder: Builder = _OF_THREAD.builder
        self._lark = _OF_THREAD.lark

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
_SETTING_START = frozenset({"UNTIL", "NUMBER", "SIZE", "STRING", "TRUE", "FALSE", "NAME"})
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
    is_letter = source.text[start].isalpha()
    begin = start
    while is_letter and begin > 0 and (source.text[begin - 1].isalnum() or source.text[begin - 1] == "_"):
        begin -= 1
    span = Span(source, begin, max(end, start + 1))
    hints = _character_hints(source.text, start, span.text)
    return Mistake("R0102", span, {"text": span.text[:24]}, hints=hints)


def _character_hints(text: str, start: int, word: str) -> tuple[str, ...]:
    count, x, rest = word.partition("x")
    if count.isdecimal() and x and not rest[:1].isdecimal():
        sizes = rest.split("x")
        if all(size.isdecimal() or size.isupper() for size in sizes):
            rest = " x ".join(sizes)
        return (f"put spaces around the x: `{count} x {rest or '...'}`",)
    if text[start].isalpha() and not word.isascii():
        return ("names are written with the letters a to z and A to Z, digits and `_`",)
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
    unclosed = _unclosed_before_definition(source, start)
    if unclosed is not None:
        return unclosed
    if token.type == "_SEP":
        span = Span(source, start, start + 1)
        return Mistake("R0101", span, {"found": "the end of the line", "expected": expected})
    semicolon = re.search(r";[\s;]*\Z", source.text[max(0, start - 80) : start])
    opened = _unclosed_bracket(source.text[:start]) if semicolon else None
    if semicolon and opened is not None and source.text[opened] in "([":
        place = start - len(semicolon[0])
        facts = {"found": "`;`", "expected": expected}
        hint = "between brackets a comma separates values"
        return Mistake("R0101", Span(source, place, place + 1), facts, hints=(hint,))
    span = Span(source, start, token.end_pos or start + 1)
    hints = _token_hints(source.text, token, frozenset(error.accepts or error.expected))
    return Mistake("R0101", span, {"found": f"`{str(token)[:24]}`", "expected": expected}, hints=hints)


_DEFINITION = re.compile(
    r"[ \t]*((?:network|block|shortcut|recipe)[ \t]+[A-Za-z_]\w*[ \t]*[({=]|train\b[^()=\n]*\{|use[ \t]+\")"
)


def _unclosed_before_definition(source: SourceFile, start: int) -> Mistake | None:
    """The brace or bracket that is open where another definition begins, in the line of a token."""
    text = source.text
    begin = text.rfind("\n", 0, start) + 1
    opened = _unclosed_bracket(text[:begin]) if _DEFINITION.match(text, begin) else None
    if opened is None:
        return None
    word = begin + len(text[begin:start]) - len(text[begin:start].lstrip())
    end = word
    while text[end].isalpha():
        end += 1
    facts = {"sign": text[opened], "line": text.count("\n", 0, opened) + 1}
    return Mistake("R0105", Span(source, word, end), facts, (("opened", Span(source, opened, opened + 1), {}),))


def _token_hints(text: str, token: Token, accepted: frozenset[str]) -> tuple[str, ...]:
    """What the writer may have meant by a token that cannot stand at its place."""
    word, start = str(token), token.start_pos or 0
    is_between_definitions = accepted >= _DEFINITION_START
    if token.type == "DOUBLE_SLASH":
        return ("a comment begins with `#`",)
    if token.type == "MINUS" and text[start + 1 :].lstrip(" ").startswith(">"):
        return ("write `->` without a space",)
    if (hint := _habit_hint(text, token, accepted)) is not None:
        return (hint,)
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


_ASSIGNED = re.compile(r"(?:^|[;{])[ \t]*(?:(?:let|var|const|def|set)[ \t]+)?(\w+)[ \t]*=[^=]")


def _habit_hint(text: str, token: Token, accepted: frozenset[str]) -> str | None:
    """What to write where other languages have another way to say it."""
    start = token.start_pos or 0
    begin = max(text.rfind("\n", 0, start) + 1, start - 80)
    before = text[begin:start]
    if str(token) == ">" and "ARROW" in accepted:
        return "write `->`"
    if token.type == "_COMMA" and "X" in accepted and re.search(r"\binput\b[^;{]*\Z", before):
        return "sizes are joined by x: `3 x 8 x 8`"
    if token.type == "MINUS" and "UNTIL" in accepted and (setting := re.search(r"(\w+)[ \t]*\Z", before)):
        return f"`{setting[1]}` takes a number of 0 or more"
    assigned = _ASSIGNED.search(text[begin : start + 80]) if accepted >= _STEP_END else None
    if assigned is not None and assigned.start(1) <= start - begin < assigned.end():
        return f"a value gets a name as a parameter: `network NAME({assigned[1]} = ...)`, or of a block"
    return None


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
    if left >= _SETTING_START or left >= _VALUE_START:
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
    """The offset of the bracket or brace that is never closed, strings and comments aside.

    Of several that are open it is the innermost, or one that a closing brace further to the left has passed over.
    """
    opened: list[tuple[int, int]] = []
    passed: int | None = None
    begin = position = 0
    first = -1
    while position < len(text):
        char = text[position]
        if char == "\n":
            begin = position + 1
        elif char not in " \t" and first < begin:
            first = position
        if char in '#"':
            end = text.find("\n" if char == "#" else '"', position + 1)
            position = len(text) if end < 0 else end - (char == "#")
        elif char in "{([":
            opened.append((position, first - begin))
        elif char in "})]" and opened:
            closed, indent = opened.pop()
            if passed is None and first == position and char == "}" and position - begin < indent:
                passed = closed
        position += 1
    if not opened:
        return None
    return opened[-1][0] if passed is None else passed
