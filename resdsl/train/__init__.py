"""Training: a torch module and a Recipe in, a run folder out. Knows nothing of the language."""

from resdsl.train.device import choose_device
from resdsl.train.errors import TrainError
from resdsl.train.loop import Result, seed_weights, train
from resdsl.train.report import Evaluation, Plan, Reporter, SilentReporter

__all__ = [
    "Evaluation",
    "Plan",
    "Reporter",
    "Result",
    "SilentReporter",
    "TrainError",
    "choose_device",
    "seed_weights",
    "train",
]
