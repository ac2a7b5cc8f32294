"""What can be wrong between the settings of a recipe, each of which is fine by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from resdsl.recipe_augment import ON_INPUTS, ON_PIXELS, RESIZING
from resdsl.recipe_schema import SCHEMA
from resdsl.recipe_types import Call, SettingValue, Value, value_text


@dataclass(frozen=True, slots=True)
class RecipeFault:
    """Something wrong between settings. `word` is the setting to point at ("" for the whole block)."""

    word: str
    arg: str
    message: str
    hint: str = ""


def recipe_faults(settings: Mapping[str, SettingValue]) -> list[RecipeFault]:
    """What is wrong between settings whose words, forms and values are each fine by themselves."""
    faults = [
        RecipeFault("", "", f"the recipe does not say `{setting.word}`", f"write for example `{setting.example}`")
        for setting in SCHEMA.values()
        if setting.required and setting.word not in settings
    ]
    faults += _length_faults(settings)
    optimizer, schedule, warmup = (settings.get(word) for word in ("optimizer", "schedule", "warmup"))
    if isinstance(schedule, Call):
        faults += _steps_faults(schedule, settings) if schedule.name == "steps" else []
        faults += _final_faults(schedule, optimizer)
    if isinstance(warmup, Call):
        faults += _warmup_faults(warmup, settings)
    if isinstance(optimizer, Call):
        faults += _momentum_faults(optimizer)
    resizing = settings.get("progressive_resizing")
    if isinstance(resizing, Call):
        faults += _resizing_faults(resizing)
    augment = settings.get("augment")
    if isinstance(augment, tuple):
        faults += _augment_faults([step for step in augment if isinstance(step, Call)])
    return faults + _batch_faults(settings)


def _length_faults(settings: Mapping[str, SettingValue]) -> list[RecipeFault]:
    if "iterations" in settings and "epochs" in settings:
        return [RecipeFault("epochs", "", "the recipe says both `iterations` and `epochs`", "keep one of the two")]
    if "iterations" not in settings and "epochs" not in settings:
        message = "the recipe does not say how long to train"
        return [RecipeFault("", "", message, "write for example `iterations 64k` or `epochs 20`")]
    return []


def _steps_faults(schedule: Call, settings: Mapping[str, SettingValue]) -> list[RecipeFault]:
    given = dict(schedule.args)
    at, unit = given.get("at"), given.get("unit", "iterations")
    if not isinstance(at, tuple) or not at:
        return []
    if any(later <= earlier for earlier, later in pairwise(at)):
        hint = f"write `at = {value_text(tuple(sorted(set(at))))}`"
        return [RecipeFault("schedule", "at", "the places of `at` must rise", hint)]
    length = settings.get(str(unit))
    if isinstance(length, int) and at[-1] >= length:
        change, end = value_text(at[-1]), value_text(length)
        message = f"the learning rate would change at {change}, but training ends after {end} {unit}"
        return [RecipeFault("schedule", "at", message, "place it earlier, or train longer")]
    return []


def _final_faults(schedule: Call, optimizer: SettingValue) -> list[RecipeFault]:
    final = dict(schedule.args).get("final")
    base = dict(optimizer.args).get("lr") if isinstance(optimizer, Call) else None
    if isinstance(final, int | float) and isinstance(base, int | float) and final > base:
        message = f"the learning rate would end at {value_text(final)}, above the base rate of {value_text(base)}"
        return [RecipeFault("schedule", "final", message, "let it fall")]
    return []


def _warmup_faults(warmup: Call, settings: Mapping[str, SettingValue]) -> list[RecipeFault]:
    given = dict(warmup.args)
    ends = [name for name in ("iterations", "until_train_error") if given.get(name) is not None]
    if len(ends) != 1:
        message = "the warm-up has two ends" if ends else "the warm-up has no end"
        hint = "write `warmup(lr = 0.01, iterations = 400)` or `warmup(lr = 0.01) until train_error < 80%`"
        return [RecipeFault("warmup", "", message, hint)]
    if given.get("ramp") == "linear" and "until_train_error" in ends:
        return [RecipeFault("warmup", "ramp", "a linear warm-up needs a known length", "give it `iterations`")]
    if "until_train_error" in ends and settings.get("mix") is not None:
        message = "with `mix` the training error is that of mixed images, which is no measure for the warm-up's end"
        return [RecipeFault("warmup", "until_train_error", message, "give the warm-up `iterations`")]
    steps, length = given.get("iterations"), settings.get("iterations")
    if isinstance(steps, int) and isinstance(length, int) and steps >= length:
        message = f"the warm-up takes {value_text(steps)} iterations, but training ends after {value_text(length)}"
        return [RecipeFault("warmup", "iterations", message, "warm up for less, or train longer")]
    return []


def _momentum_faults(optimizer: Call) -> list[RecipeFault]:
    given = dict(optimizer.args)
    if given.get("nesterov") is True and given.get("momentum") == 0:
        return [RecipeFault("optimizer", "nesterov", "Nesterov's form needs a momentum", "write `momentum = 0.9`")]
    return []


def _resizing_faults(resizing: Call) -> list[RecipeFault]:
    given = dict(resizing.args)
    start, end = (given.get(name, _default("progressive_resizing", name)) for name in ("start", "end"))
    if isinstance(start, int | float) and isinstance(end, int | float) and start > end:
        message = f"images would begin to grow at {value_text(start)} of the run, behind the `end` at {value_text(end)}"
        return [RecipeFault("progressive_resizing", "start", message, "let `end` come later")]
    return []


def _augment_faults(steps: list[Call]) -> list[RecipeFault]:
    faults = [
        RecipeFault(
            "augment", "smallest", f"`smallest` of `{step.name}` is {value_text(low)}, above `largest`", "swap them"
        )
        for step in steps
        if isinstance(low := dict(step.args).get("smallest", _default("augment", "smallest", step.name)), int | float)
        and isinstance(high := dict(step.args).get("largest", _default("augment", "largest", step.name)), int | float)
        and low > high
    ]
    names = [step.name for step in steps]
    for name, following in zip(names, [*names[1:], ""], strict=False):
        if name == "resize_shorter_side" and following != "random_crop":
            message = "`resize_shorter_side` leaves images of many sizes"
            faults.append(RecipeFault("augment", "", message, "let `random_crop` follow at once"))
    late = [name for name in names[1:] if name in RESIZING]
    if late:
        message = f"`{late[0]}` must come first: it needs the image as it is"
        faults.append(RecipeFault("augment", "", message, f"begin `augment` with `{late[0]}`, and have it once"))
        return faults
    inputs = [name for name in names if name in ON_INPUTS]
    behind = [name for name in names[names.index(inputs[0]) :] if name in ON_PIXELS] if inputs else []
    if behind:
        message = f"`{behind[0]}` changes pixels, but `{inputs[0]}` works on images that are normalised already"
        faults.append(RecipeFault("augment", "", message, f"write `{behind[0]}` before `{inputs[0]}`"))
    return faults


def _default(word: str, arg: str, form: str = "") -> Value:
    found = SCHEMA[word].form(form or word)
    return next((known.default for known in found.args if known.name == arg), None) if found else None


def _batch_faults(settings: Mapping[str, SettingValue]) -> list[RecipeFault]:
    batch, parts = settings.get("batch", SCHEMA["batch"].default), settings.get("accumulate")
    if isinstance(batch, int) and isinstance(parts, int) and batch % parts:
        message = f"a batch of {batch} does not fall into {parts} equal parts"
        return [RecipeFault("accumulate", "", message, "choose a divisor of the batch")]
    if batch == 1 and settings.get("mix") is not None:
        return [RecipeFault("mix", "", "a batch of one image has nothing to mix", "choose a larger batch")]
    if settings.get("ema_warmup") is True and not settings.get("ema"):
        return [RecipeFault("ema_warmup", "", "there is no moving average to warm up", "write for example `ema 0.999`")]
    return []
