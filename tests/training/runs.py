"""Runs of a small net for tests of stopping and failing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from resdsl.recipe import Recipe
from resdsl.train import Result, SilentReporter, train
from resdsl.train.checkpoint import FILE_NAME, load_checkpoint
from resdsl.train.record import read_metrics
from resdsl.train.verify import first_difference

Make = Callable[..., Recipe]
MakeNet = Callable[..., nn.Module]


class Stopper(SilentReporter):
    """Sends the process a signal behind a step, and remembers what it was told."""

    def __init__(self, step: int | None = None, number: int = signal.SIGTERM) -> None:
        self.step, self.number = step, number
        self.notes: list[str] = []

    def stepped(self, step: int, lr: float) -> None:
        if step == self.step:
            os.kill(os.getpid(), self.number)

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(model: nn.Module, recipe: Recipe, folder: Path, reporter: SilentReporter | None = None, **more: Any) -> Result:
    shape: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "name": "small"} | more
    return train(model, recipe, folder, reporter=reporter, **shape)


def require_equal(one: Path, other: Path) -> None:
    assert first_difference(load_checkpoint(one / FILE_NAME), load_checkpoint(other / FILE_NAME)) is None
    assert first_difference(read_metrics(one), read_metrics(other)) is None
