"""The learning rate as a pure function of the step and of the evaluations so far."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resdsl.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Length:
    """How long a run is. Batches run on across the ends of epochs, so an epoch need not be a whole number of steps."""

    steps: int
    images: int  # of the training set
    batch: int

    def epochs(self, step: int) -> float:
        """Epochs done after so many steps."""
        return step * self.batch / self.images

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch ended within the last of so many steps."""
        return step * self.batch // self.images > (step - 1) * self.batch // self.images


def run_length(recipe: Recipe, images: int) -> Length:
    """Steps of the whole run over `images` training images; epochs are rounded up to whole steps."""
    if recipe.iterations is not None:
        return Length(recipe.iterations, images, recipe.batch)
    assert recipe.epochs is not None
    return Length(-(-recipe.epochs * images // recipe.batch), images, recipe.batch)


def scheduled_lr(recipe: Recipe, length: Length, step: int, drops: int = 0) -> float:
    """The learning rate of a step (counted from 0) by the schedule alone, without warm-up.

    `drops` is how often a plateau has lowered the rate so far.
    """
    schedule, base = recipe.schedule, recipe.lr
    done = step / length.steps
    match schedule.name:
        case "steps":
            place = length.epochs(step) if schedule["unit"] == "epochs" else step
            passed = sum(place >= change for change in schedule.integers("at"))
            return float(base * schedule.number("times") ** passed)
        case "plateau":
            return float(base * schedule.number("times") ** drops)
        case "cosine":
            return _half_cosine(base, schedule.number("final"), done)
        case "linear":
            return base + (schedule.number("final") - base) * done
        case "polynomial":
            final = schedule.number("final")
            return float(final + (base - final) * (1 - done) ** schedule.number("power"))
        case "one_cycle":
            rise = schedule.number("rise")
            if done < rise:
                return _half_cosine(base * schedule.number("start"), base, done / rise)
            return _half_cosine(base, schedule.number("final"), (done - rise) / (1 - rise))
        case _:
            return base


def watched_error(recipe: Recipe) -> str:
    """What a plateau looks at: the validation error where the recipe sets a validation split aside, else the test's."""
    return "validation_error" if dict(recipe.data.args).get("validation") else "test_error"


def plateau_drops(recipe: Recipe, evaluations: Sequence[Mapping[str, float | None]], warmup_end: int | None) -> int:
    """How often the plateau schedule has lowered the rate, from the run's evaluations, oldest first.

    A pure function of them, so that a run that goes on needs no state of its own. What is evaluated during the warm-up
    does not count. An error that is not a number is no improvement.
    """
    if recipe.schedule.name != "plateau" or warmup_end is None:
        return 0
    patience, threshold = recipe.schedule.integer("patience"), recipe.schedule.number("threshold")
    best, waited, drops = math.inf, 0, 0
    for row in evaluations:
        step, error = row["step"], row[watched_error(recipe)]
        assert step is not None
        if step <= warmup_end:
            continue
        if error is not None and error < best - threshold:
            best, waited = error, 0
        else:
            waited += 1
        if waited == patience:
            drops, waited = drops + 1, 0
    return drops


def known_warmup_end(recipe: Recipe) -> int | None:
    """The first step after the warm-up: 0 without one, None where a training error will end it."""
    if recipe.warmup is None:
        return 0
    return None if recipe.warmup["iterations"] is None else recipe.warmup.integer("iterations")


def lr_at(recipe: Recipe, length: Length, step: int, warmup_end: int | None, drops: int = 0) -> float:
    """The learning rate of a step (counted from 0). `warmup_end` None means that the warm-up has not ended yet."""
    scheduled = scheduled_lr(recipe, length, step, drops)
    warmup = recipe.warmup
    if warmup is None or (warmup_end is not None and step >= warmup_end):
        return scheduled
    start = warmup.number("lr")
    if warmup["ramp"] == "linear":
        return start + (scheduled - start) * step / warmup.integer("iterations")
    return start


def _half_cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
