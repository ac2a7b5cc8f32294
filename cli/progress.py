"""The training progress on standard error: a bar on a terminal; elsewhere a line an evaluation, and now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .console import Console
from .pace import Pace, duration

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from rich.console import RenderableType

    from resdsl.train import Evaluation, Plan

REFRESH_SECONDS = 0.1
SILENT_SECONDS = 300.0  # without a terminal: a line at least so often


class _BarAndDetails(Progress):
    """A bar with a line of its own for what stands beside it elsewhere: 80 columns have no room for both."""

    details = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """As rich asks for them, from above."""
        yield from super().get_renderables()
        if self.details:
            yield Text(self.details, no_wrap=True, overflow="ellipsis")


class _ShownBar:
    """A bar that is there within a `with` statement."""

    _bar: Progress

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class ProgressReporter(_ShownBar):
    """Shows what the trainer reports (resdsl.train.Reporter); to be used in a `with` statement."""

    def __init__(self, console: Console, *, is_shown: bool = True) -> None:
        self._console = console
        screen = RichConsole(file=console.errors, no_color=not console.colored_errors, highlight=False)
        self._shows_bar = is_shown and screen.is_terminal
        self._bar: _BarAndDetails = _BarAndDetails(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=screen,
            disable=not self._shows_bar,
            transient=True,
        )
        self._task = self._bar.add_task("reading images", total=None, left="")
        self._batch = 0
        self._device = "cpu"
        self._pace = Pace()
        self._shown_at = self._told_at = time.monotonic()
        self._details = {"lr": "", "loss": "", "train": "", "test": ""}

    def loading(self, done: int, total: int) -> None:
        """So many of the images are read."""
        self._bar.update(self._task, description="reading images", completed=done, total=total)

    def begin(self, plan: Plan) -> None:
        """The first step is next."""
        self._batch, self._device = plan.batch, plan.device
        self._bar.reset(self._task, description=plan.name, total=plan.steps, completed=plan.done)
        length = f"{plan.steps:,} iterations of batch {plan.batch} over {plan.images:,} images"
        where = plan.device if plan.processes == 1 else f"{plan.device.partition(':')[0]} in {plan.processes} processes"
        self.note(f"{plan.name}: {length} on {where}, into {plan.folder}")

    def stepped(self, step: int, lr: float) -> None:
        """So many steps are done; the last one used this learning rate."""
        now = time.monotonic()
        self._pace.stepped(step, now)
        if self._shows_bar and now - self._shown_at > REFRESH_SECONDS:
            self._shown_at = now
            self._details["lr"] = f"lr {lr:.4g}"
            self._bar.details = self._line()
            self._bar.update(self._task, completed=step, left=self._left())
        elif not self._shows_bar and now - self._told_at > SILENT_SECONDS:
            self._details["lr"] = f"lr {lr:.4g}"
            self.note("  ".join(part for part in (f"iteration {step:,}:", self._line(), self._left()) if part))

    def measured(self, loss: float, error: float) -> None:
        """Mean training loss and error of the last few steps."""
        self._details |= {"loss": f"loss {loss:.3f}", "train": f"train {error:.1%}"}

    def evaluated(self, evaluation: Evaluation) -> None:
        """The test set was classified."""
        self._pace.evaluated(time.monotonic())
        self._details["test"] = f"test {evaluation.test_error:.2%}"
        if not self._shows_bar:
            self.note(f"{evaluation_text(evaluation)}, {self._standing()}")

    def note(self, text: str) -> None:
        """One line that the user should see, above the bar."""
        self._told_at = time.monotonic()
        if self._shows_bar:
            self._bar.console.print(text, markup=False, soft_wrap=True)
        else:
            self._console.print_note(text)

    def _line(self) -> str:
        speed = self._pace.steps_a_second
        rate = f"{speed * self._batch:,.0f} images/s" if speed else ""
        return "  ".join(part for part in (rate, *self._details.values(), memory_text(self._device)) if part)

    def _standing(self) -> str:
        return ", ".join(part for part in (memory_text(self._device), self._left()) if part)

    def _left(self) -> str:
        seconds = self._pace.seconds_left(self._bar.tasks[0].total or 0.0)
        return "" if seconds is None else f"{duration(seconds)} left"


def memory_text(device: str) -> str:
    """The most memory that training has taken so far, of the GPU or else of the machine."""
    from resdsl.train.memory import peak_memory

    return f"{peak_memory(device) / 2**30:.1f} GiB"


def evaluation_text(evaluation: Evaluation) -> str:
    """An evaluation as a line."""
    return (
        f"iteration {evaluation.step:,} (epoch {evaluation.epoch:.1f}): lr {evaluation.lr:.4g}, "
        f"loss {evaluation.train_loss:.3f}, train error {evaluation.train_error:.2%}, "
        f"test error {evaluation.test_error:.2%}, {evaluation.images_per_second:,.0f} images/s"
    )


class EvalProgress(_ShownBar):
    """Shows on a terminal which images are read and classified; to be used in a `with` statement."""

    def __init__(self, console: Console) -> None:
        self._console = console
        screen = RichConsole(file=console.errors, no_color=not console.colored_errors, highlight=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True)
        self._task = self._bar.add_task("reading images", total=None)

    def loading(self, done: int, total: int) -> None:
        """So many of the images are read."""
        self.testing("reading images", done, total)

    def testing(self, what: str, done: int, total: int) -> None:
        """So many of the images are classified."""
        self._bar.update(self._task, description=what, completed=done, total=total)

    def note(self, text: str) -> None:
        """One line that the user should see, above the bar."""
        if self._bar.disable:
            self._console.print_note(text)
        else:
            self._bar.console.print(text, markup=False, soft_wrap=True)
