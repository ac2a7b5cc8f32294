"""`resdsl train --seeds`: several runs as one, in the progress that is shown and in what is told at the end."""

from __future__ import annotations

import time
from statistics import mean
from typing import TYPE_CHECKING

from .console import Console
from .progress import ProgressReporter, evaluation_text

if TYPE_CHECKING:
    from resdsl.train import Evaluation, Plan, SeedsResult

OK, USER_MISTAKE = 0, 1
STOPPED = 128  # with the number of the signal added, as for one run


class SeedsProgress(ProgressReporter):
    """One bar for all runs together: their steps, images/s and remaining time in sum, their errors in the mean."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._runs: list[OfSeed] = []

    def of_seed(self, seed: int) -> OfSeed:
        """What one of the runs reports to."""
        self._runs.append(OfSeed(self, seed))
        return self._runs[-1]

    def begin_one(self, plan: Plan) -> None:
        """One more of the runs is about to go on."""
        self._batch, self._device = plan.batch, plan.device
        known = [run.plan for run in self._runs if run.plan is not None]
        steps, done = sum(one.steps for one in known), sum(one.done for one in known)
        self._bar.reset(self._task, description=plan.name, total=steps, completed=done)
        if len(known) == 1:
            length = f"{plan.steps:,} iterations of batch {plan.batch} over {plan.images:,} images"
            runs = f"{len(self._runs)} seeds from {self._runs[0].seed} on" if len(self._runs) > 1 else "one seed"
            self.note(f"{plan.name}: {runs}, each {length} on {plan.device}, into {plan.folder.parent}")

    def step_one(self, lr: float) -> None:
        """One of the runs has done a step."""
        self.stepped(sum(run.step for run in self._runs), lr)

    def measure_one(self) -> None:
        """One of the runs has looked at its loss."""
        measured = [run.window for run in self._runs if run.window is not None]
        self.measured(mean(loss for loss, _ in measured), mean(error for _, error in measured))

    def evaluate_one(self, which: OfSeed, evaluation: Evaluation) -> None:
        """One of the runs has classified the test set."""
        self._pace.evaluated(time.monotonic())
        tested = [run.test for run in self._runs if run.test is not None]
        self._details["test"] = f"test {mean(error for error, _ in tested):.2%}"
        if not self._shows_bar:
            rate = sum(rate for _, rate in tested)
            together = f", {rate:,.0f} of all seeds" if len(tested) == len(self._runs) > 1 else ""
            which.note(f"{evaluation_text(evaluation)}{together}, {self._standing()}")


class OfSeed:
    """Tells of one run in the common progress (resdsl.train.Reporter)."""

    def __init__(self, common: SeedsProgress, seed: int) -> None:
        self._common = common
        self.seed = seed
        self.plan: Plan | None = None
        self.step = 0
        self.window: tuple[float, float] | None = None  # loss and training error
        self.test: tuple[float, float] | None = None  # error and images a second

    def loading(self, done: int, total: int) -> None:
        """So many of the images are read."""
        self._common.loading(done, total)

    def begin(self, plan: Plan) -> None:
        """The first step is next."""
        self.plan, self.step = plan, plan.done
        self._common.begin_one(plan)

    def stepped(self, step: int, lr: float) -> None:
        """So many steps are done; the last one used this learning rate."""
        self.step = step
        self._common.step_one(lr)

    def measured(self, loss: float, error: float) -> None:
        """Mean training loss and error of the last few steps."""
        self.window = loss, error
        self._common.measure_one()

    def evaluated(self, evaluation: Evaluation) -> None:
        """The test set was classified."""
        self.test = evaluation.test_error, evaluation.images_per_second
        self._common.evaluate_one(self, evaluation)

    def note(self, text: str) -> None:
        """One line that the user should see, above the bar."""
        self._common.note(f"seed {self.seed}: {text}")


def conclude_seeds(console: Console, name: str, together: SeedsResult) -> int:
    """Show what came of all runs; the exit code."""
    from .tables import print_tables, text_table

    rows = []
    for run in together.runs:
        if run.result is not None:
            result = run.result
            errors = (_percent(result.test_error), _percent(result.train_error))
            rows.append((f"{run.seed}", f"{result.steps:,}", *errors, str(run.folder)))
    if rows:
        headings = ("seed", "iterations", "test error", "training error", "folder")
        print_tables(console, [text_table(name, headings, rows, left={"folder"})])
    errors_of_all = together.test_error
    if errors_of_all is not None:
        spread, many = "", "one run"
        if errors_of_all.deviation is not None:
            spread = f" ± {100 * errors_of_all.deviation:.2f}"
            many = f"mean and standard deviation of {errors_of_all.count} seeds"
        console.print_ok(f"{name}: test error {100 * errors_of_all.mean:.2f}{spread} % ({many})")
    console.print(f"page        {together.folder / 'index.html'}")
    for run in together.failed:
        console.print_error(f"seed {run.seed} failed: {run.failure}")
    go_on = f"go on with: resdsl train {together.folder} --resume"
    if together.stopped_by is not None:
        console.print_note(go_on)
        return STOPPED + together.stopped_by
    if together.failed:
        console.print_note(f"its folder holds the last good checkpoint; to try again, {go_on}")
        return USER_MISTAKE
    return OK


def _percent(error: float) -> str:
    return "" if error != error else f"{error:.2%}"  # nan where nothing was measured
