"""The learning rate, followed through whole runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resdsl.recipe import Recipe
from resdsl.recipe_schema import Call
from resdsl.train.schedule import Length, known_warmup_end, lr_at, run_length, scheduled_lr

CIFAR_STEPS = Call("steps", (("at", (32_000, 48_000)), ("times", 0.1)))


def test_resnet110_returns_to_the_base_rate_after_its_warmup(make_recipe: Callable[..., Recipe]) -> None:
    """The trap: chained schedulers leave such a run at 0.01, 0.001, 0.0001."""
    warmup = Call("warmup", (("lr", 0.01), ("until_train_error", 0.8)))
    recipe = make_recipe(batch=128, schedule=CIFAR_STEPS, iterations=64_000, warmup=warmup)
    length = run_length(recipe, 45_000)
    assert known_warmup_end(recipe) is None
    assert {lr_at(recipe, length, step, None) for step in range(400)} == {0.01}
    course = [lr_at(recipe, length, step, 400) for step in range(64_000)]
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
