"""`recap-eval judge`: what a judge costs, how good it is, and its batches."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError, UserError
from recap_eval.judge.options import answers_of, config_of, sample_of

if TYPE_CHECKING:
    from recap_eval.endpoint.batches import BatchClient
    from recap_eval.judge.check import Finding
    from recap_eval.judge.questions import Item
    from recap_eval.judge.rating import Config


def run_judge(args: argparse.Namespace) -> int:
    """Do what the action says.

    Returns:
        0, or 1 if questions failed.
    """
    return int(ACTIONS[args.action](args))


def estimate_cost(args: argparse.Namespace) -> int:
    """Say what ratings will cost; nothing is asked."""
    from recap_eval.judge.rating import estimate

    config = config_of(args)
    found = estimate(_items(args, config), config)
    print(json.dumps(asdict(found)) if args.json else found.line(config.judge.model))
    return 0


def check_judge(args: argparse.Namespace) -> int:
    """Ask a judge and say how good it is; the result is written beside those of models."""
    from recap_eval.judge.check import check, figures_of, sentences
    from recap_eval.judging import write_check

    config = config_of(args)
    truth = _truth(args.truth, args.truth_column) if args.truth else None
    items = _items(args, config)
    if truth is not None and not truth.keys() & {item.key for item in items}:
        raise DataError(f"{args.truth} and the images have no id in common.", f"The images' ids are such as {items[0].key}.")
    start = time.perf_counter()
    finding = check(items, config, truth)
    path = write_check(args.out, config, args.images.resolve().name, finding, time.perf_counter() - start).path
    if args.json:
        print(json.dumps({"path": str(path), "judge": config.judge.settings()} | figures_of(finding)))
    else:
        print("\n".join([*sentences(finding), f"Result: {path}"]))
    return _tell_failures(finding)


def _tell_failures(finding: Finding) -> int:
    rated = [finding.ratings, *([finding.ratings_swapped] if finding.ratings_swapped else [])]
    failed = {key: why for one in rated for key, why in one.failed.items()}
    if not failed:
        return 0
    key, why = next(iter(failed.items()))
    print(
        f"error: {len(failed):,} items have questions without an answer; the first, {key}: {why}\n"
        "       The same command asks these again and no others.", file=sys.stderr,
    )  # fmt: skip
    return 1


def _items(args: argparse.Namespace, config: Config) -> list[Item]:
    """Return the items that the options name, sampled by the hash of their keys."""
    from recap_eval.data.coco_ids import draw_number
    from recap_eval.generate.images import read_images
    from recap_eval.judge.questions import Item, sampled

    found = read_images(args.images, args.list, None, args.skip_bad)
    others = _others(args) if config.judge.template.n_texts == 2 else None
    items = [image.item for image in found.images]
    chosen = sampled([draw_number(image.id, image.reference) for image in found.images], sample_of(args))
    texts = [image.prompt for image in found.images]
    if others is None:
        if any(not texts[i] for i in chosen):
            raise DataError("Nothing tells the captions of these images.", "Give a list of files and captions: --list FILE")
        return [Item.of(items[i].key, items[i], texts[i]) for i in chosen]
    return [Item.of(items[i].key, items[i], texts[i], others[items[i].path.resolve()]) for i in chosen]


def _others(args: argparse.Namespace) -> dict[Path, str]:
    """Return the second captions of pairs, by the images' files."""
    from recap_eval.generate.prompt_files import Columns, read_prompts

    column = getattr(args, "other_column", None)
    if column is None or args.list is None:
        raise UserError(
            "A pairwise template compares two captions.", "Name the second: judge check --list FILE --other-column C"
        )
    rows = read_prompts(args.list, Columns(prompt=column, id="file")).prompts
    return {(args.images / row.id).resolve(): row.text for row in rows}


def _truth(path: Path, column: str) -> dict[str, float]:
    """Return figures by id."""
    from recap_eval.generate.prompt_files import FORMS, IDS

    if path.suffix.lower() not in FORMS or path.suffix.lower() == ".txt":
        raise UserError(f"{path} is no table by its suffix.", "Known are .csv, .tsv, .jsonl and .parquet.")
    found: dict[str, float] = {}
    for place, row in FORMS[path.suffix.lower()](path):
        key = next((str(row[name]) for name in IDS if name in row), None)
        if key is None or column not in row:
            raise DataError(f"{place} lacks an id or the column {column!r}.", f"Columns: {', '.join(map(str, row))}")
        if key in found:
            raise DataError(f"{place} names {key} again.", "Each id needs one figure: average those of several people first.")
        try:
            found[key] = float(row[column])
        except (TypeError, ValueError):
            found[key] = math.nan
        if not math.isfinite(found[key]):
            raise DataError(f"{place}: its {column!r} is no number.", "Leave out rows without one.")
    return found


def submit_batches(args: argparse.Namespace) -> int:
    """Hand in the questions that have no answer."""
    from recap_eval.data.digests import Digests
    from recap_eval.judge.answers import Answers
    from recap_eval.judge.batch import Docket, submit
    from recap_eval.judge.questions import questions_of
    from recap_eval.judge.rating import estimate

    config, client = config_of(args), _client(args)
    items = _items(args, config)
    found = estimate(items, config)
    print(found.line(config.judge.model) + "; a batch costs half of that" * bool(found.cost), file=sys.stderr)
    docket = Docket(args.state)
    rows = questions_of(items, config.judge, config.repeats, Digests(config.digests))
    with docket.alone(), Answers(config.cache) as answers:
        docket.open_for(config.judge)
        made = submit(docket, [one for row in rows for one in row], client, answers, config.budget())
    if args.json:
        print(json.dumps([asdict(shard) for shard in made]))
    else:
        told = f"{len(made)} batches handed in" if made else "Nothing to hand in: all is answered or under way"
        print(f"{told}; recap-eval judge status --state {args.state}")
    return 0


def tell_status(args: argparse.Namespace) -> int:
    """Say how batches stand."""
    from recap_eval.judge.batch import Docket, standing

    docket = Docket(args.state)
    docket.judge()
    found = standing(docket, _client(args))
    if args.json:
        print(json.dumps([asdict(shard) | {"batch": None if batch is None else asdict(batch)} for shard, batch in found]))
        return 0
    for shard, batch in found:
        if batch is None:
            print(f"{shard.number:03d} {shard.id or '-'}: collected ({shard.collected})")
        else:
            print(f"{shard.number:03d} {batch.id}: {batch.status}, {batch.completed} of {batch.total}, {batch.failed} failed")
    return 0


def collect_batches(args: argparse.Namespace) -> int:
    """Take in the answers of finished batches."""
    from recap_eval.judge.answers import Answers
    from recap_eval.judge.batch import Docket, collect

    docket = Docket(args.state)
    docket.judge()
    with docket.alone(), Answers(answers_of(args)) as answers:
        found = collect(docket, _client(args), answers)
    if args.json:
        print(json.dumps(asdict(found)))
    else:
        print(f"{found.answers:,} answers taken in, {found.waiting} batches are not finished")
    if found.missing or found.failed:
        first = next(iter(found.failed.values()), "expired")
        print(
            f"error: {found.missing:,} questions came back without an answer; the first: {first}\n"
            "       Hand them in again by the same recap-eval judge submit command.", file=sys.stderr,
        )  # fmt: skip
        return 1
    return 0


def _client(args: argparse.Namespace) -> BatchClient:
    from recap_eval.endpoint.address import demand_key, find_address
    from recap_eval.endpoint.batches import BatchClient

    address = find_address(args.base_url, args.api_key_env)
    demand_key(address)
    return BatchClient(address)


ACTIONS: dict[str, Any] = {
    "estimate": estimate_cost,
    "check": check_judge,
    "submit": submit_batches,
    "status": tell_status,
    "collect": collect_batches,
}
