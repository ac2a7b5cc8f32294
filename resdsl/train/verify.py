"""Whether a run that stops and goes on ends with the bits of one that does not: tried on a few steps."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resdsl.recipe import Recipe
from resdsl.train.checkpoint import keep_checkpoint, load_newest
from resdsl.train.data import network_input
from resdsl.train.device import deterministic_kernels
from resdsl.train.errors import TrainError
from resdsl.train.fast import Pace, Regions, choose_engine
from resdsl.train.loop import Run
from resdsl.train.report import Reporter, SilentReporter
from resdsl.train.resizing import check_resizing
from resdsl.train.seeding import seed_weights
from resdsl.train.session import open_data

STEPS = 10
_OF_THE_CLOCK = {"seconds", "images_per_second"}


def verify_resume(
    make_model: Callable[[], nn.Module],
    recipe: Recipe,
    *,
    classes: int,
    input_shape: tuple[object, ...],
    device: torch.device | str = "cpu",
    data_dir: Path | None = None,
    auxiliary_weights: Sequence[float] = (),
    deterministic: bool = False,
    reporter: Reporter | None = None,
    steps: int = STEPS,
    engine: str = "auto",
    regions: Regions | None = None,
) -> str | None:
    """Train `steps` steps in one go, and again with a checkpoint, another model and a restart halfway.

    Everything happens in a folder of its own that is removed again. Gives the first tensor or value of the two ends
    that differs, as its path in the checkpoint, None where all are equal bit for bit.
    """
    device = torch.device(device)
    reporter = reporter or SilentReporter()
    pace = Pace(choose_engine(engine, device), regions)
    takes = network_input(input_shape, recipe.data)
    data = open_data(recipe, takes, classes, data_dir, device, reporter)
    check_resizing(make_model, recipe, takes, data.train)

    def make_run(seed: int, folder: Path) -> Run:
        seed_weights(seed)
        return Run(make_model(), recipe, folder, data, takes, device, auxiliary_weights, reporter, pace)

    with tempfile.TemporaryDirectory(prefix="resdsl-") as name, deterministic_kernels(deterministic):
        folder = Path(name)
        straight = make_run(recipe.seed, folder)
        _advance(straight, steps)
        stopped = make_run(recipe.seed, folder)
        _advance(stopped, steps // 2)
        keep_checkpoint(folder, stopped.state())
        saved = load_newest(folder, reporter.note)
        if saved is None:
            raise TrainError(f"there is no checkpoint in {folder}")
        # Another seed: what the checkpoint does not restore cannot be right by chance.
        again = make_run(recipe.seed + 1, folder)
        again.restore(saved)
        _advance(again, steps - steps // 2)
    return first_difference(straight.state(), again.state())


def _advance(run: Run, steps: int) -> None:
    run.prepare()
    for _ in range(steps):
        run.advance()
    run.stream.close()


def first_difference(one: Any, other: Any, path: str = "") -> str | None:
    """The path of the first value that differs between two states of a run, seconds aside; None where none does."""
    match one, other:
        case Tensor(), Tensor():
            same = one.dtype == other.dtype and one.shape == other.shape and _equal_bits(one, other)
            return None if same else path
        case dict(), dict():
            if one.keys() != other.keys():
                return path
            pairs = [(f"{path}/{key}".lstrip("/"), one[key], other[key]) for key in one if key not in _OF_THE_CLOCK]
        case ((list() | tuple()), (list() | tuple())):
            if len(one) != len(other):
                return path
            pairs = [(f"{path}/{place}", *pair) for place, pair in enumerate(zip(one, other, strict=True))]
        case _:
            return None if one == other else path
    return next((found for place, a, b in pairs if (found := first_difference(a, b, place))), None)


def _equal_bits(one: Tensor, other: Tensor) -> bool:
    plain = [tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*plain)
