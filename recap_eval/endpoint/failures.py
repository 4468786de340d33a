"""How a request can fail, by kind; what a server says of it is data, cut short and cleaned before anybody sees it."""

from __future__ import annotations

import unicodedata

from recap_eval.errors import DataError

UNAVAILABLE, TIMED_OUT, REFUSED, MALFORMED = "unavailable", "timed out", "refused", "malformed"
LONGEST = 240  # characters of a server's words that are shown or kept
RETRIED = (408, 429)  # besides 5xx
FOR_ALL = (401, 402, 403, 404)  # what no other request would be spared: key, money, permission, model or path
SPENT = ("insufficient_quota", "billing_hard_limit_reached")  # 429 that waiting does not mend


class EndpointFailure(Exception):
    """One request failed.

    Args:
        kind: `UNAVAILABLE` (408, 429, 5xx, connection), `TIMED_OUT`, `REFUSED` (other 4xx) or `MALFORMED`.
        detail: What happened, in a line.
        status: The HTTP status, if there was an answer.
        wait: Seconds that the server asks to wait, or None.
        broken: The answer broke off or was no JSON: the connection's fault rather than the server's way of speaking.
        for_all: Every other request would fail alike.

    Attributes:
        attempts: How often it was asked.
    """

    attempts = 1

    def __init__(
        self, kind: str, detail: str, status: int | None = None, wait: float | None = None, *,
        broken: bool = False, for_all: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail, self.status, self.wait = kind, detail, status, wait
        self.broken, self.for_all = broken, for_all

    @property
    def is_retryable(self) -> bool:
        """True if the same request may succeed later."""
        return self.kind in (UNAVAILABLE, TIMED_OUT) or self.broken

    @property
    def is_outage(self) -> bool:
        """True if it speaks against the server's health; a rate limit does not."""
        return self.is_retryable and self.status != 429


class EndpointDown(DataError):
    """No request can succeed: the run stops, and what was answered is kept."""


def of_status(status: int, code: str | None, message: str, wait: float | None) -> EndpointFailure:
    """Return the failure that an HTTP status means."""
    detail = f"HTTP {status}" + (f", {message}" if message else "")
    if code in SPENT:
        return EndpointFailure(REFUSED, detail, status, for_all=True)
    if status in RETRIED or status >= 500:
        return EndpointFailure(UNAVAILABLE, detail, status, wait)
    return EndpointFailure(REFUSED, detail, status, for_all=status in FOR_ALL)


def clean(words: object, longest: int = LONGEST) -> str:
    """Return a server's words in one short line without control characters, fit for a terminal."""
    text = "" if words is None else str(words)[: 8 * longest]
    plain = "".join(" " if unicodedata.category(character).startswith("C") else character for character in text)
    line = " ".join(plain.split())
    return line if len(line) <= longest else f"{line[:longest]}…"
