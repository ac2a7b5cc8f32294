"""Recipes: defaults, checks, overriding, and the text of what was used."""

from __future__ import annotations

import json
import subprocess
import sys
from math import inf, nan
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import resdsl
from resdsl.cli.recipe_example import example_recipe
from resdsl.recipe import Recipe, RecipeError, build_recipe, override
from resdsl.recipe_checks import recipe_faults
from resdsl.recipe_schema import SCHEMA
from resdsl.recipe_types import MAX_SEED, Arg, Call, Form, Setting, SettingValue, Value, value_fault

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
        ({"lr": -0.1}, "`lr` must be a number, above 0, not -0.1"),
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
        (
            {"warmup": Call("warmup", (("lr", 0.1), ("iterations", 64_000)))},
            "warmup",
            "the warm-up takes 64k iterations, but training ends after 64k",
        ),
        (
            {"mix": Call("mixup")},
            "warmup",
            "with `mix` the training error is that of mixed images, which is no measure for the warm-up's end",
        ),
        (
            {"schedule": Call("cosine", (("final", 0.2),))},
            "schedule",
            "the learning rate would end at 0.2, above the base rate of 0.1",
        ),
        (
            {"optimizer": Call("sgd", (("lr", 0.1), ("momentum", 0), ("nesterov", True)))},
            "optimizer",
            "Nesterov's form needs a momentum",
        ),
        ({"accumulate": 3}, "accumulate", "a batch of 128 does not fall into 3 equal parts"),
        ({"mix": Call("cutmix"), "batch": 1, "warmup": None}, "mix", "a batch of one image has nothing to mix"),
        (
            {"progressive_resizing": Call("progressive_resizing", (("from", 24), ("start", 0.9)))},
            "progressive_resizing",
            "images would begin to grow at 0.9 of the run, behind the `end` at 0.8",
        ),
        ({"ema_warmup": True}, "ema_warmup", "there is no moving average to warm up"),
        (
            {"augment": (Call("resize_shorter_side", (("smallest", 256), ("largest", 480))), Call("flip"))},
            "augment",
            "`resize_shorter_side` leaves images of many sizes",
        ),
        (
            {"augment": (Call("random_resized_crop", (("size", 32), ("smallest", 0.5), ("largest", 0.2))),)},
            "augment",
            "`smallest` of `random_resized_crop` is 0.5, above `largest`",
        ),
        (
            {"augment": (Call("random_erasing", (("smallest", 0.5),)),)},
            "augment",
            "`smallest` of `random_erasing` is 0.5, above `largest`",
        ),
        (
            {"augment": (Call("pad", (("pixels", 4),)), Call("trivial_augment"))},
            "augment",
            "`trivial_augment` changes pixels, but `pad` works on images that are normalised already",
        ),
        (
            {"augment": (Call("flip"), Call("random_resized_crop", (("size", 32),)))},
            "augment",
            "`random_resized_crop` must come first: it needs the image as it is",
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


EXAMPLE = example_recipe((3, 32, 32), 10)
NETWORK = "network small { input 3 x 32 x 32; global_avg_pool -> linear(10) }\n"


def read(recipe: str, *lines: str) -> Recipe:
    """The recipe that the language reads from a `train` block, some of its settings given on the command line."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "spec.res"
        path.write_text(NETWORK + recipe, encoding="utf-8")
        found = resdsl.load(path, settings=list(lines)).recipe
    assert found is not None
    return found


def calls_of(setting: Setting) -> st.SearchStrategy[Call]:
    return st.one_of([st.builds(Call, st.just(f.name), arguments_of(f)) for f in setting.forms])


def arguments_of(form: Form) -> st.SearchStrategy[tuple[tuple[str, Value], ...]]:
    given = [st.tuples(st.just(arg.name), values_of(arg)) for arg in form.args]
    optional = [pair if arg.required else st.none() | pair for arg, pair in zip(form.args, given, strict=True)]
    return st.tuples(*optional).map(lambda pairs: tuple(pair for pair in pairs if pair is not None))


def values_of(arg: Arg) -> st.SearchStrategy[Value]:
    least = arg.least if arg.least is not None else arg.above
    most = arg.most if arg.most is not None else arg.below
    match arg.kind:
        case "choice":
            values: st.SearchStrategy[Value] = st.sampled_from(arg.choices)
        case "bool":
            values = st.booleans()
        case "int":
            values = st.integers(int(least or 0), int(most) if most is not None else 10**9)
        case "ints":
            values = st.lists(st.integers(1, 10**6), min_size=1, max_size=4, unique=True).map(
                lambda x: tuple(sorted(x))
            )
        case _:
            values = st.floats(least or 0, most if most is not None else 1e9)
    return values.filter(lambda value: value_fault(arg, value) == "")


@st.composite
def good_settings(draw: st.DrawFn) -> dict[str, SettingValue]:
    settings: dict[str, SettingValue] = {}
    for word, setting in SCHEMA.items():
        if not setting.required and draw(st.booleans()):
            continue
        match setting.shape:
            case "value":
                assert setting.value is not None
                settings[word] = draw(values_of(setting.value))
            case "chain":
                settings[word] = tuple(draw(st.lists(calls_of(setting), min_size=1, max_size=4)))
            case _:
                settings[word] = draw(calls_of(setting))
    # What does not go together is left out until the rest does.
    while faults := recipe_faults(settings):
        words = {fault.word for fault in faults}
        if words == {""}:
            settings["iterations"] = draw(st.integers(1, 10**6))
        elif "optimizer" in words:
            settings["optimizer"] = Call("sgd", (("lr", 0.1),))
        for word in words - {"", "optimizer"}:
            del settings[word]
    return settings


@given(good_settings())
@example({"data": Call("digits"), "optimizer": Call("sgd", (("lr", 0.1),)), "iterations": 1, "seed": MAX_SEED})
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_the_text_of_any_recipe_reads_back_to_the_same_recipe(stated: dict[str, SettingValue]) -> None:
    recipe = build_recipe(stated)
    assert read(recipe.to_text()) == recipe


@pytest.mark.parametrize(
    "line",
    [
        "mix cutmix(alpha = 0.5)",
        "clip 1",
        "accumulate 4",
        "ema_warmup true",
        "progressive_resizing(from = 16, end = 60%)",
        "sync_bn true",
        "schedule plateau(times = 0.2, patience = 3)",
        "schedule linear",
        "schedule polynomial(power = 0.9)",
        "schedule one_cycle",
        "augment random_resized_crop(32) -> flip -> colour_jitter(0.4, 0.4, 0.4, 0.1) -> lighting -> random_erasing",
        "augment resize_shorter_side(40, 48) -> random_crop(32) -> rand_augment(2, 9)",
        "augment trivial_augment -> pad(4) -> random_crop(32)",
    ],
)
def test_every_option_can_be_given_on_the_command_line(line: str) -> None:
    recipe, word = read(EXAMPLE, line, "ema 0.9"), line.replace("(", " ").split()[0]
    assert read(recipe.to_text()) == recipe
    assert getattr(recipe, word) != getattr(read(EXAMPLE), word)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("optimizer sgd(lr = 0)", "`lr` must be a number, above 0, not 0"),
        ("optimizer sgd(lr = -0.1)", "`lr` must be a number, above 0, not -0.1"),
        ("optimizer sgd(lr = 1e400)", "the number `1e400` is too large"),
        ("schedule steps(at = [1, 2], times = 10)", "`times` must be a number, above 0 and below 1, not 10"),
        ("schedule plateau(patience = 0)", "`patience` must be an integer, at least 1, not 0"),
        ("clip 0", "`clip` must be a number, above 0, not 0"),
        ("mix mixup(alpha = 0)", "`alpha` must be a number, above 0 and at most 100, not 0"),
        ("mix blend", "mixup"),
        ("augment colour_jitter(hue = 0.7)", "`hue` must be a number, at least 0 and at most 0.5, not 0.7"),
        ("augment rand_augment(magnitude = 31)", "`magnitude` must be an integer, at least 0 and at most 30, not 31"),
        ("accumulate 5", "a batch of 64 does not fall into 5 equal parts"),
    ],
)
def test_bad_values_are_diagnostics(line: str, wanted: str) -> None:
    with pytest.raises(resdsl.CompileError) as caught:
        read(EXAMPLE, line)
    shown = "\n".join(f"{item.title} {item.primary} {item.secondary} {item.hints}" for item in caught.value.diagnostics)
    assert wanted in shown


@pytest.mark.parametrize("value", [(), (1, 2.5), "x", 3])
def test_lists_of_integers_are_just_that(value: Value) -> None:
    assert value_fault(Arg("at", "ints", "places"), value)


def test_recipes_load_nothing_heavy() -> None:
    code = "import sys, resdsl.recipe; print([m for m in ('torch', 'numpy', 'networkx', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
