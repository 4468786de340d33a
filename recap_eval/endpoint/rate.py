"""Token buckets: at most so many requests and tokens a minute, without bursts beyond a second's worth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Bucket:
    """Lets so many units a minute through.

    A bucket may go into debt, so that a request larger than a second's worth passes alone and the next ones wait for it.

    Args:
        per_minute: Units a minute; None for no limit.
        clock: Returns seconds.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = None if per_minute is None else per_minute / 60
        self._clock, self._then = clock, clock()
        self._most = 1.0 if self.rate is None else max(1.0, self.rate)
        self._level = self._most

    def delay(self) -> float:
        """Return the seconds until something may pass."""
        if self.rate is None:
            return 0.0
        self._refill(self.rate)
        return 0.0 if self._level > 0 else -self._level / self.rate + 1e-3

    def take(self, units: float) -> None:
        """Take units out, into debt if need be; a negative number gives some back."""
        if self.rate is not None:
            self._refill(self.rate)
            self._level = min(self._most, self._level - units)

    def _refill(self, rate: float) -> None:
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._then) * rate)
        self._then = now


class Rate:
    """Both limits of a server: requests and tokens.

    Args:
        requests: Requests a minute, or None.
        tokens: Tokens a minute, in and out, or None.
    """

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests, self._tokens = Bucket(requests), Bucket(tokens)

    async def take(self, tokens: float) -> None:
        """Wait until a request of so many tokens may be sent."""
        while (delay := max(self._requests.delay(), self._tokens.delay())) > 0:
            await asyncio.sleep(delay)
        self._requests.take(1)  # no await since the look: nobody came between
        self._tokens.take(tokens)

    def correct(self, tokens: float) -> None:
        """Give back the tokens that a request was thought to need and did not."""
        self._tokens.take(-tokens)
