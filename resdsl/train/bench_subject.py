"""Our side of a benchmark: a network, a recipe without an end and made-up images, as the runner works with them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resdsl.recipe import Recipe, build_recipe, override
from resdsl.recipe_types import Call
from resdsl.train.data import DataSet, ImageSet, NetworkInput, network_input
from resdsl.train.diverged import NotFiniteError
from resdsl.train.engine import REHEARSALS
from resdsl.train.errors import DataError, MemoryShortError
from resdsl.train.evaluate import evaluate
from resdsl.train.fast import Pace
from resdsl.train.loop import WINDOW, Run
from resdsl.train.memory import largest_batch, release_memory
from resdsl.train.report import SilentReporter
from resdsl.train.seeding import seed_weights
from resdsl.train.stream import AnyFeed, Feed
from resdsl.train.turns import Place, wait_for_device
from resdsl.train.windows import split_augment

MOST_IMAGES = 50_000  # as many as CIFAR-10 has
HELD_BYTES = {"cuda": 1 << 30, "cpu": 64 << 20}  # of made-up images
WARM_UP = REHEARSALS + 1  # steps before the clock is looked at; compiling and recording fall into them
LONG = 10**9  # steps of a run that is never to end

TRAINING, INFERENCE = "training", "inference"
Job = Callable[[int], object]  # do so many batches, and wait for the device


def bench_recipe(written: Recipe | None, batch: int | None, input_shape: tuple[object, ...]) -> Recipe:
    """The recipe to measure with: the written one or, without one, plain SGD; without an end.

    Of an augmentation for images in files only what happens on the device is left. Raises RecipeError where the
    recipe's parts do not divide the batch.
    """
    if written is None:
        size = input_shape[-1] if isinstance(input_shape[-1], int) else 32
        sgd = Call("sgd", (("lr", 0.01), ("momentum", 0.9), ("weight_decay", 1e-4)))
        side = isqrt(size) if len(input_shape) == 1 else size
        written = build_recipe(
            {"data": Call("synthetic", (("size", side),)), "batch": batch or 128, "optimizer": sgd, "iterations": LONG}
        )
    elif written.data.name in {"folder", "imagenet"}:
        written = replace(written, augment=split_augment(written.augment)[1])
    return override(written, batch=batch, iterations=LONG)


class Subject:
    """Our network, its recipe and images for it."""

    def __init__(
        self,
        make_model: Callable[[], nn.Module],
        recipe: Recipe,
        classes: int,
        input_shape: tuple[object, ...],
        device: torch.device,
        auxiliary_weights: Sequence[float],
        pace: Pace,
    ) -> None:
        self.takes = network_input(input_shape, recipe.data)
        self.recipe, self.device, self.auxiliary_weights = recipe, device, auxiliary_weights
        self._make_model, self._classes, self._pace = make_model, classes, pace
        self.place = Place(device, alone=True)  # as every run has it
        self.shape = _image_shape(self.takes)
        self.images = self._make_images(recipe.batch)
        wait_for_device(device)
        bf16 = device.type == "cuda"
        engine = f"engine {self._pace.engine}"
        self.how = f"the runner, {engine}, {'bf16' if bf16 else 'float32'}, channels_last"

    def _make_images(self, batch: int) -> ImageSet:
        """Some epochs' worth on a small scale: a new order is drawn about as rarely as with a real set."""
        size = self.shape[0] * self.shape[1] * self.shape[2]
        count = max(batch, min(MOST_IMAGES, HELD_BYTES[self.device.type] // size))
        generator = torch.Generator(self.device).manual_seed(0)
        options: dict[str, Any] = {"generator": generator, "device": self.device}
        pixels = torch.randint(256, (count, *self.shape), dtype=torch.uint8, **options)
        return ImageSet(pixels, torch.randint(self._classes, (count,), **options))

    def run(self, recipe: Recipe) -> Run:
        """A run of the recipe on these images; it never writes to its folder."""
        seed_weights(recipe.seed)
        few = self.images.take(torch.arange(recipe.batch, device=self.device))  # as many as will be tested at once
        data = DataSet(tuple(map(str, range(self._classes))), self.images, None, few)
        options = (data, self.takes, self.device, self.auxiliary_weights, SilentReporter())
        return Run(self._make_model(), recipe, Path(), *options, pace=self._pace)

    def job(self, kind: str) -> Job:
        """What the runner does for training or for the test."""
        with self.place:
            run = self.run(self.recipe)
            run.prepare()
            work = self._training_job(run) if kind == TRAINING else self._inference_job(run)

        def in_its_place(batches: int) -> None:
            with self.place:
                work(batches)
            wait_for_device(self.device)

        return in_its_place

    def _training_job(self, run: Run) -> Job:
        def train(batches: int) -> None:
            for _ in range(batches):
                run.advance()
                if run.progress.step % WINDOW == 0:
                    with suppress(NotFiniteError):  # there is nothing to learn, and nothing to lose
                        run.look()

        return train

    def _inference_job(self, run: Run) -> Job:
        feed = _Batches(self.images.take(torch.arange(self.recipe.batch, device=self.device)), run.train_feed)

        def infer(batches: int) -> None:
            feed.batches = batches
            evaluate(run.tested, feed)

        return infer


class _Batches(Feed):
    """One batch, as often as wished, in place of a test set."""

    def __init__(self, images: ImageSet, like: AnyFeed) -> None:
        super().__init__(images, like.normalization, like.device, flat=like.flat)
        self.batches = 1

    def pixels_in_order(self, resize: int | None = None, crop: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The batch again and again."""
        for _ in range(self.batches):
            yield self.pixels, self.labels


def _image_shape(takes: NetworkInput) -> tuple[int, int, int]:
    if takes.sides is None:
        raise DataError(f"the network takes {takes.text}: choose a size with --input, such as {takes.channels}x224x224")
    return takes.channels, *takes.sides


def too_large(subject: Subject, kind: str) -> MemoryShortError:
    """That the batch does not fit, and about how many images do, found by trying."""
    batch, device = subject.recipe.batch, subject.device.type
    release_memory()

    def attempt(size: int) -> None:
        smaller = replace(subject.recipe, batch=size, accumulate=1)
        images = subject.images.take(torch.arange(size, device=subject.device))
        run = subject.run(smaller)
        if kind == TRAINING:
            for _ in range(WARM_UP):
                run.advance()
        else:
            evaluate(run.tested, _Batches(images, run.train_feed))
        release_memory()

    with subject.place:
        fits = largest_batch(attempt, batch)
    where = f"out of memory on {device} in {kind} with batch {batch}"
    return MemoryShortError(f"{where}: {'two do not fit either' if fits is None else f'about {fits} fit'}")
