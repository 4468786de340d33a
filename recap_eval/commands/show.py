"""`recap-eval show`: what a model got wrong, in the terminal, as a page or as JSON."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recap_eval.data.describe import Thing
from recap_eval.data.digests import MEMORY, Digests, fingerprint
from recap_eval.data.items import AnyData
from recap_eval.data.root import data_root, default_cache
from recap_eval.errors import DataError, UserError, nearest
from recap_eval.failures import Listing, choose_metric, list_failures
from recap_eval.files import write_text
from recap_eval.registry import get_task
from recap_eval.results import FOLDER, Result, read_result, read_results, slug, unit_of
from recap_eval.tasks.base import SHARE
from recap_eval.tasks.catalog import load_catalog

LISTED = 6  # candidates named in an error


@dataclass(frozen=True)
class Found:
    """The data of a result.

    Args:
        data: The data; None if it is absent.
        labels: Names in tables by metric, as far as they are known.
        lack: What is missing, and how to get it: two lines of an error.
    """

    data: AnyData | None
    labels: dict[str, str]
    lack: tuple[str, str] | None = None


def find_result(words: str, root: Path) -> Result:
    """Return the result that a user names: by its file, or as MODEL/TASK with beginnings that are clear.

    A model goes by its name or its folder's, a task by its name or the file's; a full name comes before a beginning.

    Args:
        words: What the user typed.
        root: The leaderboards folder.

    Raises:
        UserError: Nothing has that name, or several do; the message names them.
        DataError: A record is damaged.
    """
    path = Path(words).expanduser()
    if path.is_file() or path.suffix == ".json":
        return read_result(path)
    known = read_results(root)
    if not known:
        raise UserError(
            f"{words!r} is no file, and there are no results under {root / FOLDER}.", "Name a folder: --leaderboards DIR"
        )
    model, _, task = words.rpartition("/")
    found = _named(known, model, task) or _named(known, words, "")  # the names of models may hold a "/"
    if len(found) == 1:
        return found[0]
    raise _unclear(words, found, known, root)


def _named(results: list[Result], model: str, task: str) -> list[Result]:
    found = _beginning(results, model, lambda result: [result.model, result.path.parent.name, slug(result.model)])
    return _beginning(found, task, lambda result: [result.task, result.path.stem])


def _beginning(results: list[Result], word: str, names: Callable[[Result], list[str]]) -> list[Result]:
    """Return the results with that name; if there is none, those with one that begins so."""
    whole = [result for result in results if word in names(result)]
    return whole or [result for result in results if any(name.startswith(word) for name in names(result))]


def _unclear(words: str, found: list[Result], known: list[Result], root: Path) -> UserError:
    handles = [f"{result.path.parent.name}/{result.path.stem}" for result in found or known]
    if found:
        more = f", and {len(found) - LISTED} more" if len(found) > LISTED else ""
        return UserError(f"{words!r} names {len(found)} results.", f"Which: {', '.join(handles[:LISTED])}{more}")
    close = nearest(words, [f"{result.model}/{result.task}" for result in known] + handles)
    hint = f"Did you mean {close!r}?" if close else f"Results are named MODEL/TASK, as in {handles[0]}"
    return UserError(f"{words!r} is no file, and names no result under {root / FOLDER}.", hint)


def find_data(result: Result, root: Path) -> Found:
    """Return the data that a result was measured on, or what is missing of it.

    Raises:
        DataError: The data there is not what was measured, or is damaged.
    """
    if "answers" in result.record:
        what = "Questions, answers as generated and what is right lie beside the result."
        return Found(None, {}, (what, f"See {result.path.with_name(result.record['answers']['file'])}"))
    if result.task not in load_catalog(root):
        what = f"There is no task {result.task} here"
        return Found(None, {}, (f"{what}: its row may stand in another data root's tasks.toml.", "Name that root: --data DIR"))
    task = get_task(result.task, root)
    labels = {metric.name: metric.label for metric in task.metrics}
    if absent := task.missing(root):
        what = f"The data of {result.task} is not under {root}: no {', '.join(absent)}."
        return Found(None, labels, (what, f"Name its folder with --data DIR, or get it: {task.row.get}"))
    data = task.load(root)
    check_same_data(result, data, root)
    return Found(data, labels)


def check_same_data(result: Result, data: AnyData, root: Path) -> None:
    """Check that data is what a result was measured on.

    Raises:
        DataError: Its fingerprint is another one.
    """
    found = fingerprint(
        [image.key for image in data.images], Digests(default_cache() / MEMORY).of(data.images), data.contents()
    )
    told = result.record["data"]
    if found != told["fingerprint"]:
        made = result.record.get("run", {}).get("command")
        raise DataError(
            f"The data of {result.task} under {root} is not what {result.path} was measured on: "
            f"its fingerprint is {found[:12]}, that of {told['name']} {told['split']} was {told['fingerprint'][:12]}.",
            "Name the right folder: --data DIR" + (f"; it was measured by: {made}" if made else ""),
        )


def show_failures(args: argparse.Namespace) -> int:
    """List what a model got wrong, and write the page if one is asked for.

    Returns:
        0; that there are failures is no error.

    Raises:
        DataError: A page is asked for and the data is absent.
    """
    result = find_result(args.result, args.leaderboards)
    against = find_result(args.against, args.leaderboards) if args.against else None
    metric = choose_metric(result, args.metric)
    _check_right_and_wrong(result, metric)
    found = find_data(result, data_root(args.data))
    args.html = args.html or (args.reports and _among_reports(args, result))
    if args.html and found.lack:
        raise DataError(f"A page shows images. {found.lack[0]}", found.lack[1])
    listing = list_failures(result, metric, found.data, args.failures, args.order, against)
    label = found.labels.get(metric, metric)
    notes = [f"{found.lack[0]} Ids stand for images and texts. {found.lack[1]}"] if found.lack else []
    page = _write_page(args.html, listing, label, notes) if args.html else {}
    if args.json:
        print(json.dumps(as_json(listing, notes) | page))
        return 0
    from recap_eval.report.failures_text import listing_text

    print(listing_text(listing, label, notes, shutil.get_terminal_size((100, 24)).columns))
    if args.html:
        print(f"\nPage: {args.html}")
    return 0


def _among_reports(args: argparse.Namespace, result: Result) -> Path:
    """Return where the reports of a folder look for a result's page.

    Raises:
        UserError: Something other than what the result gets wrong by its primary metric is to be shown.
    """
    from recap_eval.report.evidence_page import page_of

    page = page_of(result)
    if page is None or args.against or args.metric:
        raise UserError("Reports lead to what a model gets wrong by a task's primary metric alone.", "Write it: --html FILE")
    return Path(args.reports / page.file)


def _check_right_and_wrong(result: Result, metric: str) -> None:
    if (unit := unit_of(result.record["metrics"][metric])) != SHARE:
        what = f"{metric} is a {unit or 'figure'}: no image of {result.model} is right or wrong by it."
        raise UserError(what, "See the images: recap-eval gallery DIR --out PAGE.html")


def _write_page(path: Path, listing: Listing, label: str, more: list[str]) -> dict[str, Any]:
    """Write the page, before anything is printed: a closed pipe must not cost it."""
    from recap_eval.report.failures_page import failures_page

    page, unread = failures_page(listing, label, more)
    write_text(path, page)
    return {"html": str(path), "unreadable_images": unread}


def as_json(listing: Listing, more: list[str]) -> dict[str, Any]:
    """Return a listing for machines."""
    from recap_eval.report.failures_text import notes

    result = listing.result
    told: dict[str, Any] = {
        "result": str(result.path), "model": result.model, "task": result.task, "metric": listing.metric,
        "figure": result.record["metrics"][listing.metric], "n_items": listing.n_items, "n_failures": listing.n_wrong,
        "order": listing.order, "among": listing.among, "notes": [*notes(listing), *more],
    }  # fmt: skip
    if listing.against and listing.cells:
        told |= {"against": str(listing.against.path), "against_model": listing.against.model, "cells": asdict(listing.cells)}
    failures = [
        {
            "item": failure.item, "value": failure.value, "rank": failure.rank, "asked": _thing(failure.asked),
            "right": [_thing(thing) for thing in failure.right],
            "put_first": None if failure.given is None else _thing(failure.given),
        }
        for failure in listing.shown
    ]  # fmt: skip
    return told | {"failures": failures}


def _thing(thing: Thing) -> dict[str, Any]:
    return {"id": thing.id, "text": thing.text, "image": thing.image.where if thing.image else None}
