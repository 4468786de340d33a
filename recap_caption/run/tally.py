"""How a worker fares, for others to read: a small file of its own, written anew every few seconds."""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recap_caption.rows import OK
from recap_caption.run.asking import Answer
from recap_caption.run.who import this_process

WINDOW = 60.0  # seconds over which rates are taken
LOADING, CAPTIONING, WAITING, DONE, STOPPED, FAILED = "loading", "captioning", "waiting", "done", "stopped", "failed"
AT_WORK = (LOADING, CAPTIONING, WAITING)


@dataclass
class Tally:
    """What a worker has done since it began.

    Args:
        worker: Its name.
        devices: How many devices its engine has.
        state: What it does now.
        asked: Captions asked for.
        failures: By status and kind.
        tokens_in: Tokens of questions.
        tokens_out: Tokens of captions.
        seconds: Of the engine at work.
        hands: Rows that have an answer, of the rows of each part in its hands.
        rate: Captions a second of late.
        token_rate: Tokens of captions a second of late.
        process: What tells its process from others.
    """

    worker: str
    devices: int = 1
    state: str = LOADING
    asked: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    hands: dict[str, tuple[int, int]] = field(default_factory=dict)
    rate: float = 0.0
    token_rate: float = 0.0
    process: dict[str, Any] = field(default_factory=this_process)

    def __post_init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque([(time.monotonic(), 0, 0)])

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        self.asked += 1
        self.tokens_in += answer["n_prompt_tokens"] or 0
        self.tokens_out += answer["n_output_tokens"] or 0
        self.seconds += answer["seconds"]
        if answer["status"] != OK:
            kind = f"{answer['status']}: {answer['error_type']}"
            self.failures[kind] = self.failures.get(kind, 0) + 1

    def measure(self) -> None:
        """Take the rates of the last minute."""
        now = (time.monotonic(), self.asked, self.tokens_out)
        self._marks.append(now)
        while len(self._marks) > 2 and now[0] - self._marks[1][0] > WINDOW:
            self._marks.popleft()
        seconds = max(now[0] - self._marks[0][0], 1e-9)
        self.rate, self.token_rate = (round((now[which] - self._marks[0][which]) / seconds, 3) for which in (1, 2))

    def write(self, folder: Path) -> None:
        """Write it; a file that cannot be written costs nobody a caption."""
        path = folder / f"{self.worker}.json"
        part = path.with_suffix(".part")
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(asdict(self)), encoding="utf-8")
            part.replace(path)


def read_tallies(folder: Path) -> dict[Path, dict[str, Any]]:
    """Return what workers have written, those left out that are being written just now."""
    found = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        with suppress(OSError, ValueError):
            found[path] = json.loads(path.read_text(encoding="utf-8"))
    return found
