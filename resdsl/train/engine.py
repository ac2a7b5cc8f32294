"""How the steps of a run are computed: one by one by the host, or on a GPU as one graph that holds the whole step.

Both paths do the same work. All that differs from step to step lies in a plan on the device, so the graph has
augmentation, both passes, update, schedule, moving average and sums in it, and the host only starts it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from resdsl.train.agreement import Named, Snapshot, first_apart
from resdsl.train.average import WeightAverage
from resdsl.train.memory import is_out_of_memory
from resdsl.train.mix import Targets
from resdsl.train.optim import lr_on_device, set_lr
from resdsl.train.plan import Future, StepPlan
from resdsl.train.record_graph import Recorder, Work
from resdsl.train.resizing import Sides
from resdsl.train.step import Step, Tally
from resdsl.train.stream import Fetched, StreamBase

REHEARSALS = 3  # real steps before the recording, in which libraries set up and the optimizer takes its memory


@dataclass(frozen=True, slots=True)
class FastPath:
    """A step that gives the plain one's results within rounding, what records it, and a check of the former."""

    step: Step
    recorder: Recorder
    disagreement: Callable[[Tensor, Targets], str | None]


@dataclass(slots=True)
class _Path:
    """What belongs to the batches of one form: their plan, and the graph of their steps with the inputs it reads."""

    form: Sides
    plan: StepPlan
    rehearsed: int = 0
    replay: Work | None = None
    inputs: Fetched | None = None


class Engine:
    """Computes steps. `state` are all tensors that a step changes and the next one reads, besides those of the plan, in
    groups that are compared by themselves.
    """

    def __init__(
        self,
        stream: StreamBase,
        step: Step,
        optimizer: torch.optim.Optimizer,
        tally: Tally,
        average: WeightAverage | None,
        future: Future,
        note: Callable[[str], None],
        state: Callable[[], list[Named]],
    ) -> None:
        self._stream, self._step, self._optimizer = stream, step, optimizer
        self._tally, self._average, self._future, self._note, self._state = tally, average, future, note, state
        self._paths: dict[Sides, _Path] = {}
        self._fetched: tuple[int, Fetched | None] = (-1, None)
        self.fast: FastPath | None = None

    def prepare(self, step: int, stage: object) -> None:
        """Before the first step: compile what is to be compiled, and see that the fast path gives the plain one's
        results. Changes nothing but how steps are computed. Raises DataError.
        """
        if self.fast is None:
            return
        path = self._path_of(step)
        path.plan.prepare(step, stage)
        self._fetched = step, self._stream.fetch(step)
        apart = self.fast.disagreement(*self._stream.make(path.form, path.plan.draws(), self._fetched[1]))
        if apart is not None:
            self._give_up(apart)

    def advance(self, step: int, stage: object) -> Tensor:
        """Compute a step; its mean loss, left on the device. Raises DataError.

        `stage` is all that the learning rate depends on besides the step.
        """
        path = self._path_of(step)
        set_lr(self._optimizer, path.plan.prepare(step, stage))
        begun, fetched = self._fetched
        self._fetched = -1, None
        return self._compute(path, fetched if begun == step else self._stream.fetch(step))

    def forget(self) -> None:
        """Drop all graphs: the tensors that they read are no longer those of the run."""
        self._paths.clear()

    def _path_of(self, step: int) -> _Path:
        form = self._stream.form(step)
        path = self._paths.get(form)
        if path is None:
            path = self._paths[form] = _Path(form, StepPlan(self._stream.device, self._future, step))
        return path

    def _compute(self, path: _Path, fetched: Fetched | None) -> Tensor:
        if path.replay is not None:
            _bring(path.inputs, fetched)
            return path.replay()
        if self.fast is None:
            return self._body(self._step, path, fetched)
        if path.rehearsed < REHEARSALS:
            path.rehearsed += 1
            loss, waits = self.fast.recorder.rehearse(partial(self._fast_body, self.fast, path, fetched))
            if waits and path.rehearsed == REHEARSALS:  # compiling, in the first, may well wait
                self._give_up(waits)
            return loss
        return self._recorded(self.fast, path, fetched)

    def _body(self, step: Step, path: _Path, fetched: Fetched | None) -> Tensor:
        inputs, targets = self._stream.make(path.form, path.plan.draws(), fetched)
        loss, wrong = step(inputs, targets)
        self._tally.add(loss, wrong, len(inputs))
        if self._average is not None:
            self._average.update(path.plan.decay())
        path.plan.advance()
        return loss

    def _fast_body(self, fast: FastPath, path: _Path, fetched: Fetched | None) -> Tensor:
        with lr_on_device(self._optimizer, path.plan.rate()):
            return self._body(fast.step, path, fetched)

    def _recorded(self, fast: FastPath, path: _Path, fetched: Fetched | None) -> Tensor:
        """A step by hand, and its recording for the steps to come where that does the same."""
        path.inputs = None if fetched is None else (fetched[0].clone(), fetched[1].clone())
        work = partial(self._fast_body, fast, path, path.inputs)
        groups = [*self._state(), {"the count of steps": path.plan.cursor}]
        tensors = [tensor for group in groups for tensor in group.values()]
        before = Snapshot(tensors)

        def moves() -> list[Named]:
            moved = iter(before.moves())
            return [{name: next(moved) for name in group} for group in groups]

        # By hand first: a recording frees what that took and is not used any more, but never what it took itself.
        loss = work().clone()
        expected, after = moves(), Snapshot(tensors)
        before.restore()
        replay: Work | None = None
        try:
            replay = fast.recorder.record(work)
            replay()
            found = (first_apart(*pair) for pair in zip(expected, moves(), strict=True))
            apart = next((f"{name} becomes another in a graph" for name in found if name is not None), None)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            apart = str(error).splitlines()[0]
        after.restore()
        if apart is None:
            path.replay = replay
        else:
            self._give_up(apart)
        return loss

    def _give_up(self, reason: str) -> None:
        self._note(f"steps are computed one by one, as the fast path will not do: {reason}")
        self.fast = None
        self.forget()


def _bring(inputs: Fetched | None, fetched: Fetched | None) -> None:
    if inputs is not None and fetched is not None:
        for here, new in zip(inputs, fetched, strict=True):
            here.copy_(new, non_blocking=True)
