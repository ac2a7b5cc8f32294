"""A run from its beginning or last checkpoint to its end: a torch module and a recipe in, a run folder out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resdsl.recipe import Recipe
from resdsl.train import identity as same
from resdsl.train import record
from resdsl.train.checkpoint import load_newest
from resdsl.train.curves import WITHOUT, draw_curves
from resdsl.train.data import DataSet, NetworkInput, load_data, network_input
from resdsl.train.device import deterministic_kernels
from resdsl.train.errors import DataError, ResumeError
from resdsl.train.events import open_events, require_events
from resdsl.train.interrupt import Interrupt
from resdsl.train.lock import lock_folder
from resdsl.train.loop import Result, Run
from resdsl.train.page import write_page
from resdsl.train.report import Plan, Reporter, SilentReporter
from resdsl.train.rescue import run_guarded
from resdsl.train.stream import check_run_augment

Places = Callable[[str], str | None]


def train(
    model: nn.Module,
    recipe: Recipe,
    run_dir: Path,
    *,
    classes: int,
    input_shape: tuple[object, ...],
    name: str,
    device: torch.device | str = "cpu",
    data_dir: Path | None = None,
    spec_text: str = "",
    spec_hash: str = "",
    auxiliary_weights: Sequence[float] = (),
    reporter: Reporter | None = None,
    resume: bool = False,
    deterministic: bool = False,
    place_of: Places | None = None,
    arguments: Mapping[str, object] | None = None,
    files: Mapping[str, str] | None = None,
    tensorboard: bool = False,
) -> Result:
    """Train `model` by the recipe and leave everything about it in `run_dir`, which must be empty or new.

    `input_shape` is (C, H, W), sides that are not integers being free, or (length,). The model gives logits
    (N, classes), or a tuple of them, the main head first; `auxiliary_weights` weigh the losses of the others.

    With `resume`, `run_dir` holds a run of this model and recipe, which goes on from its last checkpoint: on the same
    device and versions with the results it would have had without the stop. With `deterministic` torch takes only
    kernels that give the same bits each time. `place_of` tells where in a spec the module of a path stands;
    `arguments`, plain values for JSON, are kept for whoever makes the model again, and so are `files`, texts by their
    paths in the run folder. Where tensorboard is installed its events are written, too; with `tensorboard` it must be.

    Raises TrainError for the user's mistakes: data that are missing or do not fit, a folder in use, a lost run.
    """
    if tensorboard:
        require_events()
    device = torch.device(device)
    reporter = reporter or SilentReporter()
    takes = network_input(input_shape, recipe.data)
    who: dict[str, Any] = {
        "network": name,
        "spec": spec_text,
        "hash": spec_hash,
        "auxiliary_weights": list(auxiliary_weights),
        "deterministic": deterministic,
        "surroundings": same.surroundings(device),
    }
    saved = None
    with ExitStack() as stack:
        if resume:
            stack.enter_context(lock_folder(run_dir))
            saved = _open_run(run_dir, reporter)
            if saved is not None:
                same.require_same_network(saved, who, recipe)
        data = open_data(recipe, takes, classes, data_dir, device, reporter)
        who |= {"classes": list(data.classes), "data": same.fingerprint(data)}
        if saved is not None:
            same.require_same_data(saved, who)
        stack.enter_context(deterministic_kernels(deterministic))
        if not resume:
            record.open_run_folder(run_dir)
            stack.enter_context(lock_folder(run_dir))
        run = Run(model, recipe, run_dir, data, takes, device, auxiliary_weights, reporter)
        run.identity = who
        if saved is None:
            kept = (arguments or {}, files or {})
            record.write_start(run_dir, name, recipe, spec_text, spec_hash, device, *kept, deterministic=deterministic)
        else:
            run.restore(saved)
        run.events = open_events(run_dir, run.progress.step)
        if run.events is not None:
            stack.callback(run.events.close)
        reporter.begin(Plan(name, run.length.steps, recipe.batch, len(data.train), str(device), run_dir))
        return _go(run, saved, place_of)


def _open_run(folder: Path, reporter: Reporter) -> dict[str, Any] | None:
    """The run's newest good checkpoint; None where it was killed before it wrote the first."""
    record.read_arguments(folder)
    for half in folder.glob(".resdsl-*.tmp"):
        half.unlink()  # of a process that was killed while it wrote
    saved = load_newest(folder, reporter.note)
    if saved is None and (folder / record.METRICS).exists():
        raise ResumeError(f"{folder} has no checkpoint any more")
    return saved


def open_data(
    recipe: Recipe, takes: NetworkInput, classes: int, place: Path | None, device: torch.device, reporter: Reporter
) -> DataSet:
    """The recipe's images. Raises DataError where they are missing, or the recipe asks for what they cannot give."""
    data = load_data(
        recipe.data,
        takes,
        classes,
        place,
        reporter.loading,
        augment=recipe.augment,
        device=device,
        note=reporter.note,
    )
    check_run_augment(recipe.augment, data.train)
    if recipe.batch > len(data.train):
        raise DataError(f"batch {recipe.batch} is larger than the training set of {len(data.train)} images")
    return data


def _go(run: Run, saved: dict[str, Any] | None, place_of: Places | None) -> Result:
    stopped_by = None
    if run.is_finished:
        run.reporter.note(f"the run in {run.folder} is already finished")
    else:
        if saved is not None:
            _tell_resumption(run, saved)
        with Interrupt() as interrupt:
            run_guarded(run, interrupt, place_of, is_new=saved is None)
        stopped_by = interrupt.signal
    pictures = draw_curves(run.folder, run.identity["network"], run.metrics) if run.metrics else []
    if run.metrics and not pictures:
        run.reporter.note(WITHOUT)
    write_page(run.folder)
    return run.result(tuple(pictures), stopped_by)


def _tell_resumption(run: Run, saved: dict[str, Any]) -> None:
    device = run.train_feed.labels.device
    run.reporter.note(f"going on from iteration {run.progress.step:,}")
    for change in same.changes_of_surroundings(saved, run.identity):
        run.reporter.note(change)
    record.write_resumption(run.folder, run.progress.step, device)
    # What was evaluated behind the checkpoint is evaluated again.
    record.replace_metrics(run.folder, run.metrics)
