"""What questions cost: prices by model, tokens of an image, and a budget that is never exceeded knowingly."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError, UserError

FILE = Path(__file__).with_name("prices.toml")
MILLION = 1_000_000
BYTES_A_TOKEN = 3  # of English text there are about four to a token; three is on the safe side
WRAPPING = 20  # tokens of roles and separators around a question
DEFAULT_IMAGE = {"base": 85, "tile": 170}
MOST_PATCHES = 1536


@dataclass(frozen=True)
class Price:
    """What a model's tokens cost.

    Args:
        tokens_in: US dollars a million tokens of the question.
        tokens_out: US dollars a million tokens of the answer.
        source: Where that is from, with its date.
    """

    tokens_in: float
    tokens_out: float
    source: str

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """Return US dollars."""
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / MILLION


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def _row(model: str) -> dict[str, Any]:
    """Return a model's row; a dated snapshot has that of its name."""
    rows: dict[str, dict[str, Any]] = _table()["models"]
    return rows.get(model) or rows.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model), {})


def find_price(model: str, provider: str, given: tuple[float | None, float | None] = (None, None)) -> Price | None:
    """Return what a model costs; None if that is unknown.

    Args:
        model: Its name.
        provider: "openai", or others, whose prices nobody here knows.
        given: What the user says, in and out; both or neither.

    Raises:
        UserError: Only one of the two is given.
    """
    tokens_in, tokens_out = given
    if tokens_in is not None and tokens_out is not None:
        return Price(tokens_in, tokens_out, "as given")
    if tokens_in is not None or tokens_out is not None:
        raise UserError("A price has two parts.", "Give both, in US dollars a million tokens: --price-in 2 --price-out 8")
    row = _row(model) if provider == "openai" else {}
    return Price(row["in"], row["out"], f"list of {_table()['as_of']}") if row else None


def batch_share() -> float:
    """Return what a request in a batch costs, as a share of one by itself."""
    return float(_table()["batch"])


def image_tokens(model: str, size: tuple[int, int], detail: str) -> int:
    """Return how many tokens an image needs, as OpenAI counts them; for other models a guess of the same kind.

    Args:
        model: The model's name.
        size: Width and height in pixels.
        detail: "low", "high" or "auto", which is counted as high.
    """
    rule: dict[str, float] = _row(model).get("image", DEFAULT_IMAGE)
    if "multiplier" in rule:
        patches = min(MOST_PATCHES, math.ceil(size[0] / 32) * math.ceil(size[1] / 32))
        return math.ceil(patches * rule["multiplier"])
    if detail == "low":
        return int(rule["base"])
    width, height = _fitted(*size)
    return int(rule["base"] + rule["tile"] * math.ceil(width / 512) * math.ceil(height / 512))


def _fitted(width: float, height: float) -> tuple[float, float]:
    shrink = min(1.0, 2048 / max(width, height))
    width, height = width * shrink, height * shrink
    shrink = min(1.0, 768 / min(width, height))
    return max(1.0, width * shrink), max(1.0, height * shrink)


def text_tokens(text: str) -> int:
    """Return how many tokens a text has at most, roughly."""
    return WRAPPING + math.ceil(len(text.encode("utf-8", "replace")) / BYTES_A_TOKEN)


class BudgetReached(DataError):
    """The next question might cost more than is left: the run stops, and what was answered is kept."""


@dataclass
class Budget:
    """Money spent, and money that questions under way may cost.

    Args:
        most: US dollars that may be spent; None for no limit.
        price: The price; None if it is unknown.
        spent: What answers cost.
        uncertain: What questions without an answer may have cost: a server may charge for what it could not deliver.
    """

    most: float | None = None
    price: Price | None = None
    spent: float = 0.0
    uncertain: float = 0.0
    _held: float = 0.0
    _ratio: float = field(default=1.0)

    def __post_init__(self) -> None:
        if self.most is not None and self.price is None:
            raise UserError(
                "--max-cost needs a price, and that of this model is unknown.",
                "Give it, in US dollars a million tokens: --price-in 2 --price-out 8",
            )

    def hold(self, tokens_in: int, tokens_out: int) -> float:
        """Set aside what a question costs at most.

        Args:
            tokens_in: Its tokens, estimated; corrected by how far answers so far were off.
            tokens_out: The most that the answer may have.

        Returns:
            What was set aside, for `settle`.

        Raises:
            BudgetReached: It would exceed the limit together with what is spent and under way.
        """
        if self.price is None:
            return 0.0
        needed = self.price.of(tokens_in * self._ratio, tokens_out)
        if self.most is not None and self.spent + self.uncertain + self._held + needed > self.most:
            raise BudgetReached(
                f"--max-cost {self.most:g} would be exceeded: ${self.spent + self.uncertain:.4f} are spent, the next "
                f"question may cost ${needed:.4f}.", "What was answered is kept; the same command with more goes on.",
            )  # fmt: skip
        self._held += needed
        return needed

    def settle(self, held: float, estimated: int = 0, used: tuple[int, int] | None = None) -> None:
        """Replace what was set aside by what was spent.

        Args:
            held: What `hold` returned.
            estimated: The tokens that the question was thought to have.
            used: Tokens in and out, as the server counts them; None if nothing was charged.
        """
        self._held = max(0.0, self._held - held)
        if self.price is None or used is None:
            return
        if used[0] == 0:  # the server does not count: the most it can have been
            self.spent += held
            return
        self.spent += self.price.of(*used)
        self._ratio = max(self._ratio, used[0] / max(1, estimated))

    def doubt(self, held: float) -> None:
        """Count what was set aside as possibly spent."""
        self._held = max(0.0, self._held - held)
        self.uncertain += held
