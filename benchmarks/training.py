"""Training on the CPU: the runner beside a plain loop and beside its own step, and the digits."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import resdsl
from benchmarks.front_end import SPECS
from benchmarks.measure import Ratio, compare
from benchmarks.plain import PlainLoop
from resdsl.emit.torch_regions import RegionMaker
from resdsl.recipe import Recipe
from resdsl.train import SilentReporter, train
from resdsl.train.data import DataSet, ImageSet, network_input
from resdsl.train.fast import Pace, choose_engine
from resdsl.train.interrupt import Interrupt
from resdsl.train.loop import Run
from resdsl.train.seeding import seed_weights
from resdsl.train.session import open_data
from resdsl.train.turns import wait_for_device

CIFAR_SPEC = os.path.join(SPECS, "cifar_resnets.res")
CLASSES, MADE = 10, 256  # images a class of those made here
STEPS = 12  # in one round
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Setting:
    """A network of the CIFAR family, its recipe, and images to train it with; `are_real` says whether of a folder."""

    network: str
    recipe: Recipe
    data: DataSet
    are_real: bool

    @property
    def images(self) -> ImageSet:
        """Those to train on."""
        assert isinstance(self.data.train, ImageSet)
        return self.data.train

    def model(self) -> nn.Module:
        """The network with the recipe's first weights."""
        seed_weights(self.recipe.seed)
        return resdsl.load(CIFAR_SPEC, self.network).to_torch(init=self.recipe.init)

    def run(self, folder: Path, device: torch.device) -> Run:
        """The runner with its fastest engine, ready to train."""
        shape = resdsl.load(CIFAR_SPEC, self.network).input_shape
        takes = network_input(shape, self.recipe.data)
        pace = Pace(choose_engine("auto", device), RegionMaker)
        run = Run(self.model(), self.recipe, folder, self.data, takes, device, (), SilentReporter(), pace)
        run.prepare()
        return run


def open_setting(network: str, images: str | None, *, has_validation: bool = True, **changes: Any) -> Setting:
    """The network with its recipe of He et al. 2015 and the images of a folder, else made ones.

    Of few images none are set aside for validation, unlike the recipe.
    """
    recipe = resdsl.load(CIFAR_SPEC, network).recipe
    assert recipe is not None
    recipe = replace(recipe, **changes)
    if images is None or not has_validation:
        recipe = replace(recipe, data=recipe.data.with_args(validation=0))
    takes = network_input((3, 32, 32), recipe.data)
    with tempfile.TemporaryDirectory() as made:
        if images is None:
            make_images(Path(made))
        data = open_data(recipe, takes, CLASSES, Path(images or made), CPU, SilentReporter())
    return Setting(network, recipe, data, images is not None)


def make_images(folder: Path) -> None:
    """JPEG files of random pixels as a folder of classes, where there are no real ones."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", MADE), ("test", MADE // 8)):
        for label in range(CLASSES):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            pixels = torch.randint(256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8).numpy()
            for number, array in enumerate(pixels):
                Image.fromarray(array).save(place / f"{number}.jpg")


def measure_training(rounds: int, images: str | None = None) -> list[Ratio]:
    """The CPU's three measures; see docs/performance.md."""
    setting = open_setting("resnet20", images)
    with tempfile.TemporaryDirectory() as folder:
        return [
            _beside_plain_loop(setting, rounds, Path(folder)),
            _beside_bare_step(setting, 2 * rounds, Path(folder)),
            *_digits(Path(folder)),
        ]


def _beside_plain_loop(setting: Setting, rounds: int, folder: Path) -> Ratio:
    batch = setting.recipe.batch
    run = setting.run(folder, CPU)
    loops = {workers: PlainLoop(setting.images, setting.model(), batch, workers, CPU) for workers in (0, 2)}
    tried: dict[int, list[float]] = {workers: [] for workers in loops}
    for _ in range(4):
        for workers, loop in loops.items():
            tried[workers].append(loop.images_per_second(STEPS))
    faster = max(loops, key=lambda workers: sorted(tried[workers])[-2])
    kind = "real" if setting.are_real else "made"
    name = (
        f"images/s of ResNet-20 over a plain PyTorch loop, {kind} images, batch {batch}, "
        f"{torch.get_num_threads()} threads; the loop with {faster} workers, the faster of 0 and 2"
    )
    return compare(
        name,
        lambda: STEPS * batch / runner_seconds(run, STEPS),
        lambda: loops[faster].images_per_second(STEPS),
        rounds=rounds,
        limit=1.3,
        at_least=True,
        unit="images/s",
        scale=1.0,
    )


def _beside_bare_step(setting: Setting, rounds: int, folder: Path) -> Ratio:
    run, bare = setting.run(folder, CPU), setting.run(folder, CPU)
    batch = bare.stream.batch(0)

    def step_seconds() -> float:
        begun = time.perf_counter()
        for _ in range(STEPS):
            bare.step(*batch)
        return (time.perf_counter() - begun) / STEPS

    return compare(
        f"a step of the runner over its bare step on one resident batch, ResNet-20, batch {setting.recipe.batch}",
        lambda: runner_seconds(run, STEPS) / STEPS,
        step_seconds,
        rounds=rounds,
        limit=1.03,
    )


class _Watch(SilentReporter):
    """Asks the loop to stop behind a step, and knows when the first and the last one were done."""

    def __init__(self, first: int, last: int, interrupt: Interrupt, device: torch.device) -> None:
        self._ends, self._interrupt, self._device = (first, last), interrupt, device
        self.times: list[float] = []

    def stepped(self, step: int, lr: float) -> None:
        if step in self._ends:
            wait_for_device(self._device)
            self.times.append(time.perf_counter())
        if step == self._ends[1]:
            self._interrupt.signal = 2


def runner_seconds(run: Run, steps: int) -> float:
    """Seconds for so many steps of the runner's own loop, between two of its steps: what a run saves is not in it."""
    interrupt = Interrupt()
    first = run.progress.step + 1
    run.reporter = watch = _Watch(first, first + steps, interrupt, run.train_feed.device)
    for _ in run.turns(interrupt):
        pass
    begun, ended = watch.times
    return ended - begun


def _digits(folder: Path) -> list[Ratio]:
    net = resdsl.load(os.path.join(SPECS, "resnet20_digits.res"))
    assert net.recipe is not None
    seed_weights(net.recipe.seed)
    model = net.to_torch(init=net.recipe.init)
    sys.modules.setdefault("matplotlib", None)  # type: ignore[arg-type]  # pictures are not what is measured
    result = train(model, net.recipe, folder / "digits", classes=CLASSES, input_shape=net.input_shape, name=net.name)
    return [
        _single("test error of ResNet-20 on digits over 2 %", "%", 100 * result.test_error, 2.0),
        _single("seconds of training ResNet-20 on digits over 90 s", "s", result.seconds, 90.0),
    ]


def _single(name: str, unit: str, value: float, bound: float) -> Ratio:
    return Ratio(name, unit, value, bound, value / bound, (value / bound, value / bound), 1, 1.0)
