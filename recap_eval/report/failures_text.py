"""Failures as text for a terminal, and the sentences that the page shares with it. Captions are other people's text."""

from __future__ import annotations

import re
import textwrap

from recap_eval.data.describe import Thing
from recap_eval.failures import Failure, Listing
from recap_eval.metrics.macro import PLAIN
from recap_eval.results import Result

NARROWEST = 40  # columns: below this nothing is gained by wrapping
LABEL = 15  # columns before the text: the failure's number and a label
# Controls (of terminals, of writing direction), invisible marks and halves of characters; joiners stay, scripts need them.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
CHOSEN = {
    "random": "drawn by the hash of the item's id, the same at every call",
    "worst": "by the rank of the best right one, from the worst",
    "first": "in the order of the data",
}


def visible(text: str, keep: str = "") -> str:
    r"""Return a text whose control characters, escapes of terminals among them, are spelled out, as \x1b.

    Args:
        text: Any text.
        keep: Control characters that stay.
    """
    return UNSEEN.sub(lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text)


def metric_line(listing: Listing, label: str) -> str:
    """Return the metric's figure with its half-width, × 100, as in "acc@1 33.2 ± 2.9"."""
    cell = listing.result.record["metrics"][listing.metric]
    half = f" ± {50 * (cell['ci95'][1] - cell['ci95'][0]):.1f}" if cell["ci95"] else ""
    return f"{label} {100 * cell['value']:.1f}{half}"


def count_line(listing: Listing) -> str:
    """Return how many failures are shown, of how many, and which."""
    few, of = len(listing.shown), f"of {listing.n_items:,} items"
    ours, theirs = names(listing)
    if not listing.n_wrong:
        return f"{ours} gets no item wrong{f' that {theirs} gets right' if listing.against else ''}, {of}."
    what = f"items that {ours} gets wrong and {theirs} right" if listing.against else "failures"
    how = "" if few == listing.n_wrong and listing.order == "random" else f"; {CHOSEN[listing.order]}"
    return f"{few:,} of {listing.n_wrong:,} {what}, {of}{how}."


def names(listing: Listing) -> tuple[str, str]:
    """Return the two models' names, with revisions where the names are equal."""
    pair = [listing.result, *([listing.against] if listing.against else [])]
    if len({result.model for result in pair}) == len(pair):
        return pair[0].model, pair[-1].model
    return _revised(pair[0]), _revised(pair[-1])


def _revised(result: Result) -> str:
    return f"{result.model} ({str(result.record['model']['revision'])[:8]})"


def difference_line(listing: Listing) -> str:
    """Return the paired difference of two models with its interval."""
    if listing.cells is None:
        return ""
    found, (ours, theirs) = listing.cells.difference, names(listing)
    interval = "" if found.low is None or found.high is None else f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{ours} minus {theirs}: {100 * found.value:+.1f}{interval}, paired by item, clustered by image, 95 % interval."


def notes(listing: Listing) -> list[str]:
    """Return what a reader must know of what is not shown."""
    found = []
    if not listing.has_given:
        found.append(
            "This result is from before what a model puts first was kept, so it says only which items are wrong. "
            f"To measure again: recap-eval clip --model … --tasks {listing.result.task} --force"
        )
    if listing.metric in PLAIN:
        found.append(
            f"{listing.metric} is an average of averages; which items are right or wrong is {PLAIN[listing.metric]}'s."
        )
    if listing.n_ties:
        found.append(f"Ties with a wrong one among these: {listing.n_ties:,}. The figure counts them by expectation.")
    if listing.result.partial:
        found.append("The result is partial: some items were not measured.")
    return found


def rank_text(failure: Failure, listing: Listing) -> str:
    """Return the rank of the best right one, as in "7 of 64"; nothing if it is not kept."""
    if failure.rank is None:
        return ""
    return f"{failure.rank:,.1f}".removesuffix(".0") + (f" of {listing.among:,}" if listing.among else "")


def tie_text(failure: Failure) -> str:
    """Say that a failure is a tie, and what it counts."""
    return f"a tie with a wrong one, counts {failure.value:.2g}" if failure.value > 0 else ""


def listing_text(listing: Listing, label: str, more: list[str], width: int) -> str:
    """Render a listing for a terminal.

    Args:
        listing: The failures.
        label: The metric's name in tables.
        more: Further notes, such as what is missing.
        width: Columns of the terminal.
    """
    width = max(width, NARROWEST)
    data = listing.result.record["data"]
    head = f"{names(listing)[0]} on {listing.result.task} ({data['name']}, {data['split']}): {metric_line(listing, label)}"
    lines = [*_wrapped(head, width), *_wrapped(count_line(listing), width), *_cells(listing, width)]
    for note in [*notes(listing), *more]:
        lines += _wrapped(f"note: {note}", width, whole=True)
    for number, failure in enumerate(listing.shown, start=1):
        lines += ["", *_failure(number, failure, listing, width)]
    return "\n".join(lines)


def _cells(listing: Listing, width: int) -> list[str]:
    if listing.cells is None:
        return []
    cells, (ours, theirs) = listing.cells, names(listing)
    counts = (
        f"both right {cells.both_right:,}, only {ours} {cells.only_ours:,}, only {theirs} {cells.only_theirs:,}, "
        f"both wrong {cells.both_wrong:,}"
    )
    return [*_wrapped(counts, width), *_wrapped(difference_line(listing), width)]


def _wrapped(text: str, width: int, first: str = "", rest: str = "", whole: bool = False) -> list[str]:
    """Return a text in lines; `whole` keeps long words, such as paths, in one piece."""
    return textwrap.wrap(
        visible(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=not whole
    ) or [first.rstrip()]


def _failure(number: int, failure: Failure, listing: Listing, width: int) -> list[str]:
    kind = "caption" if failure.asked.text is not None else "image" if failure.asked.image else "item"
    rows = [(kind, _thing(failure.asked))]
    rows += [("right" if i == 0 else "", _thing(thing)) for i, thing in enumerate(failure.right)]
    if failure.given is not None:
        rows.append(("put first", _thing(failure.given)))
    rows += [("rank", rank_text(failure, listing)), ("tie", tie_text(failure))]
    lines = []
    for place, (name, text) in enumerate(row for row in rows if row[1]):
        head = f"{f'{number}.' if place == 0 else '':>4} {name}"
        lines += _wrapped(text, width, f"{head:<{LABEL}} ", " " * (LABEL + 1))
    return lines


def _thing(thing: Thing) -> str:
    if thing.text is None:
        return thing.image.where if thing.image else thing.id
    return thing.text + (f" (of {thing.image.where})" if thing.image else "")
