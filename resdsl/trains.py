"""Recipes of a program: the `train` that holds for a network, in its own spec or in another file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from resdsl.diagnostics import MistakeFound, Problems
from resdsl.source import SourceFile, Span
from resdsl.suggest import closest, listed
from resdsl.syntax import tree

if TYPE_CHECKING:
    from resdsl.recipe import Recipe
    from resdsl.semantics.evaluate import Evaluator
    from resdsl.semantics.program import Program
    from resdsl.semantics.recipes import RecipeResolver
    from resdsl.syntax.parse import Parser


class Trains:
    """The `train` and `recipe` blocks of a program's main file; the resolver is loaded when it is needed."""

    def __init__(self, program: Program, evaluator: Evaluator, parser: Parser) -> None:
        definitions = program.main.file.definitions
        self.problems = evaluator.problems
        self._program = program
        self._evaluator = evaluator
        self._parser = parser
        self._trains = [item for item in definitions if isinstance(item, tree.Train)]
        self._recipes = [item for item in definitions if isinstance(item, tree.Recipe)]
        self._networks = [item for item in definitions if isinstance(item, tree.Network)]

    def of(self, network: str) -> tree.Train | None:
        """The `train` that holds for a network of the file; None without one."""
        from resdsl.semantics.recipes import train_of

        return train_of(self._trains, network, self.problems) if self._trains else None

    def lent_to(self, network: str, main: str | None) -> tree.Train | None:
        """The `train` that a network of another file may take; None after a mistake.

        It is the one that would hold for a network of that name, or else for `main`, the file's own network; else the
        only one. In a file without any it is the only recipe.
        """
        before = len(self.problems)
        found = self.of(network) or (self.of(main) if main else None)
        if found is not None or len(self.problems) > before:
            return found
        match self._trains or self._recipes:
            case [tree.Recipe() as recipe]:
                return tree.Train(recipe.span, (), tree.Call(recipe.name.span, recipe.name, None), None)
            case [tree.Train() as train]:
                return train
            case []:
                self.problems.report("R0710", Span(self._program.main.file.source, 0, 0))
            case several:
                self.problems.report("R0711", several[1].span, network=network)
        return None

    def recipe(self, train: tree.Train, settings: Iterable[str] = ()) -> Recipe | None:
        """The recipe of a `train`, with lines of the recipe language put in place of its own; None after mistakes."""
        overrides = [self._parse_settings(text) for text in settings]
        return self._resolver().resolve(train, tuple(override for override in overrides if override is not None))

    def check(self) -> None:
        """Check every recipe and `train`, that the networks it names exist, and that each network has one."""
        if not self._trains and not self._recipes:
            return
        resolver = self._resolver()
        for recipe in self._recipes:
            resolver.check_recipe(recipe)
        known = {*self._program.main.networks, *(network.name.name for network in self._networks)}
        for train in self._trains:
            for name in train.networks:
                if name.name not in known:
                    guess = closest(name.name, known)
                    others = None if guess else listed(sorted(known))
                    self.problems.report("R0709", name.span, name=name.name, guess=guess, known=others)
            resolver.resolve(train)
        for network in self._networks:
            self.of(network.name.name)

    def _resolver(self) -> RecipeResolver:
        from resdsl.semantics.recipes import RecipeResolver

        return RecipeResolver(self._evaluator, self._program.main)

    def _parse_settings(self, text: str) -> tree.Settings | None:
        try:
            file = self._parser.parse(SourceFile("--setting", f"train {{ {text} }}"))
        except MistakeFound as found:
            self.problems.add(found.mistake)
            return None
        definition = file.definitions[0]
        if len(file.definitions) > 1:
            report_stray(self.problems, definition.span)
        return definition.settings if isinstance(definition, tree.Train) else None


def report_stray(problems: Problems, before: Span) -> None:
    """Report what stands behind the arguments or settings of a command line."""
    behind = before.source.text[before.end :]
    start = before.end + len(behind) - len(behind.lstrip(" ;\n"))
    stray = Span(before.source, start, len(before.source.text))
    problems.report("R0101", stray, found=f"`{stray.text[:24]}`", expected="nothing more")
