"""The training loop: a torch module and a recipe in, a run folder and a Result out."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resdsl.recipe import Recipe
from resdsl.train import record
from resdsl.train.augment import check_augment
from resdsl.train.average import WeightAverage
from resdsl.train.checkpoint import FILE_NAME, random_state, save_checkpoint
from resdsl.train.curves import WITHOUT, draw_curves
from resdsl.train.data import DataSet, NetworkInput, load_data, network_input
from resdsl.train.errors import DataError, DivergedError
from resdsl.train.evaluate import evaluate
from resdsl.train.interrupt import Interrupt
from resdsl.train.normalize import fit_normalization
from resdsl.train.optim import build_optimizer, set_lr, used_lr
from resdsl.train.report import Evaluation, Plan, Reporter, SilentReporter
from resdsl.train.schedule import known_warmup_end, lr_at, run_length
from resdsl.train.step import Tally, make_step
from resdsl.train.stream import Feed, TrainingStream

WINDOW = 25  # steps between looks at the training loss; each look waits for the device
SAVE_SECONDS = 60.0  # between checkpoints; the last one is written in any case


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. Errors are top-1, in [0, 1], after the last step; `seconds` has training and evaluation."""

    steps: int
    planned_steps: int
    train_error: float
    test_error: float
    validation_error: float | None
    seconds: float
    folder: Path
    checkpoint: Path
    pictures: tuple[Path, ...]

    @property
    def interrupted(self) -> bool:
        """The run was stopped by a signal before its last step."""
        return self.steps < self.planned_steps


@dataclass(slots=True)
class Progress:
    """Where a run is; part of its checkpoint. `warmup_end` is None until the training error ends the warm-up."""

    step: int
    warmup_end: int | None
    seconds: float


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
) -> Result:
    """Train `model` by the recipe and leave everything about it in `run_dir`, which must be empty or new.

    `input_shape` is (C, H, W), sides that are not integers being free, or (length,). The model gives logits
    (N, classes), or a tuple of them, the main head first; `auxiliary_weights` weigh the losses of the others.
    Raises TrainError for the user's mistakes: data that are missing or do not fit, a folder in use, a lost run.
    """
    device = torch.device(device)
    reporter = reporter or SilentReporter()
    takes = network_input(input_shape, recipe.data)
    data = load_data(recipe.data, takes, classes, data_dir, reporter.loading)
    _check_recipe(recipe, data)
    record.open_run_folder(run_dir)
    record.write_start(run_dir, name, recipe, spec_text, spec_hash, device)
    run = _Run(model, recipe, run_dir, data, takes, device, auxiliary_weights, reporter)
    run.identity = {"network": name, "spec": spec_text, "hash": spec_hash, "classes": list(data.classes)}
    reporter.begin(Plan(name, run.length.steps, recipe.batch, len(data.train), str(device), run_dir))
    with Interrupt() as interrupt:
        run.steps(interrupt)
    pictures = draw_curves(run_dir, name, run.metrics)
    if not pictures:
        reporter.note(WITHOUT)
    return run.result(tuple(pictures))


def seed_weights(seed: int) -> None:
    """Seed torch's own generators; call it before the model is made, so that the seed decides its weights."""
    torch.manual_seed(seed)


def _check_recipe(recipe: Recipe, data: DataSet) -> None:
    images, _, height, width = data.train.pixels.shape
    check_augment(recipe.augment, (height, width))
    if recipe.batch > images:
        raise DataError(f"batch {recipe.batch} is larger than the training set of {images} images")


class _Run:
    """One run: every decision is taken when it is made, so that the loop itself has none to take."""

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
    ) -> None:
        self.recipe, self.folder, self.reporter = recipe, folder, reporter
        memory_format = torch.channels_last if device.type == "cuda" else torch.preserve_format
        self.model = model.to(device, memory_format=memory_format).train()  # type: ignore[call-overload]
        self.normalization = fit_normalization(recipe.normalize, data.train.pixels)
        self.train_feed, self.test_feed = (
            Feed(images, self.normalization, device, flat=takes.flat) for images in (data.train, data.test)
        )
        self.validation_feed = data.validation and Feed(data.validation, self.normalization, device, flat=takes.flat)
        self.stream = TrainingStream(self.train_feed, recipe)
        self.length = run_length(recipe, len(data.train))
        self.optimizer = build_optimizer(self.model, recipe)
        self.average = WeightAverage(self.model, recipe.ema) if recipe.ema else None
        self.step = make_step(self.model, self.optimizer, recipe, self.train_feed, auxiliary_weights)
        self.progress = Progress(0, known_warmup_end(recipe), 0.0)
        self.identity: dict[str, Any] = {}
        self.metrics: list[dict[str, float | None]] = []
        self.saved_at = time.perf_counter()
        seed_weights(recipe.seed)

    def steps(self, interrupt: Interrupt) -> None:
        """The loop: until the last step, or the signal to stop; then a last evaluation and checkpoint."""
        begun = time.perf_counter()
        tally = Tally(self.train_feed.labels.device)
        while self.progress.step < self.length.steps and not interrupt.requested:
            step = self.progress.step
            set_lr(self.optimizer, lr_at(self.recipe, self.length, step, self.progress.warmup_end))
            tally.add(*self.step(*self.stream.batch(step)), self.recipe.batch)
            if self.average is not None:
                self.average.update()
            self.progress.step = step = step + 1
            self.reporter.stepped(step, used_lr(self.optimizer))
            if step % WINDOW == 0:
                self._look(tally)
            if self._evaluation_is_due(step):
                self._evaluate(tally, begun)
                self._save_now_and_then()
        if self.progress.step and (not self.metrics or self.metrics[-1]["step"] != self.progress.step):
            self._evaluate(tally, begun)
        self._save()
        if self.progress.warmup_end is None:
            self.reporter.note("the warm-up never ended: the training error stayed above its bound")

    def _evaluation_is_due(self, step: int) -> bool:
        if step == self.length.steps:
            return False  # the last one comes after the loop, whatever ended it
        every = self.recipe.evaluate
        return step % every == 0 if every else self.length.ends_epoch(step)

    def _look(self, tally: Tally) -> None:
        score = tally.window()
        self._refuse_nan(score.loss)
        self.reporter.measured(score.loss, score.error)
        warmup = self.recipe.warmup
        if warmup is not None and self.progress.warmup_end is None and score.error < warmup.number("until_train_error"):
            self.progress.warmup_end = self.progress.step
            self.reporter.note(f"warm-up ends at iteration {self.progress.step}: training error {score.error:.1%}")

    def _refuse_nan(self, loss: float) -> None:
        if not math.isfinite(loss):
            place = f"by iteration {self.progress.step}, at learning rate {used_lr(self.optimizer):g}"
            raise DivergedError(f"the training loss is no longer a number {place}: try a lower rate or a warm-up")

    def _evaluate(self, tally: Tally, begun: float) -> None:
        train = tally.period()
        self._refuse_nan(train.score.loss)
        model = self.average.model if self.average else self.model
        test = evaluate(model, self.test_feed)
        validation = evaluate(model, self.validation_feed) if self.validation_feed else None
        self.progress.seconds = time.perf_counter() - begun
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
        self.metrics.append(evaluation.as_dict())
        record.append_metrics(self.folder, evaluation)
        self.reporter.evaluated(evaluation)
        tally.begin_period()

    def _save_now_and_then(self) -> None:
        if time.perf_counter() - self.saved_at > SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        content = {
            **self.identity,
            "recipe": self.recipe.as_dict(),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "progress": {
                "step": self.progress.step,
                "warmup_end": self.progress.warmup_end,
                "seconds": self.progress.seconds,
            },
            "random": random_state(),
            "normalization": {"mean": self.normalization.mean, "deviation": self.normalization.deviation},
        }
        save_checkpoint(self.folder / FILE_NAME, content)
        self.saved_at = time.perf_counter()

    def result(self, pictures: tuple[Path, ...]) -> Result:
        """The run as its last evaluation saw it; errors are nan where it was stopped before the first step."""
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
        )
