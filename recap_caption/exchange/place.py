"""An output folder that knows what it is the answer to: the same command goes on or does nothing, another is refused."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_json, read_json, write_json

RECORD = "exchange.json"


@dataclass(frozen=True)
class Place:
    """An output folder.

    Args:
        root: It.
        question: What decides its contents, in words and numbers.
    """

    root: Path
    question: dict[str, Any]

    @property
    def digest(self) -> str:
        """Digest of the question."""
        return digest_json(self.question)

    @property
    def work(self) -> Path:
        """Folder of what is needed until it is done."""
        return self.root / ".work"

    @contextmanager
    def held(self) -> Iterator[dict[str, Any] | None]:
        """Hold the folder for this process; gives the report if all was done before.

        Raises:
            UserError: The folder holds something else.
            DataError: It cannot be written, or another process is at it.
        """
        known = self._known()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"Cannot write {self.root}: {error.strerror}.", "Choose another --out.") from error
        try:
            _lock(handle, self.root)
            if known is None:
                write_json(self.root / RECORD, {"question": self.question, "report": None})
            done = known and known["report"]
            yield done | {"done_before": True} if done else None
        except UserError:
            self._leave_nothing()
            raise
        finally:
            os.close(handle)

    def finish(self, report: dict[str, Any]) -> dict[str, Any]:
        """Remove what kills have left, and write down that all is done; returns the report."""
        for path in self.root.rglob(".*.part"):
            path.unlink()
        write_json(self.root / RECORD, {"question": self.question, "report": report})
        return report | {"done_before": False}

    def _leave_nothing(self) -> None:
        """Remove what a wrong request began, unless something was written."""
        if {path.name for path in self.root.iterdir()} <= {RECORD, self.work.name}:
            shutil.rmtree(self.root)

    def _known(self) -> dict[str, Any] | None:
        path = self.root / RECORD
        if path.is_file():
            found: dict[str, Any] = read_json(path)
            if not isinstance(found, dict) or found.get("question") != self.question:
                raise UserError(f"{self.root} is the answer to another command ({_differs(found, self.question)}).",
                                "Choose another --out, or delete it.")  # fmt: skip
            return found
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise UserError(f"{self.root} is not empty.", "Choose another --out.")
        return None


def _lock(handle: int, root: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(f"Another process is writing into {root}.", "Wait for it, then give the same command again.") from error
    except OSError:
        return  # a file system without locks: files take their places whole all the same


def _differs(found: Any, question: dict[str, Any]) -> str:
    before = found.get("question") if isinstance(found, dict) else None
    if not isinstance(before, dict):
        return "its exchange.json is unreadable"
    names = [name for name in {**question, **before} if before.get(name) != question.get(name)]
    return "differs in " + ", ".join(names)


def identity(paths: Sequence[Path]) -> str:
    """Return what tells whether files are still what they were: a digest of names, sizes and times."""
    return digest_json([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths])[:32]
