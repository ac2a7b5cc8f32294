"""The library is found by its headings and parsed when it is needed."""

from __future__ import annotations

from pathlib import Path

from resdsl.semantics.library import Library
from resdsl.semantics.program import LIBRARY, read_text
from resdsl.source import SourceFile
from resdsl.syntax import tree
from resdsl.syntax.parse import Parser


def test_headings_are_the_definitions() -> None:
    library = Library(LIBRARY, read_text, Parser().parse)
    assert {"basic", "bottleneck", "A", "B", "C", "projection", "squeeze_excitation"} <= set(library)
    for name, definition in library.items():
        assert definition.name.name == name
    files = {definition.span.source: Parser().parse(definition.span.source) for definition in library.values()}
    defined = [
        item for file in files.values() for item in file.definitions if isinstance(item, tree.Block | tree.Shortcut)
    ]
    assert sorted(item.name.name for item in defined) == sorted(library)


def test_a_file_is_parsed_when_one_of_its_names_is_asked_for(tmp_path: Path) -> None:
    parsed: list[str] = []

    def parse(source: SourceFile) -> tree.File:
        parsed.append(source.name)
        return Parser().parse(source)

    folder = tmp_path
    (folder / "one.res").write_text("block first { conv(3x3, 8) }\n\nshortcut second { identity }\n", encoding="utf-8")
    (folder / "two.res").write_text("block third(n = 1) { conv(3x3, n) }\n", encoding="utf-8")
    library = Library(str(folder), read_text, parse)
    assert list(library) == ["first", "second", "third"]
    assert not parsed
    assert isinstance(library["second"], tree.Shortcut)
    assert isinstance(library["first"], tree.Block)
    assert parsed == ["library/one.res"]
    (folder / "one.res").write_text("block fourth { relu }\n", encoding="utf-8")
    assert list(Library(str(folder), read_text, parse)) == ["fourth", "third"]
