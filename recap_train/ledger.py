"""What a run saw: the mix as it came out, samples that could not be read, and when there are too many of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from recap_eval.errors import DataError
from recap_train.mixing import MixCount

NAMED = 1000  # unreadable samples that are named with their reason; the others are counted
GRACE = 1000  # samples that are taken as seen before shares are judged: one bad image among the first ten is no tenth


@dataclass
class Ledger:
    """What was seen.

    Args:
        mix: Captions shown and missing.
        bad: Reason by sample, of the first NAMED samples left out.
        seen: Samples trained on, counted each time.
        failed: Samples left out, counted each time.
    """

    mix: MixCount = field(default_factory=MixCount)
    bad: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    failed: int = 0

    @classmethod
    def restored(cls, kept: dict[str, Any]) -> Ledger:
        """Return a ledger of what `dataclasses.asdict` made of it."""
        return cls(**(kept | {"mix": MixCount(**kept["mix"])}))

    def miss(self, where: str, why: str) -> None:
        """Count a sample that was left out."""
        self.failed += 1
        if len(self.bad) < NAMED or where in self.bad:
            self.bad[where] = why

    def add(self, other: Ledger) -> None:
        """Add what another ledger counted."""
        self.mix.add(other.mix)
        self.seen, self.failed = self.seen + other.seen, self.failed + other.failed
        for where, why in other.bad.items():
            if len(self.bad) < NAMED:
                self.bad[where] = why

    def summary(self) -> dict[str, Any]:
        """Return what was seen and left out, without the mix; shards by name, since folders are nobody's business elsewhere."""
        bad = {PurePath(where).name: why.replace(where, PurePath(where).name) for where, why in self.bad.items()}
        return {"seen": self.seen, "failed": self.failed, "bad": bad}

    def check(self, max_bad: float) -> None:
        """Stop a run that leaves out too much.

        Args:
            max_bad: Largest share of samples that may be left out.

        Raises:
            DataError: More were.
        """
        if self.failed > max_bad * max(self.seen + self.failed, GRACE):
            where, why = next(iter(self.bad.items()))
            raise DataError(
                f"{self.failed:,} of {self.seen + self.failed:,} samples could not be read, the first {where}: {why}",
                f"That is more than --max-bad {max_bad:g}; mend the shards, or allow more.",
            )
