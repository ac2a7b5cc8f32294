"""The choice of how steps are computed, and what each choice needs to be made."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, fx, nn

from resdsl.recipe import Recipe
from resdsl.train.agreement import first_apart, gradients_apart
from resdsl.train.engine import FastPath
from resdsl.train.errors import TrainError
from resdsl.train.evaluate import main_output
from resdsl.train.kernels.match import fuse
from resdsl.train.memory import is_out_of_memory
from resdsl.train.mix import Targets
from resdsl.train.record_graph import CudaRecorder, Recorder
from resdsl.train.step import make_gradients, make_step
from resdsl.train.stream import FeedBase
from resdsl.train.twin import Twin

PLAIN, GRAPH, COMPILED, FUSED = "plain", "graph", "compiled", "fused"
ENGINES = ("auto", PLAIN, GRAPH, COMPILED, FUSED)

Function = Callable[..., Any]
# Given what compiles a function, it gives what makes a module of compiled parts, equal ones compiled once.
Regions = Callable[[Callable[[Function], Function]], Callable[[nn.Module], nn.Module]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How steps are computed: `engine` is one of ENGINES but `auto`; `recorder` and `backend` are torch's if None."""

    engine: str = PLAIN
    regions: Regions | None = None
    recorder: Recorder | None = None
    backend: Function | None = None


def choose_engine(name: str, device: torch.device) -> str:
    """What `name` asks for, "auto" the fastest there is. Raises TrainError where the device has no such thing."""
    is_shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    if name == PLAIN or (name == "auto" and (device.type != "cuda" or is_shared)):
        return PLAIN
    if is_shared:
        raise TrainError(f"--engine {name} is for one process: several exchange gradients, which it does not")
    if device.type != "cuda":
        raise TrainError(f"--engine {name} needs a GPU: on the CPU steps are computed one by one")
    can_compile = find_spec("triton") is not None and any(map(shutil.which, ("cc", "gcc", "clang")))
    if name in (COMPILED, FUSED) and not can_compile:
        raise TrainError(f"--engine {name} needs Triton and a C compiler; --engine graph does without")
    return (COMPILED if can_compile else GRAPH) if name == "auto" else name


class FastModels:
    """Makes the modules that a fast path computes with: twins of the run's, compiled where that is the choice.

    With "fused", chains of blocks for which there are kernels are computed by these, and what is left is compiled.
    """

    def __init__(self, pace: Pace, *, half: bool) -> None:
        self._half, self._fuses = half, pace.engine == FUSED
        self._in_regions: Callable[[nn.Module], nn.Module] | None = None
        if pace.engine in (COMPILED, FUSED):
            self._in_regions = _maker(pace.regions, pace.backend)

    def twin(self, model: nn.Module) -> Twin:
        """A twin of a model."""
        twin = Twin(model, half=self._half)
        if self._fuses and isinstance(twin.net, fx.GraphModule):
            twin.net = fuse(twin.net)
        if self._in_regions is not None:
            twin.net = self._in_regions(twin.net)
            twin.net.train(model.training)
        return twin


class UnusableError(Exception):
    """The fast path cannot be computed at all."""


@contextmanager
def _compilers_heard() -> Iterator[None]:
    """Makes UnusableError of errors: those of compilers, of Triton and of what these start are of many kinds.

    The plain path has been computed before, so they are not the model's own.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, TrainError) or is_out_of_memory(error):
            raise
        lines = str(error).strip().splitlines() or [""]
        raise UnusableError(f"{type(error).__name__}: {lines[0]}") from None


class Tested(nn.Module):
    """A model as evaluations compute it: by its twin, in batches of one size, if that gives the model's results."""

    def __init__(self, model: nn.Module, twin: Twin, note: Callable[[str], None]) -> None:
        super().__init__()
        self.model, self.twin, self._note = model, twin, note
        self._size = 0
        self._is_same = True

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits (N, classes) of the main head."""
        if len(inputs) > self._size:
            self._size = len(inputs)
            expected = main_output(self.model(inputs)).clone()
            apart = self._apart(inputs, expected) if self._is_same else None
            if apart is not None:
                self._is_same = False
                self._note(f"evaluations are computed plainly: {apart}")
            return expected
        if not self._is_same:
            return main_output(self.model(inputs))
        missing = self._size - len(inputs)  # in the last batch, for which all would be compiled again
        # Padding keeps channels_last, unlike torch.cat with zeros: for another layout it would be compiled again, too.
        filled = F.pad(inputs, [0, 0] * (inputs.ndim - 1) + [0, missing]) if missing else inputs
        return main_output(self.twin(filled))[: len(inputs)]

    def _apart(self, inputs: Tensor, expected: Tensor) -> str | None:
        try:
            with _compilers_heard():
                found = main_output(self.twin(inputs)).clone()
        except UnusableError as error:
            return str(error)
        is_same = first_apart({"logits": expected}, {"logits": found}) is None
        return None if is_same else "the fast path gives other logits"


def make_fast_path(
    model: nn.Module,
    twin: Twin,
    recorder: Recorder,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    feed: FeedBase,
    auxiliary_weights: Sequence[float],
) -> FastPath:
    """The step by the twin, to be recorded, and its comparison with that by the model."""
    plain = make_gradients(model, recipe, feed, auxiliary_weights)
    fast = make_gradients(twin, recipe, feed, auxiliary_weights, collect=twin.collect)

    def heard(inputs: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        with _compilers_heard():
            return fast(inputs, targets)

    def disagreement(inputs: Tensor, targets: Targets) -> str | None:
        computed = partial(plain, inputs, targets), partial(heard, inputs, targets)
        try:
            return gradients_apart(model, *computed, feed.precision)
        except UnusableError as error:
            return str(error)

    step = make_step(twin, optimizer, recipe, feed, auxiliary_weights, collect=twin.collect)
    return FastPath(step, recorder, disagreement)


def recorder_of(pace: Pace, device: torch.device) -> Recorder:
    """What records the steps of a run."""
    return pace.recorder or CudaRecorder(device)


@lru_cache(maxsize=4)
def _maker(regions: Regions | None, backend: Function | None) -> Callable[[nn.Module], nn.Module]:
    """Kept, since runs side by side have the same parts."""
    wrap = partial(_compiled, backend=backend)
    return regions(wrap) if regions is not None else partial(_whole, wrap)


def _compiled(function: Function, backend: Function | None) -> Function:
    if backend is not None:
        return torch.compile(function, backend=backend, dynamic=False)
    # Random numbers as the plain path draws them, so that dropout can be compared, and resumed on either path.
    return torch.compile(function, dynamic=False, options={"fallback_random": True})


def _whole(wrap: Callable[[Function], Function], model: nn.Module) -> nn.Module:
    model.forward = wrap(model.forward)
    return model
