"""How fast a run goes and how long it still takes, from when its steps and evaluations were told."""

from __future__ import annotations

from collections import deque

RECENT = 30.0  # seconds of training that the pace is taken from: it follows what the machine does now
FINEST = 0.5  # seconds between two moments that are remembered


class Pace:
    """Steps a second of training alone, and the time left with the evaluations that are still to come.

    It counts from the first step that is told: what comes before it, such as starting workers, comes but once.
    """

    def __init__(self) -> None:
        self._moments: deque[tuple[float, int]] = deque()  # on a clock that stands still during evaluations
        self._first = self._step = 0
        self._last = self._evaluating = 0.0

    def stepped(self, step: int, now: float) -> None:
        """So many steps are done."""
        moment = now - self._evaluating
        if not self._moments:
            self._first = step
        if not self._moments or moment - self._moments[-1][0] >= FINEST:
            self._moments.append((moment, step))
        while len(self._moments) > 2 and moment - self._moments[1][0] > RECENT:
            self._moments.popleft()
        self._step, self._last = step, now

    def evaluated(self, now: float) -> None:
        """What lay between the last step and now was no training."""
        if self._moments:
            self._evaluating += now - self._last
            self._last = now

    @property
    def steps_a_second(self) -> float | None:
        """Of training alone; None before the second step."""
        if not self._moments:
            return None
        moment, step = self._moments[0]
        passed = self._last - self._evaluating - moment
        return (self._step - step) / passed if self._step > step and passed > 0 else None

    def seconds_left(self, total: float) -> float | None:
        """Until the last of so many steps; None before the pace is known. Evaluations go on taking their share."""
        pace = self.steps_a_second
        if pace is None:
            return None
        return (total - self._step) * (1 / pace + self._evaluating / (self._step - self._first))


def duration(seconds: float) -> str:
    """1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
