"""The driver: text to a program, its networks and recipes resolved when asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from resdsl.diagnostics import CompileError, Diagnostic, Mistake, MistakeFound, Problems
from resdsl.net import Net, Origin
from resdsl.semantics.binding import Given
from resdsl.semantics.networks import NetworkResolver
from resdsl.semantics.program import Loader, Program, read_text, shipped_spec
from resdsl.semantics.retarget import Changes, variant_of
from resdsl.semantics.scope import Scope
from resdsl.semantics.steps import StepResolver
from resdsl.semantics.unused import check_unused
from resdsl.source import SourceFile, Span
from resdsl.suggest import closest
from resdsl.syntax import tree
from resdsl.trains import Trains, report_stray

if TYPE_CHECKING:
    from resdsl.ops import OpSpec, Shape
    from resdsl.recipe import Recipe
    from resdsl.semantics.model import Network

ParameterValue = int | float | bool | str | list[Any] | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What checking a spec found: its networks that stand by themselves, and all mistakes as diagnostics."""

    networks: tuple[Network, ...]
    diagnostics: tuple[Diagnostic, ...]


class Compilation:
    """One spec on its way: parsed once, its networks resolved when asked for."""

    def __init__(self, source: SourceFile, roots: Iterable[str] = ()) -> None:
        self.source = source
        self.problems = Problems()
        self._loader = Loader(self.problems, roots)
        self.program: Program | None = self._loader.load(source)
        if self.program is not None:
            check_unused(self.program, self.problems)
            self._steps = StepResolver(self.problems, self.program.definitions_of, _probe_foreign)
            self._networks = NetworkResolver(self.program.scope_of, self._steps)

    def own_networks(self) -> list[tree.Network]:
        """The networks that the spec itself defines, in order."""
        if self.program is None:
            return []
        return [item for item in self.program.main.file.definitions if isinstance(item, tree.Network)]

    def resolve(self, network: tree.Network, arguments: tuple[Given, ...] = ()) -> Network | None:
        """A network of the spec; None after mistakes."""
        resolved = self._networks.resolve(network, arguments)
        # What is checked next, a recipe or the text of an option, does not stand in this variant.
        self.problems.variant = None
        return resolved

    def recipe(self, network: str, settings: Iterable[str] = ()) -> Recipe | None:
        """The recipe for a network, with settings in the recipe language put in place of the spec's."""
        train = self.trains.of(network)
        return None if train is None else self.trains.recipe(train, settings)

    def lent_recipe(self, network: str, settings: Iterable[str] = ()) -> Recipe | None:
        """The recipe that a network of another file takes from this one; None after a mistake."""
        own = self._named_like_the_file()
        train = self.trains.lent_to(network, None if own is None else own.name.name)
        return None if train is None else self.trains.recipe(train, settings)

    @property
    def trains(self) -> Trains:
        """The spec's `train` and `recipe` blocks."""
        assert self.program is not None
        return Trains(self.program, self._steps.evaluator, self._loader.parser)

    def _named_like_the_file(self) -> tree.Network | None:
        """The spec's network that has the file's name, else its first."""
        own = self.own_networks()
        stem = os.path.splitext(os.path.basename(self.source.name))[0]
        return next((network for network in own if network.name.name == stem), own[0] if own else None)

    def choose(self, name: str | None) -> tree.Network | None:
        """The network of a name; without one, the network named like the file, else the first."""
        assert self.program is not None
        own = self.own_networks()
        everything = {**self.program.main.networks, **{network.name.name: network for network in own}}
        if name is None:
            chosen = self._named_like_the_file()
            if chosen is None:
                self.problems.report("R0415", Span(self.source, 0, 0))
            return chosen
        if name not in everything:
            guess = closest(name, everything)
            facts = {"name": name, "guess": guess, "known": ", ".join(f"`{known}`" for known in everything)}
            self.problems.add(Mistake("R0416", Span(self.source, 0, 0), facts))
        return everything.get(name)

    def retargeted(self, network: tree.Network, changes: Changes) -> tree.Network | None:
        """The network, or the variant of it that has the changes; None after a mistake in their texts."""
        assert self.program is not None
        if not changes.texts:
            return network
        return variant_of(network, changes, self.program.main.file.source, self._loader.parser, self.problems)

    def given(self, text: str, where: str) -> tuple[Given, ...] | None:
        """Arguments from text as in a call, `n = 18, option = A`; None after a mistake in it."""
        assert self.program is not None
        source = SourceFile(where, f"network n = n({text})")
        try:
            file = self._loader.parser.parse(source)
        except MistakeFound as found:
            self.problems.add(found.mistake)
            return None
        definition = file.definitions[0]
        assert isinstance(definition, tree.Network)
        assert definition.base is not None
        if len(file.definitions) > 1 or definition.body is not None:
            report_stray(self.problems, definition.base.span)
            return None
        from resdsl.semantics.binding import given_arguments
        from resdsl.semantics.region import Region

        region = Region(None)
        scope = Scope(self.program.main.definitions, self.problems, region, region.input())
        return given_arguments(definition.base.arguments, self._steps.evaluator, scope)

    def used_files(self) -> tuple[tuple[str, str], ...]:
        """Paths and texts of the files that the spec uses, those that come with resdsl left out; see Origin.files."""
        return self._loader.used_files()

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All mistakes found so far, in words."""
        if not self.problems:
            return ()
        from resdsl.catalogue import diagnose

        return tuple(diagnose(mistake) for mistake in self.problems.sorted())

    def require_sound(self) -> None:
        """Raise CompileError when there are mistakes."""
        if self.problems:
            raise CompileError(self.diagnostics())


def check_source(source: SourceFile, roots: Iterable[str] = ()) -> CheckResult:
    """Check everything in a spec: all networks that need no arguments, all recipes, definitions nobody uses."""
    compilation = Compilation(source, roots)
    networks = []
    if compilation.program is not None:
        for network in compilation.own_networks():
            if all(parameter.default is not None for parameter in network.parameters):
                resolved = compilation.resolve(network)
                if resolved is not None:
                    networks.append(resolved)
        compilation.trains.check()
    return CheckResult(tuple(networks), compilation.diagnostics())


def check_file(path: str, roots: Iterable[str] = ()) -> CheckResult:
    """Check a spec file; what cannot be read is a diagnostic, too."""
    try:
        return check_source(open_source(path), roots)
    except CompileError as error:
        return CheckResult((), error.diagnostics)


def open_source(path: str) -> SourceFile:
    """The text of a spec file; one that is not there may be among the specs that come with resdsl.

    Raises:
        CompileError: the file cannot be read, is too large, or is not UTF-8.
    """
    place = spec_place(path)
    try:
        return SourceFile(path, read_text(place), place)
    except MistakeFound as found:
        from resdsl.catalogue import diagnose

        raise CompileError((diagnose(found.mistake),)) from None


def spec_place(path: str) -> str:
    """Where a spec file is: at its path, or among the specs that come with resdsl."""
    return path if os.path.exists(path) else shipped_spec(path) or path


def load(
    path: str | os.PathLike[str],
    network: str | None = None,
    *,
    roots: Iterable[str] = (),
    settings: Iterable[str] = (),
    recipe: str | os.PathLike[str] | None = None,
    **parameters: ParameterValue,
) -> Net:
    """Check a spec and give one of its networks.

    Args:
        path: the `.res` file.
        network: its name; without one, the network named like the file, else the first of the file.
        roots: folders beside the file's own from which `use` may take files.
        settings: lines in the recipe language that replace the recipe's, such as `batch 64`.
        recipe: another file whose recipe takes the place of the spec's.
        parameters: values for the network's parameters; a string is a name or text as in the language: `option="C"`.

    Raises:
        CompileError: with `.diagnostics`.
        TypeError: a parameter of another type.
    """
    lender = None if recipe is None else open_source(os.fspath(recipe))
    text = _arguments_text(parameters)
    return compile_network(open_source(os.fspath(path)), network, roots, settings, text, recipe=lender)


def compile_network(
    source: SourceFile,
    network: str | None = None,
    roots: Iterable[str] = (),
    settings: Iterable[str] = (),
    arguments: str = "",
    changes: Changes | None = None,
    *,
    recipe: SourceFile | None = None,
) -> Net:
    """A network of a spec for arguments written as in a call, with changes; see load."""
    texts = (arguments,) if arguments else ()
    return _compile(_Order(source, network, tuple(roots), tuple(settings), texts, changes or Changes(), recipe))


def compile_recipe(source: SourceFile, network: str, roots: Iterable[str] = (), settings: Iterable[str] = ()) -> Recipe:
    """The recipe that a file holds for a network of another one, with settings in place of its own.

    Raises:
        CompileError: with `.diagnostics`.
    """
    compilation = Compilation(source, roots)
    compilation.require_sound()
    recipe = compilation.lent_recipe(network, settings)
    compilation.require_sound()
    assert recipe is not None
    return recipe


@dataclass(frozen=True, slots=True)
class _Order:
    """What a net is compiled from; of two arguments with one name the later text's counts."""

    source: SourceFile
    network: str | None
    roots: tuple[str, ...]
    settings: tuple[str, ...]
    arguments: tuple[str, ...]
    changes: Changes
    recipe: SourceFile | None = None  # a file whose recipe takes the place of the spec's


def _compile(order: _Order) -> Net:
    compilation = Compilation(order.source, order.roots)
    compilation.require_sound()
    chosen = compilation.choose(order.network)
    compilation.require_sound()
    assert chosen is not None
    given = [compilation.given(text, "arguments") for text in order.arguments]
    definition = compilation.retargeted(chosen, order.changes)
    compilation.require_sound()
    assert definition is not None
    resolved = compilation.resolve(definition, _latest(given))
    recipe = None if order.recipe else compilation.recipe(chosen.name.name, order.settings)
    compilation.require_sound()
    if order.recipe is not None:
        recipe = compile_recipe(order.recipe, chosen.name.name, order.roots, order.settings)
    assert resolved is not None
    origin = Origin(
        name=order.source.name,
        main=None if order.source.path is None else os.path.basename(order.source.path),
        text=order.source.text,
        network=chosen.name.name,
        arguments=order.arguments,
        changes=tuple((what, where, text) for what, (where, text) in order.changes.texts.items()),
        files=compilation.used_files(),
    )
    return Net(resolved, order.source, recipe, partial(_again, order), origin)


def compile_origin(origin: Origin, folder: str) -> Net:
    """The network of an origin whose files lie in a folder, each under its path there; see Origin.files.

    Raises:
        CompileError: with `.diagnostics`.
    """
    path = None if origin.main is None else os.path.join(folder, "0", os.path.basename(origin.main))
    source = SourceFile(origin.name, origin.text, path)
    # The first of the roots is the main file's own folder, which compiling puts there by itself.
    places = sorted({int(name.split("/")[0]) for name, _ in origin.files} - (set() if path is None else {0}))
    roots = tuple(os.path.join(folder, str(place)) for place in places)
    return _compile(_Order(source, origin.network, roots, (), origin.arguments, Changes(origin.changes)))


def _again(order: _Order, changes: Changes, parameters: dict[str, ParameterValue]) -> Net:
    """The network once more, with changes and other parameters on top of those it has."""
    texts = (*order.arguments, _arguments_text(parameters)) if parameters else order.arguments
    return _compile(replace(order, arguments=texts, changes=order.changes.then(changes)))


def _latest(texts: list[tuple[Given, ...] | None]) -> tuple[Given, ...]:
    """The arguments of several texts, each but the last without those that a later one gives."""
    latest: tuple[Given, ...] = ()
    for given in reversed(texts):
        names = {argument.name for argument in latest}
        latest = (*(argument for argument in given or () if argument.name not in names), *latest)
    return latest


def _arguments_text(parameters: Mapping[str, ParameterValue]) -> str:
    return ", ".join(f"{name} = {_language_text(value)}" for name, value in parameters.items())


def _language_text(value: ParameterValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return value if value.isidentifier() else '"' + value.replace('"', "").replace("\n", " ") + '"'
        case list() | tuple():
            return "[" + ", ".join(_language_text(item) for item in value) + "]"
    raise TypeError(f"a parameter is a number, a truth value, a name or a list, not {value!r}")


def _probe_foreign(name: str, given: tuple[Given, ...], shape: Shape) -> OpSpec:
    from resdsl.emit.torch_foreign import probe

    return probe(name, given, shape)
