"""Recipes: the settings of `train { ... }` checked against the schema, with what they take from a named recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from resdsl.diagnostics import Mistake, Problems
from resdsl.recipe import Recipe, build_recipe
from resdsl.recipe_checks import recipe_faults
from resdsl.recipe_schema import SCHEMA
from resdsl.recipe_types import Arg, Call, Form, Setting, SettingValue, Value, value_fault
from resdsl.semantics.binding import Given, bind_parameters, given_arguments, match_arguments
from resdsl.semantics.evaluate import Evaluator
from resdsl.semantics.region import Region
from resdsl.semantics.scope import Definitions, Scope
from resdsl.semantics.values import NoShortcut, Poison, Ref, Word, describe
from resdsl.semantics.values import Value as LanguageValue
from resdsl.source import Span
from resdsl.suggest import closest, listed
from resdsl.syntax import tree


class FileNames(Protocol):
    """What a file can name."""

    @property
    def definitions(self) -> Definitions:
        """Blocks and shortcuts."""

    @property
    def recipes(self) -> Mapping[str, tree.Recipe]:
        """Recipes."""


Stated = dict[str, tuple[tree.Setting, SettingValue]]


def train_of(trains: list[tree.Train], network: str, problems: Problems) -> tree.Train | None:
    """The `train` of a file that holds for a network: the one that names it, else the one that names none."""
    naming = [train for train in trains if any(name.name == network for name in train.networks)]
    found = naming or [train for train in trains if not train.networks]
    if len(found) > 1:
        problems.add(Mistake("R0708", found[1].span, {"network": network}, (("first", found[0].span, {}),)))
    return found[0] if found else None


class RecipeResolver:
    """Resolves the recipes of one file."""

    def __init__(self, evaluator: Evaluator, names: FileNames) -> None:
        self.evaluator = evaluator
        self.problems = evaluator.problems
        self.names = names

    def resolve(self, train: tree.Train, overrides: tuple[tree.Settings, ...] = ()) -> Recipe | None:
        """The recipe of a `train`, settings of `overrides` put in the place of its own; None after reports."""
        before = len(self.problems)
        stated: Stated = {}
        if train.base is not None:
            self._take_base(train.base, stated)
        scope = self._scope({})
        for settings in (train.settings, *overrides):
            if settings is not None:
                self._take(settings, scope, stated)
        if len(self.problems) > before:
            return None
        values = {word: value for word, (_, value) in stated.items()}
        for fault in recipe_faults(values):
            span = self._fault_span(train, stated, fault.word, fault.arg)
            self.problems.add(
                Mistake("R0703", span, {"message": fault.message}, hints=(fault.hint,) if fault.hint else ())
            )
        return None if len(self.problems) > before else build_recipe(values)

    def check_recipe(self, recipe: tree.Recipe) -> None:
        """Check a named recipe by itself, with the defaults of its parameters; what it lacks a `train` may add."""
        if all(parameter.default is not None for parameter in recipe.parameters):
            scope = self._scope({})
            bound = bind_parameters(recipe.name.name, recipe.parameters, (), self.evaluator, scope, recipe.name.span)
            if bound is not None:
                self._take(recipe.settings, scope, {})

    def _scope(self, values: dict[str, LanguageValue]) -> Scope:
        region = Region(None)
        return Scope(self.names.definitions, self.problems, region, region.input(), values=values)

    def _take_base(self, call: tree.Call, stated: Stated) -> None:
        recipe = self.names.recipes.get(call.callee.name)
        if recipe is None:
            guess = closest(call.callee.name, self.names.recipes)
            self.problems.report("R0707", call.callee.span, name=call.callee.name, guess=guess)
            return
        given = given_arguments(call.arguments, self.evaluator, self._scope({}))
        scope = self._scope({})
        if bind_parameters(recipe.name.name, recipe.parameters, given, self.evaluator, scope, call.span) is not None:
            self._take(recipe.settings, scope, stated)

    def _take(self, settings: tree.Settings, scope: Scope, stated: Stated) -> None:
        """Check settings and put them in; later ones replace those of a base, and a length the other length."""
        seen: dict[str, Span] = {}
        for line in settings.settings:
            word = line.word.name
            setting = SCHEMA.get(word)
            if setting is None:
                guess = closest(word, SCHEMA)
                self.problems.report("R0701", line.word.span, word=word, guess=guess, known=listed(SCHEMA))
                continue
            if word in seen:
                self.problems.add(Mistake("R0702", line.word.span, {"word": word}, (("first", seen[word], {}),)))
            seen[word] = line.word.span
            value = self._value(line, setting, scope)
            if value is None:
                continue
            other = {"iterations": "epochs", "epochs": "iterations"}.get(word)
            if other is not None and other not in seen:
                stated.pop(other, None)
            stated[word] = (line, value)

    def _fault_span(self, train: tree.Train, stated: Stated, word: str, arg: str) -> Span:
        line = stated[word][0] if word in stated else None
        if line is None:
            return train.span
        calls = [value for value in line.values if isinstance(value, tree.Call)]
        arguments = [*(line.arguments or ()), *(argument for call in calls for argument in call.arguments or ())]
        return next((a.span for a in arguments if a.name is not None and a.name.name == arg), line.span)

    # --- one line ---

    def _value(self, line: tree.Setting, setting: Setting, scope: Scope) -> SettingValue:
        if line.until is not None and setting.shape != "self":
            self.problems.report("R0706", line.until.span, wanted="nothing: only `warmup` has an `until`")
            return None
        match setting.shape:
            case "value":
                return self._plain_setting(line, setting, scope)
            case "self":
                return self._self_setting(line, setting, scope)
        if line.arguments is not None or (setting.shape == "call" and len(line.values) != 1):
            self._wrong_form(line, setting, "something else", line.span)
            return None
        calls = [self._call(value, setting, scope) for value in line.values]
        if any(call is None for call in calls):
            return None
        found = tuple(call for call in calls if call is not None)
        return found if setting.shape == "chain" else found[0]

    def _plain_setting(self, line: tree.Setting, setting: Setting, scope: Scope) -> SettingValue:
        assert setting.value is not None
        given = [argument.value for argument in line.arguments or ()] or list(line.values)
        if len(given) != 1:
            facts = {"word": setting.word, "found": f"{len(given)} values", "wanted": "one value"}
            self.problems.report("R0704", line.span, **facts, example=setting.example)
            return None
        return self._plain(given[0], setting.value, setting.word, setting.example, scope)

    def _self_setting(self, line: tree.Setting, setting: Setting, scope: Scope) -> SettingValue:
        if line.values:
            self._wrong_form(line, setting, "a value", line.values[0].span)
            return None
        form = setting.forms[0]
        call = self._bound(form, line.arguments or (), line.span, setting, scope)
        until = None if line.until is None else self._until(line.until, form, setting, scope)
        if call is None or (line.until is not None and until is None):
            return None
        return call if until is None else Call(call.name, (*call.args, ("until_train_error", until)))

    def _until(self, until: tree.Expr, form: Form, setting: Setting, scope: Scope) -> Value:
        match until:
            case tree.Operation(operator="<", operands=(tree.Name(name="train_error"), limit)):
                arg = next(arg for arg in form.args if arg.name == "until_train_error")
                return self._plain(limit, arg, setting.word, setting.example, scope)
        self.problems.report("R0706", until.span, wanted="`train_error < 80%`")
        return None

    def _call(self, expr: tree.Expr, setting: Setting, scope: Scope) -> Call | None:
        arguments: tuple[tree.Argument, ...] = ()
        match expr:
            case tree.Name():
                name, place = expr.name, expr.span
            case tree.Call():
                name, place, arguments = expr.callee.name, expr.callee.span, expr.arguments or ()
            case _:
                self._wrong_form(None, setting, f"`{expr.span.text}`", expr.span)
                return None
        form = setting.form(name)
        if form is None:
            known = [form.name for form in setting.forms]
            self.problems.report(
                "R0705", place, word=setting.word, name=name, guess=closest(name, known), known=listed(known)
            )
            return None
        return self._bound(form, arguments, expr.span, setting, scope)

    def _bound(
        self, form: Form, arguments: tuple[tree.Argument, ...], span: Span, setting: Setting, scope: Scope
    ) -> Call | None:
        given = tuple(
            Given(None if a.name is None else a.name.name, 0, a.span if a.name is None else a.name.span, a.value.span)
            for a in arguments
        )
        names = [arg.name for arg in form.args]
        if match_arguments(form.name, names, given, self.evaluator, span) is None:
            return None
        by_name = {(a.name.name if a.name else names[position]): a.value for position, a in enumerate(arguments)}
        found: list[tuple[str, Value]] = []
        for arg in form.args:
            if arg.name in by_name:
                value = self._plain(by_name[arg.name], arg, form.name, setting.example, scope)
                if value is None:
                    return None
                found.append((arg.name, value))
            elif arg.required:
                self.problems.report("R0206", span, callee=form.name, name=arg.name, wanted=arg.doc)
                return None
        return Call(form.name, tuple(found))

    def _plain(self, expr: tree.Expr, arg: Arg, word: str, example: str, scope: Scope) -> Value:
        value = self.evaluator.evaluate(expr, scope)
        if isinstance(value, Poison):
            return None
        if isinstance(value, (Ref, Word, NoShortcut)):
            value = str(value)
        if isinstance(value, float) and arg.kind == "int" and value.is_integer():
            value = int(value)
        plain = value if isinstance(value, (int, float, bool, str, tuple)) else None
        fault = value_fault(arg, plain)
        if plain is None or fault:
            wanted = fault or "a plain value"
            self.problems.report("R0704", expr.span, word=word, found=describe(value), wanted=wanted, example=example)
            return None
        return plain

    def _wrong_form(self, line: tree.Setting | None, setting: Setting, found: str, span: Span) -> None:
        at = span if line is None else line.span
        facts = {"word": setting.word, "found": found, "wanted": f"something like `{setting.example}`"}
        self.problems.report("R0704", at, **facts, example=setting.example)
