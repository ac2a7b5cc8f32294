"""Recipe: what a `train { ... }` block resolves to, every default explicit; recipe_schema.py has what it may say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

from resdsl.recipe_checks import recipe_faults
from resdsl.recipe_schema import SCHEMA
from resdsl.recipe_types import Call, Setting, SettingValue, Value, value_fault, value_text

OF_LENGTH = {("schedule", "at"), ("warmup", "iterations")}


class RecipeError(ValueError):
    """A recipe that cannot be built; the text is one line a fault, made for the user."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train a network, with nothing left to a default."""

    data: Call  # the data set, with its validation split: cifar10(validation = 5000)
    augment: tuple[Call, ...]  # what happens to each training image, in this order
    mix: Call | None  # images of a batch mixed with one another, and their targets: mixup(...), cutmix(...)
    progressive_resizing: Call | None  # training images that are small at first and grow
    normalize: str  # how pixels become network inputs: per_pixel_mean, mean_std or none
    batch: int  # images in one step
    optimizer: Call  # sgd(...) or adamw(...), with the learning rate and what decays
    schedule: Call  # the learning rate's course: constant, steps(...), plateau(...), cosine(...), ...
    iterations: int | None  # length in steps; None where `epochs` says it
    epochs: int | None  # length in passes over the training images; None where `iterations` says it
    accumulate: int  # parts of a batch that are done one after the other; 1 for all at once
    clip: float | None  # longest gradient; None for any
    warmup: Call | None  # another learning rate at the start, until a step or a training error
    init: str  # how weights start; applied by the compiler when it makes the module
    label_smoothing: float  # share of the target spread over all classes, in [0, 1)
    ema: float  # decay of the weights' moving average, used for evaluation; 0 for none
    ema_warmup: bool  # whether the average begins with a small decay that grows to `ema`
    sync_bn: bool  # whether batch normalisation takes the statistics of all processes' images together
    evaluate: int | None  # steps between evaluations; None for once an epoch
    seed: int  # of the weights, the order of images and the augmentation

    @property
    def lr(self) -> float:
        """The base learning rate."""
        return self.optimizer.number("lr")

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON; a call is {"name": ..., argument: value, ...}."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def to_text(self) -> str:
        """The recipe as a `train` block that the language reads back to the same recipe."""
        lines = [f"  {line}" for field in fields(self) for line in _setting_text(field.name, getattr(self, field.name))]
        return "\n".join(["train {", *lines, "}"]) + "\n"


def build_recipe(settings: Mapping[str, SettingValue]) -> Recipe:
    """The recipe of checked settings, defaults filled in. Raises RecipeError where a check was left out or failed."""
    faults = [*_form_faults(settings), *(fault.message for fault in recipe_faults(settings))]
    if faults:
        raise RecipeError("\n".join(faults))
    full = {word: _bound(setting, settings.get(word, setting.default)) for word, setting in SCHEMA.items()}
    return Recipe(**full)  # type: ignore[arg-type]


def override(
    recipe: Recipe,
    *,
    batch: int | None = None,
    lr: float | None = None,
    iterations: int | None = None,
    epochs: int | None = None,
    seed: int | None = None,
) -> Recipe:
    """The recipe with what is given here put in its place. Raises RecipeError for a value out of range."""
    given: dict[str, SettingValue] = {"batch": batch, "iterations": iterations, "epochs": epochs, "seed": seed}
    changes: dict[str, SettingValue] = {word: value for word, value in given.items() if value is not None}
    if len({"iterations", "epochs"} & changes.keys()) == 2:
        raise RecipeError("give either iterations or epochs, not both")
    faults = _form_faults(changes)
    if lr is not None:
        optimizer = recipe.optimizer.with_args(lr=lr)
        faults += _form_faults({"optimizer": optimizer})
        changes["optimizer"] = optimizer
    if faults:
        raise RecipeError("\n".join(faults))
    if iterations is not None:
        changes["epochs"] = None
    if epochs is not None:
        changes["iterations"] = None
    changed = replace(recipe, **changes)  # type: ignore[arg-type]
    if faults := [fault for fault in _faults(changed) if fault not in _faults(recipe)]:
        raise RecipeError("\n".join(faults))
    return changed


def _faults(recipe: Recipe) -> list[str]:
    """What is wrong between settings, the length left aside: a run may be cut short before its schedule ends."""
    settings = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    given = {word: value for word, value in settings.items() if value is not None}
    return [fault.message for fault in recipe_faults(given) if (fault.word, fault.arg) not in OF_LENGTH]


def _form_faults(settings: Mapping[str, SettingValue]) -> list[str]:
    faults: list[str] = []
    for word, value in settings.items():
        setting = SCHEMA.get(word)
        if setting is None:
            faults.append(f"there is no setting `{word}`")
        elif setting.value is not None:
            plain = _plain_value(value)
            faults.append(f"`{word}` takes one value" if plain is None else value_fault(setting.value, plain))
        else:
            calls = value if setting.shape == "chain" else (value,)
            faults += _call_faults(setting, calls if isinstance(calls, tuple) else ())
    return [fault for fault in faults if fault]


def _call_faults(setting: Setting, calls: tuple[object, ...]) -> Iterator[str]:
    for call in calls:
        form = setting.form(call.name) if isinstance(call, Call) else None
        if form is None or not isinstance(call, Call):
            yield f"`{setting.word}` must be one of {', '.join(form.name for form in setting.forms)}"
            continue
        given = {name: value for name, value in call.args if value is not None}
        known = {arg.name: arg for arg in form.args}
        yield from (f"`{form.name}` has no argument `{name}`" for name in given if name not in known)
        missing = (name for name, arg in known.items() if arg.required and name not in given)
        yield from (f"`{form.name}` needs `{name}`" for name in missing)
        yield from (value_fault(known[name], value) for name, value in given.items() if name in known)


def _bound(setting: Setting, value: SettingValue) -> SettingValue:
    if isinstance(value, Call):
        return _bound_call(setting, value)
    if setting.shape == "chain" and isinstance(value, tuple):
        return tuple(_bound_call(setting, step) for step in value if isinstance(step, Call))
    return value


def _bound_call(setting: Setting, call: Call) -> Call:
    form = setting.form(call.name)
    assert form is not None, call.name
    return form.bind(call)


def _plain_value(value: SettingValue) -> Value:
    match value:
        case int() | float() | str():
            return value
        case _:
            return None


def _plain(value: object) -> object:
    match value:
        case Call():
            return {"name": value.name} | {name: _plain(item) for name, item in value.args}
        case tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def _setting_text(word: str, value: SettingValue) -> Iterator[str]:
    if value is None or value == ():
        return
    match value:
        case Call(name="warmup"):
            error = value["until_train_error"]
            clause = (
                f" until train_error < {_share_text(value.number('until_train_error'))}" if error is not None else ""
            )
            yield value.with_args(until_train_error=None).to_text() + clause
        case Call():
            yield value.to_text() if SCHEMA[word].shape == "self" else f"{word} {value.to_text()}"
        case tuple():
            yield f"{word} " + " -> ".join(step.to_text() for step in value if isinstance(step, Call))
        case _:
            yield f"{word} {value_text(value)}"


def _share_text(share: float) -> str:
    """80% for 0.8, and the plain number where a short percentage would be another one."""
    percent = f"{share * 100:g}"
    return f"{percent}%" if "e" not in percent and float(percent) / 100 == share else value_text(share)
