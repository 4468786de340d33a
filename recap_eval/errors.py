"""The two errors a user can make, each told in two lines: what is wrong, and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A wrong request: printed as two lines without a traceback, exit code 2.

    Args:
        what: One line that says what is wrong and names the thing.
        hint: One line that says what to do or type next.
    """

    exit_code = 2

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what, hint)  # both, so that it arrives whole from another process
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return self.what


class DataError(UserError):
    """A right request that the files cannot fulfil (corrupt, missing, not comparable): exit code 1."""

    exit_code = 1


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, or None if none is close."""
    lowered = {k.lower(): k for k in known}
    for asked, least in ((name.lower(), 0.5), (name.lower().partition("/")[0], 0.7)):  # runs/p0 does not mean RN50
        if close := difflib.get_close_matches(asked, list(lowered), n=1, cutoff=least):
            return lowered[close[0]]
    return None


def unknown_name(kind: str, name: str, known: Iterable[str], see: str) -> UserError:
    """Build the error for a name that no table holds, with the nearest valid one.

    Args:
        kind: What the name stands for, such as "task".
        name: The name as the user typed it.
        known: The valid names.
        see: The command that lists all valid names.
    """
    guess = nearest(name, known)
    hint = f"Did you mean {guess!r}? All names: {see}" if guess else f"All names: {see}"
    return UserError(f"Unknown {kind} {name!r}.", hint)
