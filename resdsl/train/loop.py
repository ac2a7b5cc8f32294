"""The training loop: the state of a run, how it goes on by a step, and how it is saved and restored."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resdsl.recipe import Recipe
from resdsl.train import record
from resdsl.train.agreement import Named
from resdsl.train.average import WeightAverage
from resdsl.train.checkpoint import FILE_NAME, keep_checkpoint, random_state, set_random_state
from resdsl.train.consent import Consent
from resdsl.train.data import DataSet, NetworkInput
from resdsl.train.distributed import ALONE, World
from resdsl.train.diverged import NotFiniteError, all_finite
from resdsl.train.engine import Engine
from resdsl.train.errors import ResumeError
from resdsl.train.evaluate import evaluate
from resdsl.train.events import Events
from resdsl.train.fast import PLAIN, FastModels, Pace, Tested, make_fast_path, recorder_of
from resdsl.train.interrupt import Interrupt
from resdsl.train.normalize import fit_normalization
from resdsl.train.optim import build_optimizer, used_lr
from resdsl.train.page import LivePage
from resdsl.train.parallel import spread
from resdsl.train.plan import Future
from resdsl.train.report import Evaluation, Reporter, Result
from resdsl.train.schedule import known_warmup_end, lr_at, plateau_drops, run_length
from resdsl.train.seeding import seed_draws
from resdsl.train.shards import shard_of
from resdsl.train.step import Tally, make_step
from resdsl.train.stream import Feed, open_feed, open_stream, training_pixels

WINDOW = 25  # steps between looks at the training loss; each look waits for the device
SAVE_SECONDS = 60.0  # between checkpoints; the last one is written in any case


@dataclass(slots=True)
class Progress:
    """Where a run is; part of its checkpoint. `warmup_end` is None until the training error ends the warm-up."""

    step: int
    warmup_end: int | None
    seconds: float


class Run:
    """One run: every decision is taken when it is made, so that the loop itself has none to take.

    `images_of` is a run of the same data and recipe, but for the seed: images that it holds are not held twice.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        folder: Path,
        data: DataSet,
        takes: NetworkInput,
        device: torch.device,
        auxiliary_weights: Sequence[float],
        reporter: Reporter,
        pace: Pace = Pace(),  # noqa: B008 (it cannot change)
        *,
        images_of: "Run | None" = None,
        world: World = ALONE,
    ) -> None:
        self.recipe, self.folder, self.reporter, self.world = recipe, folder, reporter, world
        self.model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        network = spread(self.model, world, sync_bn=recipe.sync_bn)
        if images_of is None:
            self.normalization = fit_normalization(recipe.normalize, training_pixels(data.train))
            self.train_feed, self.test_feed = (
                open_feed(images, self.normalization, device, flat=takes.flat)
                for images in (data.train, world.part_of(data.test))
            )
            self.validation_feed = data.validation and open_feed(
                world.part_of(data.validation), self.normalization, device, flat=takes.flat
            )
        else:
            self.normalization = images_of.normalization
            self.train_feed, self.test_feed = images_of.train_feed, images_of.test_feed
            self.validation_feed = images_of.validation_feed
        self.stream = open_stream(self.train_feed, recipe, shard_of(world, recipe))
        self.length = run_length(recipe, len(data.train))
        self.optimizer = build_optimizer(self.model, recipe)
        self.average = WeightAverage(self.model, recipe.ema, warmup=recipe.ema_warmup) if recipe.ema else None
        self.step = make_step(network, self.optimizer, recipe, self.train_feed, auxiliary_weights, world.size)
        self.progress = Progress(0, known_warmup_end(recipe), 0.0)
        self.tally = Tally(device, world)
        self.tested = self.average.model if self.average else self.model
        self.engine = Engine(
            self.stream,
            self.step,
            self.optimizer,
            self.tally,
            self.average,
            self._future(),
            reporter.note,
            self._changing,
        )
        if pace.engine != PLAIN:
            self._hasten(pace, auxiliary_weights, device)
        self.identity: dict[str, Any] = {}
        self.events: Events | None = None
        self.page: LivePage | None = None
        self.metrics: list[dict[str, float | None]] = []
        self.drops = 0  # how often the plateau schedule has lowered the learning rate; follows from the metrics
        self.saved_at = self.begun = time.perf_counter()
        self.saved_step: int | None = None
        seed_draws(recipe.seed, world.rank)

    @property
    def is_finished(self) -> bool:
        """The last step is done, and evaluated."""
        last = self.metrics[-1]["step"] if self.metrics else None
        return self.progress.step == self.length.steps == last

    def turns(self, interrupt: Interrupt) -> Iterator[None]:
        """The loop: until the last step and its evaluation, or the signal to stop; then a checkpoint.

        It yields before it waits for the device, with work left on it: other runs may add theirs meanwhile. Nothing
        happens to this run until it is taken up again, so that others make no difference to it. A stopped run is not
        evaluated: nothing may happen to it that would not have happened without the signal.
        """
        self.begun = time.perf_counter() - self.progress.seconds
        if not self.progress.step:
            self.tally.begin_period()
        consent = Consent(self.world, WINDOW)
        while self.progress.step < self.length.steps:
            is_late = time.perf_counter() - self.saved_at > SAVE_SECONDS and self.saved_step != self.progress.step
            stop, saving = consent.granted(self.progress.step, interrupt.signal, save=is_late)
            if stop is not None:
                interrupt.signal = stop
                break
            if saving:
                self.save()
            self.advance()
            step = self.progress.step
            self.reporter.stepped(step, used_lr(self.optimizer))
            is_looked_at, is_evaluated = step % WINDOW == 0, self._evaluation_is_due(step)
            if is_looked_at or is_evaluated or step == self.length.steps:
                yield
            if is_looked_at:
                self.look()
            if is_evaluated:
                self._evaluate()
        self.stream.close()
        if self.progress.step == self.length.steps and not self.is_finished:
            self._evaluate()
            self.save()
        elif self.saved_step != self.progress.step:
            self.save()
        if self.progress.warmup_end is None and self.is_finished:
            self.reporter.note("the warm-up never ended: the training error stayed above its bound")

    def prepare(self) -> None:
        """Before the first step: compile what is to be compiled. Raises DataError."""
        self.engine.prepare(self.progress.step, self._stage)
        if isinstance(self.tested, Tested) and isinstance(self.test_feed, Feed):
            evaluate(self.tested, self.test_feed, batches=1)

    def advance(self) -> Tensor:
        """One update of the weights; the mean loss over this process's images, left on the device until the next."""
        step = self.progress.step
        loss = self.engine.advance(step, self._stage)
        self.tally.count(self.recipe.batch)
        self.progress.step = step + 1
        return loss

    @property
    def _stage(self) -> object:
        """All that the learning rate depends on besides the step."""
        return self.progress.warmup_end, self.drops

    def _future(self) -> Future:
        return Future(
            draws=self.stream.draws.of_step,
            rate=lambda step: lr_at(self.recipe, self.length, step, self.progress.warmup_end, self.drops),
            decay=self.average.decay_at if self.average else lambda step: 0.0,
            form=self.stream.form,
            steps=self.length.steps,
        )

    def _hasten(self, pace: Pace, auxiliary_weights: Sequence[float], device: torch.device) -> None:
        models = FastModels(pace, half=self.train_feed.on_gpu)
        twin = models.twin(self.model)
        self.engine.fast = make_fast_path(
            self.model,
            twin,
            recorder_of(pace, device),
            self.optimizer,
            self.recipe,
            self.train_feed,
            auxiliary_weights,
        )
        tested = models.twin(self.average.model) if self.average else twin
        self.tested = Tested(self.tested, tested, self.reporter.note)

    def _changing(self) -> list[Named]:
        """All tensors that steps change, in groups of one kind of number."""
        models = [self.model] if self.average is None else [self.model, self.average.model]
        buffers = [dict(model.named_buffers()) for model in models]
        states = ((number, state) for number, state in enumerate(self.optimizer.state.values()))
        kept = {f"{key} {number}": value for number, state in states for key, value in state.items()}
        return [
            *(dict(model.named_parameters()) for model in models),
            *({name: one for name, one in group.items() if one.is_floating_point()} for group in buffers),
            *({name: one for name, one in group.items() if not one.is_floating_point()} for group in buffers),
            {name: one for name, one in kept.items() if isinstance(one, Tensor)},
            {"the tally": self.tally.sums},
        ]

    def look(self) -> None:
        """The loss and error of the last few steps: to be told, and perhaps to end the warm-up."""
        score = self.tally.window()
        if not math.isfinite(score.loss):
            raise NotFiniteError
        self.reporter.measured(score.loss, score.error)
        warmup = self.recipe.warmup
        if warmup is not None and self.progress.warmup_end is None and score.error < warmup.number("until_train_error"):
            self.progress.warmup_end = self.progress.step
            self.reporter.note(f"warm-up ends at iteration {self.progress.step}: training error {score.error:.1%}")

    def _evaluation_is_due(self, step: int) -> bool:
        if step == self.length.steps:
            return False  # the last one comes after the loop
        every = self.recipe.evaluate
        return step % every == 0 if every else self.length.ends_epoch(step)

    def _evaluate(self) -> None:
        train = self.tally.period()
        if not math.isfinite(train.score.loss):
            raise NotFiniteError
        model = self.average.model if self.average else self.model
        self.world.copy_from_writer(model.buffers())  # each process has running statistics of its own images
        test = evaluate(self.tested, self.test_feed, self.world)
        validation = evaluate(self.tested, self.validation_feed, self.world) if self.validation_feed else None
        self.progress.seconds = time.perf_counter() - self.begun
        evaluation = Evaluation(
            step=self.progress.step,
            epoch=self.length.epochs(self.progress.step),
            lr=used_lr(self.optimizer),
            train_loss=train.score.loss,
            train_error=train.score.error,
            test_loss=test.loss,
            test_error=test.error,
            validation_loss=validation.loss if validation else None,
            validation_error=validation.error if validation else None,
            seconds=self.progress.seconds,
            images_per_second=train.images / train.seconds,
        )
        if self.world.is_writer:
            record.append_metrics(self.folder, evaluation)
        if self.events is not None:
            self.events.add(evaluation)
        if self.page is not None:
            self.page.refresh()
        self.reporter.evaluated(evaluation)
        self.take_up(evaluation.as_dict())
        self.tally.begin_period()

    def take_up(self, row: dict[str, float | None]) -> None:
        """Let an evaluation decide what it may decide: the learning rate of a plateau schedule."""
        self.metrics.append(row)
        drops = plateau_drops(self.recipe, self.metrics, self.progress.warmup_end)
        if drops > self.drops and self.progress.step < self.length.steps:
            self.reporter.note(f"the error no longer falls: lower learning rate from iteration {self.progress.step} on")
        self.drops = drops

    def save(self) -> None:
        """Write a checkpoint, unless the weights are lost: the last one is a good one. Raises StorageError."""
        if self.world.highest(not all_finite(self.model.state_dict().values())):
            raise NotFiniteError
        self.progress.seconds = time.perf_counter() - self.begun
        state = self.state()
        if self.world.is_writer:
            keep_checkpoint(self.folder, state)
        self.saved_at, self.saved_step = time.perf_counter(), self.progress.step

    def state(self) -> dict[str, Any]:
        """Everything that decides how the run goes on, and what tells it apart from other runs."""
        return {
            **self.identity,
            "recipe": self.recipe.as_dict(),
            "recipe_text": self.recipe.to_text(),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "tally": self.tally.state(),
            "metrics": self.metrics,
            "processes": self.world.gather({"random": random_state(), "sums": self.tally.own_sums()}),
            "normalization": {"mean": self.normalization.mean, "deviation": self.normalization.deviation},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Be where `state` was taken. Raises ResumeError where the model's tensors are others."""
        try:
            self.model.load_state_dict(saved["model"])
            if self.average is not None:
                self.average.model.load_state_dict(saved["average"])
            self.optimizer.load_state_dict(saved["optimizer"])
        except (RuntimeError, ValueError) as error:
            message = "the model is not the one of the run: its tensors differ"
            raise ResumeError(message, str(error).splitlines()) from None
        self.engine.forget()
        self.progress = Progress(**saved["progress"])
        own = self._own(saved)
        self.tally.restore(saved["tally"], own["sums"])
        self.metrics = list(saved["metrics"])
        self.drops = plateau_drops(self.recipe, self.metrics, self.progress.warmup_end)
        if own["random"] is None:
            seed_draws(self.recipe.seed, self.world.rank, self.progress.step)
        else:
            set_random_state(own["random"])

    def _own(self, saved: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint has of this process by itself, also where it was one of another number of processes."""
        rank, processes = self.world.rank, saved["processes"]
        if self.world.size == len(processes):
            own: dict[str, Any] = processes[rank]
            return own
        sums = saved["tally"]["now"][:2] if self.world.is_writer else [0.0, 0.0]
        return {"random": processes[rank]["random"] if rank < len(processes) else None, "sums": sums}

    def result(self, pictures: tuple[Path, ...], stopped_by: int | None) -> Result:
        """The run as its last evaluation saw it."""
        last = self.metrics[-1] if self.metrics else {"train_error": math.nan, "test_error": math.nan}
        train_error, test_error = last["train_error"], last["test_error"]
        assert train_error is not None
        assert test_error is not None
        return Result(
            steps=self.progress.step,
            planned_steps=self.length.steps,
            train_error=train_error,
            test_error=test_error,
            validation_error=last.get("validation_error"),
            seconds=self.progress.seconds,
            folder=self.folder,
            checkpoint=self.folder / FILE_NAME,
            pictures=pictures,
            stopped_by=stopped_by if self.progress.step < self.length.steps else None,
        )
