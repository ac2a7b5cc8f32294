"""The blocks and shortcuts of specs/library: each file is parsed when one of its names is first asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping

from resdsl.source import SourceFile
from resdsl.syntax import tree

Definition = tree.Block | tree.Shortcut
Parse = Callable[[SourceFile], tree.File | None]

_HEADINGS = re.compile(r"^(?:block|shortcut) (\w+)", re.MULTILINE)
# By path: the time and size of the file when it was read, its text, and its tree once it was parsed.
_READ: dict[str, tuple[tuple[int, int], SourceFile]] = {}
_PARSED: dict[SourceFile, tree.File] = {}


class Library(Mapping[str, Definition]):
    """Definitions by name. Parsing waits, because start-up time grows with the text that is parsed."""

    def __init__(self, folder: str, read: Callable[[str], str], parse: Parse) -> None:
        self._parse = parse
        self._sources: dict[str, SourceFile] = {}
        for name in sorted(os.listdir(folder)):
            if name.endswith(".res"):
                source = _source(os.path.join(folder, name), read)
                self._sources.update(dict.fromkeys(_HEADINGS.findall(source.text), source))

    def __getitem__(self, name: str) -> Definition:
        for definition in self._file(self._sources[name]).definitions:
            if isinstance(definition, tree.Block | tree.Shortcut) and definition.name.name == name:
                return definition
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def _file(self, source: SourceFile) -> tree.File:
        file = _PARSED.get(source)
        if file is None:
            file = self._parse(source)
            if file is None:
                raise KeyError(source.name)
            _PARSED[source] = file
        return file


def _source(path: str, read: Callable[[str], str]) -> SourceFile:
    """A file's text, read once a process unless it changes."""
    status = os.stat(path)
    version = (status.st_mtime_ns, status.st_size)
    known = _READ.get(path)
    if known is None or known[0] != version:
        source = SourceFile(f"library/{os.path.basename(path)}", read(path), path, is_ours=True)
        known = _READ[path] = (version, source)
    return known[1]


class OwnAndLibrary(Mapping[str, Definition]):
    """What a file can name: its own definitions and those it uses come before the library's."""

    def __init__(self, own: Mapping[str, Definition], library: Library) -> None:
        self._own = own
        self._library = library

    def __getitem__(self, name: str) -> Definition:
        found = self._own.get(name)
        return self._library[name] if found is None else found

    def __iter__(self) -> Iterator[str]:
        yield from self._library
        yield from (name for name in self._own if name not in self._library)

    def __len__(self) -> int:
        return sum(1 for _ in self)
