"""What the trainer tells while it works; the command line shows it, tests and scripts may ignore it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to run. `images` counts those for training, `steps` those of the whole run, `done` those before.

    `device` is that of the one who reports, among so many `processes`.
    """

    name: str
    steps: int
    batch: int
    images: int
    device: str
    folder: Path
    done: int = 0
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One line of metrics.jsonl. Errors are top-1, in [0, 1]; the training figures are means since the last line."""

    step: int
    epoch: float
    lr: float  # as the optimizer held it in the last step
    train_loss: float
    train_error: float
    test_loss: float
    test_error: float
    validation_loss: float | None
    validation_error: float | None
    seconds: float  # of training and evaluation since the first step
    images_per_second: float  # of training alone, since the last line

    def as_dict(self) -> dict[str, float | None]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. Errors are top-1, in [0, 1], of the last evaluation, nan where it was stopped before the first.

    `seconds` has training and evaluation, `stopped_by` the number of the signal that ended the run early.
    """

    steps: int
    planned_steps: int
    train_error: float
    test_error: float
    validation_error: float | None
    seconds: float
    folder: Path
    checkpoint: Path
    pictures: tuple[Path, ...]
    stopped_by: int | None

    @property
    def interrupted(self) -> bool:
        """The run was stopped by a signal before its last step."""
        return self.steps < self.planned_steps


class Reporter(Protocol):
    """Called from the training loop; none of these may be slow."""

    def loading(self, done: int, total: int) -> None:
        """So many of the images are read."""

    def begin(self, plan: Plan) -> None:
        """The first step is next."""

    def stepped(self, step: int, lr: float) -> None:
        """So many steps are done; the last one used this learning rate."""

    def measured(self, loss: float, error: float) -> None:
        """Mean training loss and error of the last few steps."""

    def evaluated(self, evaluation: Evaluation) -> None:
        """The test set was classified."""

    def note(self, text: str) -> None:
        """One line that the user should see."""


class SilentReporter:
    """A Reporter that tells nothing."""

    def loading(self, done: int, total: int) -> None:
        """Tell nothing."""

    def begin(self, plan: Plan) -> None:
        """Tell nothing."""

    def stepped(self, step: int, lr: float) -> None:
        """Tell nothing."""

    def measured(self, loss: float, error: float) -> None:
        """Tell nothing."""

    def evaluated(self, evaluation: Evaluation) -> None:
        """Tell nothing."""

    def note(self, text: str) -> None:
        """Tell nothing."""
