"""The grammar itself: LALR(1) without a conflict, each word of the language free as a name where it means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from lark import Lark

from resdsl.compiler import check_source
from resdsl.source import SourceFile
from resdsl.syntax.lexer import ResLexer

GRAMMAR = Path(__file__).parents[2] / "grammars" / "res.lark"


def test_grammar_has_no_conflicts() -> None:
    Lark(GRAMMAR.read_text(encoding="utf-8"), parser="lalr", lexer=ResLexer, start="file", strict=True)


@pytest.mark.parametrize("word", ["map", "end", "at", "is", "of", "x", "branch", "output", "same", "within", "by"])
def test_words_are_free_as_names(word: str) -> None:
    text = f"block b({word} = 3) {{ conv(3x3, {word}) }}\nnetwork n {{ input 3 x 8 x 8; b({word} = 4) }}"
    result = check_source(SourceFile("words.res", text))
    assert not result.diagnostics
    assert result.networks[0].shape == (4, 8, 8)


def test_rules_of_one_network_do_not_reach_another() -> None:
    text = """
block b { conv(3x3, 8) -> bn }
network first { input 3 x 8 x 8; rules { default bn(eps = 1e-3); default conv(bias = true) }; b }
network second { input 3 x 8 x 8; b }
"""
    first, second = check_source(SourceFile("rules.res", text)).networks
    assert first.totals.parameters == second.totals.parameters + 8
