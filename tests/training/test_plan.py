"""Steps whose draws and rates lie in a plan on the device give the weights of a loop that asks for them one by one."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resdsl.recipe import Recipe
from resdsl.recipe_types import Call
from resdsl.train import plan
from resdsl.train.data import DataSet, ImageSet, NetworkInput
from resdsl.train.fast import Pace
from resdsl.train.loop import Run
from resdsl.train.mix import Mixed
from resdsl.train.optim import used_lr
from resdsl.train.report import SilentReporter
from resdsl.train.schedule import lr_at
from resdsl.train.stream import EpochDraws, Feed
from resdsl.train.verify import first_difference
from tests.training.runs import Make, MakeNet

CPU = torch.device("cpu")
IMAGES, STEPS, WARMUP_END, DROPPED_AT = 50, 30, 13, 21

EVERYTHING: dict[str, Any] = {
    "augment": (
        Call("pad", (("pixels", 1),)),
        Call("random_crop", (("size", 8),)),
        Call("flip", (("p", 0.5),)),
        Call("random_erasing", (("p", 0.5),)),
    ),
    "schedule": Call("cosine"),
    "accumulate": 2,
    "clip": 0.5,
    "label_smoothing": 0.1,
}
CASES: dict[str, dict[str, Any]] = {
    "mixed, with a growing average": EVERYTHING
    | {"mix": Call("mixup_or_cutmix", (("p", 0.7),)), "ema": 0.9, "ema_warmup": True},
    "a warm-up that ends": EVERYTHING
    | {"warmup": Call("warmup", (("lr", 0.02), ("until_train_error", 0.5))), "ema": 0.9},
    "a plateau": {"schedule": Call("plateau", (("times", 0.5),)), "normalize": "mean_std"},
    "adamw": {"optimizer": Call("adamw", (("lr", 0.003),)), "schedule": Call("one_cycle")},
}


def pictures() -> DataSet:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (IMAGES, 1, 8, 8), dtype=torch.uint8, generator=generator)
    images = ImageSet(pixels, torch.arange(IMAGES) % 10)
    return DataSet(tuple("0123456789"), images, None, images)


def open_run(recipe: Recipe, model: nn.Module, folder: Path, pace: Pace | None = None, **more: Any) -> Run:
    takes = NetworkInput(1, (8, 8), flat=False)
    reporter = more.pop("reporter", None) or SilentReporter()
    return Run(model, recipe, folder, pictures(), takes, CPU, (), reporter, pace or Pace(), **more)


def walk(run: Run, first: int, end: int) -> None:
    """Steps of a run, in which the warm-up ends and the rate drops as if evaluations had said so."""
    for step in range(first, end):
        if step == WARMUP_END and run.recipe.warmup is not None:
            run.progress.warmup_end = step
        run.drops = int(step >= DROPPED_AT)
        run.advance()


def by_hand(recipe: Recipe, model: nn.Module, run: Run) -> tuple[nn.Module, nn.Module]:
    """The weights and their average after all steps."""
    images, length = pictures().train, run.length
    assert isinstance(images, ImageSet)
    feed = Feed(images, run.normalization, CPU, flat=False)
    draws = EpochDraws(recipe.augment, recipe.mix, IMAGES, recipe.seed, recipe.batch)
    average, call = deepcopy(model), recipe.optimizer
    decay = call.number("weight_decay")
    optimizer: torch.optim.Optimizer
    if call.name == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=decay, fused=True)
    else:
        momentum = call.number("momentum")
        optimizer = torch.optim.SGD(model.parameters(), momentum=momentum, weight_decay=decay, fused=True)
    for step in range(STEPS):
        end = None if recipe.warmup is not None and step < WARMUP_END else 0
        for group in optimizer.param_groups:
            group["lr"] = lr_at(recipe, length, step, end, int(step >= DROPPED_AT))
        drawn = draws.of_step(step)
        inputs, targets = feed.training_batch(
            images.pixels[drawn.order], images.labels[drawn.order], recipe.augment, drawn, recipe.mix, (8, 8)
        )
        optimizer.zero_grad()
        size = recipe.batch // recipe.accumulate
        for part, wanted in zip(inputs.split(size), targets.split(size), strict=True):  # type: ignore[no-untyped-call]
            logits = model(part)
            if isinstance(wanted, Mixed):
                losses = [
                    nn.functional.cross_entropy(
                        logits, labels, label_smoothing=recipe.label_smoothing, reduction="none"
                    )
                    for labels in (wanted.labels, wanted.others)
                ]
                loss = (wanted.shares * losses[0] + (1 - wanted.shares) * losses[1]).mean()
            else:
                loss = nn.functional.cross_entropy(logits, wanted, label_smoothing=recipe.label_smoothing)
            (loss / recipe.accumulate).backward()  # type: ignore[no-untyped-call]
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        update_average(average, model, recipe, step)
    return model, average


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, recipe: Recipe, step: int) -> None:
    decay = min(recipe.ema or 0.0, (1 + step) / (10 + step)) if recipe.ema_warmup else recipe.ema or 0.0
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        if recipe.ema_warmup:
            kept.add_((new - kept) * (1 - torch.tensor(decay)))
        else:
            kept.lerp_(new, 1 - decay)
    for old, now in zip(average.buffers(), model.buffers(), strict=True):
        old.copy_(now)


def require_same_tensors(one: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("case", CASES)
def test_a_plan_gives_the_bits_of_a_loop_by_hand(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(plan, "LENGTH", 8)
    recipe = make_recipe(batch=20, iterations=STEPS, **CASES[case])
    run = open_run(recipe, make_net(), tmp_path)
    walk(run, 0, STEPS)
    model, average = by_hand(recipe, make_net().to(memory_format=torch.channels_last), run)
    require_same_tensors(run.model, model)
    if run.average is not None:
        require_same_tensors(run.average.model, average)


@pytest.mark.parametrize("case", ["a warm-up that ends", "mixed, with a growing average"])
def test_going_on_in_the_middle_of_a_plan(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(plan, "LENGTH", 8)
    recipe = make_recipe(batch=20, iterations=STEPS, **CASES[case])
    whole, stopped = (open_run(recipe, make_net(), tmp_path) for _ in range(2))
    walk(whole, 0, STEPS)
    walk(stopped, 0, 19)
    saved = deepcopy(stopped.state())
    again = open_run(recipe, make_net(), tmp_path)
    again.restore(deepcopy(saved))
    walk(again, 19, STEPS)
    assert first_difference(whole.state(), again.state()) is None
    # The run that was left behind is another one by now, until it is restored.
    walk(stopped, 19, 22)
    stopped.restore(saved)
    walk(stopped, 19, STEPS)
    assert first_difference(whole.state(), stopped.state()) is None


def test_the_rate_on_the_device_is_the_one_that_is_told(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "LENGTH", 8)
    recipe = make_recipe(batch=20, iterations=STEPS, **CASES["a warm-up that ends"])
    run = open_run(recipe, make_net(), tmp_path)
    seen: list[Tensor] = []
    advance = plan.StepPlan.advance

    def look_and_advance(self: plan.StepPlan) -> None:
        seen.append(self.rate())
        advance(self)

    monkeypatch.setattr(plan.StepPlan, "advance", look_and_advance)
    told = []
    for step in range(STEPS):
        walk(run, step, step + 1)
        told.append(used_lr(run.optimizer))
    assert [float(rate) for rate in seen] == pytest.approx(told, rel=1e-6)
    assert told[:WARMUP_END] == [0.02] * WARMUP_END
    assert all(later < earlier for earlier, later in pairwise(told[WARMUP_END:]))


def test_a_plan_ends_where_the_form_of_batches_changes() -> None:
    draws = EpochDraws((), None, IMAGES, 0, 5)
    future = plan.Future(draws.of_step, float, lambda step: 0.0, lambda step: step // 7, 100)
    steps = plan.StepPlan(CPU, future, 0)
    for step in range(10):
        assert steps.prepare(step, None) == step
        assert float(steps.rate()) == step
        assert torch.equal(steps.draws().order, draws.of_step(step).order)
        steps.advance()
