"""An estimate in words."""

from __future__ import annotations

from typing import Any

Facts = dict[str, Any]
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def lines(record: Facts) -> list[str]:
    """Return an estimate in words, a line each.

    Args:
        record: What `recap-caption estimate --json` prints.
    """
    probe, ahead = record["probe"], record["run"]
    return [
        f"probe    {probe['replies']:,} captions of {probe['images']:,} images from {probe['parts']:,} of "
        f"{probe['parts_in_all']:,} parts in {probe['seconds']:.1f} s: {_listed(probe['statuses'])}",
        *_pace(record), *_tokens(probe), "",
        f"{ahead['captions']:,} captions of {ahead['images']:,} images by {record['model']}, {ahead['devices']:,} at work:",
        f"time     {_span(ahead['hours'], duration)}{_days(ahead['hours']['value'])}",
        *_totals(ahead), f"disk     {amount(ahead['disk_bytes'])}B of captions",
    ]  # fmt: skip


def _pace(record: Facts) -> list[str]:
    """Return the pace as captions a second: the interval turns round."""
    found = record["probe"]["seconds_a_caption"]
    if found["value"] <= 0:
        return []
    low, high = found["ci95"] or (0.0, 0.0)
    span = f"95 % interval {1 / high:.3g} to {1 / low:.3g}" if low > 0 else "too few batches to say how sure"
    return [f"pace     {1 / found['value']:.3g} captions a second ({span})"]


def _tokens(probe: Facts) -> list[str]:
    told, out = probe["tokens_in"], probe["tokens_out"]
    if told is None or out is None:
        return ["tokens   the engine does not count them"]
    cut = "" if not probe["cut"] else f"; {probe['cut']:.0%} of captions are cut at the limit"
    return [f"tokens   {told['value']:.1f} in and {out['value']:.1f} out a caption{cut}"]


def _totals(ahead: Facts) -> list[str]:
    found = []
    if ahead["tokens_in"] is not None and ahead["tokens_out"] is not None:
        found.append(f"tokens   {_span(ahead['tokens_in'], amount)} in, {_span(ahead['tokens_out'], amount)} out")
    if "dollars_by_hour" in ahead:
        found.append(
            f"money    {_span(ahead['dollars_by_hour'], money)} for {duration(ahead['device_hours']['value'])} of devices"
        )
    if "dollars_by_tokens" in ahead:
        cost = ahead["dollars_by_tokens"]
        found.append(f"money    {_span(cost, money)} for tokens (prices: {cost['price']})")
    return found


def _span(found: Facts, word: Any) -> str:
    low, high = (word(edge) for edge in found["ci95"]) if found["ci95"] else ("", "")
    return str(word(found["value"])) + ("" if low == high else f" ({low} to {high})")


def _days(hours: float) -> str:
    return f", {hours / 24:,.1f} days" if hours >= 48 else ""


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def amount(value: float) -> str:
    """Return a number with three digits and its scale."""
    for scale, name in SCALES:
        if value >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value:.3g} "


def money(value: float) -> str:
    """Return US dollars."""
    return f"${value:,.0f}" if value >= 100 else f"${value:,.2f}"


def duration(hours: float) -> str:
    """Return hours in words."""
    if hours < 1:
        return f"{60 * hours:.1f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours:,.0f} hours"
