"""From a probe to what a whole run would take: hours, tokens, money, disk; each with the uncertainty of the probe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recap_caption.engines.base import Reply
from recap_caption.estimate.pace import Estimate, mean, pace
from recap_caption.rows import OK
from recap_eval.endpoint.money import Price

CUT = "length"


@dataclass(frozen=True)
class Probe:
    """What came of the probe.

    Args:
        replies: The replies.
        moments: Seconds at which they came, ascending.
        began: When the first was asked for.
        row_bytes: Bytes of a row on disk.
    """

    replies: list[Reply]
    moments: list[float]
    began: float
    row_bytes: float

    def statuses(self) -> dict[str, int]:
        """Return how many replies there are of each status."""
        return dict(Counter(reply.status for reply in self.replies).most_common())

    def record(self) -> dict[str, Any]:
        """Return its figures."""
        good = [reply for reply in self.replies if reply.status == OK]
        return {
            "replies": len(self.replies), "statuses": self.statuses(), "seconds": self.moments[-1] - self.began,
            "seconds_a_caption": told(pace(self.moments, self.began)), "tokens_in": told(self.tokens("n_prompt_tokens")),
            "tokens_out": told(self.tokens("n_output_tokens")), "row_bytes": self.row_bytes,
            "cut": sum(reply.finish_reason == CUT for reply in good) / len(good) if good else None,
        }  # fmt: skip

    def tokens(self, name: str) -> Estimate | None:
        """Return the mean tokens of a reply, failures with those that they took; None if the engine does not count."""
        counts = [getattr(reply, name) for reply in self.replies]
        return None if all(count is None for count in counts) else mean([float(count or 0) for count in counts])


@dataclass(frozen=True)
class Plan:
    """The run that is thought of.

    Args:
        images: How many images.
        captions: How many captions an image.
        devices: How many engines like the probe's work at once.
        hour: US dollars an hour of one device; None for none.
        price: What tokens cost; None if nothing, or unknown.
    """

    images: int
    captions: int = 1
    devices: int = 1
    hour: float | None = None
    price: Price | None = None


def outlook(probe: Probe, plan: Plan) -> dict[str, Any]:
    """Return what a plan would take, each figure with its 95 % interval where there is one."""
    n = plan.images * plan.captions
    seconds = pace(probe.moments, probe.began)
    found: dict[str, Any] = {
        "images": plan.images, "captions": n, "devices": plan.devices, "hours": times(seconds, n / 3600 / plan.devices),
        "device_hours": times(seconds, n / 3600), "disk_bytes": round(n * probe.row_bytes),
    }  # fmt: skip
    for name, field in (("tokens_in", "n_prompt_tokens"), ("tokens_out", "n_output_tokens")):
        count = probe.tokens(field)
        found[name] = None if count is None else times(count, n)
    if plan.hour is not None:
        found["dollars_by_hour"] = times(seconds, n / 3600 * plan.hour)
    if plan.price is not None and (cost := _by_tokens(probe.replies, plan.price)) is not None:
        found["dollars_by_tokens"] = times(cost, n) | {"price": plan.price.source}
    return found


def _by_tokens(replies: Sequence[Reply], price: Price) -> Estimate | None:
    if all(reply.n_output_tokens is None for reply in replies):
        return None
    return mean([price.of(reply.n_prompt_tokens or 0, reply.n_output_tokens or 0) for reply in replies])


def times(found: Estimate, factor: float) -> dict[str, Any]:
    """Return an estimate, so many times."""
    interval = found.interval()
    return {"value": found.value * factor, "ci95": None if interval is None else [edge * factor for edge in interval]}


def told(found: Estimate | None) -> dict[str, Any] | None:
    """Return an estimate for a record."""
    return None if found is None else times(found, 1) | {"n": found.n}
