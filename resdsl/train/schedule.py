"""The learning rate as a pure function of the step."""

import math
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


def scheduled_lr(recipe: Recipe, length: Length, step: int) -> float:
    """The learning rate of a step (counted from 0) by the schedule alone, without warm-up."""
    schedule = recipe.schedule
    match schedule.name:
        case "steps":
            done = length.epochs(step) if schedule["unit"] == "epochs" else step
            passed = sum(done >= place for place in schedule.integers("at"))
            return float(recipe.lr * schedule.number("times") ** passed)
        case "cosine":
            final = schedule.number("final")
            return final + (recipe.lr - final) * (1 + math.cos(math.pi * step / length.steps)) / 2
        case _:
            return recipe.lr


def known_warmup_end(recipe: Recipe) -> int | None:
    """The first step after the warm-up: 0 without one, None where a training error will end it."""
    if recipe.warmup is None:
        return 0
    return None if recipe.warmup["iterations"] is None else recipe.warmup.integer("iterations")


def lr_at(recipe: Recipe, length: Length, step: int, warmup_end: int | None) -> float:
    """The learning rate of a step (counted from 0). `warmup_end` None means that the warm-up has not ended yet."""
    scheduled = scheduled_lr(recipe, length, step)
    warmup = recipe.warmup
    if warmup is None or (warmup_end is not None and step >= warmup_end):
        return scheduled
    start = warmup.number("lr")
    if warmup["ramp"] == "linear":
        return start + (scheduled - start) * step / warmup.integer("iterations")
    return start
