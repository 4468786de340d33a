"""A judge's ratings of items: what `recap-eval t2i` and `recap-eval captions` call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.console import note
from recap_eval.data.digests import Digests
from recap_eval.endpoint.money import Budget, Price, batch_share, find_price
from recap_eval.errors import DataError
from recap_eval.judge.answers import Answer, Answers
from recap_eval.judge.asking import Asked, Setup, ask_all
from recap_eval.judge.parsing import PARSERS, RATED, REFUSED, UNPARSABLE, Verdict
from recap_eval.judge.questions import Item, Judge, Question, questions_of

FAILED = "failed"
PROBED = 64  # images whose size is looked at for the estimate
SHOWN = 3


@dataclass(frozen=True)
class Config:
    """A judge at work.

    Args:
        judge: Who is asked, and how.
        setup: Where.
        cache: The file of answers.
        repeats: How often each question is asked.
        max_cost: US dollars that this run may spend, or None.
        price: US dollars a million tokens in and out, where the user says them.
        digests: The file in which digests of images are remembered, or None.
    """

    judge: Judge
    setup: Setup
    cache: Path
    repeats: int = 1
    max_cost: float | None = None
    price: tuple[float | None, float | None] = (None, None)
    digests: Path | None = None

    def budget(self) -> Budget:
        """Return what this run may spend.

        Raises:
            UserError: There is a limit, and the price is unknown; or half a price is given.
        """
        return Budget(self.max_cost, find_price(self.judge.model, self.judge.provider, self.price))


@dataclass(frozen=True)
class Usage:
    """What all answers of a rating took, whenever they came.

    Args:
        tokens_in: Tokens of the questions.
        tokens_out: Tokens of the answers.
        cost: US dollars; None if the price is unknown.
        price: Where the price is from.
        spent: US dollars spent by this run alone.
        asked: Answers that came in this run.
    """

    tokens_in: int
    tokens_out: int
    cost: float | None
    price: str
    spent: float
    asked: int


@dataclass(frozen=True)
class Ratings:
    """What a judge says of items.

    Args:
        items: (N) the items, without those whose image is unreadable.
        verdicts: (N) lists of verdicts, one a repeat.
        low: The least figure there is.
        high: The greatest.
        usage: What it took.
        answered_by: How many answers came from which model, as the servers name it.
        failed: Why, by the keys of the items that have a question without an answer.
        bad: What is wrong, by the places of unreadable images.
        retries: Failed attempts by kind.
    """

    items: list[Item]
    verdicts: list[list[Verdict]]
    low: float
    high: float
    usage: Usage
    answered_by: dict[str, int]
    failed: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)

    @property
    def values(self) -> list[float | None]:
        """(N) the mean over an item's repeats that are rated; None where there is none."""
        return [_mean([one.value for one in row if one.value is not None]) for row in self.verdicts]

    def counts(self) -> dict[str, int]:
        """Return how many verdicts there are of each kind."""
        found = Counter(one.status for row in self.verdicts for one in row)
        return {status: found[status] for status in (RATED, UNPARSABLE, REFUSED, FAILED)}

    def bounds(self) -> tuple[float, float] | None:
        """Return the means if everything without a figure had had the least, and the greatest; None without items."""
        rows = [[one.value for one in row] for row in self.verdicts]
        if not rows:
            return None
        means = [
            [sum(edge if value is None else value for value in row) / len(row) for row in rows]
            for edge in (self.low, self.high)
        ]
        return sum(means[0]) / len(rows), sum(means[1]) / len(rows)


def judge_items(items: Sequence[Item], config: Config) -> Ratings:
    """Ask a judge about items and return what it says.

    Args:
        items: The items, their keys distinct.
        config: The judge at work.

    Returns:
        One verdict an item and repeat: rated, unparsable, refused, or failed for want of an answer.

    Raises:
        EndpointDown: No question can be answered.
        BudgetReached: More would cost too much; what was answered is kept.
        DataError: There is no key, an image is unreadable, or answers cannot be written.
        UserError: A limit on money without a price; an item has another number of texts than the template.
    """
    budget = config.budget()
    rows = questions_of(items, config.judge, config.repeats, Digests(config.digests, config.setup.progress))
    flat = [question for row in rows for question in row]
    with Answers(config.cache) as answers:
        before = _estimate(flat, answers, config, budget)
        if before.questions and config.setup.progress:
            note(f"  judge: {before.line(config.judge.model)}")
        asked = ask_all(flat, config.setup, answers, budget)
        found = answers.get([question.key for question in flat])
    kept = [row for row in rows if row[0].item.image.where not in asked.bad]
    return _gathered(kept, found, asked, config, budget)


def _gathered(rows: list[list[Question]], found: dict[str, Answer], asked: Asked, config: Config, budget: Budget) -> Ratings:
    parser = PARSERS[config.judge.template.parser]
    verdicts = [[_verdict(question, found, asked) for question in row] for row in rows]
    failed = {
        row[0].item.key: next(one.why for one in row_verdicts if one.status == FAILED)
        for row, row_verdicts in zip(rows, verdicts, strict=True)
        if any(one.status == FAILED for one in row_verdicts)
    }
    return Ratings(
        [row[0].item for row in rows], verdicts, parser.low, parser.high, _usage(found, asked, budget),
        dict(Counter(answer.answered_by or "unnamed" for answer in found.values())), failed, asked.bad, asked.retries,
    )  # fmt: skip


def _verdict(question: Question, found: dict[str, Answer], asked: Asked) -> Verdict:
    if question.key in found:
        return question.ticket.read(question.judge, found[question.key].reply)
    return Verdict(FAILED, why=asked.failed.get(question.key, "not asked"))


def _usage(found: dict[str, Answer], asked: Asked, budget: Budget) -> Usage:
    tokens_in, tokens_out = (sum(getattr(one, name) for one in found.values()) for name in ("tokens_in", "tokens_out"))
    price = budget.price
    cost = None if price is None else sum(cost_of(one, price) for one in found.values())
    return Usage(tokens_in, tokens_out, cost, "unknown" if price is None else price.source, budget.spent, asked.new)


def cost_of(answer: Answer, price: Price) -> float:
    """Return what an answer cost, in US dollars; one that came in a batch cost its share."""
    return price.of(answer.tokens_in, answer.tokens_out) * (batch_share() if answer.via == "batch" else 1.0)


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Args:
        questions: Questions without an answer yet.
        known: Questions that are answered already.
        tokens_in: Tokens of the former, estimated.
        tokens_out: The most tokens of their answers.
        cost: US dollars at most; None if the price is unknown.
        price: Where the price is from.
    """

    questions: int
    known: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    price: str

    def line(self, model: str) -> str:
        """Say it in a line."""
        told = f"{self.questions:,} questions to {model}, {self.known:,} are answered already"
        if self.questions == 0:
            return told
        money = "at a price unknown here" if self.cost is None else f"at most about ${self.cost:,.2f} ({self.price})"
        return f"{told}: about {self.tokens_in:,} tokens in and at most {self.tokens_out:,} out, {money}"


def estimate(items: Sequence[Item], config: Config) -> Estimate:
    """Return what a run will take, before anything is asked; sizes are looked at of some images only.

    Raises:
        DataError: An image is unreadable, and bad ones are not to be left out; or the answers are.
        UserError: A limit on money without a price.
    """
    rows = questions_of(items, config.judge, config.repeats, Digests(config.digests, config.setup.progress))
    with Answers(config.cache) as answers:
        return _estimate([question for row in rows for question in row], answers, config, config.budget())


def _estimate(questions: list[Question], answers: Answers, config: Config, budget: Budget) -> Estimate:
    distinct = {question.key: question for question in questions}
    known = answers.get(list(distinct))
    todo = [question for key, question in distinct.items() if key not in known]
    tokens, most, price = _tokens(todo, config.setup.skip_bad), len(todo) * config.judge.most, budget.price
    cost = None if price is None else price.of(tokens, most)
    return Estimate(len(todo), len(known), tokens, most, cost, "unknown" if price is None else price.source)


def _tokens(todo: list[Question], skip_bad: bool) -> int:
    counted = []
    for question in todo[:: max(1, len(todo) // PROBED)]:
        try:
            counted.append(question.tokens(question.size()))
        except DataError:
            if not skip_bad:
                raise
    return round(len(todo) * sum(counted) / len(counted)) if counted else 0


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def facts(ratings: Ratings, config: Config) -> dict[str, Any]:
    """Return what a result says of how its ratings came about."""
    usage = ratings.usage
    told: dict[str, Any] = {"answered_by": ratings.answered_by, "template_digest": config.judge.template.digest}
    told |= {"tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out, "cost_usd": usage.cost, "price": usage.price}
    return told | {"asked_now": usage.asked, "spent_now_usd": usage.spent, "failed_attempts": ratings.retries}
