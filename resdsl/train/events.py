"""TensorBoard's view of a run: each evaluation as scalars, where tensorboard is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resdsl.train.errors import TrainError
from resdsl.train.report import Evaluation

FOLDER = "tensorboard"
# TensorBoard draws what has one name before the slash side by side.
TAGS = {
    "train_loss": "loss/training",
    "validation_loss": "loss/validation",
    "test_loss": "loss/test",
    "train_error": "error/training",
    "validation_error": "error/validation",
    "test_error": "error/test",
    "lr": "learning rate",
    "images_per_second": "images per second",
}


class Events:
    """Event files in a run folder; to be closed."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, evaluation: Evaluation) -> None:
        """One more evaluation, at its iteration. What was not measured is left out."""
        for name, value in evaluation.as_dict().items():
            if name in TAGS and value is not None:
                self._writer.add_scalar(TAGS[name], value, int(evaluation.step))
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def require_events() -> None:
    """Raise TrainError where tensorboard is not installed."""
    if find_spec("tensorboard") is None:
        raise TrainError("events need tensorboard (pip install 'resdsl[tensorboard]')")


def open_events(folder: Path, step: int) -> Events | None:
    """Events for a run folder, None without tensorboard. Of a resumed run what was behind `step` is dropped."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    purge = {"purge_step": step + 1} if step else {}
    return Events(SummaryWriter(str(folder / FOLDER), **purge))
