"""The learning rate, followed through whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import resdsl
from resdsl.recipe import Recipe
from resdsl.recipe_types import Call
from resdsl.train.optim import set_lr, used_lr
from resdsl.train.schedule import (
    Length,
    known_warmup_end,
    lr_at,
    plateau_drops,
    run_length,
    scheduled_lr,
    watched_error,
)

SPECS = Path(__file__).parents[2] / "specs"

# Each with its rate after none, a half and all but nothing of 100 steps.
SCHEDULES = {
    "constant": (Call("constant"), 0.1, 0.1, 0.1),
    "steps": (Call("steps", (("at", (20, 60)),)), 0.1, 0.01, 0.001),
    "plateau": (Call("plateau"), 0.1, 0.1, 0.1),
    "cosine": (Call("cosine"), 0.1, 0.05, 0.0),
    "cosine to 0.02": (Call("cosine", (("final", 0.02),)), 0.1, 0.06, 0.02),
    "linear": (Call("linear", (("final", 0.02),)), 0.1, 0.06, 0.02),
    "polynomial": (Call("polynomial"), 0.1, 0.025, 0.0),
    "square root": (Call("polynomial", (("power", 0.5), ("final", 0.01))), 0.1, 0.01 + 0.09 * 0.5**0.5, 0.01),
    "one_cycle": (Call("one_cycle", (("rise", 0.5), ("start", 0.1))), 0.01, 0.1, 0.0),
}
WARMUPS = {
    "none": None,
    "constant": Call("warmup", (("lr", 0.02), ("iterations", 10))),
    "linear": Call("warmup", (("lr", 0.02), ("iterations", 10), ("ramp", "linear"))),
    "until an error": Call("warmup", (("lr", 0.02), ("until_train_error", 0.8))),
}


def followed(recipe: Recipe, images: int, *, ends_after: int | None = None) -> list[float]:
    """The rates that an optimizer really holds, step by step, set as the training loop sets them.

    `ends_after` is the step after which the training error falls below the warm-up's bound.
    """
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=123.0)
    length, warmup_end, rates = run_length(recipe, images), known_warmup_end(recipe), []
    for step in range(length.steps):
        set_lr(optimizer, lr_at(recipe, length, step, warmup_end))
        rates.append(used_lr(optimizer))
        if warmup_end is None and ends_after == step + 1:
            warmup_end = step + 1
    return rates


def test_resnet110_returns_to_the_base_rate_after_its_warmup() -> None:
    """The trap: chained schedulers leave such a run at 0.01, 0.001, 0.0001."""
    recipe = resdsl.load(SPECS / "resnet110_cifar.res").recipe
    assert recipe is not None
    assert (recipe.batch, recipe.iterations, recipe.lr) == (128, 64_000, 0.1)
    assert known_warmup_end(recipe) is None
    course = followed(recipe, 45_000, ends_after=400)
    assert len(course) == 64_000
    assert set(course[:400]) == {0.01}
    assert set(course[400:32_000]) == {0.1}
    assert course[32_000:48_000] == pytest.approx([0.01] * 16_000)
    assert course[48_000:] == pytest.approx([0.001] * 16_000)


def test_warmup_of_known_length(make_recipe: Callable[..., Recipe]) -> None:
    warmup = Call("warmup", (("lr", 0.02), ("iterations", 4), ("ramp", "linear")))
    recipe = make_recipe(iterations=10, warmup=warmup)
    length = run_length(recipe, 100)
    end = known_warmup_end(recipe)
    assert end == 4
    assert [lr_at(recipe, length, step, end) for step in range(6)] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])


def test_without_warmup_the_schedule_holds_from_the_first_step(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(iterations=10)
    assert {lr_at(recipe, run_length(recipe, 100), step, known_warmup_end(recipe)) for step in range(10)} == {0.1}


def test_steps_in_epochs(make_recipe: Callable[..., Recipe]) -> None:
    schedule = Call("steps", (("at", (2, 3)), ("times", 0.5), ("unit", "epochs")))
    recipe = make_recipe(batch=30, schedule=schedule, epochs=4)
    length = run_length(recipe, 100)
    assert length == Length(14, 100, 30)
    rates = [scheduled_lr(recipe, length, step) for step in range(14)]
    assert rates == pytest.approx([0.1] * 7 + [0.05] * 3 + [0.025] * 4)


def test_epochs_end_where_their_last_image_is_seen() -> None:
    length = Length(14, 100, 30)
    assert [step for step in range(1, 15) if length.ends_epoch(step)] == [4, 7, 10, 14]


def test_cosine_runs_from_the_base_rate_to_the_final_one(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(schedule=Call("cosine", (("final", 0.02),)), iterations=100)
    length = run_length(recipe, 1000)
    rates = [scheduled_lr(recipe, length, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.06)
    assert rates[100] == pytest.approx(0.02)
    assert rates == sorted(rates, reverse=True)


def test_the_published_length_in_epochs(make_recipe: Callable[..., Recipe]) -> None:
    assert run_length(make_recipe(batch=128, epochs=164), 50_000).steps == 64_063  # rounded up from 64,062.5


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warming", WARMUPS)
def test_every_schedule_after_every_warmup_is_as_if_there_had_been_none(
    make_recipe: Callable[..., Recipe], name: str, warming: str
) -> None:
    schedule, first, half, last = SCHEDULES[name]
    warmup = WARMUPS[warming]
    settings = {"schedule": schedule, "iterations": 100}
    plain = followed(make_recipe(**settings), 1000)
    assert plain[0] == pytest.approx(first)
    assert plain[50] == pytest.approx(half)
    recipe = make_recipe(**settings)
    assert scheduled_lr(recipe, run_length(recipe, 1000), 100) == pytest.approx(last, abs=1e-12)
    assert all(0 <= rate <= 0.1 + 1e-12 for rate in plain)
    if warmup is None:
        return
    course = followed(make_recipe(**settings, warmup=warmup), 1000, ends_after=10)
    assert course[10:] == plain[10:]
    assert course[0] == 0.02
    if warming == "linear":
        steps = enumerate(zip(course[:10], plain[:10], strict=True))
        assert all(rate == pytest.approx(0.02 + (aim - 0.02) * step / 10) for step, (rate, aim) in steps)
    else:
        assert set(course[:10]) == {0.02}


def evaluations(*errors: float | None, every: int = 10) -> list[dict[str, float | None]]:
    rows = enumerate(errors, start=1)
    return [{"step": every * place, "test_error": error, "validation_error": None} for place, error in rows]


@pytest.mark.parametrize(
    ("errors", "drops"),
    [
        ((), 0),
        ((0.5, 0.4, 0.3), 0),
        ((0.5, 0.5), 0),
        ((0.5, 0.5, 0.6), 1),
        ((0.5, 0.6, 0.4, 0.6, 0.45), 1),
        ((0.5, 0.6, 0.6, 0.6, 0.6), 2),  # the count begins anew after each fall
        ((0.5, math.nan, None), 1),
        ((0.5, 0.495, 0.494), 1),  # better by less than the threshold
    ],
)
def test_plateau(make_recipe: Callable[..., Recipe], errors: tuple[float | None, ...], drops: int) -> None:
    schedule = Call("plateau", (("patience", 2), ("threshold", 0.01), ("times", 0.2)))
    recipe = make_recipe(schedule=schedule, iterations=100)
    rows = evaluations(*errors)
    assert plateau_drops(recipe, rows, 0) == drops
    length = run_length(recipe, 1000)
    assert lr_at(recipe, length, 55, 0, drops) == pytest.approx(0.1 * 0.2**drops)


def test_a_plateau_does_not_count_what_was_seen_while_warming_up(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(schedule=Call("plateau", (("patience", 2),)), iterations=100)
    rows = evaluations(0.1, 0.5, 0.4, 0.3)
    assert plateau_drops(recipe, rows, None) == 0
    assert plateau_drops(recipe, rows, 10) == 0
    assert plateau_drops(recipe, rows, 0) == 1


def test_a_plateau_watches_the_validation_split_where_there_is_one(make_recipe: Callable[..., Recipe]) -> None:
    schedule = Call("plateau", (("patience", 1),))
    split = make_recipe(data=Call("digits", (("validation", 100),)), schedule=schedule)
    assert (watched_error(split), watched_error(make_recipe())) == ("validation_error", "test_error")
    rows: list[dict[str, float | None]] = [
        {"step": step, "test_error": 0.5, "validation_error": error} for step, error in ((1, 0.5), (2, 0.4), (3, 0.3))
    ]
    assert plateau_drops(split, rows, 0) == 0
    assert plateau_drops(make_recipe(schedule=schedule), rows, 0) == 2
