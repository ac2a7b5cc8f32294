"""Text to tokens.

One pattern finds the pieces; a word becomes a word of the language only where the parser can take it as one, so that
`filters` and `shortcut` stay free as names. Line breaks separate statements except inside ( ) and [ ], behind a sign
that goes on, and before `{`, `}`, `->` and `else`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lark import Token
from lark.exceptions import UnexpectedCharacters
from lark.lexer import Lexer

MAX_NESTING = 48

_PIECES = re.compile(
    r"(?P<SPACE>(?:[ \t\r]|\#[^\n]*)+)"
    r"|(?P<_SEP>[\n;](?:[ \t\r\n;]|\#[^\n]*)*)"
    r"|(?P<CLASS>nn\.[A-Za-z_]\w*)"
    r"|(?P<NAME>[A-Za-z_]\w*)"
    r"|(?P<SIZE>\d+(?:x\d+)+(?![\w.]))"
    r"|(?P<NUMBER>\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?[kMG]?%?(?![\w.]))"
    r"|(?P<STRING>\"[^\"\n]*\")"
    r"|(?P<SIGN>->|==|!=|<=|>=|//|[-+*/%=<>{}()\[\],])",
    re.ASCII,
)
_SIGNS = {
    "->": "ARROW", "=": "EQUAL", "==": "COMPARE", "!=": "COMPARE", "<=": "COMPARE", ">=": "COMPARE", "<": "COMPARE",
    ">": "COMPARE", "+": "PLUS", "-": "MINUS", "*": "STAR", "//": "DOUBLE_SLASH", "/": "SLASH", "%": "PERCENT",
    "{": "LBRACE", "}": "RBRACE", "(": "LPAR", ")": "RPAR", "[": "LBRACKET", "]": "RBRACKET", ",": "_COMMA",
}  # fmt: skip
_KINDS = frozenset({"NAME", "NUMBER", "SIZE", "STRING", "CLASS", *_SIGNS.values()})
_GOES_ON = frozenset("LBRACE ARROW EQUAL COMPARE PLUS MINUS STAR SLASH DOUBLE_SLASH PERCENT _COMMA ELSE _SEP".split())
_CONTINUES = re.compile(r"[{}]|->|else\b|\Z")


class NestingTooDeep(Exception):
    """Brackets are nested beyond MAX_NESTING; `start` and `end` are the offsets of the last one."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(start, end)
        self.start = start
        self.end = end


class ResLexer(Lexer):
    """The lexer that lark calls."""

    # Asks lark for the parser's state along with the text.
    __future_interface__ = 2

    def __init__(self, lexer_conf: Any) -> None:
        """Nothing of lark's configuration is needed: what the grammar can take comes with the parser's state."""

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:  # noqa: C901 - one loop, for its speed
        """The tokens of a text; raises UnexpectedCharacters and NestingTooDeep."""
        text: str = lexer_state.text.text
        states = parser_state.parse_conf.parse_table.states
        position, end = 0, len(text)
        brackets = braces = 0
        previous = "LBRACE"
        while position < end:
            match = _PIECES.match(text, position)
            if match is None:
                line = text.count("\n", 0, position) + 1
                column = position - text.rfind("\n", 0, position)
                raise UnexpectedCharacters(text, position, line, column)  # type: ignore[no-untyped-call]
            kind = match.lastgroup or ""
            start, position = position, match.end()
            if kind == "SPACE":
                continue
            value = match.group()
            if kind == "_SEP":
                if brackets or previous in _GOES_ON or _CONTINUES.match(text, position):
                    continue
            elif kind == "SIGN":
                kind = _SIGNS[value]
                if kind in ("LPAR", "LBRACKET"):
                    brackets += 1
                elif kind in ("RPAR", "RBRACKET"):
                    brackets = max(0, brackets - 1)
                elif kind == "LBRACE":
                    # A brace cannot stand inside parentheses: forget those never closed, for better messages.
                    brackets = 0
                    braces += 1
                elif kind == "RBRACE":
                    braces -= 1
                if brackets + braces > MAX_NESTING:
                    raise NestingTooDeep(start, position)
            elif kind == "NAME":
                word = value.upper()
                if value.islower() and word not in _KINDS and word in states[parser_state.position]:
                    kind = word
            previous = kind
            yield Token(kind, value, start_pos=start, end_pos=position)
