"""Getting bytes over HTTP: retried, resumed, and from nowhere but http and https.

The standard library's urllib, and no client of a dependency: its redirects can be held to https, it follows the user's proxy
settings, and the hub's library has changed its own client twice.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from typing import IO, Any, TypeVar
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from recap_eval import __version__

TIMEOUT = 60.0  # seconds without a byte
TRIES = 6  # failures in a row, without progress, before an address is given up
WAIT = 1.0  # seconds before the second try; doubled at each failure
LONGEST_WAIT = 60.0
PROGRESS = 1 << 20  # bytes between two failures after which they do not count as in a row
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})

T = TypeVar("T")


class Refused(Exception):
    """An address does not give what is asked of it; the text says why."""


class _Redirects(request.HTTPRedirectHandler):
    """Follows redirects of the same scheme, and from http up to https; no others."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> request.Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in {before, "https"}:
            raise Refused(f"{urlsplit(req.full_url).netloc} leads from {before} to {after}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    """Return an opener without urllib's file:, ftp: and data: handlers."""
    opener = request.OpenerDirector()
    handlers = (
        request.ProxyHandler, request.UnknownHandler, request.HTTPHandler, request.HTTPSHandler,
        request.HTTPDefaultErrorHandler, _Redirects, request.HTTPErrorProcessor,
    )  # fmt: skip
    for handler in handlers:
        opener.add_handler(handler())
    return opener


def ask(
    url: str,
    act: Callable[[Any], T],
    headers: Callable[[], dict[str, str]] = dict,
    got: Callable[[], int] = lambda: 0,
    tell: Callable[[str], None] = lambda text: None,
) -> T:
    """Open an address and act on the answer, again after a lost connection or a busy server.

    Args:
        url: The address.
        act: What to do with the open answer. An OSError it raises is a lost connection.
        headers: Headers of the next request.
        got: How many bytes have come in so far: progress makes earlier failures count no more.
        tell: Told what went wrong and when it is tried again.

    Raises:
        Refused: The address answers that it has no such thing, or went on failing.
    """
    opener, failures, before = _opener(), 0, got()
    while True:
        try:
            wanted = request.Request(url, headers={"User-Agent": f"recap-eval/{__version__}"} | headers())
            with opener.open(wanted, timeout=TIMEOUT) as response:
                return act(response)
        except HTTPError as error:
            error.close()
            why, asked = f"{urlsplit(url).netloc} answers {error.code} {error.reason}", _retry_after(error)
            if error.code not in AGAIN:
                raise Refused(why) from error
        except (OSError, http.client.HTTPException) as error:
            why, asked = f"{urlsplit(url).netloc}: {_reason(error)}", 0.0
            if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
                raise Refused(why) from error
        failures, before = (1 if got() - before >= PROGRESS else failures + 1), got()
        if failures >= TRIES:
            raise Refused(f"{why} ({failures} times in a row)")
        wait = min(max(asked, WAIT * 2 ** (failures - 1)), LONGEST_WAIT)
        tell(f"{why}; again in {wait:.0f} s")
        time.sleep(wait)


def _retry_after(error: HTTPError) -> float:
    asked = error.headers.get("Retry-After", "") if error.headers else ""
    return float(asked) if asked.isdigit() else 0.0


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
