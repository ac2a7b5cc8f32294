"""Several runs in one process: they take turns, and on a GPU the work of all of them is under way at once."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import torch

from resdsl.train.errors import TrainError
from resdsl.train.loop import Run
from resdsl.train.memory import release_memory
from resdsl.train.report import Reporter


class Place:
    """What a run has to itself while others take their turns; to be entered for everything that is done for it.

    On a GPU that is a stream, so that a look at its numbers waits for its own work alone. With `alone` false it is
    also the states of torch's own generators, which dropout and stochastic depth draw from: it draws what it would
    draw without the others.
    """

    def __init__(self, device: torch.device, *, alone: bool) -> None:
        self._stream = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._draws_apart = not alone
        self._drawn = torch.get_rng_state()
        # A state of its own, not numbers to be set: graphs go on reading the state that they were captured with.
        self._generator: torch.Generator | None = None
        if self._stream is not None and not alone:
            self._generator = torch.cuda.default_generators[self._stream.device.index]
            self._gpu_drawn = self._generator.clone_state()
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        if self._stream is not None:
            self._entered.enter_context(torch.cuda.stream(self._stream))
        if self._draws_apart:
            self._entered.callback(torch.set_rng_state, torch.get_rng_state())
            torch.set_rng_state(self._drawn)
        if self._generator is not None:
            self._entered.callback(self._generator.graphsafe_set_state, self._generator.graphsafe_get_state())
            self._generator.graphsafe_set_state(self._gpu_drawn)
        return self

    def __exit__(self, *_: object) -> None:
        if self._draws_apart:
            self._drawn = torch.get_rng_state()
        if self._generator is not None:
            self._gpu_drawn = self._generator.graphsafe_get_state()  # another one where a recording has failed
        self._entered.close()


@dataclass(slots=True)
class Player:
    """A run that takes turns with others. `run` is None once it has failed: its memory is for the others."""

    run: Run | None
    place: Place
    reporter: Reporter
    turns: Iterator[None] | None
    failure: TrainError | None = None

    @property
    def is_at_work(self) -> bool:
        """It has not come to its end."""
        return self.turns is not None

    def take_turn(self) -> None:
        """Do what the run does until it would wait for the device."""
        assert self.turns is not None
        try:
            with self.place:
                next(self.turns)
        except StopIteration:
            self.turns = None
        except TrainError as error:
            # The traceback would keep the run's tensors alive.
            self.failure = error.with_traceback(None)
            self.failure.__context__ = None
            self.run = self.turns = None


def take_turns(players: Sequence[Player]) -> None:
    """Let all runs go to their ends, one turn each, round and round. One that fails leaves the others as they are."""
    waiting = deque(player for player in players if player.is_at_work)
    while waiting:
        player = waiting.popleft()
        player.take_turn()
        if player.is_at_work:
            waiting.append(player)
        elif player.failure is not None and waiting:
            player.reporter.note(f"this run has failed, the others go on: {player.failure}")
            release_memory()


def wait_for_device(device: torch.device) -> None:
    """Let what is under way in any stream be done: other streams may read it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
