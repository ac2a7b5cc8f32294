"""Whole runs on digits with a small network."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import PIL
import pytest
import torch
import torchvision
from torch import Tensor, nn

import resdsl
from resdsl.recipe import Recipe
from resdsl.recipe_types import Call
from resdsl.train import Evaluation, Plan, Result, SilentReporter, TrainError, train
from resdsl.train.average import WeightAverage
from resdsl.train.checkpoint import load_checkpoint
from resdsl.train.data import ImageSet
from resdsl.train.errors import DataError, DivergedError
from resdsl.train.evaluate import evaluate
from resdsl.train.interrupt import Interrupt
from resdsl.train.normalize import Normalization, fit_normalization
from resdsl.train.optim import build_optimizer
from resdsl.train.record import read_metrics
from resdsl.train.stream import Feed, TrainingStream

CPU = torch.device("cpu")
Make = Callable[..., Recipe]
MakeNet = Callable[..., nn.Module]


class Listener(SilentReporter):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.evaluations: list[Evaluation] = []
        self.notes: list[str] = []
        self.plan: Plan | None = None

    def begin(self, plan: Plan) -> None:
        self.plan = plan

    def stepped(self, step: int, lr: float) -> None:
        assert step == len(self.rates) + 1
        self.rates.append(lr)

    def evaluated(self, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation)

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(model: nn.Module, recipe: Recipe, folder: Path, reporter: SilentReporter | None = None) -> Result:
    return train(model, recipe, folder, classes=10, input_shape=(1, 8, 8), name="small", reporter=reporter)


def test_a_small_network_learns_digits(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    augment = (Call("pad", (("pixels", 1),)), Call("random_crop", (("size", 8),)))
    recipe = make_recipe(augment=augment, epochs=12, schedule=Call("cosine"), normalize="mean_std")
    listener = Listener()
    result = run(make_net(), recipe, tmp_path / "run", listener)
    assert result.test_error < 0.04
    assert result.steps == result.planned_steps == 539
    assert not result.interrupted
    assert listener.plan is not None
    assert listener.plan.images == 1437
    assert listener.evaluations[-1].test_error == result.test_error
    assert listener.evaluations[-1].epoch == pytest.approx(12, abs=0.05)


def test_the_run_folder_tells_everything(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(data=Call("digits", (("size", 8), ("validation", 100))), iterations=30, evaluate=10, ema=0.9)
    result = train(
        make_net(),
        recipe,
        tmp_path / "run",
        classes=10,
        input_shape=(1, 8, 8),
        name="small",
        spec_text="network small { }\n",
        spec_hash="abc",
    )
    names = {path.name for path in result.folder.iterdir()}
    shown = {"curves.svg", "curves.png", "README.md", "index.html"}
    records = {"arguments.json", "spec.res", "recipe.json", "environment.json", "metrics.jsonl"}
    assert names == shown | records | {"checkpoint.pt", "checkpoint-previous.pt"}
    assert (result.folder / "spec.res").read_text() == "network small { }\n"
    used = json.loads((result.folder / "recipe.json").read_text())
    assert used == {"network": "small", "hash": "abc", "recipe": recipe.as_dict(), "text": recipe.to_text()}
    environment = json.loads((result.folder / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    libraries = {"torchvision": torchvision, "resdsl": resdsl, "numpy": np, "pillow": PIL}
    plain = {name: module.__version__.partition("+")[0] for name, module in libraries.items()}
    assert {name: environment[name] for name in libraries} == plain
    metrics = read_metrics(result.folder)
    assert [row["step"] for row in metrics] == [10, 20, 30]
    assert metrics[-1]["test_error"] == result.test_error
    assert metrics[-1]["validation_error"] == result.validation_error
    assert ET.parse(result.folder / "curves.svg").getroot().tag.endswith("svg")
    checkpoint = load_checkpoint(result.checkpoint)
    assert checkpoint["progress"]["step"] == 30
    assert checkpoint["recipe"] == recipe.as_dict()
    assert checkpoint["hash"] == "abc"
    assert checkpoint["average"].keys() == checkpoint["model"].keys()


def test_the_checkpoint_gives_the_reported_error(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    result = run(make_net(), make_recipe(iterations=60), tmp_path / "run")
    content = load_checkpoint(result.checkpoint)
    model = make_net()
    model.load_state_dict(content["model"])
    from resdsl.train.samples import load_digits

    _, _, test = load_digits(Call("digits", (("size", 8), ("test", 360), ("validation", 0))), 1)
    assert isinstance(test, ImageSet)
    normalization = Normalization(content["normalization"]["mean"], content["normalization"]["deviation"])
    assert evaluate(model, Feed(test, normalization, CPU, flat=False)).error == result.test_error


def test_equal_seeds_give_equal_weights(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=20)
    weights = [
        load_checkpoint(run(make_net(), recipe, tmp_path / f"run{number}").checkpoint)["model"] for number in (1, 2)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_warmup_ends_at_the_training_error_and_the_full_rate_follows(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet
) -> None:
    warmup = Call("warmup", (("lr", 0.01), ("until_train_error", 0.6)))
    schedule = Call("steps", (("at", (250,)),))
    listener = Listener()
    recipe = make_recipe(warmup=warmup, schedule=schedule, iterations=300)
    result = run(make_net(), recipe, tmp_path / "run", listener)
    end = load_checkpoint(result.checkpoint)["progress"]["warmup_end"]
    assert 0 < end < 250
    assert end % 25 == 0
    assert set(listener.rates[:end]) == {0.01}
    assert set(listener.rates[end:250]) == {0.1}
    assert listener.rates[250:] == pytest.approx([0.01] * 50)
    assert any(note.startswith(f"warm-up ends at iteration {end}: training error") for note in listener.notes)


def test_auxiliary_heads_take_part_in_the_loss(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=3)
    shape = {"classes": 10, "input_shape": (1, 8, 8), "name": "small"}
    finals = []
    for weight in (0.0, 0.5):
        folder = tmp_path / f"run{weight}"
        result = train(make_net(heads=2), recipe, folder, auxiliary_weights=[weight], **shape)  # type: ignore[arg-type]
        finals.append(load_checkpoint(result.checkpoint)["model"])
    assert not torch.equal(finals[0]["heads.1.weight"], finals[1]["heads.1.weight"])
    assert not torch.equal(finals[0]["body.0.weight"], finals[1]["body.0.weight"])
    with pytest.raises(TrainError, match="has 1 auxiliary heads, but 0 loss weights"):
        run(make_net(heads=2), recipe, tmp_path / "unweighted")


def test_a_lost_run_says_so(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(optimizer=Call("sgd", (("lr", 1e30),)), iterations=60)
    with pytest.raises(DivergedError, match=r"no longer a number at iteration \d+, at learning rate 1e\+30"):
        run(make_net(), recipe, tmp_path / "run")


def test_refused_before_anything_is_written(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    with pytest.raises(DataError, match="batch 2000 is larger than the training set of 1437 images"):
        run(make_net(), make_recipe(batch=2000), tmp_path / "run")
    with pytest.raises(DataError, match="random_crop"):
        run(make_net(), make_recipe(augment=(Call("pad", (("pixels", 1),)),)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_the_run(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, number: signal.Signals
) -> None:
    class Stopper(SilentReporter):
        def stepped(self, step: int, lr: float) -> None:
            if step == 7:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    result = run(make_net(), make_recipe(iterations=500), tmp_path / "run", Stopper())
    assert result.interrupted
    assert (result.steps, result.planned_steps) == (7, 500)
    assert load_checkpoint(result.checkpoint)["progress"]["step"] == 7
    assert signal.getsignal(number) == before


def test_a_second_signal_acts_at_once() -> None:
    # A job that a shell started in the background ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupt.requested
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_matplotlib_a_note_says_what_to_install(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    listener = Listener()
    result = run(make_net(), make_recipe(iterations=2), tmp_path / "run", listener)
    assert result.pictures == ()
    assert listener.notes == ["no curve picture: it needs matplotlib (pip install 'resdsl[plot]')"]


def test_vector_networks_see_pixels_in_a_row(tmp_path: Path, make_recipe: Make) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    recipe = make_recipe(optimizer=Call("adamw", (("lr", 0.003),)), normalize="mean_std", epochs=8, label_smoothing=0.1)
    result = train(model, recipe, tmp_path / "run", classes=10, input_shape=(64,), name="mlp")
    assert result.test_error < 0.1


def numbered_images(count: int) -> ImageSet:
    pixels = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1).expand(count, 1, 8, 8).contiguous()
    return ImageSet(pixels, torch.arange(count))


def test_batches_run_on_across_epochs_and_any_step_can_be_made_again(make_recipe: Make) -> None:
    images = numbered_images(50)
    feed = Feed(images, fit_normalization("none", images.pixels), CPU, flat=False)
    recipe = make_recipe(batch=20, augment=(Call("flip", (("p", 0.5),)),))
    stream = TrainingStream(feed, recipe)
    batches = [stream.batch(step) for step in range(5)]
    labels = torch.cat([labels for _, labels in batches if isinstance(labels, Tensor)])
    for epoch in labels.split(50):  # type: ignore[no-untyped-call]
        assert torch.equal(epoch.sort().values, torch.arange(50))
    inputs, again = batches[2][0], TrainingStream(feed, recipe).batch(2)[0]
    assert torch.equal(inputs, again)
    assert torch.equal((inputs[:, 0, 0, 0] * 255).round().long(), labels[40:60])


def test_normalization() -> None:
    pixels = torch.randint(0, 256, (3000, 3, 4, 4), dtype=torch.uint8)
    inputs = fit_normalization("per_pixel_mean", pixels)(pixels)
    assert inputs.mean(dim=0).abs().max() < 1e-5
    assert torch.allclose(inputs.std(dim=0), pixels.float().std(dim=0) / 255, atol=1e-5)
    inputs = fit_normalization("mean_std", pixels)(pixels)
    assert inputs.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert torch.allclose(inputs.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3)
    assert fit_normalization("none", pixels)(pixels).max() == 1


def test_what_decays(make_recipe: Make, make_net: MakeNet) -> None:
    model = make_net()
    everything = build_optimizer(model, make_recipe(optimizer=Call("sgd", (("lr", 0.1),))))
    assert [group["weight_decay"] for group in everything.param_groups] == [1e-4]
    weights = build_optimizer(model, make_recipe(optimizer=Call("sgd", (("lr", 0.1), ("decay", "weights")))))
    sizes = [{parameter.ndim for parameter in group["params"]} for group in weights.param_groups]
    assert sizes == [{2, 4}, {1}]
    assert [group["weight_decay"] for group in weights.param_groups] == [1e-4, 0.0]


def test_sgd_is_the_textbooks(make_recipe: Make) -> None:
    """v <- 0.9 v + g + 1e-4 w;  w <- w - lr v."""
    weight = nn.Parameter(torch.tensor([[2.0]]))
    layer = nn.Linear(1, 1, bias=False)
    layer.weight = weight
    optimizer = build_optimizer(layer, make_recipe(optimizer=Call("sgd", (("lr", 0.1),))))
    expected, velocity = 2.0, 0.0
    for _ in range(3):
        weight.grad = torch.tensor([[0.5]])
        optimizer.step()
        velocity = 0.9 * velocity + 0.5 + 1e-4 * expected
        expected -= 0.1 * velocity
        assert weight.item() == pytest.approx(expected, rel=1e-6)


def test_weight_average(make_net: MakeNet) -> None:
    model = make_net()
    average = WeightAverage(model, 0.75)
    start = [parameter.clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
        next(model.buffers()).fill_(5)
    average.update(torch.tensor(average.decay_at(0)))
    for old, kept in zip(start, average.model.parameters(), strict=True):
        assert torch.allclose(kept, old + 0.25, atol=1e-6)
    assert next(average.model.buffers()).eq(5).all()


def test_evaluation_counts_every_image_once_and_restores_the_mode() -> None:
    images = numbered_images(250)
    feed = Feed(ImageSet(images.pixels, images.labels % 10), fit_normalization("none", images.pixels), CPU, flat=True)
    model = nn.Sequential(nn.Dropout(0.99), nn.Linear(64, 10))
    with torch.no_grad():
        model[1].weight.zero_()  # type: ignore[operator]
        model[1].bias.copy_(torch.tensor([5.0] + [0.0] * 9))  # type: ignore[operator]
    score = evaluate(model.train(), feed)
    assert score.error == pytest.approx(0.9)
    assert model.training


def test_metrics_come_one_line_an_epoch(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    listener = Listener()
    run(make_net(), make_recipe(epochs=3), tmp_path / "run", listener)
    steps = [evaluation.step for evaluation in listener.evaluations]
    assert steps == [45, 90, 135]
    assert all(later.seconds > earlier.seconds for earlier, later in pairwise(listener.evaluations))


def test_a_warmup_that_never_ends_is_told(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    warmup = Call("warmup", (("lr", 0.001), ("until_train_error", 0.001)))
    listener = Listener()
    run(make_net(), make_recipe(warmup=warmup, iterations=30), tmp_path / "run", listener)
    assert set(listener.rates) == {0.001}
    assert "the warm-up never ended: the training error stayed above its bound" in listener.notes
