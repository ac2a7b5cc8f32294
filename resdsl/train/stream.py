"""Images on the device they are trained on, as batches."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from resdsl.recipe import Recipe
from resdsl.recipe_types import Call
from resdsl.train.augment import Draws, apply_augment, check_augment, draw_epoch
from resdsl.train.data import FileSet, Images, ImageSet
from resdsl.train.decode import Faults
from resdsl.train.mix import Targets, mix_batch
from resdsl.train.normalize import Normalization
from resdsl.train.prefetch import CopiedAhead
from resdsl.train.resizing import ImageSizes, Sides, resized
from resdsl.train.shards import WHOLE, Shard
from resdsl.train.streamed import BatchStream, Request, in_order, sample_pixels
from resdsl.train.windows import split_augment

EVALUATED_ON_GPU, EVALUATED_ON_CPU, EVALUATED_FROM_FILES = 2048, 256, 128  # images in a batch


class FeedBase:
    """What the two feeds have in common. With `flat`, inputs are vectors (N, C * H * W)."""

    def __init__(self, labels: Tensor, normalization: Normalization, device: torch.device, *, flat: bool) -> None:
        self.labels = labels.to(device)
        self.normalization = normalization.to(device)
        self.device = device
        self.flat = flat
        self.on_gpu = device.type == "cuda"

    def inputs(self, pixels: Tensor, augment: tuple[Call, ...] = (), draws: tuple[Tensor, ...] = ()) -> Tensor:
        """Network inputs of some pixels (N, C, H, W), augmented and normalised."""
        return self._laid_out(apply_augment(pixels, augment, draws, self.normalization))

    def training_batch(
        self,
        pixels: Tensor,
        labels: Tensor,
        augment: tuple[Call, ...],
        draws: Draws,
        mix: Call | None,
        sides: Sides,
        pieces: int = 0,
    ) -> tuple[Tensor, Targets]:
        """Network inputs and targets of some pixels (N, C, H, W) and labels (N,), augmented, mixed and resized.

        Where they are not a whole batch, mixing needs to know of how many `pieces` they are (mix_batch).
        """
        images = apply_augment(pixels, augment, draws.steps, self.normalization)
        targets: Targets = labels
        if mix is not None:
            assert draws.mix is not None
            images, targets = mix_batch(images, labels, mix, draws.mix, pieces)
        return self._laid_out(resized(images, sides)), targets

    def _laid_out(self, images: Tensor) -> Tensor:
        # channels_last on the CPU, too: convolutions and batch normalisation are quicker in it.
        return images.flatten(1) if self.flat else images.contiguous(memory_format=torch.channels_last)

    def precision(self) -> AbstractContextManager[object]:
        """Around the forward pass: bf16 where the hardware is made for it, else float32."""
        return torch.autocast("cuda", torch.bfloat16) if self.on_gpu else nullcontext()


class Feed(FeedBase):
    """One image set on a device: uint8 pixels (N, C, H, W) and labels (N,)."""

    def __init__(self, images: ImageSet, normalization: Normalization, device: torch.device, *, flat: bool) -> None:
        super().__init__(images.labels, normalization, device, flat=flat)
        self.pixels = images.pixels.to(device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return ImageSet(self.pixels, self.labels).shape

    def pixels_in_order(self, resize: int | None = None, crop: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, in batches as large as is sensible on the device. They have one size, and keep it."""
        size = EVALUATED_ON_GPU if self.on_gpu else EVALUATED_ON_CPU
        yield from zip(torch.split(self.pixels, size), torch.split(self.labels, size), strict=True)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The same as network inputs."""
        return ((self.inputs(pixels), labels) for pixels, labels in self.pixels_in_order())


class StreamedFeed(FeedBase):
    """One image set in its files, decoded by workers."""

    def __init__(self, files: FileSet, normalization: Normalization, device: torch.device, *, flat: bool) -> None:
        super().__init__(files.labels, normalization, device, flat=flat)
        self.files = files
        self.faults = Faults(len(files), files.note, strict=files.strict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image as the network sees it."""
        return self.files.shape

    def pixels_in_order(self, resize: int | None = None, crop: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, its shorter side resized to `resize` pixels and its central square of `crop` cut out.

        With `crop` 0 each image comes whole and alone. Without the arguments it is the data's usual view.
        """
        batch = EVALUATED_FROM_FILES
        return in_order(self.files, self.device, self.faults, resize=resize, crop=crop, batch=batch)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The usual view of every image as network inputs."""
        return ((self.inputs(pixels), labels) for pixels, labels in self.pixels_in_order())


AnyFeed = Feed | StreamedFeed


def open_feed(images: Images, normalization: Normalization, device: torch.device, *, flat: bool) -> AnyFeed:
    """The feed of an image set on a device."""
    if isinstance(images, FileSet):
        return StreamedFeed(images, normalization, device, flat=flat)
    return Feed(images, normalization, device, flat=flat)


def check_run_augment(augment: tuple[Call, ...], images: Images) -> None:
    """Raise DataError where the augmentation does not give images of the size that it gets, and the test has."""
    channels, height, width = images.shape
    done_here = split_augment(augment)[1] if isinstance(images, FileSet) else augment
    check_augment(done_here, (height, width), channels)


def training_pixels(images: Images) -> Tensor | Iterable[Tensor]:
    """What normalisation is fitted to: all images in memory, or a sample of those in files."""
    return sample_pixels(images) if isinstance(images, FileSet) else images.pixels


class EpochDraws:
    """The random numbers of a run's batches, on the CPU: a pure function of seed and step.

    Each epoch is a new permutation of all images. A batch that reaches the end of an epoch goes on with the next
    one, so all batches have the same size and none is left out. Of each batch only the images of the shard are given.
    """

    def __init__(
        self,
        augment: tuple[Call, ...],
        mix: Call | None,
        images: int,
        seed: int,
        batch: int,
        shard: Shard = WHOLE,
    ) -> None:
        self._rows = None if shard.size == 1 else shard.rows(batch)
        self._augment, self._mix, self._images, self._seed = augment, mix, images, seed
        self._batch = batch
        self._drawn: dict[int, Draws] = {}

    def of_step(self, step: int) -> Draws:
        """Those of the batch of a step, counted from 0."""
        epoch, first = divmod(step * self._batch, self._images)
        here = self._epoch(epoch).part(first, first + self._batch)
        while len(here.order) < self._batch:
            epoch += 1
            here = here.join(self._epoch(epoch).part(0, self._batch - len(here.order)))
        return here if self._rows is None else here.rows(self._rows)

    def request(self, step: int) -> Request:
        """The batch of a step for a worker."""
        rows = np.arange(self._batch) if self._rows is None else self._rows.numpy()
        places = step * self._batch + rows
        return Request(self.of_step(step).order.numpy(), places // self._images)

    def _epoch(self, epoch: int) -> Draws:
        if epoch not in self._drawn:
            draws = draw_epoch(self._augment, self._images, self._seed, epoch, self._mix)
            # A batch needs at most the epoch before this one besides.
            self._drawn = {old: kept for old, kept in self._drawn.items() if old == epoch - 1}
            self._drawn[epoch] = draws
        return self._drawn[epoch]


Fetched = tuple[Tensor, Tensor]  # pixels (batch, C, H, W) in uint8 and labels (batch,) of a step, on the device


class StreamBase(ABC):
    """What the two streams have in common: the batches of a run, a pure function of the recipe's seed and the step."""

    def __init__(self, recipe: Recipe, augment: tuple[Call, ...], feed: "AnyFeed", shard: Shard) -> None:
        self.recipe, self.augment, self.shard = recipe, augment, shard
        self.device = feed.device
        images = len(feed.labels)
        self.sizes = ImageSizes(recipe, images, feed.shape[1:])
        self.draws = EpochDraws(augment, recipe.mix, images, recipe.seed, recipe.batch, shard)

    def form(self, step: int) -> Sides:
        """Height and width of the inputs: batches of steps of equal form have equal shapes."""
        return self.sizes.at(step)

    @abstractmethod
    def fetch(self, step: int) -> Fetched | None:
        """What the host must bring for a step; None where all is on the device. Raises DataError."""

    @abstractmethod
    def make(self, form: Sides, draws: Draws, fetched: Fetched | None) -> tuple[Tensor, Targets]:
        """Inputs (batch, C, H, W) and targets of draws on the device and what was fetched: no look at any number, so
        that a graph of the device's work can hold it.
        """

    def batch(self, step: int) -> tuple[Tensor, Targets]:
        """Inputs (batch, C, H, W) and targets of a step, counted from 0. Raises DataError."""
        draws = self.draws.of_step(step).to(self.device)
        return self.make(self.form(step), draws, self.fetch(step))

    @abstractmethod
    def close(self) -> None:
        """End what was begun for the steps to come."""


class TrainingStream(StreamBase):
    """The batches of a run, from memory."""

    def __init__(self, feed: Feed, recipe: Recipe, shard: Shard = WHOLE) -> None:
        super().__init__(recipe, recipe.augment, feed, shard)
        self.feed = feed

    def fetch(self, step: int) -> None:
        """The images are on the device already."""

    def make(self, form: Sides, draws: Draws, fetched: Fetched | None) -> tuple[Tensor, Targets]:
        """The images of the draws' order, augmented and mixed."""
        pixels, labels = self.feed.pixels[draws.order], self.feed.labels[draws.order]
        mix, pieces = self.recipe.mix, self.shard.pieces
        return self.feed.training_batch(pixels, labels, self.augment, draws, mix, form, pieces)

    def close(self) -> None:
        """There is nothing to end."""


class StreamedTraining(StreamBase):
    """The batches of a run, from files: prepared ahead while steps follow."""

    def __init__(self, feed: StreamedFeed, recipe: Recipe, shard: Shard = WHOLE) -> None:
        super().__init__(recipe, split_augment(recipe.augment)[1], feed, shard)
        self.feed = feed
        self._next = -1
        self._batches: Iterator[Fetched] = iter(())

    def fetch(self, step: int) -> Fetched:
        """Pixels and labels as the workers give them, where steps follow one another without delay."""
        if step != self._next:
            self._begin(step)
        self._next = step + 1
        return next(self._batches)

    def make(self, form: Sides, draws: Draws, fetched: Fetched | None) -> tuple[Tensor, Targets]:
        """What was fetched, augmented and mixed."""
        assert fetched is not None
        mix, pieces = self.recipe.mix, self.shard.pieces
        return self.feed.training_batch(*fetched, self.augment, draws, mix, form, pieces)

    def close(self) -> None:
        """End the workers."""
        self._next, self._batches = -1, iter(())

    def _begin(self, step: int) -> None:
        self.close()
        files, recipe = self.feed.files, self.recipe
        # Requests run ahead of the steps, so that they have draws of their own; only the order is needed.
        orders = EpochDraws((), None, len(files), recipe.seed, recipe.batch, self.shard)
        requests = _Requests(orders, step)
        images = len(self.shard.rows(recipe.batch))
        batches = BatchStream(
            files, files.view, recipe.seed, requests, self.feed.device, self.feed.faults, batch=images
        )
        self._batches = CopiedAhead(batches, self.feed.device) if self.feed.on_gpu else batches


class _Requests:
    """Those of all steps from one on, without end."""

    def __init__(self, orders: EpochDraws, first: int) -> None:
        self._orders, self._first = orders, first

    def __iter__(self) -> Iterator[Request]:
        step = self._first
        while True:
            yield self._orders.request(step)
            step += 1


def open_stream(feed: AnyFeed, recipe: Recipe, shard: Shard = WHOLE) -> TrainingStream | StreamedTraining:
    """The batches of a run, or a process's share of them, from a feed of its training images."""
    if isinstance(feed, StreamedFeed):
        return StreamedTraining(feed, recipe, shard)
    return TrainingStream(feed, recipe, shard)
