"""A circuit breaker: when nearly everything fails, stop asking for a while, then let one request find out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW, FEWEST, SHARE = 20, 10, 0.8  # opens when of the last 20 outcomes, 10 at least, 80 % are outages
PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds
MOST_PROBES = 8  # in a row without success: then nobody is at home


class Breaker:
    """Watches one server's outcomes.

    Args:
        clock: Returns seconds.
        pause: Seconds of the first pause; each failed probe doubles it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, pause: float = PAUSE) -> None:
        self._clock, self._first_pause = clock, pause
        self._outcomes: deque[bool] = deque(maxlen=WINDOW)
        self.pause, self.probes = pause, 0
        self._until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """True if requests are held back."""
        return self._until is not None

    @property
    def is_hopeless(self) -> bool:
        """True if so many probes in a row failed that the run should end."""
        return self.probes >= MOST_PROBES

    def delay(self) -> float:
        """Return the seconds until a request may be tried; infinity while a probe is under way."""
        if self._until is None:
            return 0.0
        return float("inf") if self._probing else max(0.0, self._until - self._clock())

    def begin(self) -> bool:
        """Note that a request is sent; returns whether it is a probe."""
        self._probing = self._probing or self.is_open
        return self.is_open

    def succeed(self) -> bool:
        """Note an answer of a server that is well; returns whether that closed the breaker."""
        closed = self.is_open
        if closed:
            self._outcomes.clear()
        self._outcomes.append(True)
        self._until, self._probing, self.pause, self.probes = None, False, self._first_pause, 0
        return closed

    def fail(self, probe: bool) -> bool:
        """Note an outage; returns whether requests are held back from now on, or for longer."""
        self._outcomes.append(False)
        if self._until is None and self._is_sick():
            self._until = self._clock() + self.pause
            return True
        if probe:
            self._probing, self.probes = False, self.probes + 1
            self.pause = min(LONGEST_PAUSE, 2 * self.pause)
            self._until = self._clock() + self.pause
            return True
        return False

    def abandon(self) -> None:
        """Note that a probe ended without saying anything of the server's health."""
        self._probing = False

    def _is_sick(self) -> bool:
        failed = self._outcomes.count(False)
        return len(self._outcomes) >= FEWEST and failed >= SHARE * len(self._outcomes)
