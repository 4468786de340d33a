"""Questions in batches: what was handed in stands in a folder, and answers go into the same cache as all others.

STATE/judge.json          who is asked, and how
STATE/NNN.tickets.jsonl   the questions of one batch, a line each, written before it is handed in
STATE/NNN.json            the batch: its label, its id once there is one, and how it ended
"""

from __future__ import annotations

import fcntl
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from recap_eval.endpoint.batches import MOST_BYTES, MOST_REQUESTS, PATH, Batch, BatchClient
from recap_eval.endpoint.money import Budget, batch_share
from recap_eval.endpoint.reply import Reply
from recap_eval.errors import DataError, UserError
from recap_eval.files import canonical_json, read_json, write_json, write_text
from recap_eval.judge.answers import Answer, Answers
from recap_eval.judge.questions import Judge, Question, Ticket
from recap_eval.judge.templates import Template

JUDGE = "judge.json"
PART = 500  # answers of one transaction
SHOWN = 3


@dataclass(frozen=True)
class Shard:
    """One batch as the folder remembers it.

    Args:
        number: Its number, from 1.
        label: A name of its own, by which it is found again if we were stopped while handing it in.
        id: The server's id; "" until it is known.
        collected: How it ended; "" until its answers are taken in.
    """

    number: int
    label: str
    id: str = ""
    collected: str = ""


@dataclass
class Collected:
    """What came of collecting.

    Args:
        answers: Answers taken in.
        failed: What went wrong, by key.
        waiting: Batches that are not finished.
        missing: Questions of finished batches without an answer; they can be handed in again.
    """

    answers: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    waiting: int = 0
    missing: int = 0


class Docket:
    """A folder of batches.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out, so that no question is handed in twice.

        Raises:
            DataError: Another process is at it, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            mark = (self.folder / "lock").open("w")
        except OSError as error:
            raise DataError(f"Cannot write {self.folder}: {error.strerror}.", "Choose another folder: --state DIR") from error
        with mark:
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(f"Another process is at the batches in {self.folder}.", "Wait until it is done.") from error
            yield

    def open_for(self, judge: Judge) -> None:
        """Note who is asked.

        Raises:
            UserError: The folder is of another judge.
        """
        place, wanted = self.folder / JUDGE, asdict(judge)
        if place.is_file() and (known := read_json(place)) != wanted:
            fields = [name for name in wanted if known.get(name) != wanted[name]]
            raise UserError(
                f"{self.folder} holds batches of another judge: other {', '.join(fields)}.", "Name another: --state DIR"
            )
        write_json(place, wanted)

    def judge(self) -> Judge:
        """Return who is asked.

        Raises:
            DataError: Nothing was handed in from this folder, or it is damaged.
        """
        if not (self.folder / JUDGE).is_file():
            raise DataError(f"{self.folder} holds no batches.", "Hand some in: recap-eval judge submit --state DIR --images …")
        facts = read_json(self.folder / JUDGE)
        try:
            return Judge(**facts | {"template": Template(**facts["template"])})
        except (TypeError, KeyError) as error:
            raise DataError(f"{self.folder / JUDGE} is damaged ({error}).", "Hand in again with another --state.") from error

    def shards(self) -> list[Shard]:
        """Return the batches, in order."""
        return [Shard(**read_json(path)) for path in sorted(self.folder.glob("[0-9]*.json"))]

    def tickets(self, shard: Shard) -> dict[str, Ticket]:
        """Return the questions of a batch, by key."""
        lines = self._place(shard, "tickets.jsonl").read_text(encoding="utf-8").splitlines()
        return {ticket.key: ticket for ticket in (Ticket(**json.loads(line)) for line in lines)}

    def note(self, shard: Shard) -> None:
        """Write how a batch stands."""
        write_json(self._place(shard, "json"), asdict(shard))

    def begin(self, tickets: Sequence[Ticket]) -> Shard:
        """Note questions that are about to be handed in."""
        shard = Shard(len(self.shards()) + 1, secrets.token_hex(8))
        write_text(self._place(shard, "tickets.jsonl"), "".join(f"{canonical_json(asdict(one))}\n" for one in tickets))
        self.note(shard)
        return shard

    def _place(self, shard: Shard, suffix: str) -> Path:
        return self.folder / f"{shard.number:03d}.{suffix}"


def settle(docket: Docket, client: BatchClient) -> None:
    """Find out about batches that were being handed in when we were stopped: known to the server, or never arrived."""
    for shard in docket.shards():
        if not shard.id and not shard.collected:
            found = client.find(shard.label)
            docket.note(replace(shard, id=found) if found else replace(shard, collected="never handed in"))


def submit(
    docket: Docket, questions: Iterable[Question], client: BatchClient, answers: Answers, budget: Budget,
    most: tuple[int, int] = (MOST_BYTES, MOST_REQUESTS),
) -> list[Shard]:  # fmt: skip
    """Hand in all questions that have no answer and are not under way, in as many batches as their sizes need.

    Args:
        docket: The folder.
        questions: The questions, all of one judge.
        client: The server.
        answers: Where answers are kept.
        budget: What may be spent, batches costing their share of it.
        most: Bytes and requests of one batch.

    Returns:
        The batches that were handed in now.

    Raises:
        BudgetReached: The next batch might cost too much.
        EndpointDown: The server refuses.
        DataError: An image is unreadable.
    """
    settle(docket, client)
    under_way = {key for shard in docket.shards() if not shard.collected for key in docket.tickets(shard)}
    distinct = {question.key: question for question in questions if question.key not in under_way}
    known = answers.get(list(distinct))
    made = []
    for tickets, lines in _files([one for key, one in distinct.items() if key not in known], budget, most):
        shard = docket.begin(tickets)
        shard = replace(shard, id=client.submit(f"{shard.number:03d}.jsonl", lines, shard.label))
        docket.note(shard)
        made.append(shard)
    return made


def _files(questions: Sequence[Question], budget: Budget, most: tuple[int, int]) -> Iterator[tuple[list[Ticket], bytes]]:
    """Yield the questions of each batch and its file, with what it may cost set aside."""
    tickets: list[Ticket] = []
    lines: list[bytes] = []
    for question in questions:
        line = _line(question, budget)
        if tickets and (sum(map(len, lines)) + len(line) > most[0] or len(lines) >= most[1]):
            yield tickets, b"".join(lines)
            tickets, lines = [], []
        tickets.append(question.ticket)
        lines.append(line)
    if tickets:
        yield tickets, b"".join(lines)


def _line(question: Question, budget: Budget) -> bytes:
    picture = question.picture()
    share = batch_share()
    budget.hold(round(question.tokens(picture.size) * share), round(question.judge.most * share))
    row = {"custom_id": question.key, "method": "POST", "url": PATH, "body": question.body(picture)}
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def standing(docket: Docket, client: BatchClient) -> list[tuple[Shard, Batch | None]]:
    """Return all batches and how they stand; None for those that are collected already."""
    settle(docket, client)
    return [(shard, None if shard.collected else client.status(shard.id)) for shard in docket.shards()]


def collect(docket: Docket, client: BatchClient, answers: Answers) -> Collected:
    """Take the answers of finished batches into the cache; what failed or expired may be handed in again.

    Raises:
        EndpointDown: The server cannot be reached.
        DataError: Answers cannot be written.
    """
    outcome, judge = Collected(), docket.judge()
    for shard, batch in standing(docket, client):
        if batch is None:
            continue
        if not batch.is_final:
            outcome.waiting += 1
            continue
        tickets = docket.tickets(shard)
        for part in _parts(_answered(batch, client, tickets, judge, outcome)):
            answers.add(part)
            outcome.answers += len(part)
        outcome.missing += len(tickets.keys() - answers.get(list(tickets)).keys())
        if batch.errors:
            outcome.failed[batch.id] = batch.errors
        docket.note(replace(shard, collected=batch.status))
    return outcome


def _answered(
    batch: Batch, client: BatchClient, tickets: dict[str, Ticket], judge: Judge, outcome: Collected
) -> Iterator[Answer]:
    for file in batch.outputs:
        for key, reply in client.rows(file):
            if isinstance(reply, Reply) and key in tickets:
                yield tickets[key].answer(judge, reply, "batch")
            else:
                outcome.failed[key] = reply if isinstance(reply, str) else "an answer to no question of ours"


def _parts(found: Iterator[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    for one in found:
        part.append(one)
        if len(part) == PART:
            yield part
            part = []
    if part:
        yield part
