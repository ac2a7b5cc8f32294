"""Images that do not fit into memory, or differ in size: worker processes decode them ahead of the steps."""

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resdsl.train.augment import keyed_generator
from resdsl.train.data import FileSet
from resdsl.train.decode import BrokenImageError, Faults, View, decode
from resdsl.train.errors import DataError
from resdsl.train.images import decode_all
from resdsl.train.layout import Part
from resdsl.train.windows import CentralView, uniform_numbers

MOST_WORKERS = 16
AHEAD = 2  # batches that each worker has ready
REPLACEMENTS = 100  # readable images are looked for among so many behind a corrupt one
SAMPLE = 10_000  # images that normalisation is fitted to
PIECE = 256
SHARED_MEMORY = "/dev/shm"  # noqa: S108 (where torch puts the batches of workers)


@dataclass(frozen=True, slots=True)
class Request:
    """The images of one batch: their indices (N,) in the set, and the epoch each is seen in (N,)."""

    indices: NDArray[np.int64]
    epochs: NDArray[np.int64]


# Pixels (N, H, W, C), labels (N,), places of corrupt images with what is wrong and what was read instead, and an error.
Answer = tuple[Tensor, Tensor, list[tuple[int, str, str]], str]


class BatchReader(Dataset[Answer]):
    """Decodes whole batches; lives in the workers. Mistakes are part of the answer, as exceptions lose their type."""

    def __init__(self, files: FileSet, view: View, seed: int) -> None:
        self._source, self._places, self._labels = files.source, np.asarray(files.places), files.labels.numpy()
        self._channels, self._view, self._seed = files.shape[0], view, seed

    def __getitem__(self, request: Request) -> Answer:
        images, labels, faults = [], [], []
        try:
            for index, epoch in zip(request.indices.tolist(), request.epochs.tolist(), strict=True):
                image, used, found = self._readable(index, epoch)
                images.append(image)
                labels.append(int(self._labels[used]))
                faults += found
        except DataError as error:
            return torch.empty(0), torch.empty(0), [], str(error)
        return torch.from_numpy(np.stack(images)), torch.tensor(labels), faults, ""

    def _readable(self, index: int, epoch: int) -> tuple[NDArray[np.uint8], int, list[tuple[int, str, str]]]:
        """The image at an index, or the next one that can be read, seen by the numbers of that index."""
        broken: list[tuple[int, str]] = []
        for step in range(min(REPLACEMENTS, len(self._places))):
            used = (index + step) % len(self._places)
            place = int(self._places[used])
            try:
                uniform = uniform_numbers(self._seed, epoch, index)
                image = decode(self._source, place, self._channels, self._view, uniform)
            except BrokenImageError as error:
                broken.append((used, str(error)))
                continue
            instead = f"{self._source.name(place)} takes its place"
            return image, used, [(*fault, instead) for fault in broken]
        raise DataError(f"{broken[0][1]}; so are the {len(broken) - 1} images behind it")


class BatchStream:
    """The batches of some requests, in order, decoded ahead by workers; an image that is corrupt is replaced."""

    def __init__(
        self,
        files: FileSet,
        view: View,
        seed: int,
        requests: Iterable[Request],
        device: torch.device,
        faults: Faults,
        *,
        batch: int,
        batches: int | None = None,
    ) -> None:
        workers = count_workers(batch * files.shape[0] * files.shape[1] * files.shape[2], batches, files.readers)
        self._device, self._faults = device, faults
        loader = DataLoader(
            BatchReader(files, view, seed),
            batch_size=None,
            sampler=requests,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            pin_memory=device.type == "cuda",
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # else it would draw from that of the run, and resuming would change it
        )
        self._answers: Iterator[Answer] = iter(loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Pixels (N, C, H, W) in uint8 and labels (N,), on the device. Raises DataError."""
        try:
            pixels, labels, faults, error = next(self._answers)
        except RuntimeError as failure:
            if "DataLoader worker" not in str(failure):
                raise
            raise DataError(f"a process that reads images has ended: {str(failure).splitlines()[0]}") from None
        if error:
            raise DataError(error)
        for index, message, instead in faults:
            self._faults.add(index, message, instead)
        here = pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        return here, labels.to(self._device, non_blocking=True)


def count_workers(batch_bytes: int, batches: int | None, readers: int = 1) -> int:
    """Processes to read with: one a core, but no more than shared memory has room for, nor than there are batches.

    So many `readers` on one machine have equal shares of cores and room.

    Raises DataError where there is no room for one.
    """
    try:
        space = os.statvfs(SHARED_MEMORY)
        room = space.f_bavail * space.f_frsize // max(batch_bytes, 1)
    except OSError:
        room = MOST_WORKERS * (AHEAD + 1) * readers
    cores = max(1, len(os.sched_getaffinity(0)) // readers)
    workers = min(cores, MOST_WORKERS, room // (AHEAD + 1) // readers)
    if workers < 1:
        needed = (AHEAD + 1) * batch_bytes * readers >> 20
        raise DataError(
            f"workers need {needed:,} MiB of shared memory: enlarge {SHARED_MEMORY}, or take smaller batches"
        )
    return workers if batches is None else min(workers, batches)


def _begin_worker(number: int) -> None:
    # Ctrl-C goes to all processes of a terminal: the run ends by itself, and its workers with it. What handles
    # signals in the run must not do so in a worker, which a loader ends by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # torchrun and timeout send SIGTERM to the run's whole group, which would end the workers before the run.
    os.setpgid(0, 0)


def in_order(
    files: FileSet, device: torch.device, faults: Faults, *, resize: int | None, crop: int | None, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, as evaluation sees it: pixels (N, C, H, W) and labels, in batches of at most `batch`.

    `resize` is the shorter side and `crop` that of the central square, 0 for the whole image, which then comes alone.
    Without them they are those of the set.
    """
    view = files.central
    assert isinstance(view, CentralView)
    if resize is not None:
        view = replace(view, shorter=resize)
    if crop is not None:
        view = replace(view, sides=(crop, crop) if crop else None)
    size = batch if view.sides else 1
    starts = range(0, len(files), size)
    requests = [
        Request(np.arange(first, min(first + size, len(files))), np.zeros(min(size, len(files) - first), np.int64))
        for first in starts
    ]
    yield from BatchStream(files, view, 0, requests, device, faults, batch=size, batches=len(requests))


def sample_pixels(files: FileSet) -> Iterator[Tensor]:
    """Central views (N, C, H, W) of up to 10,000 images, the same ones for every seed, to fit normalisation to."""
    assert isinstance(files.central, CentralView)
    chosen = torch.randperm(len(files), generator=keyed_generator(0, "sample"))[:SAMPLE].sort().values
    sample = files.take(chosen)
    faults = Faults(len(sample), lambda message: None, strict=files.strict)
    for first in range(0, len(sample), PIECE):
        part = Part(sample.places[first : first + PIECE], sample.labels[first : first + PIECE])
        yield decode_all(files.source, part, files.shape, files.central, faults, lambda done: None).pixels
