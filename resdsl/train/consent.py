"""What clocks and signals ask for, granted in all processes behind the same step."""

import time

from resdsl.train.distributed import World

SECONDS_BETWEEN = 1.0


class Consent:
    """Asks all processes about once a second, and at least every `most` steps; a single one at every step."""

    def __init__(self, world: World, most: int) -> None:
        self._world, self._most = world, most
        self._next = self._asked = -1  # steps
        self._asked_at = 0.0

    def granted(self, step: int, signal: int | None, *, save: bool) -> tuple[int | None, bool]:
        """The signal to stop by, if any process was sent one, and whether to save. Called before each step."""
        if self._world.size == 1:
            return signal, save
        if step < self._next:
            return None, False
        now = time.perf_counter()
        pace = (now - self._asked_at) / (step - self._asked) if self._asked >= 0 else SECONDS_BETWEEN
        slowest = self._world.highest(pace)
        agreed = int(self._world.highest(signal or 0)) or None
        saving = bool(self._world.highest(save))
        self._asked, self._asked_at = step, time.perf_counter()
        self._next = step + min(self._most, max(1, int(SECONDS_BETWEEN / max(slowest, 1e-9))))
        return agreed, saving
