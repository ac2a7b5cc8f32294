"""The yardstick of training: CIFAR's recipe of He et al. 2015 as PyTorch's own tutorials would write it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from resdsl.train.data import ImageSet


class Photos(Dataset[tuple[Tensor, int]]):
    """Images in memory, each made a PIL image and changed when it is asked for, as torchvision's CIFAR10 does."""

    def __init__(self, images: ImageSet) -> None:
        pixels = images.pixels.cpu()
        self._arrays: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels: list[int] = images.labels.tolist()
        self._mean = pixels.float().mean(dim=0) / 255
        steps = [transforms.RandomCrop(pixels.shape[-1], padding=4), transforms.RandomHorizontalFlip()]
        self._change = transforms.Compose([*steps, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        image: Tensor = self._change(Image.fromarray(self._arrays[place]))
        return image - self._mean, self._labels[place]


class PlainLoop:
    """A DataLoader, forward, loss, backward, SGD; no more than that.

    With `autocast` the forward pass is in bf16, with `channels_last` images and weights are laid out so.
    """

    def __init__(
        self,
        images: ImageSet,
        model: nn.Module,
        batch: int,
        workers: int,
        device: torch.device,
        *,
        autocast: bool = False,
        channels_last: bool = False,
    ) -> None:
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._model = model.to(device, memory_format=self._format).train()  # type: ignore[call-overload]
        self._batch, self._workers, self._device, self._autocast = batch, workers, device, autocast
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        self._loader = DataLoader(
            Photos(images),
            batch,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
        )
        self._batches = self._without_end()

    def images_per_second(self, steps: int) -> float:
        """Over so many steps, behind the batches that workers had ready and so would count as free."""
        self._train(2 * self._workers + 1)
        begun = time.perf_counter()
        self._train(steps)
        speed = steps * self._batch / (time.perf_counter() - begun)
        # What workers still prepare must not take time from whatever is measured next.
        time.sleep(min(0.2 * self._workers, 1.0))
        return speed

    def _without_end(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self._loader

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._autocast else nullcontext()

    def _train(self, steps: int) -> None:
        for _ in range(steps):
            images, labels = next(self._batches)
            images = images.to(self._device, memory_format=self._format, non_blocking=True)
            labels = labels.to(self._device, non_blocking=True)
            self._optimizer.zero_grad()
            with self._precision():
                loss = nn.functional.cross_entropy(self._model(images), labels)
            torch.autograd.backward(loss)
            self._optimizer.step()
        if self._device.type == "cuda":
            torch.cuda.synchronize()
