"""Several seeds of one recipe, trained side by side: mean and spread of what comes of them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from resdsl.recipe import Recipe, override
from resdsl.train import record
from resdsl.train.errors import ResumeError, TrainError
from resdsl.train.fast import Pace, Regions, choose_engine
from resdsl.train.lock import lock_folder
from resdsl.train.report import Reporter, Result, SilentReporter
from resdsl.train.scores import Spread
from resdsl.train.seeding import seed_weights
from resdsl.train.seeds_record import (
    FAILED,
    FINISHED,
    STOPPED,
    outcome,
    read_seeds,
    run_folder,
    write_outcome,
    write_seeds_start,
)
from resdsl.train.session import Common, Order, Places, open_session


@dataclass(frozen=True, slots=True)
class SeedRun:
    """What came of one seed: its result, or why it could not go on."""

    seed: int
    folder: Path
    result: Result | None
    failure: TrainError | None


@dataclass(frozen=True, slots=True)
class SeedsResult:
    """How the runs ended. `test_error` is over the finished ones, None where there is none.

    `stopped_by` is the number of the signal that ended them early.
    """

    folder: Path
    runs: tuple[SeedRun, ...]
    test_error: Spread | None
    stopped_by: int | None

    @property
    def failed(self) -> tuple[SeedRun, ...]:
        """Those that could not go on."""
        return tuple(run for run in self.runs if run.failure is not None)


def train_seeds(
    make_model: Callable[[], nn.Module],
    recipe: Recipe,
    run_dir: Path,
    *,
    seeds: int,
    classes: int,
    input_shape: tuple[object, ...],
    name: str,
    device: torch.device | str = "cpu",
    data_dir: Path | None = None,
    spec_text: str = "",
    spec_hash: str = "",
    auxiliary_weights: Sequence[float] = (),
    reporter_of: Callable[[int], Reporter] = lambda seed: SilentReporter(),
    resume: bool = False,
    deterministic: bool = False,
    place_of: Places | None = None,
    arguments: Mapping[str, object] | None = None,
    files: Mapping[str, str] | None = None,
    tensorboard: bool = False,
    engine: str = "auto",
    regions: Regions | None = None,
) -> SeedsResult:
    """Train `seeds` models by the recipe with its seed, the next one and so on, all at once in one process.

    `make_model` is called once a seed, torch's generators seeded with it. Each run lies in a folder `seed-S` of
    `run_dir`, which must be empty or new, and is bit for bit the one that `train` gives with that seed alone, on a
    device whose kernels do so. The images are held once. On a GPU each run has a stream of its own, so that their work
    overlaps; on a CPU they take turns. `reporter_of` gives the Reporter of a seed; all else is as for `train`.

    With `resume`, `run_dir` holds the runs of these seeds, and those that have not finished go on. Of `arguments`
    each run keeps its own `seed` in the place of `seeds`. A run that cannot go on is among the result's `failed`, and
    the others go on to their ends. Raises TrainError where none can begin.
    """
    if seeds < 1:
        raise TrainError(f"{seeds} seeds: there must be one at least")
    chosen = range(recipe.seed, recipe.seed + seeds)
    recipes = [override(recipe, seed=seed) for seed in chosen]
    common = Common(
        classes=classes,
        input_shape=input_shape,
        name=name,
        device=torch.device(device),
        data_dir=data_dir,
        spec_text=spec_text,
        spec_hash=spec_hash,
        auxiliary_weights=auxiliary_weights,
        deterministic=deterministic,
        place_of=place_of,
        files=files or {},
        tensorboard=tensorboard,
        pace=Pace(choose_engine(engine, torch.device(device)), regions),
    )
    shared = {word: value for word, value in (arguments or {}).items() if word != "seeds"}
    with ExitStack() as stack:
        if resume:
            stack.enter_context(lock_folder(run_dir))
            _require_same_seeds(run_dir, chosen)
        orders = []
        for seed, its_recipe in zip(chosen, recipes, strict=True):
            folder = run_folder(run_dir, seed)
            orders.append(
                Order(
                    folder=folder,
                    recipe=its_recipe,
                    make_model=_seeded(make_model, seed),
                    reporter=reporter_of(seed),
                    resume=resume and _has_begun(folder),
                    arguments=shared | {"seed": seed},
                )
            )
        session = stack.enter_context(open_session(orders, common))
        if not resume:
            record.open_run_folder(run_dir)
            stack.enter_context(lock_folder(run_dir))
            write_seeds_start(run_dir, name, chosen, spec_text, arguments or {}, files or {})
        ends = session.run()
        runs = [_seed_run(seed, run_folder(run_dir, seed), end) for seed, end in zip(chosen, ends, strict=True)]
        rows = [outcome(run.seed, run.folder, _state(run), run.failure) for run in runs]
        spread = write_outcome(run_dir, name, chosen, rows)
    signals = [run.result.stopped_by for run in runs if run.result is not None]
    return SeedsResult(run_dir, tuple(runs), spread, next((signal for signal in signals if signal is not None), None))


def _require_same_seeds(folder: Path, chosen: range) -> None:
    content = read_seeds(folder)
    if content is None:
        record.read_arguments(folder)
        raise ResumeError(f"{folder} holds one run, not those of several seeds")
    if content["seeds"] != list(chosen):
        began = content["seeds"]
        raise ResumeError(f"the runs in {folder} are of {_words(began)}; they cannot go on as {_words(list(chosen))}")


def _words(seeds: Sequence[int]) -> str:
    return f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}" if seeds else "no seeds"


def _has_begun(folder: Path) -> bool:
    """Whether there is a run in it; what one that was killed at once has left behind is removed."""
    if (folder / record.ARGUMENTS).exists():
        return True
    for half in folder.glob(".resdsl-*.tmp"):
        half.unlink()
    return False


def _seeded(make_model: Callable[[], nn.Module], seed: int) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        seed_weights(seed)
        return make_model()

    return make


def _seed_run(seed: int, folder: Path, end: Result | TrainError) -> SeedRun:
    return SeedRun(seed, folder, None, end) if isinstance(end, TrainError) else SeedRun(seed, folder, end, None)


def _state(run: SeedRun) -> str:
    return FAILED if run.result is None else STOPPED if run.result.interrupted else FINISHED
