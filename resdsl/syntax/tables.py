"""The parser's tables: made from the grammar once, then read from the user's cache."""

from __future__ import annotations

import os
import sys
import zlib
from contextlib import suppress
from typing import Any

import lark

from resdsl.syntax.lexer import ResLexer

_GRAMMAR = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "grammars", "res.lark")


def load_parser(builder: object) -> Any:
    """A lark parser whose reductions call `builder`; making its tables takes 0.2 s, reading them 5 ms."""
    with open(_GRAMMAR, encoding="utf-8") as file:
        grammar = file.read()
    path = _cache_path(grammar)
    if path is None or os.path.exists(path):
        return _make(grammar, builder, path or False)
    # Another process may read the file while this one writes it: write beside, then rename.
    beside = f"{path}.{os.getpid()}"
    parser = _make(grammar, builder, beside)
    # The cache is a convenience: a full disk or a race with a clean-up must not stop a check.
    with suppress(OSError):
        os.replace(beside, path)
    return parser


def _make(grammar: str, builder: object, cache: str | bool) -> Any:
    return lark.Lark(
        grammar,
        parser="lalr",
        lexer=ResLexer,
        start="file",
        maybe_placeholders=True,
        cache=cache,
        transformer=builder,
    )


def _cache_path(grammar: str) -> str | None:
    """A file in a folder that only this user can write (its content is trusted), or None."""
    folder = os.path.join(os.path.expanduser("~"), ".cache", "resdsl")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.stat(folder)
    except OSError:
        return None
    is_private = status.st_uid == os.getuid() and not status.st_mode & 0o022 if hasattr(os, "getuid") else True
    if not is_private or not os.access(folder, os.W_OK):
        return None
    made_by = f"{lark.__version__}-{sys.version_info[0]}.{sys.version_info[1]}"
    return os.path.join(folder, f"grammar-{zlib.crc32(grammar.encode()):08x}-{made_by}.tables")
