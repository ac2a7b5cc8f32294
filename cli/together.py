"""A command in several processes, started by torchrun: one of them talks, and an error is told once and ends all."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping

from .console import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from resdsl.train import World

    from .progress import ProgressReporter

    Command = Callable[[argparse.Namespace, World], int]

USER_MISTAKE, OUR_BUG = 1, 3

_SET_BY_TORCHRUN = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class SharedConsole(Console):
    """A console that shows what the writer says, and of all processes' errors only the first."""

    __slots__ = ("_has_failed", "_is_shown", "_world", "own")

    def __init__(self, own: Console, world: World) -> None:
        super().__init__()
        self.colored, self.colored_errors = own.colored, own.colored_errors
        self.own = own  # for what any process may say
        self._world = world
        self._has_failed = False
        self._is_shown = world.is_writer

    @property
    def is_writer(self) -> bool:
        """Whether this process writes the run folder, and talks."""
        return self._world.is_writer

    def print(self, text: str = "") -> None:
        """As of any console, from the writer."""
        if self._is_shown:
            super().print(text)

    def print_error(self, text: str) -> None:
        """As of any console, from the process that is the first to fail, which also shows what comes next."""
        self.begin_error()
        super().print_error(text)

    def print_note(self, text: str) -> None:
        """As of any console, from the writer or the first to fail."""
        if self._is_shown:
            super().print_note(text)

    def begin_error(self) -> bool:
        """Whether this process is the first to fail, and so the one to tell why."""
        if not self._has_failed:
            self._has_failed, self._is_shown = True, self._world.is_first_to_fail()
        return self._is_shown


def is_one_of_several(environment: Mapping[str, str]) -> bool:
    """Whether torchrun has started this process and others."""
    size = environment.get("WORLD_SIZE", "")
    return size.isdecimal() and int(size) > 1 and all(name in environment for name in _SET_BY_TORCHRUN)


def is_silent(environment: Mapping[str, str]) -> bool:
    """Whether another process says what all of them find alike."""
    return is_one_of_several(environment) and environment["RANK"] != "0"


def run_together(args: argparse.Namespace, command: Command) -> int:
    """Run a command in all processes. Where one fails it says why, and ends at once, and torchrun ends the others.

    Returns only where the processes cannot reach one another.
    """
    # torch logs advice that is none here, once a process; it looks when it is imported.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from resdsl.train import TrainError, open_world

    try:
        with open_world(os.environ) as world:
            args.console = SharedConsole(args.console, world)
            code = _guarded(command, args, world)
            sys.stdout.flush()
            if code in {USER_MISTAKE, OUR_BUG}:
                _leave(code)
    except TrainError as error:
        if int(os.environ["LOCAL_RANK"]) == 0:
            args.console.print_error(str(error))
        return USER_MISTAKE
    return _leave(code)


def _guarded(command: Command, args: argparse.Namespace, world: World) -> int:
    from resdsl.train.distributed import tells_of_another

    console: SharedConsole = args.console
    try:
        return command(args, world)
    except Exception as error:
        if tells_of_another(error):
            console.print_error("another process of the run has ended without a word; the last checkpoint is kept")
            return USER_MISTAKE
        if console.begin_error():
            raise
        return OUR_BUG


def reporter_of(console: Console) -> ProgressReporter:
    """The progress of the writer; the others only tell of images that they alone have read."""
    from .progress import ProgressReporter

    if isinstance(console, SharedConsole) and not console.is_writer:
        return ProgressReporter(console.own, is_shown=False)
    return ProgressReporter(console)


def _leave(code: int) -> NoReturn:
    # Without any clearing up: that would wait for an exchange which the others can no longer finish and, where all is
    # well, now and then abort the process: torch's threads may still ask for Python while it ends.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
