"""Files to a program: reads a spec, what it uses and the library, and says what each file can name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from resdsl.diagnostics import Mistake, MistakeFound, Problems, Related
from resdsl.ops import STEPS
from resdsl.semantics.evaluate import FUNCTIONS
from resdsl.semantics.library import Definition, Library, OwnAndLibrary
from resdsl.semantics.scope import PLACE_NAMES, Definitions
from resdsl.source import SourceFile, Span
from resdsl.suggest import closest
from resdsl.syntax import tree
from resdsl.syntax.parse import Parser

SPECS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "specs")
LIBRARY = os.path.join(SPECS, "library")
MAX_BYTES = 8_000_000
MAX_FILES = 500


Named = tree.Network | tree.Block | tree.Shortcut | tree.Recipe
NameTable = dict[tuple[str, str], Named]


@dataclass(frozen=True, slots=True, eq=False)
class FileScope:
    """What a file can name: its own definitions, those of the files it uses, the library's blocks and shortcuts."""

    file: tree.File
    definitions: Definitions
    networks: Mapping[str, tree.Network]
    recipes: Mapping[str, tree.Recipe]


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A spec with everything it uses, names resolved file by file."""

    main: FileScope
    scopes: Mapping[SourceFile, FileScope]
    library: Definitions

    def scope_of(self, node: tree.Definition) -> FileScope:
        """The scope of the file in which a definition stands."""
        return self.scopes[node.span.source]

    def definitions_of(self, node: Definition) -> Definitions:
        """What a block or shortcut can name."""
        scope = self.scopes.get(node.span.source)
        return self.library if scope is None else scope.definitions


class Loader:
    """Reads and parses files once each; imports stay inside the roots."""

    def __init__(self, problems: Problems, roots: Iterable[str] = ()) -> None:
        self.problems = problems
        self._roots = [os.path.realpath(root) for root in roots]
        self.parser = Parser()
        self._files: dict[str, tree.File | None] = {}
        self._scopes: dict[SourceFile, FileScope] = {}
        self._library = Library(LIBRARY, read_text, self._parse)

    def load(self, source: SourceFile) -> Program | None:
        """The program whose main file is `source`; None when it cannot be parsed."""
        if source.path is not None:
            self._roots.insert(0, os.path.dirname(os.path.realpath(source.path)))
        file = self._parse(source)
        if file is None:
            return None
        scope = self._scope(file, [os.path.realpath(source.path)] if source.path else [])
        return Program(scope, self._scopes, Definitions(self._library))

    def used_files(self) -> tuple[tuple[str, str], ...]:
        """Path and text of every file that was used and does not come with resdsl, in the order of their paths.

        A path begins with the place of the root it is in, so that files of two roots do not meet: 0/blocks.res. A
        file that is in several, since one lies within another, has a path in each: any may be the one it is named in.
        """
        files = [file.source for file in self._files.values() if file is not None and not file.source.is_ours]
        return tuple(sorted((path, source.text) for source in files for path in self._paths_in_roots(str(source.path))))

    def _paths_in_roots(self, path: str) -> list[str]:
        roots = [(place, root) for place, root in enumerate(self._roots) if _is_within(path, root)]
        return ["/".join([str(place), *os.path.relpath(path, root).split(os.sep)]) for place, root in roots]

    # --- files ---

    def _parse(self, source: SourceFile) -> tree.File | None:
        try:
            return self.parser.parse(source)
        except MistakeFound as found:
            self.problems.add(found.mistake)
            return None

    def _scope(self, file: tree.File, chain: list[str]) -> FileScope:
        table: NameTable = {}
        for definition in file.definitions:
            if isinstance(definition, tree.Use):
                used = self._used(definition, file, chain)
                if used is None:
                    self.problems.lacks_names = True
                else:
                    self._take(used, definition, table)
        for definition in file.definitions:
            if not isinstance(definition, (tree.Use, tree.Train)):
                self._define(definition, table, file)
        steps = [found for found in table.values() if isinstance(found, (tree.Block, tree.Shortcut))]
        scope = FileScope(
            file,
            Definitions(OwnAndLibrary({step.name.name: step for step in steps}, self._library)),
            {found.name.name: found for found in table.values() if isinstance(found, tree.Network)},
            {found.name.name: found for found in table.values() if isinstance(found, tree.Recipe)},
        )
        self._scopes[file.source] = scope
        return scope

    def _define(self, definition: Named, table: NameTable, file: tree.File) -> None:
        name = definition.name
        if name.name in STEPS or name.name in FUNCTIONS or name.name in (*PLACE_NAMES, "none", "index", "count"):
            self.problems.report("R0221", name.span, name=name.name)
        if _hides_step(definition):
            return
        first = table.get(_key(definition))
        if first is not None and first.span.source is file.source:
            facts = {"name": name.name}
            self.problems.add(Mistake("R0222", name.span, facts, (("first", first.name.span, facts),)))
        table[_key(definition)] = definition

    def _take(self, used: FileScope, use: tree.Use, table: NameTable) -> None:
        """Take over what the used file itself defines; two files that define one name are a mistake."""
        for definition in used.file.definitions:
            if isinstance(definition, (tree.Use, tree.Train)) or _hides_step(definition):
                continue
            first = table.get(_key(definition))
            if first is not None and first is not definition:
                facts = {"name": definition.name.name}
                related = (("first", first.name.span, facts), ("second", definition.name.span, facts))
                self.problems.add(Mistake("R0604", use.span, facts, related))
            table[_key(definition)] = definition

    # --- use ---

    def _used(self, use: tree.Use, file: tree.File, chain: list[str]) -> FileScope | None:
        path = self._find(use, file)
        if path is None:
            return None
        if path in chain:
            names = " -> ".join(os.path.basename(step) for step in [*chain[chain.index(path) :], path])
            self.problems.report("R0603", use.span, cycle=names)
            return None
        if path not in self._files:
            if len(self._files) >= MAX_FILES:
                self.problems.report("R0605", use.span, limit=MAX_FILES)
                return None
            self._files[path] = self._read(path, use)
        loaded = self._files[path]
        if loaded is None:
            return None
        scope = self._scopes.get(loaded.source)
        return scope if scope is not None else self._scope(loaded, [*chain, path])

    def _read(self, path: str, use: tree.Use) -> tree.File | None:
        try:
            text = read_text(path)
        except MistakeFound as found:
            place = found.mistake.span
            related: Related = (("bytes", place, {}),) if place.source.text else ()
            self.problems.add(Mistake(found.mistake.code, use.path.span, found.mistake.facts, related))
            return None
        name = os.path.relpath(path)
        specs = os.path.realpath(SPECS)
        is_ours = _is_within(path, specs) and not any(_is_within(path, root) for root in self._roots)
        shown = os.path.relpath(path, specs) if is_ours else path if name.startswith("..") else name
        return self._parse(SourceFile(shown, text, path, is_ours=is_ours))

    def _find(self, use: tree.Use, file: tree.File) -> str | None:
        """The file that a `use` means: beside the using file, in a root, or among the specs that come with resdsl."""
        written = str(use.path.value)
        span = use.path.span
        if os.path.isabs(written) or "\\" in written or "\0" in written or not written.endswith(".res"):
            self.problems.report("R0606", span, path=written)
            return None
        base = os.path.dirname(os.path.realpath(file.source.path)) if file.source.path else None
        is_outside = False
        for folder in (*([base] if base else []), *self._roots, SPECS):
            path = os.path.realpath(os.path.join(folder, written))
            is_inside = any(_is_within(path, root) for root in (*self._roots, os.path.realpath(SPECS)))
            if is_inside and os.path.isfile(path):
                return path
            is_outside = is_outside or not is_inside
        if is_outside:
            self.problems.report("R0602", span, path=written)
        else:
            guess = closest(written, self._neighbours(base))
            self.problems.report("R0601", span, path=written, guess=guess)
        return None

    def _neighbours(self, base: str | None) -> list[str]:
        """Paths that a `use` could have meant, for suggestions."""
        found: list[str] = []
        for folder in {*([base] if base else []), os.path.realpath(SPECS)}:
            for inner in ("", "families", "library"):
                try:
                    names = sorted(os.listdir(os.path.join(folder, inner)))[:200]
                except OSError:
                    continue
                found.extend(f"{inner}/{name}".lstrip("/") for name in names if name.endswith(".res"))
        return found


def _key(definition: Named) -> tuple[str, str]:
    """Networks, recipes and steps (blocks and shortcuts) each have names of their own."""
    match definition:
        case tree.Network():
            return "network", definition.name.name
        case tree.Recipe():
            return "recipe", definition.name.name
    return "step", definition.name.name


def _hides_step(definition: Named) -> bool:
    """Whether a definition, already reported, would take the place of a step of the language."""
    return isinstance(definition, (tree.Block, tree.Shortcut)) and definition.name.name in STEPS


def _is_within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def shipped_spec(path: str) -> str | None:
    """The file that a path means among the specs that come with resdsl, `specs/` before it or not."""
    specs = os.path.realpath(SPECS)
    inner = path.removeprefix(f"specs{os.sep}")
    if os.path.isabs(path) or os.pardir in inner.split(os.sep):
        return None
    found = os.path.realpath(os.path.join(specs, inner))
    return found if _is_within(found, specs) and os.path.isfile(found) else None


def _meant(path: str) -> str | None:
    """The spec that a path could have meant: in its folder, or among those that come with resdsl."""
    folder, name = os.path.split(path)
    known: dict[str, str] = {}
    for place, shown in ((folder or ".", folder), (SPECS, "specs")):
        with suppress(OSError):
            for other in sorted(other for other in os.listdir(place) if other.endswith(".res"))[:200]:
                known.setdefault(other, os.path.join(shown, other))
    wanted = name if name.endswith(".res") else f"{name}.res"
    guess = wanted if wanted in known else closest(wanted, known)
    return None if guess is None else known[guess]


def read_text(path: str) -> str:
    """The text of a file in UTF-8, with Unix line breaks.

    Raises:
        MistakeFound: too large, not UTF-8, or not readable; the place is the beginning of the (empty) text.
    """
    nowhere = Span(SourceFile(path, ""), 0, 0)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        guess = _meant(path) if isinstance(error, FileNotFoundError) else None
        raise MistakeFound(
            Mistake("R0001", nowhere, {"reason": error.strerror or str(error), "guess": guess})
        ) from None
    if len(data) > MAX_BYTES:
        raise MistakeFound(Mistake("R0002", nowhere, {"limit": f"{MAX_BYTES:,} bytes"}))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8-sig", "replace")
        source = SourceFile(path, good + "\N{REPLACEMENT CHARACTER}")
        raise MistakeFound(Mistake("R0005", Span(source, len(good), len(good) + 1), {})) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
