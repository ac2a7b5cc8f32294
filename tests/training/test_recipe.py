"""Recipes: defaults, checks, overriding, and the text of what was used."""

from __future__ import annotations

import json
import subprocess
import sys
from math import inf, nan

import pytest

from resdsl.recipe import RecipeError, build_recipe, override, recipe_faults
from resdsl.recipe_schema import EXAMPLE, SCHEMA, Arg, Call, Form, SettingValue, Value, value_fault

CIFAR: dict[str, SettingValue] = {
    "data": Call("cifar10", (("validation", 5000),)),
    "augment": (Call("pad", (("pixels", 4),)), Call("random_crop", (("size", 32),)), Call("flip")),
    "batch": 128,
    "optimizer": Call("sgd", (("lr", 0.1),)),
    "schedule": Call("steps", (("at", (32_000, 48_000)),)),
    "iterations": 64_000,
    "warmup": Call("warmup", (("lr", 0.01), ("until_train_error", 0.8))),
}


def test_defaults_are_explicit() -> None:
    recipe = build_recipe(CIFAR)
    assert recipe.optimizer["momentum"] == 0.9
    assert recipe.optimizer["decay"] == "all"
    assert recipe.augment[2]["p"] == 0.5
    assert (recipe.init, recipe.seed, recipe.ema, recipe.normalize) == ("he", 1, 0.0, "per_pixel_mean")


def test_text_shows_everything_that_was_used() -> None:
    text = build_recipe(CIFAR).to_text()
    assert "  warmup(lr = 0.01, ramp = constant) until train_error < 80%\n" in text
    assert "  schedule steps(at = [32k, 48k], times = 0.1, unit = iterations)\n" in text
    assert "  augment pad(pixels = 4) -> random_crop(size = 32) -> flip(p = 0.5)\n" in text
    assert "epochs" not in text


def test_record_is_json() -> None:
    record = build_recipe(CIFAR).as_dict()
    assert json.loads(json.dumps(record)) == record


def test_override_replaces_the_length_and_keeps_the_rest() -> None:
    recipe = override(build_recipe(CIFAR), lr=0.05, epochs=3, batch=64, seed=7)
    assert (recipe.lr, recipe.epochs, recipe.iterations, recipe.batch, recipe.seed) == (0.05, 3, None, 64, 7)
    assert recipe.optimizer["weight_decay"] == 1e-4
    assert override(recipe) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": nan}, "`lr` must be a number, above 0, not nan"),
        ({"lr": inf}, "`lr` must be a number, above 0, not inf"),
        ({"lr": 10**400}, f"`lr` must be a number, above 0, not {10**397}k"),
        ({"lr": 0}, "`lr` must be a number, above 0, not 0"),
        ({"batch": 0}, "`batch` must be an integer, at least 1, not 0"),
        ({"iterations": 5, "epochs": 1}, "give either iterations or epochs, not both"),
    ],
)
def test_override_refuses(changes: dict[str, int], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        override(build_recipe(CIFAR), **changes)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "word", "message"),
    [
        ({"data": None}, "", "the recipe does not say `data`"),
        ({"optimizer": None}, "", "the recipe does not say `optimizer`"),
        ({"iterations": None}, "", "the recipe does not say how long to train"),
        ({"epochs": 3}, "epochs", "the recipe says both `iterations` and `epochs`"),
        ({"schedule": Call("steps", (("at", (5, 3)),))}, "schedule", "the places of `at` must rise"),
        (
            {"schedule": Call("steps", (("at", (64_000,)),))},
            "schedule",
            "the learning rate would change at 64k, but training ends after 64k iterations",
        ),
        ({"warmup": Call("warmup", (("lr", 0.1),))}, "warmup", "the warm-up has no end"),
        (
            {"warmup": Call("warmup", (("lr", 0.1), ("iterations", 3), ("until_train_error", 0.8)))},
            "warmup",
            "the warm-up has two ends",
        ),
        (
            {"warmup": Call("warmup", (("lr", 0.1), ("until_train_error", 0.8), ("ramp", "linear")))},
            "warmup",
            "a linear warm-up needs a known length",
        ),
    ],
)
def test_faults_between_settings(changes: dict[str, SettingValue], word: str, message: str) -> None:
    settings = {name: value for name, value in (CIFAR | changes).items() if value is not None}
    faults = recipe_faults(settings)
    assert [(fault.word, fault.message) for fault in faults] == [(word, message)]
    assert faults[0].hint
    with pytest.raises(RecipeError):
        build_recipe(settings)


def test_a_good_recipe_has_no_faults() -> None:
    assert recipe_faults(CIFAR) == []


@pytest.mark.parametrize(
    ("word", "value", "message"),
    [
        ("banana", 3, "there is no setting `banana`"),
        ("init", "hee", "`init` must be one of he, he_fan_out, xavier, torch, not hee"),
        ("batch", True, "`batch` must be an integer, at least 1, not true"),
        ("batch", Call("cosine"), "`batch` takes one value"),
        ("label_smoothing", 1.0, "`label_smoothing` must be a number, at least 0 and below 1, not 1.0"),
        ("optimizer", Call("sgd", (("lr", 1), ("speed", 2))), "`sgd` has no argument `speed`"),
        ("optimizer", Call("sgd"), "`sgd` needs `lr`"),
        ("optimizer", Call("adam"), "`optimizer` must be one of sgd, adamw"),
        ("augment", (Call("pad"),), "`pad` needs `pixels`"),
    ],
)
def test_build_refuses_what_a_checker_missed(word: str, value: SettingValue, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build_recipe(CIFAR | {word: value})
    assert message in str(caught.value).splitlines()


def arguments_of_schema() -> list[tuple[str, Arg]]:
    forms: list[tuple[str, Form]] = [(word, form) for word, setting in SCHEMA.items() for form in setting.forms]
    plain = [(word, setting.value) for word, setting in SCHEMA.items() if setting.value]
    return plain + [(f"{word} {form.name}", arg) for word, form in forms for arg in form.args]


@pytest.mark.parametrize(("place", "arg"), arguments_of_schema())
def test_every_argument_is_documented_and_its_default_fits(place: str, arg: Arg) -> None:
    assert arg.doc
    assert not (arg.required and arg.default is not None)
    if arg.default is not None:
        assert value_fault(arg, arg.default) == ""
    assert (arg.kind == "choice") == bool(arg.choices)


def test_every_setting_has_an_example_and_a_field() -> None:
    for word, setting in SCHEMA.items():
        assert setting.example.startswith(word)
        assert (setting.value is None) == (setting.shape != "value")
    assert build_recipe(CIFAR).as_dict().keys() == SCHEMA.keys()
    assert EXAMPLE.startswith("train {")


@pytest.mark.parametrize("value", [(), (1, 2.5), "x", 3])
def test_lists_of_integers_are_just_that(value: Value) -> None:
    assert value_fault(Arg("at", "ints", "places"), value)


def test_recipes_load_nothing_heavy() -> None:
    code = "import sys, resdsl.recipe; print([m for m in ('torch', 'numpy', 'networkx', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
