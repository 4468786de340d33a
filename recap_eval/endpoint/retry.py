"""How long to wait before asking again: what the server says, else exponential back-off with jitter."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST, LONGEST = 0.5, 30.0  # seconds


def backoff(attempt: int, first: float = FIRST) -> float:
    """Return the seconds to wait before an attempt: doubled each time up to half a minute, jittered down to a half.

    Args:
        attempt: Number of the attempt, 1 for the second.
        first: Seconds before the second attempt.
    """
    longest = min(LONGEST, first * 2.0 ** min(attempt - 1, 32))
    return longest * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds a server asks to wait, from `retry-after-ms` or `Retry-After` (RFC 9110, section 10.2.3).

    Args:
        headers: Headers of the answer.
        now: The time, for a date.

    Returns:
        None if it does not ask, or in a way that nobody understands.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return seconds
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - (now or datetime.now(UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
