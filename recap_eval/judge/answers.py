"""Answers, kept for good: paid once, asked once. One SQLite file for all judges, shared by any number of processes.

An answer is on disk before it counts. The raw answer is what is kept, and it is read anew each time: a better parser costs
nothing.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType

from recap_eval.endpoint.reply import Reply
from recap_eval.errors import DataError
from recap_eval.kept import KeptRows

NAME = "judge.sqlite"  # in the cache folder
OPTION = "--judge-cache"  # names another file


@dataclass(frozen=True)
class Answer:
    """One answer with all it depends on.

    Args:
        key: Digest of image, texts, template, model, settings and repeat.
        image: Digest of the image.
        texts: Digest of the texts.
        template: Digest of the template.
        model: The model asked.
        settings: All settings, as canonical JSON.
        repeat: Number of the repeat, from 0.
        raw: The answer, as it is.
        refusal: The model's refusal, or None.
        finish_reason: Why it ended.
        status: How it was read when it came: rated, unparsable or refused.
        value: The figure then, or None.
        answered_by: The model, as the server names it.
        fingerprint: The server's `system_fingerprint`, or "".
        tokens_in: Tokens of the question.
        tokens_out: Tokens of the answer.
        via: "chat" or "batch".
        asked: When it came, in UTC.
    """

    key: str
    image: str
    texts: str
    template: str
    model: str
    settings: str
    repeat: int
    raw: str
    refusal: str | None
    finish_reason: str
    status: str
    value: float | None
    answered_by: str
    fingerprint: str
    tokens_in: int
    tokens_out: int
    via: str
    asked: str

    @property
    def reply(self) -> Reply:
        """The answer in the form in which it came."""
        return Reply(
            self.raw, self.finish_reason, self.refusal, self.answered_by, self.fingerprint, self.tokens_in, self.tokens_out
        )  # fmt: skip


COLUMNS = tuple(field.name for field in fields(Answer))


class Answers:
    """The file of answers; use it as a context, from any thread.

    Args:
        path: The file; it is made with its folder if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._rows = path, KeptRows(path, "answers", ("key TEXT", *COLUMNS[1:]), OPTION)
        try:
            self._marks = path.with_name(f"{path.name}.lock").open("ab")
        except OSError as error:
            self._rows.close()
            raise DataError(f"Cannot write {path}: {error.strerror}.", f"Choose another file: {OPTION} FILE") from error

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._rows.close()
        self._marks.close()

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers that are there, by key.

        Raises:
            DataError: The file is damaged.
        """
        return {row[0]: Answer(*row) for row in self._rows.get(keys)}

    def add(self, answers: Iterable[Answer]) -> None:
        """Write answers to disk; of a key that is there already the first answer stays.

        Raises:
            DataError: The disk is full, or the file is damaged.
        """
        self._rows.add(astuple(answer) for answer in answers)

    def claim(self, key: str) -> bool:
        """Take a question for this process; False if another process is asking it.

        The mark is a lock on a byte of a file beside the answers, which the system takes away when a process dies.
        """
        try:
            fcntl.lockf(self._marks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: a question may be asked twice, its first answer counts
            return True
        return True

    def release(self, key: str) -> None:
        """Give a question back."""
        try:
            fcntl.lockf(self._marks, fcntl.LOCK_UN, 1, _place(key))
        except OSError:
            return


def _place(key: str) -> int:
    return int(key[:15], 16)
