"""Failures as a page: one file that opens from disk, asks no network, works without JavaScript and shows what was asked.

Thumbnails lie in the page as data. Files' places stay out of it: pages are passed on, and places name people's machines.
"""

from __future__ import annotations

import difflib
from typing import Any

from recap_eval.data.describe import Thing
from recap_eval.data.items import ImageItem
from recap_eval.failures import Failure, Listing
from recap_eval.report.failures_text import (
    count_line,
    difference_line,
    metric_line,
    names,
    notes,
    rank_text,
    tie_text,
    visible,
)
from recap_eval.report.html import environment
from recap_eval.report.thumbnails import Thumbnail, thumbnail


def failures_page(listing: Listing, label: str, more: list[str]) -> tuple[str, int]:
    """Render a listing as a page.

    Args:
        listing: The failures, with their data.
        label: The metric's name in tables.
        more: Further notes.

    Returns:
        The page, and how many of its images could not be read.
    """
    seen: dict[str, Thumbnail] = {}
    cards = [_card(failure, listing, seen) for failure in listing.shown]
    unread = sum(thumb.uri is None for thumb in seen.values())
    if unread:
        more = [*more, f"{unread} of {len(seen)} images cannot be read; a grey field stands for each."]
    ours, theirs = names(listing)
    page: str = environment().get_template("failures.html").render(
        model=ours, other=theirs if listing.against else None, task=listing.result.task, metric=metric_line(listing, label),
        count=count_line(listing), cells=listing.cells, difference=difference_line(listing),
        notes=[*notes(listing), *more], facts=facts(listing), cards=cards,
    )  # fmt: skip
    return visible(page, keep="\n\t") + "\n", unread


def _card(failure: Failure, listing: Listing, seen: dict[str, Thumbnail]) -> dict[str, Any]:
    right = _side(failure.right, seen)
    given = None if failure.given is None else _side((failure.given,), seen)
    if given and len(failure.right) == 1 and listing.result.record["task"]["kind"] == "pairs":
        right["texts"], given["texts"] = _marked(right["texts"], given["texts"])
    asked = _side((failure.asked,), seen)
    matched = len(right["images"]) > 1  # several images, each with its own caption
    facts = {"rank": rank_text(failure, listing), "tie": tie_text(failure), "matched": matched}
    return {"id": failure.asked.id, "asked": asked, "right": right, "given": given} | facts


def _side(things: tuple[Thing, ...], seen: dict[str, Thumbnail]) -> dict[str, Any]:
    """Return the texts, each cut into parts, and the images with their keys."""
    texts = [[(thing.text, False)] for thing in things if thing.text is not None]
    images = [(thing.image.key, _once(thing.image, seen)) for thing in things if thing.image]
    return {"texts": texts, "images": images}


def _once(image: ImageItem, seen: dict[str, Thumbnail]) -> Thumbnail:
    name = f"{image.where} {image.box}"
    if name not in seen:
        seen[name] = thumbnail(image)
    return seen[name]


Parts = list[tuple[str, bool]]  # a text cut into (words, whether they differ from the other text's)


def _marked(right: list[Parts], given: list[Parts]) -> tuple[list[Parts], list[Parts]]:
    """Cut two captions where they differ, so that two of the same words can be told apart at a glance."""
    a, b = right[0][0][0].split(" "), given[0][0][0].split(" ")
    left: Parts = []
    other: Parts = []
    for tag, a0, a1, b0, b1 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        left += [(" ".join(a[a0:a1]), tag != "equal")] if a1 > a0 else []
        other += [(" ".join(b[b0:b1]), tag != "equal")] if b1 > b0 else []
    return [left], [other]


def facts(listing: Listing) -> list[tuple[str, str]]:
    """Return what the figures depend on, as pairs of a name and a text."""
    record = listing.result.record
    cell, data, run = record["metrics"][listing.metric], record["data"], record.get("run", {})
    settings = ", ".join(f"{name} {value}" for name, value in record["settings"].items())
    chance = None if cell["chance"] is None else f"{100 * cell['chance']:.1f}"
    items = f"{cell['n']:,} items of {cell['n_clusters']:,} images" + (f", chance {chance}" if chance else "")
    found = [
        ("Measured", f"{listing.metric}: {items}; ± is half of the 95 % interval, clustered by image"),
        ("Data", f"{data['name']}, {data['split']}: {data['reference']} (fingerprint {data['fingerprint'][:12]})"),
        ("Task", f"{record['task']['name']}, version {record['task']['version']}; {settings}"),
        ("Model", f"{record['model']['name']}, revision {str(record['model']['revision'])[:12]}"),
    ]
    made = [str(run[name]) for name in ("date", "device") if run.get(name)]
    return found + ([("Run", ", ".join(made))] if made else [])
