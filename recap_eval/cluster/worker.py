"""What runs on another machine. It is sent there as source, so that a machine without recap can still say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Worker:
    """One actor: it says which code it would run, makes what does parts, then does them, one at a time."""

    def __init__(self) -> None:
        self._do: Callable[[Any], Any] | None = None

    def begin(self, make: bytes, code: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Make what does parts, once, whatever it costs to load; nothing if the code here is other code.

        Args:
            make: Pickle of a function that returns what does a part.
            code: What `code.code_here()` is where the run was started.

        Returns:
            The machine's name, and its own `code_here()`; nothing of it without recap, or with one from before it had this.
        """
        import pickle
        import socket

        try:
            from recap_eval.cluster.code import code_here
        except ImportError:
            return socket.gethostname(), {}
        if code_here() == code:
            self._do = pickle.loads(make)()
        return socket.gethostname(), code_here()

    def do(self, part: Any) -> Any:
        """Return what comes of a part."""
        assert self._do is not None
        return self._do(part)
