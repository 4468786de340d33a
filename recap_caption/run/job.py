"""A part in a worker's hands: what is to be asked of it, what is answered, and the rows when all is."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from recap_caption.engines.base import Reply, Request
from recap_caption.rows import OK, PASSING
from recap_caption.run.asking import Answer, Asking, Made, answer_of, fault_answer
from recap_caption.run.lease import Lease
from recap_caption.run.spool import Kept, Spool
from recap_caption.sources.base import Fault, Item, Opened, Part

Row = dict[str, Any]


@dataclass(eq=False)
class Job:
    """A part that is being captioned.

    Args:
        part: It.
        lease: What says that it is this worker's.
        opened: Its samples.
        asking: The questions.
        spool: Where answers are kept.
        kept: What earlier holders kept.
        base: The rows of the generation before; None for the first.
        again: The statuses of those that are asked again.
    """

    part: Part
    lease: Lease
    opened: Opened
    asking: Asking
    spool: Spool
    kept: Kept
    base: list[Row] | None = None
    again: tuple[str, ...] = ()
    answers: dict[int, Answer] = field(default_factory=dict)
    spent: list[Answer] = field(default_factory=list)
    lost: bool = False  # another worker has it by now

    def __post_init__(self) -> None:
        known = {place: answer for place, answer in self.kept.answers.items() if answer["status"] not in PASSING}
        self._digests: dict[int, str] = {}
        self._waiting: set[int] = set()
        places = range(len(self)) if self.base is None else self._failed(self.base)
        self.answers = {place: known[place] for place in places if place in known}
        self._to_ask = deque(place for place in places if place not in known)
        self.spent = list(self.kept.all)

    def _failed(self, base: list[Row]) -> list[int]:
        return [place for place, row in enumerate(base) if row["status"] in self.again]

    def __len__(self) -> int:
        return len(self.opened.items) * len(self.asking.questions)

    @property
    def to_ask(self) -> int:
        """Rows about which nothing has been asked yet."""
        return len(self._to_ask)

    @property
    def left(self) -> int:
        """Rows that have no answer yet."""
        return len(self._to_ask) + len(self._waiting)

    @property
    def done(self) -> int:
        """Rows that have one."""
        return len(self) - self.left

    def requests(self, numbers: Iterator[int]) -> Iterator[tuple[int, Request]]:
        """Yield place and question of what is to be asked; what cannot be asked is answered on the way.

        Args:
            numbers: Gives each question the number that an engine hands back.
        """
        while self._to_ask and not self.lost:
            place = self._to_ask[0]
            self._waiting.add(place)  # before it leaves the other list: another thread may count both
            self._to_ask.popleft()
            number = self.asking.split(place)[0]
            item = self.opened.items[number]
            asked = self.asking.request(place, item, self._reader(number, item), next(numbers))
            if isinstance(asked, Fault):
                self.answers[place] = fault_answer(asked)
                self._waiting.discard(place)
                continue
            yield place, asked

    def _reader(self, number: int, item: Item) -> Callable[[], bytes] | None:
        """Return what reads an image, and notes its digest where none was stated."""
        read = item.read_image
        if read is None or item.sha256 is not None:
            return read

        def read_and_note() -> bytes:
            payload = read()
            if number not in self._digests:
                self._digests[number] = hashlib.sha256(payload).hexdigest()
            return payload

        return read_and_note

    def keep(self, place: int, reply: Reply, seconds: float) -> Answer:
        """Keep a reply; returns it as it is kept.

        Raises:
            DataError: It cannot be written.
        """
        answer = answer_of(reply) | {"seconds": round(seconds, 6)}
        if (digest := self._digests.get(self.asking.split(place)[0])) is not None:
            answer["sha256"] = digest
        self.spool.append(place, answer)
        self.answers[place] = answer
        self.spent.append(answer)
        self._waiting.discard(place)
        return answer

    def rows(self, made: Made) -> list[Row]:
        """Return all rows, in order, without the marks of those that are new."""
        rows = [] if self.base is None else [dict(row) for row in self.base]
        for place in range(len(self)) if self.base is None else sorted(self.answers):
            number = self.asking.split(place)[0]
            row = self.asking.row(place, self.opened.items[number], self.answers[place], made)
            if self.base is None:
                rows.append(row)
            else:
                rows[place] = row | {"attempts": (row["attempts"] or 0) + (self.base[place]["attempts"] or 0)}
        return rows

    def facts(self, devices: int) -> dict[str, Any]:
        """Return what an output says of its making: of this generation, by all who worked on it."""
        seconds = sum(answer.get("seconds") or 0.0 for answer in self.spent)
        return {
            "asked": {
                "captions": len(self.spent), "ok": sum(answer["status"] == OK for answer in self.spent),
                "tokens_in": sum(answer.get("n_prompt_tokens") or 0 for answer in self.spent),
                "tokens_out": sum(answer.get("n_output_tokens") or 0 for answer in self.spent),
                "seconds": round(seconds, 3), "device_seconds": round(seconds * devices, 3),
            },
            "torn": self.opened.torn, "lost": self.opened.lost,
        }  # fmt: skip

    def close(self) -> None:
        """Give back what is held, the lease last.

        Raises:
            DataError: The spool cannot be written.
        """
        try:
            self.spool.close()
        finally:
            self.opened.close()
            self.lease.release()
