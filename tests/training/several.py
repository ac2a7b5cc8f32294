"""Runs that test_distributed.py makes with one process and, as a program under torchrun, with two."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resdsl.recipe_types import Call
from resdsl.train import ALONE, Reporter, Result, World, open_world, session, train
from tests.training.conftest import SmallNet, call, digits_recipe

CROPPED = (call("pad", pixels=1), call("random_crop", size=8), call("flip", p=0.5))
ONE_BY_ONE = (call("random_resized_crop", size=8), call("flip", p=0.5))
STOPPED_AT = 5


class Plain(nn.Module):
    """Without batch normalisation, so that an image's output depends on no other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 10), nn.Identity()
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


class Drawing(nn.Module):
    """Draws while it is trained, and has statistics of its own in each process."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SmallNet()
        self.dropout = nn.Dropout(0.3)
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += self.training
        if self.seen == STOPPED_AT and os.environ.get("STOPS", "") == os.environ.get("RANK"):
            os.kill(os.getpid(), signal.SIGTERM)
        logits = self.net(self.dropout(images))
        assert isinstance(logits, Tensor)
        return logits


@dataclass(frozen=True)
class Case:
    """A network and what its recipe has besides."""

    net: type[nn.Module]
    settings: dict[str, Any]
    options: dict[str, Any]
    shape: tuple[int, int, int] = (1, 8, 8)
    classes: int = 10


class TwoHeads(SmallNet):
    """With an auxiliary head."""

    def __init__(self) -> None:
        super().__init__(heads=2)


class Colours(SmallNet):
    """For images of files."""

    def __init__(self) -> None:
        super().__init__(3, 2)


CASES = {
    "no batch normalisation": Case(Plain, {"augment": CROPPED}, {}),
    "mixed, in parts, clipped and averaged": Case(
        Plain,
        {"augment": CROPPED, "mix": call("mixup_or_cutmix"), "accumulate": 2, "clip": 0.5, "ema": 0.9},
        {},
    ),
    "batch normalisation over all": Case(
        SmallNet,
        {
            "augment": CROPPED,
            "mix": call("mixup", alpha=0.3),
            "accumulate": 2,
            "sync_bn": True,
            "data": Call("digits", (("size", 8), ("validation", 101))),
        },
        {},
    ),
    "auxiliary head": Case(TwoHeads, {"sync_bn": True}, {"auxiliary_weights": [0.3]}),
    "files": Case(
        Colours,
        {"data": call("folder"), "augment": ONE_BY_ONE, "mix": call("cutmix"), "batch": 4, "sync_bn": True},
        {},
        (3, 8, 8),
        2,
    ),
}


def run_case(name: str, folder: Path, images: Path, world: World = ALONE) -> None:
    """Leave a run folder of a case."""
    case = CASES[name]
    recipe = digits_recipe(**{"iterations": 12, "evaluate": 6, "batch": 24} | case.settings)
    torch.manual_seed(recipe.seed)
    data = images if recipe.data.name == "folder" else None
    shape: dict[str, Any] = {"classes": case.classes, "input_shape": case.shape, "name": "small"}
    train(case.net(), recipe, folder, data_dir=data, world=world, **case.options, **shape)


def run_drawing(
    folder: Path, world: World = ALONE, *, resume: bool = False, reporter: Reporter | None = None
) -> Result:
    """Go on with, or begin, a run of the net that draws; where STOPS names a process, that one is told to stop."""
    torch.manual_seed(1 + world.rank)  # the first weights are to come from the writer
    recipe = digits_recipe(iterations=60, evaluate=20, augment=CROPPED)
    shape: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "name": "small"}
    result = train(Drawing(), recipe, folder, world=world, resume=resume, reporter=reporter, **shape)
    assert (result.stopped_by == signal.SIGTERM) == ("STOPS" in os.environ)
    return result


def main(folder: Path, images: Path) -> None:
    """All cases, and a run that is stopped by one process and goes on."""
    torch.set_num_threads(1)
    sys.modules["matplotlib"] = None  # type: ignore[assignment] # drawing takes most of the time of a short run
    setattr(session, "open_events", lambda folder, step: None)  # noqa: B010 - it is imported there, no more
    with open_world(os.environ) as world:
        for name in CASES:
            run_case(name, folder / name, images, world)
        run_drawing(folder / "whole", world)
        os.environ["STOPS"] = "1"
        run_drawing(folder / "stopped", world)
        run_drawing(folder / "left", world)
        del os.environ["STOPS"]
        run_drawing(folder / "stopped", world, resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
