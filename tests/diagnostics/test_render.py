"""The layout of a diagnostic: gutter, underlines, files, colour, text that would fool a terminal."""

from __future__ import annotations

import re

from resdsl.diagnostics import MAX_REPORTED, Diagnostic, Label
from resdsl.render import MAX_WIDTH, ansi_colour, render, render_all
from resdsl.source import SourceFile, Span


def label(source: SourceFile, mark: str, text: str = "here", occurrence: int = 0) -> Label:
    """A label under the given characters of a source."""
    start = [match.start() for match in re.finditer(re.escape(mark), source.text)][occurrence]
    return Label(Span(source, start, start + len(mark)), text)


def diagnostic(primary: Label, *secondary: Label, hints: tuple[str, ...] = (), title: str = "a title") -> Diagnostic:
    return Diagnostic("R0301", title, primary, secondary, hints)


def columns(text: str, mark: str) -> tuple[str, str]:
    """The excerpt line above the underline made of `mark`, and the underline, without their gutters."""
    lines = text.split("\n")
    at = next(i for i, line in enumerate(lines) if mark in line.partition("|")[2])
    return lines[at - 1].partition("| ")[2], lines[at].partition("| ")[2]


def test_two_places_in_the_order_of_the_text() -> None:
    source = SourceFile("a.res", "first\n\nsecond line\n\n\n\n\n\n\ntenth\n")
    shown = render(diagnostic(label(source, "tenth", "one"), label(source, "line", "two"), hints=("write x\nor y",)))
    assert shown == (
        "error[R0301]: a title\n"
        "  --> a.res:10:1\n"
        "   |\n"
        " 3 | second line\n"
        "   |        ---- two\n"
        "   |\n"
        "10 | tenth\n"
        "   | ^^^^^ one\n"
        "   = hint: write x\n"
        "           or y\n"
    )


def test_another_file_gets_its_own_excerpt() -> None:
    main, used = SourceFile("main.res", "call(3)\n"), SourceFile("used.res", "block call { }\n")
    shown = render(diagnostic(label(main, "call(3)"), label(used, "call", "the definition")))
    assert shown.index("--> main.res:1:1") < shown.index("::: used.res:1:7") < shown.index("---- the definition")


def test_tabs_and_wide_characters_keep_the_underline_in_place() -> None:
    for before, width in (("\t", 4), ("中文", 4), ("é", 1), ("e\u0301", 1), ("🙂", 2)):
        source = SourceFile("a.res", f'"{before}" wrong\n')
        line, underline = columns(render(diagnostic(label(source, "wrong", ""))), "^")
        assert underline == " " * (width + 3) + "^^^^^"
        assert line.endswith("wrong")


def test_a_wide_word_is_underlined_in_full() -> None:
    source = SourceFile("a.res", "网络 x\n")
    assert columns(render(diagnostic(label(source, "网络", ""))), "^")[1] == "^^^^"


def test_control_characters_are_neutralised() -> None:
    evil = "\x1b[2J\x07\u202e\u200b"
    source = SourceFile(f"{evil}.res", f"bad {evil} word\n")
    shown = render(diagnostic(label(source, "word", evil), title=evil, hints=(evil,)))
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_only_the_place_of_a_very_long_line_is_shown() -> None:
    source = SourceFile("a.res", "x" * 5000 + " wrong " + "y" * 5000 + "\n")
    shown = render(diagnostic(label(source, "wrong")))
    line, underline = columns(shown, "^")
    assert len(line) <= MAX_WIDTH
    assert line[underline.index("^") :].startswith("wrong")
    whole = render(diagnostic(Label(Span(source, 0, 5000), "all of it")))
    assert max(len(line) for line in whole.split("\n")) <= MAX_WIDTH + 20


def test_a_place_over_several_lines_is_underlined_to_the_end_of_the_first() -> None:
    source = SourceFile("a.res", "block {\n  relu\n}\n")
    assert columns(render(diagnostic(Label(Span(source, 6, 16), ""))), "^") == ("block {", "      ^")


def test_the_end_of_an_empty_file_can_be_shown() -> None:
    source = SourceFile("a.res", "")
    assert "--> a.res:1:1" in render(diagnostic(Label(Span(source, 0, 0), "nothing here")))


def test_colour_adds_nothing_but_colour() -> None:
    source = SourceFile("a.res", "first\nsecond\n")
    found = diagnostic(label(source, "second"), label(source, "first"), hints=("do this",))
    coloured = render(found, ansi_colour)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(found)
    assert "\x1b[1;31merror[R0301]\x1b[0m" in coloured


def test_many_are_cut_and_counted() -> None:
    source = SourceFile("a.res", "x\n")
    shown = render_all([diagnostic(label(source, "x"))] * (MAX_REPORTED + 7))
    assert shown.count("error[R0301]") == MAX_REPORTED
    assert shown.endswith("... and 7 more\n")
    assert render_all([]) == ""
