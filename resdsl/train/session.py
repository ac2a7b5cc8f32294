"""Runs from their beginning or last checkpoint to their end: torch modules and a recipe in, run folders out."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resdsl.recipe import Recipe
from resdsl.train import identity as same
from resdsl.train import record
from resdsl.train.checkpoint import load_newest
from resdsl.train.curves import WITHOUT, draw_curves
from resdsl.train.data import DataSet, FileSet, NetworkInput, load_data, network_input
from resdsl.train.device import deterministic_kernels
from resdsl.train.distributed import ALONE, World, check_batch
from resdsl.train.errors import DataError, MemoryShortError, ResumeError, TrainError
from resdsl.train.events import open_events, require_events
from resdsl.train.fast import Pace, Regions, choose_engine
from resdsl.train.interrupt import Interrupt
from resdsl.train.lock import lock_folder
from resdsl.train.loop import Run
from resdsl.train.memory import is_out_of_memory
from resdsl.train.page import LivePage, write_page
from resdsl.train.report import Plan, Reporter, Result, SilentReporter
from resdsl.train.rescue import guarded_turns
from resdsl.train.resizing import check_resizing
from resdsl.train.stored import check_records
from resdsl.train.stream import check_run_augment
from resdsl.train.turns import Place, Player, take_turns, wait_for_device

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
    world: World = ALONE,
    engine: str = "auto",
    regions: Regions | None = None,
) -> Result:
    """Train `model` by the recipe and leave everything about it in `run_dir`, which must be empty or new.

    `input_shape` is (C, H, W), sides that are not integers being free, or (length,). The model gives logits
    (N, classes), or a tuple of them, the main head first; `auxiliary_weights` weigh the losses of the others.

    With `resume`, `run_dir` holds a run of this model and recipe, which goes on from its last checkpoint: on the same
    device and versions with the results it would have had without the stop. With `deterministic` torch takes only
    kernels that give the same bits each time. `place_of` tells where in a spec the module of a path stands;
    `arguments`, plain values for JSON, are kept for whoever makes the model again, and so are `files`, texts by their
    paths in the run folder. Where tensorboard is installed its events are written, too; with `tensorboard` it must be.
    Each of several processes calls this with its own device and `world`; only one of them writes and reports.
    `engine` says how steps are computed, one of ENGINES; `regions`, given what compiles a function, makes the maker of
    a module of compiled parts that computes what another one does.

    Raises TrainError for the user's mistakes: data that are missing or do not fit, a folder in use, a lost run.
    """
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
        world=world,
        pace=Pace(choose_engine(engine, torch.device(device)), regions),
    )
    order = Order(run_dir, recipe, lambda: model, reporter or SilentReporter(), resume, arguments or {})
    with open_session([order], common) as session:
        (end,) = session.run()
    if isinstance(end, TrainError):
        raise end
    return end


@dataclass(frozen=True, slots=True)
class Common:
    """What all runs of a session have in common; `train` says what each of it is."""

    classes: int
    input_shape: tuple[object, ...]
    name: str
    device: torch.device
    data_dir: Path | None
    spec_text: str
    spec_hash: str
    auxiliary_weights: Sequence[float]
    deterministic: bool
    place_of: Places | None
    files: Mapping[str, str]
    tensorboard: bool
    pace: Pace
    world: World = ALONE


@dataclass(frozen=True, slots=True)
class Order:
    """One run that is wanted. The recipes of a session differ by their seeds alone."""

    folder: Path
    recipe: Recipe
    make_model: Callable[[], nn.Module]
    reporter: Reporter
    resume: bool
    arguments: Mapping[str, object]


@contextmanager
def open_session(orders: Sequence[Order], common: Common) -> Iterator["Session"]:
    """Hold everything that the runs need: their folders as far as they are there, checkpoints and images.

    Nothing is written before `Session.run`. Raises TrainError for the user's mistakes.
    """
    if common.tensorboard:
        require_events()
    check_batch(orders[0].recipe, common.world)
    recipe, world = orders[0].recipe, common.world
    reporter = orders[0].reporter if world.is_writer else SilentReporter()
    takes = network_input(common.input_shape, recipe.data)
    who: dict[str, Any] = {
        "network": common.name,
        "spec": common.spec_text,
        "hash": common.spec_hash,
        "auxiliary_weights": list(common.auxiliary_weights),
        "deterministic": common.deterministic,
        "surroundings": same.surroundings(common.device, common.world.size) | {"engine": common.pace.engine},
    }
    with ExitStack() as stack:
        found: list[dict[str, Any] | None] = []
        for order in orders:
            saved = None
            if order.resume:
                if world.is_writer:
                    stack.enter_context(lock_folder(order.folder))
                    saved = _open_run(order.folder, order.reporter)
                saved = world.share(saved)
                if saved is not None:
                    same.require_same_network(saved, who, order.recipe)
            found.append(saved)
        data = open_data(recipe, takes, common.classes, common.data_dir, common.device, reporter)
        check_resizing(orders[0].make_model, recipe, takes, data.train)
        data = _shared(data, orders[0].reporter, world)
        who |= {"classes": list(data.classes), "data": same.fingerprint(data)}
        for saved in found:
            if saved is not None:
                same.require_same_data(saved, who)
        stack.enter_context(deterministic_kernels(common.deterministic))
        session = Session(orders, common, found, data, takes, who, stack)
        del data  # the session drops it, too, once its runs have the images on their device
        yield session


class Session:
    """Runs that go to their ends together, side by side on a GPU, or one that does so alone."""

    def __init__(
        self,
        orders: Sequence[Order],
        common: Common,
        found: Sequence[dict[str, Any] | None],
        data: DataSet,
        takes: NetworkInput,
        who: dict[str, Any],
        stack: ExitStack,
    ) -> None:
        self._orders, self._common, self._found = orders, common, found
        self._data, self._takes, self._who = data, takes, who
        self._stack = stack
        self._players: list[Player] = []

    def run(self) -> list[Result | TrainError]:
        """Let all go to their ends; what came of each, or why it could not go on while others could."""
        for order in self._orders:
            if not order.resume and self._common.world.is_writer:
                record.open_run_folder(order.folder)
                self._stack.enter_context(lock_folder(order.folder))
        device = self._common.device
        wait_for_device(device)  # for what the caller has done in another stream
        with Interrupt() as interrupt:
            for order, saved in zip(self._orders, self._found, strict=True):
                self._players.append(self._open(order, saved, interrupt))
            del self._data
            wait_for_device(device)
            take_turns(self._players)
            wait_for_device(device)
        return [player.failure or self._conclude(player, interrupt.signal) for player in self._players]

    def _open(self, order: Order, saved: dict[str, Any] | None, interrupt: Interrupt) -> Player:
        place = Place(self._common.device, alone=len(self._orders) == 1)
        try:
            with place:
                run = self._make(order, saved)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or not self._players:
                raise
            count = len(self._players)
            raise MemoryShortError(f"out of memory with {count} runs made: take fewer seeds at once") from None
        turns = None
        if run.is_finished:
            run.reporter.note(f"the run in {run.folder} is already finished")
            if run.world.is_writer:  # a power cut may have taken lines that the checkpoint has
                record.replace_metrics(run.folder, run.metrics)
        else:
            if saved is not None:
                _tell_resumption(run, saved)
            place_of, is_new = self._common.place_of, saved is None
            turns = guarded_turns(run, interrupt, place_of, is_new=is_new, at_work=self._count_at_work)
        return Player(run, place, order.reporter, turns)

    def _make(self, order: Order, saved: dict[str, Any] | None) -> Run:
        common, recipe, folder, world = self._common, order.recipe, order.folder, self._common.world
        reporter = order.reporter if world.is_writer else SilentReporter()
        first = self._players[0].run if self._players else None
        run = Run(
            order.make_model(),
            recipe,
            folder,
            self._data,
            self._takes,
            common.device,
            common.auxiliary_weights,
            reporter,
            common.pace,
            images_of=first,
            world=world,
        )
        run.identity = dict(self._who)
        if saved is not None:
            run.restore(saved)
        elif world.is_writer:
            texts = common.name, recipe, common.spec_text, common.spec_hash
            kept = order.arguments, common.files
            how: dict[str, Any] = {"deterministic": common.deterministic, "engine": common.pace.engine}
            record.write_start(folder, *texts, common.device, *kept, processes=world.size, **how)
        if world.is_writer:
            if saved is not None:
                record.keep_place(folder, common.data_dir)
            run.page = LivePage(folder, reporter.note)
            run.events = open_events(folder, run.progress.step)
        if run.events is not None:
            self._stack.callback(run.events.close)
        images = len(self._data.train)
        sizes = run.length.steps, recipe.batch, images
        reporter.begin(Plan(common.name, *sizes, str(common.device), folder, run.progress.step, world.size))
        return run

    def _count_at_work(self) -> int:
        return sum(player.is_at_work for player in self._players)

    def _conclude(self, player: Player, stopped_by: int | None) -> Result:
        run = player.run
        assert run is not None
        if not run.world.is_writer:
            return run.result((), stopped_by)
        pictures = draw_curves(run.folder, run.identity["network"], run.metrics) if run.metrics else []
        if run.metrics and not pictures and player is self._players[0]:
            run.reporter.note(WITHOUT)
        write_page(run.folder)
        return run.result(tuple(pictures), stopped_by)


def _open_run(folder: Path, reporter: Reporter) -> dict[str, Any] | None:
    """The run's newest good checkpoint; None where it was killed before it wrote the first."""
    record.read_arguments(folder)
    if not os.access(folder, os.W_OK):
        raise TrainError(f"the run folder {folder} cannot be written to")
    for half in folder.glob(".resdsl-*.tmp"):
        half.unlink()  # of a process that was killed while it wrote
    saved = load_newest(folder, reporter.note)
    if saved is None and (folder / record.METRICS).exists():
        raise ResumeError(f"{folder} has no checkpoint any more")
    if saved is not None:
        check_records(folder)
    return saved


def _shared(data: DataSet, reporter: Reporter, world: World) -> DataSet:
    """The same, to be read by several processes: corrupt images are told by whichever finds them while training."""
    train, validation, test = (
        replace(images, note=reporter.note, readers=world.local_size) if isinstance(images, FileSet) else images
        for images in (data.train, data.validation, data.test)
    )
    assert train is not None
    assert test is not None
    return DataSet(data.classes, train, validation, test)


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


def _tell_resumption(run: Run, saved: dict[str, Any]) -> None:
    device = run.train_feed.labels.device
    run.reporter.note(f"going on from iteration {run.progress.step:,}")
    for change in same.changes_of_surroundings(saved, run.identity):
        run.reporter.note(change)
    if run.world.is_writer:
        engine = run.identity["surroundings"]["engine"]
        record.write_resumption(run.folder, run.progress.step, device, engine, run.world.size)
        # What was evaluated behind the checkpoint is evaluated again.
        record.replace_metrics(run.folder, run.metrics)
