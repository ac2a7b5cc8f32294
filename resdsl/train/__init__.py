"""Training: a torch module and a Recipe in, a run folder out. Knows nothing of the language."""

from resdsl.train.device import choose_device
from resdsl.train.distributed import ALONE, World, open_world
from resdsl.train.errors import ResumeError, TrainError
from resdsl.train.report import Evaluation, Plan, Reporter, Result, SilentReporter
from resdsl.train.seeding import seed_weights
from resdsl.train.seeds import SeedsResult, train_seeds
from resdsl.train.session import train
from resdsl.train.verify import verify_resume

__all__ = [
    "ALONE",
    "Evaluation",
    "Plan",
    "Reporter",
    "Result",
    "ResumeError",
    "SeedsResult",
    "SilentReporter",
    "TrainError",
    "World",
    "choose_device",
    "open_world",
    "seed_weights",
    "train",
    "train_seeds",
    "verify_resume",
]
