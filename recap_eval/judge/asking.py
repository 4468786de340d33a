"""Questions put to servers, each once: what is known is not asked, what is answered is on disk before it counts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from recap_eval.console import progress_bar
from recap_eval.endpoint.address import Address, demand_key
from recap_eval.endpoint.client import Client, Limits
from recap_eval.endpoint.drive import drive
from recap_eval.endpoint.failures import REFUSED, EndpointDown, EndpointFailure
from recap_eval.endpoint.money import Budget
from recap_eval.errors import DataError
from recap_eval.judge.answers import Answer, Answers
from recap_eval.judge.questions import Question

GIVE_UP = 8  # questions that fail for good before any is answered
POLL = 0.5  # seconds between looks at what another process is asking


@dataclass
class Asked:
    """What came of asking.

    Args:
        new: How many answers came.
        failed: What went wrong, by the key of the question.
        bad: Images that are unreadable: what is wrong, by place.
        retries: Failed attempts by kind, those included that went well later.
    """

    new: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)


class Writer:
    """Writes answers that come together in one transaction; `keep` returns when they are on disk."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._waiting: list[tuple[Answer, asyncio.Future[None]]] = []
        self._busy = False

    async def keep(self, answer: Answer) -> None:
        """Write an answer."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, done))
        if not self._busy:
            await self._write_all()
        await done

    async def _write_all(self) -> None:
        self._busy = True
        try:
            while self._waiting:
                part, self._waiting = self._waiting, []
                error: DataError | None = None
                try:
                    await asyncio.shield(asyncio.to_thread(self._answers.add, [answer for answer, _ in part]))
                except DataError as found:
                    error = found
                for _, done in part:
                    if not done.done():
                        done.set_result(None) if error is None else done.set_exception(error)
        finally:
            self._busy = False


class Asking:
    """One run of questions.

    Args:
        client: The client.
        answers: Where answers are kept.
        budget: What may be spent.
        skip_bad: Leave out unreadable images instead of stopping.
        bar: The progress bar.
    """

    def __init__(self, client: Client, answers: Answers, budget: Budget, skip_bad: bool, bar: Any) -> None:
        self.client, self.answers, self.budget, self.skip_bad, self._bar = client, answers, budget, skip_bad, bar
        self.outcome, self._writer = Asked(), Writer(answers)

    async def ask(self, question: Question) -> None:
        """Ask a question, unless another process does; then wait for that answer."""
        while not self.answers.claim(question.key):
            await asyncio.sleep(POLL)
            if self.client.stopping.is_set():
                return
        try:
            if not self.answers.get([question.key]):  # another process may have been quicker
                await self._ask(question)
        finally:
            self.answers.release(question.key)
        self._bar.update(1)
        if self.budget.price is not None:
            self._bar.set_postfix_str(f"${self.budget.spent:.2f}", refresh=False)

    async def _ask(self, question: Question) -> None:
        try:
            picture = await asyncio.to_thread(question.picture)
        except DataError as error:
            if not self.skip_bad:
                raise
            self.outcome.bad[question.item.image.where] = error.what
            return
        tokens, most = question.tokens(picture.size), question.judge.most
        held = self.budget.hold(tokens, most)
        try:
            reply = await self.client.chat(question.body(picture), tokens + most)
        except EndpointFailure as failure:
            self._fail(question, failure, held)
            return
        except BaseException:  # cancelled, or the end of the run: the server may charge for it all the same
            self.budget.doubt(held)
            raise
        await self._writer.keep(question.ticket.answer(question.judge, reply, "chat"))
        self.budget.settle(held, tokens, (reply.tokens_in, reply.tokens_out))
        self.outcome.new += 1

    def _fail(self, question: Question, failure: EndpointFailure, held: float) -> None:
        if failure.kind == REFUSED:
            self.budget.settle(held)
        else:  # a server may charge for what it could not deliver
            self.budget.doubt(held)
        self.outcome.failed[question.key] = f"{failure.kind}: {failure.detail}"
        if self.outcome.new == 0 and len(self.outcome.failed) >= GIVE_UP:
            hint = "Check --judge-model and the judge's settings." if failure.kind == REFUSED else "Check --base-url."
            raise EndpointDown(f"{GIVE_UP} questions failed and none was answered: {failure.detail}.", hint)


@dataclass(frozen=True)
class Setup:
    """Where and how questions are asked.

    Args:
        address: The servers.
        limits: How hard they are asked.
        skip_bad: Leave out unreadable images instead of stopping.
        progress: Show a progress bar.
    """

    address: Address
    limits: Limits = field(default_factory=Limits)
    skip_bad: bool = False
    progress: bool = True


def ask_all(questions: Sequence[Question], setup: Setup, answers: Answers, budget: Budget) -> Asked:
    """Ask all questions that have no answer yet; equal ones are asked once.

    Returns:
        What came of it; single questions that fail leave the others running.

    Raises:
        EndpointDown: No question can be answered.
        BudgetReached: More would cost too much.
        DataError: There is no key, an image is unreadable, or answers cannot be written.
        KeyboardInterrupt: Ctrl-C; what was answered is kept.
    """
    distinct = {question.key: question for question in questions}
    known = answers.get(list(distinct))
    todo = [question for key, question in distinct.items() if key not in known]
    if not todo:
        return Asked()
    demand_key(setup.address)
    with progress_bar(len(todo), "  judge", "answers", disable=not setup.progress) as bar:
        return asyncio.run(_ask_all(todo, setup, answers, budget, bar))


async def _ask_all(todo: Sequence[Question], setup: Setup, answers: Answers, budget: Budget, bar: Any) -> Asked:
    def tell(line: str) -> None:
        bar.write(f"  judge: {line}", file=sys.stderr)

    client = Client(setup.address, setup.limits, tell)
    asking = Asking(client, answers, budget, setup.skip_bad, bar)
    try:
        await drive(todo, asking.ask, setup.limits.concurrency, client.stopping, tell)
    finally:
        await client.close()
    asking.outcome.retries = dict(client.failures)
    return asking.outcome
