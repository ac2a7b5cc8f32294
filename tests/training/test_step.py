"""One update: parts of a batch add up to the whole, and long gradients are shortened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from resdsl.recipe import Recipe
from resdsl.recipe_types import Call
from resdsl.train import train
from resdsl.train.average import WeightAverage
from resdsl.train.data import ImageSet
from resdsl.train.mix import Mixed, Targets
from resdsl.train.normalize import fit_normalization
from resdsl.train.optim import build_optimizer
from resdsl.train.report import Evaluation, SilentReporter
from resdsl.train.step import make_step
from resdsl.train.stream import Feed

Make = Callable[..., Recipe]
MakeNet = Callable[..., nn.Module]


def net(*, normalised: bool = False) -> nn.Module:
    torch.manual_seed(3)
    middle = [nn.BatchNorm1d(20)] if normalised else []
    return nn.Sequential(nn.Linear(64, 20), *middle, nn.ReLU(), nn.Linear(20, 10)).double()


def updated(recipe: Recipe, model: nn.Module, inputs: Tensor, targets: Targets) -> tuple[list[Tensor], float, int]:
    images = ImageSet(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
    feed = Feed(images, fit_normalization("none", images.pixels), torch.device("cpu"), flat=True)
    step = make_step(model, build_optimizer(model, recipe), recipe, feed, ())
    step(inputs, targets)
    step(inputs, targets)
    loss, wrong = step(inputs, targets)
    return [parameter.detach() for parameter in model.parameters()], float(loss), int(wrong)


def inputs_and_labels() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(32, 64, generator=generator).double(), torch.randint(10, (32,), generator=generator)


@pytest.mark.parametrize("is_mixed", [False, True])
def test_parts_give_the_gradients_of_the_whole_batch(make_recipe: Make, is_mixed: bool) -> None:
    inputs, labels = inputs_and_labels()
    targets = Mixed(labels, labels.roll(1), torch.rand(32).double()) if is_mixed else labels
    whole = updated(make_recipe(batch=32, clip=0.5), net(), inputs, targets)
    parts = updated(make_recipe(batch=32, clip=0.5, accumulate=4), net(), inputs, targets)
    # The loss itself is taken in float32.
    for one, other in zip(whole[0], parts[0], strict=True):
        assert torch.allclose(one, other, atol=1e-7)
    assert whole[1] == pytest.approx(parts[1], rel=1e-6)
    assert whole[2] == parts[2]


def test_batch_normalisation_sees_the_parts(make_recipe: Make) -> None:
    inputs, labels = inputs_and_labels()
    whole = updated(make_recipe(batch=32), net(normalised=True), inputs, labels)
    parts = updated(make_recipe(batch=32, accumulate=4), net(normalised=True), inputs, labels)
    assert not torch.allclose(whole[0][0], parts[0][0], atol=1e-7)


def test_clipping_shortens_the_gradient_and_nothing_else(make_recipe: Make) -> None:
    inputs, labels = inputs_and_labels()
    plain = Call("sgd", (("lr", 1.0), ("momentum", 0.0), ("weight_decay", 0.0)))

    def move(**settings: float) -> Tensor:
        model, before = net(), net()
        recipe = make_recipe(batch=32, optimizer=plain, **settings)
        images = ImageSet(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
        feed = Feed(images, fit_normalization("none", images.pixels), torch.device("cpu"), flat=True)
        make_step(model, build_optimizer(model, recipe), recipe, feed, ())(inputs, labels)
        pairs = zip(model.parameters(), before.parameters(), strict=True)
        return torch.cat([(after - first).detach().flatten() for after, first in pairs])

    free, short = move(), move(clip=0.01)
    assert free.norm() > 0.1
    assert short.norm() == pytest.approx(0.01, rel=1e-3)
    assert torch.nn.functional.cosine_similarity(free, short, dim=0) == pytest.approx(1, abs=1e-6)
    assert torch.equal(move(clip=1000.0), free)


def test_the_average_may_begin_with_a_short_memory() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.5, warmup=True)
    assert [average.decay_at(step) for step in (0, 1, 8, 100)] == [0.1, 2 / 11, 0.5, 0.5]
    with torch.no_grad():
        start = model.weight.item()
        model.weight.add_(1)
    average.update(torch.tensor(average.decay_at(0)))
    assert next(average.model.parameters()).item() == pytest.approx(start + 0.9)


class Listener(SilentReporter):
    def __init__(self) -> None:
        self.rates: list[float] = []
        self.evaluations: list[Evaluation] = []
        self.notes: list[str] = []

    def stepped(self, step: int, lr: float) -> None:
        self.rates.append(lr)

    def evaluated(self, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation)

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_everything_modern_at_once_still_learns(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(
        augment=(
            Call("random_resized_crop", (("size", 8), ("smallest", 0.6))),
            Call("trivial_augment"),
            Call("random_erasing", (("p", 0.2),)),
        ),
        mix=Call("mixup_or_cutmix", (("p", 0.5),)),
        optimizer=Call("adamw", (("lr", 0.003), ("decay", "weights"))),
        schedule=Call("one_cycle"),
        warmup=Call("warmup", (("lr", 0.0001), ("iterations", 10), ("ramp", "linear"))),
        label_smoothing=0.1,
        accumulate=2,
        clip=5.0,
        ema=0.98,
        ema_warmup=True,
        normalize="mean_std",
        epochs=4,
    )
    result = train(make_net(), recipe, tmp_path / "run", classes=10, input_shape=(1, 8, 8), name="small")
    assert result.test_error < 0.4


def test_a_plateau_lowers_the_rate_of_a_run(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    listener = Listener()
    recipe = make_recipe(
        optimizer=Call("sgd", (("lr", 1e-9),)),
        schedule=Call("plateau", (("patience", 2), ("times", 0.5), ("threshold", 0.99))),
        iterations=60,
        evaluate=10,
    )
    train(make_net(), recipe, tmp_path / "run", classes=10, input_shape=(1, 8, 8), name="small", reporter=listener)
    # Only the first evaluation is a new best by that threshold.
    assert listener.rates == [1e-9] * 30 + [0.5e-9] * 20 + [0.25e-9] * 10
    assert any("the error no longer falls" in note for note in listener.notes)
