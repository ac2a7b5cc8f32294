"""How fast a network trains and infers on made-up images, in turn with the same network of others.

Ours trains through `Run.advance` and infers through `evaluate`, so what is measured is what trains. The images lie on
the device. Another network does what a plain loop does: on a GPU compiled by torch.compile with channels_last and bf16
autocast, on a CPU as it is.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from resdsl.recipe import Recipe
from resdsl.train.bench_plain import Other, how_plain, plain_job
from resdsl.train.bench_subject import INFERENCE, TRAINING, WARM_UP, Job, Subject, bench_recipe, too_large
from resdsl.train.fast import Pace, Regions, choose_engine
from resdsl.train.memory import is_out_of_memory, release_memory

__all__ = ["Measured", "Other", "bench", "bench_recipe"]


@dataclass(slots=True)
class Measured:
    """Images a second in every round, and the most memory of the device that was in use, in bytes, None on a CPU."""

    name: str
    kind: str
    how: str
    rounds: list[float] = field(default_factory=list)
    memory: int | None = None
    preparation: float = 0.0  # seconds until the first steps were done, compiling among them
    failure: str = ""

    @property
    def median(self) -> float:
        """Images a second."""
        return statistics.median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Images a second; the extremes where there are too few rounds for quartiles."""
        if len(self.rounds) < 3:
            return min(self.rounds), max(self.rounds)
        low, _, high = statistics.quantiles(self.rounds, n=4)
        return low, high


def bench(
    make_model: Callable[[], nn.Module],
    recipe: Recipe,
    others: Sequence[Other] = (),
    *,
    classes: int,
    input_shape: tuple[object, ...],
    device: torch.device,
    auxiliary_weights: Sequence[float] = (),
    seconds: float = 5.0,
    rounds: int = 5,
    kinds: Sequence[str] = (TRAINING, INFERENCE),
    name: str = "resdsl",
    note: Callable[[str], None] = lambda text: None,
    engine: str = "auto",
    regions: Regions | None = None,
) -> list[Measured]:
    """Measure training, then inference, or which of them `kinds` names, of each network in turn.

    A figure takes `seconds` in all, in `rounds` rounds. `recipe` is one of bench_recipe; `engine` and `regions` are as
    for `train`. Raises DataError for a network that takes no images of one size, MemoryShortError where the batch does
    not fit, with the largest that does.
    """
    pace = Pace(choose_engine(engine, device), regions)
    subject = Subject(make_model, recipe, classes, input_shape, device, auxiliary_weights, pace)
    found = []
    for kind in kinds:
        ours = Measured(name, kind, subject.how)
        theirs = [Measured(other.name, kind, how_plain(device)) for other in others]
        jobs: list[tuple[Measured, Job]] = []
        note(f"{kind}: {name}")
        try:
            jobs.append((ours, _prepared(ours, partial(subject.job, kind), device)))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if not jobs:  # out of the handler, which holds the tensors of the failed step
            raise too_large(subject, kind)
        for measured, other in zip(theirs, others, strict=True):
            note(f"{kind}: {other.name}")
            make = plain_job(other, subject, kind)
            try:
                jobs.append((measured, _prepared(measured, make, device)))
            except Exception as error:  # noqa: BLE001 - whatever another library raises is no fault of ours
                measured.failure = _first_line(error)
        _take_turns(jobs, recipe.batch, rounds, seconds / rounds)
        found += [ours, *theirs]
        del jobs
        release_memory()
    return found


def _take_turns(jobs: list[tuple[Measured, Job]], batch: int, rounds: int, seconds: float) -> None:
    counts = []
    for _, job in jobs:
        begun = time.perf_counter()
        job(1)
        counts.append(max(1, round(seconds / max(time.perf_counter() - begun, 1e-6))))
    for number in range(rounds + 1):  # the first one only shows how many batches a round has
        for place, (measured, job) in enumerate(jobs):
            begun = time.perf_counter()
            job(counts[place])
            passed = time.perf_counter() - begun
            if number:
                measured.rounds.append(counts[place] * batch / passed)
            else:
                counts[place] = max(1, round(counts[place] * seconds / passed))


def _prepared(measured: Measured, make: Callable[[], Job], device: torch.device) -> Job:
    """The job, made and warmed up; what that takes in time and memory is noted."""
    release_memory()
    before = _reset_memory(device)
    begun = time.perf_counter()
    job = make()
    job(WARM_UP)
    measured.preparation = time.perf_counter() - begun
    if before is not None:
        measured.memory = torch.cuda.max_memory_allocated(device) - before
    return job


def _reset_memory(device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _first_line(error: Exception) -> str:
    if is_out_of_memory(error):
        return "out of memory beside ours"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
