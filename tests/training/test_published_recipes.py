"""The papers' recipes to the letter, the learning rate that is really used, and torch's own as yardsticks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler, swa_utils

import resdsl
from resdsl.cli.main import main
from resdsl.recipe import Recipe
from resdsl.recipe_schema import SCHEMA
from resdsl.recipe_types import Call
from resdsl.train.average import WeightAverage
from resdsl.train.data import DataSet, ImageSet, NetworkInput
from resdsl.train.interrupt import Interrupt
from resdsl.train.loop import Run
from resdsl.train.optim import build_optimizer
from resdsl.train.record import write_start
from resdsl.train.report import SilentReporter
from resdsl.train.schedule import lr_at, run_length, scheduled_lr

SPECS = Path(__file__).parents[2] / "specs"
CPU = torch.device("cpu")
Make = Callable[..., Recipe]


def recipe_of(spec: str, network: str | None = None) -> Recipe:
    recipe = resdsl.load(SPECS / spec, network).recipe
    assert recipe is not None
    return recipe


# --- He et al. 2015 ------------------------------------------------------------------------------------------------

SGD = {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": False, "decay": "weights"}
PLAIN: dict[str, Any] = {
    "mix": None,
    "progressive_resizing": None,
    "accumulate": 1,
    "clip": None,
    "ema": 0.0,
    "sync_bn": False,
}
PLAIN |= {"label_smoothing": 0.0, "init": "he", "normalize": "per_pixel_mean", "epochs": None, "warmup": None}
# Section 4.2: 45k/5k split, 4 pixels of padding, a crop or its flip, 128 images, 0.1 divided at 32k and 48k, 64k.
CIFAR = PLAIN | {
    "data": {"name": "cifar10", "validation": 5000},
    "augment": [{"name": "pad", "pixels": 4}, {"name": "random_crop", "size": 32}, {"name": "flip", "p": 0.5}],
    "batch": 128,
    "optimizer": {"name": "sgd", "lr": 0.1} | SGD,
    "schedule": {"name": "steps", "at": [32_000, 48_000], "times": 0.1, "unit": "iterations"},
    "iterations": 64_000,
}
# Section 3.4: shorter side in [256, 480], a crop of 224 or its flip, AlexNet's colours, 256 images, 0.1 divided when
# the error plateaus, 60 * 10^4.
IMAGENET = PLAIN | {
    "data": {"name": "imagenet", "validation": 0, "resize": 0, "strict": False},
    "augment": [
        {"name": "resize_shorter_side", "smallest": 256, "largest": 480},
        {"name": "random_crop", "size": 224},
        {"name": "flip", "p": 0.5},
        {"name": "lighting", "deviation": 0.1},
    ],
    "batch": 256,
    "optimizer": {"name": "sgd", "lr": 0.1} | SGD,
    "schedule": {"name": "plateau", "times": 0.1, "patience": 6, "threshold": 0.0},
    "iterations": 600_000,
}
WARMUP = {"name": "warmup", "lr": 0.01, "iterations": None, "until_train_error": 0.8, "ramp": "constant"}


@pytest.mark.parametrize(
    ("spec", "network", "stated"),
    [
        ("cifar_resnets.res", "resnet20", CIFAR),
        ("cifar_resnets.res", "plain56", CIFAR),
        ("resnet110_cifar.res", None, CIFAR | {"warmup": WARMUP}),
        ("resnet50.res", None, IMAGENET),
        ("resnet34.res", None, IMAGENET),
    ],
)
def test_recipes_say_what_the_paper_says(spec: str, network: str | None, stated: dict[str, Any]) -> None:
    recorded = recipe_of(spec, network).as_dict()
    # The rest is not the paper's: which random numbers, and how often to look.
    rest = {"seed", "evaluate", "ema_warmup"}
    assert {word: recorded[word] for word in recorded.keys() - rest} == stated


def test_what_decays_and_how_weights_begin() -> None:
    net = resdsl.load(SPECS / "cifar_resnets.res", "resnet20")
    assert net.recipe is not None
    model = net.to_torch(init=net.recipe.init)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, free = build_optimizer(model, net.recipe).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (1e-4, 0.0)
    kinds = [{(names[id(p)].split(".")[-1], p.ndim) for p in group["params"]} for group in (decayed, free)]
    assert kinds == [{("weight", 4), ("weight", 2)}, {("weight", 1), ("bias", 1)}]
    assert (len(decayed["params"]), len(free["params"])) == (20, 2 * 19 + 1)
    for kernels in decayed["params"][1:-1]:
        fan_in = kernels[0].numel()
        assert kernels.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.06)


class _Watched(SilentReporter):
    def __init__(self) -> None:
        self.told: list[float] = []
        self.notes: list[str] = []

    def stepped(self, step: int, lr: float) -> None:
        self.told.append(lr)

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_the_rate_of_resnet110_through_all_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop itself, over all 64k steps; only the network's work is left out. The trap: chained schedulers leave
    such a run at 0.01, 0.001, 0.0001.
    """
    monkeypatch.setattr("resdsl.train.loop.SAVE_SECONDS", 1e9)
    recipe = resdsl.load(SPECS / "resnet110_cifar.res", settings=["evaluate 8k"]).recipe
    assert recipe is not None
    pixels = torch.zeros(45_000, 3, 1, 1, dtype=torch.uint8)
    images = ImageSet(pixels, torch.zeros(45_000, dtype=torch.long))
    few = images.take(torch.arange(4))
    data = DataSet(tuple("0123456789"), images, few, few)
    model, reporter = nn.Sequential(nn.Flatten(), nn.Linear(3, 10)), _Watched()
    run = Run(model, recipe, tmp_path, data, NetworkInput(3, (1, 1), flat=False), CPU, (), reporter)
    used: list[float] = []

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        used.extend({group["lr"] for group in run.optimizer.param_groups})
        error = 0.85 if len(used) <= 375 else 0.75  # at 400 the last 25 steps lie below 80 %
        return torch.tensor(1.0), torch.tensor(128 * error)

    monkeypatch.setattr(run.engine, "_step", step)
    monkeypatch.setattr(run.stream, "make", lambda form, draws, fetched: (pixels[:128], images.labels[:128]))
    with Interrupt() as interrupt:
        for _ in run.turns(interrupt):
            pass
    assert used == [0.01] * 400 + [0.1] * 31_600 + [pytest.approx(0.01)] * 16_000 + [pytest.approx(0.001)] * 16_000
    assert reporter.told == used
    assert [row["lr"] for row in run.metrics] == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)
    assert reporter.notes == ["warm-up ends at iteration 400: training error 75.0%"]


# --- what came later, beside torch's own -----------------------------------------------------------------------------


def torch_rates(make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


SCHEDULES: dict[str, tuple[Call, Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]]] = {
    "steps": (Call("steps", (("at", (20, 60)),)), lambda o: lr_scheduler.MultiStepLR(o, [20, 60])),
    "cosine": (Call("cosine"), lambda o: lr_scheduler.CosineAnnealingLR(o, 100)),
    "cosine to 0.02": (
        Call("cosine", (("final", 0.02),)),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 100, eta_min=0.02),
    ),
    "linear": (Call("linear"), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, 100)),
    "polynomial": (Call("polynomial", (("power", 0.9),)), lambda o: lr_scheduler.PolynomialLR(o, 100, 0.9)),
    # torch's cycle ends with its last step, ours behind it: so torch gets a step more.
    "one_cycle": (
        Call("one_cycle"),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, 101, pct_start=31 / 101, div_factor=25, final_div_factor=1e12),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_torchs(make_recipe: Make, name: str) -> None:
    schedule, make = SCHEDULES[name]
    recipe = make_recipe(iterations=100, schedule=schedule)
    length = run_length(recipe, 1000)
    ours = [scheduled_lr(recipe, length, step) for step in range(100)]
    assert ours == pytest.approx(torch_rates(make, 100), abs=1e-9)


def test_linear_warmup_is_torchs(make_recipe: Make) -> None:
    warmup = Call("warmup", (("lr", 0.001), ("iterations", 10), ("ramp", "linear")))
    recipe = make_recipe(iterations=100, warmup=warmup)
    length = run_length(recipe, 1000)
    ours = [lr_at(recipe, length, step, 10) for step in range(20)]
    assert ours == pytest.approx(torch_rates(lambda o: lr_scheduler.LinearLR(o, 0.01, 1.0, 10), 20))


def course(recipe: Recipe, gradients: list[float]) -> list[float]:
    """A weight of 2 after each update with these gradients."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    optimizer, places = build_optimizer(layer, recipe), []
    for gradient in gradients:
        layer.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        places.append(layer.weight.item())
    return places


def test_nesterovs_momentum_is_the_formula(make_recipe: Make) -> None:
    """v <- 0.9 v + g;  w <- w - lr (g + 0.9 v), with g of the penalty, too."""
    given = (("lr", 0.1), ("weight_decay", 0.01), ("nesterov", True))
    found = course(make_recipe(optimizer=Call("sgd", given)), [0.5, -0.2, 0.3])
    weight, velocity = 2.0, 0.0
    for gradient, place in zip([0.5, -0.2, 0.3], found, strict=True):
        full = gradient + 0.01 * weight
        velocity = 0.9 * velocity + full
        weight -= 0.1 * (full + 0.9 * velocity)
        assert place == pytest.approx(weight, rel=1e-6)


def test_adamw_is_the_papers(make_recipe: Make) -> None:
    """Loshchilov and Hutter 2017, algorithm 2: the decay acts on the weight, not on the moments."""
    given = (("lr", 0.1), ("weight_decay", 0.2), ("beta1", 0.8), ("beta2", 0.95))
    found = course(make_recipe(optimizer=Call("adamw", given)), [0.5, -0.2, 0.3])
    weight, mean, square = 2.0, 0.0, 0.0
    for step, (gradient, place) in enumerate(zip([0.5, -0.2, 0.3], found, strict=True), start=1):
        mean, square = 0.8 * mean + 0.2 * gradient, 0.95 * square + 0.05 * gradient**2
        moved = (mean / (1 - 0.8**step)) / ((square / (1 - 0.95**step)) ** 0.5 + 1e-8)
        weight -= 0.1 * (moved + 0.2 * weight)
        assert place == pytest.approx(weight, rel=1e-5)


def test_the_moving_average_is_torchs() -> None:
    model = nn.Linear(3, 2)
    ours = WeightAverage(model, 0.9)
    theirs = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]
    theirs.update_parameters(model)  # the first one copies
    for step in range(5):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
        ours.update(torch.tensor(ours.decay_at(step)))
        theirs.update_parameters(model)
    for kept, expected in zip(ours.model.parameters(), theirs.module.parameters(), strict=True):
        assert torch.allclose(kept, expected, atol=1e-6)


# --- every line can be given, and is recorded ------------------------------------------------------------------------

SPEC = "network tiny {\n  input 3 x 32 x 32\n  conv(3x3, 4) -> bn -> relu -> global_avg_pool -> linear(10)\n}\n"
# Nothing of it is what an example or a default says.
USUAL = """train {
  data synthetic(images = 100, seed = 3)
  normalize none
  batch 50
  optimizer adamw(lr = 0.5)
  schedule linear(final = 0.05)
  epochs 40
  accumulate 2
  clip 7
  init torch
  label_smoothing 0.3
  ema 0.5
  evaluate 7
  seed 5
}
"""
EXAMPLES = [setting.example for setting in SCHEMA.values() if setting.word != "accumulate"]
NAMES = [f"{word} {form.name}" for word in ("data", "mix", "schedule") for form in SCHEMA[word].forms]
LINES = [*EXAMPLES, "accumulate 5", *(name for name in NAMES if name != "schedule steps")]


@pytest.mark.parametrize("line", LINES)
def test_every_line_of_the_schema_can_be_given_and_is_recorded(tmp_path: Path, line: str) -> None:
    (tmp_path / "tiny.res").write_text(SPEC + USUAL)
    usual, given = (resdsl.load(tmp_path / "tiny.res", settings=lines).recipe for lines in ([], [line]))
    assert usual is not None
    assert given is not None
    word = line.replace("(", " ").split()[0]
    before, after = usual.as_dict(), given.as_dict()
    changed = {name for name, value in after.items() if value != before[name]}
    assert changed == ({"iterations", "epochs"} if word == "iterations" else {word})
    write_start(tmp_path, "tiny", given, SPEC, "", CPU, {}, {}, deterministic=False)
    assert json.loads((tmp_path / "recipe.json").read_text())["recipe"] == after


@pytest.mark.usefixtures("no_pictures")
def test_a_run_records_all_lines_of_its_command(tmp_path: Path) -> None:
    (tmp_path / "tiny.res").write_text(SPEC + USUAL)
    lines = [
        "data synthetic(images = 40)",
        "augment pad(4) -> random_crop(32) -> flip",
        "mix mixup(0.3)",
        "progressive_resizing(from = 16, multiple = 16)",
        "normalize mean_std",
        "optimizer sgd(lr = 0.2, nesterov = true)",
        "schedule cosine",
        "accumulate 2",
        "clip 1.0",
        "warmup(lr = 0.01, iterations = 2, ramp = linear)",
        "init he",
        "label_smoothing 0.1",
        "ema 0.9",
        "ema_warmup true",
        "evaluate 3",
    ]
    options = ["--batch", "8", "--lr", "0.05", "--iterations", "4", "--seed", "9", "--device", "cpu"]
    settings = [part for line in lines for part in ("--setting", line)]
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "tiny.res"), "--out", str(run), *settings, *options]) == 0
    recorded = json.loads((run / "recipe.json").read_text())
    assert {word for word, value in recorded["recipe"].items() if value is None} == {"epochs"}
    for line in [*lines, "batch 8", "iterations 4", "seed 9"]:
        if not line.startswith("optimizer"):
            expected = resdsl.load(tmp_path / "tiny.res", settings=[line, "ema 0.9"]).recipe
            word = line.replace("(", " ").split()[0]
            assert expected is not None
            assert recorded["recipe"][word] == expected.as_dict()[word]
    sgd = recorded["recipe"]["optimizer"]
    assert (sgd["name"], sgd["lr"], sgd["nesterov"]) == ("sgd", 0.05, True)
    (tmp_path / "again.res").write_text(SPEC + recorded["text"])
    again = resdsl.load(tmp_path / "again.res").recipe
    assert again is not None
    assert again.as_dict() == recorded["recipe"]
