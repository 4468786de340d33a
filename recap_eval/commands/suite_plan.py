"""A suite told before it runs: every constant with its source, what is there, the commands it stands for, the disk it takes."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import Any

from recap_eval.data.coco_ids import digest_of_ids
from recap_eval.errors import DataError
from recap_eval.generate.presets import PRESETS, preset_name
from recap_eval.suite import GENERATE, SCORE, Suite, SuiteSet, judged

BYTES = {"png": 2.2, "jpg": 0.72, "webp": 3.0}  # a pixel of 256 px photographs; of webp, at most
YOURS = {  # what a suite leaves open: an option, and what it holds if it is not given
    "seed": 0, "precision": "auto", "feature_precision": "fp32", "format": "png", "limit": None, "data": None, "device": None,
    "batch_size": None, "feature_batch": None, "inception_weights": None, "compile": False, "skip_bad": False, "shard": None,
}  # fmt: skip
OPEN = ("seed", "precision", "feature_precision", "limit")  # those that change what a figure is


def dry_run(suite: Suite, runs: dict[str, argparse.Namespace], as_json: bool) -> str:
    """Return what a suite is going to do, for a person or a machine; nothing is made.

    Args:
        suite: The suite.
        runs: What each of its sets would be given.
        as_json: For a machine.
    """
    facts = collect(suite, runs)
    return json.dumps(facts) if as_json else _text(facts)


def collect(suite: Suite, runs: dict[str, argparse.Namespace]) -> dict[str, Any]:
    """Return the protocol of a suite and its sets, as JSON."""
    any_run = next(iter(runs.values()))
    constants = {name: vars(known) for name, known in (suite.generate | suite.score).items()}
    constants |= {name: {"value": getattr(any_run, name), "source": _yours(name)} for name in OPEN}
    sets = [_set(one, runs[one.name], suite) for one in suite.sets]
    columns = [
        {"label": one.label, "set": one.set} | ({"metric": one.metric} if one.metric else {"lacks": one.lacks})
        for one in suite.columns
    ]
    facts = {"suite": suite.name, "title": suite.title, "constants": constants, "sets": sets, "columns": columns}
    if suite.judge:
        facts["judge"] = vars(suite.judge)
    return facts


def _yours(name: str) -> str:
    return f"yours: --{name.replace('_', '-')}"


def _set(one: SuiteSet, run: argparse.Namespace, suite: Suite) -> dict[str, Any]:
    n, there = _count(run)
    lock = PRESETS[preset_name(one.prompts)].lock if preset_name(one.prompts) in PRESETS else None
    n = n if n is not None or lock is None else lock.n if run.limit is None else min(lock.n, run.limit)
    samples = run.samples or 1
    size = None if n is None or not run.height else int(n * samples * run.height * run.width * BYTES[run.format])
    facts = {"name": one.name, "prompts": one.prompts, "column": one.column, "source": one.source, "n": n, "data": there}
    facts |= {"images": None if n is None else n * samples, "folder": str(run.images), "bytes": size}
    return facts | {"metrics": list(one.metrics), "command": words(run)} | _judged(run, suite)


def _count(run: argparse.Namespace) -> tuple[int | None, str]:
    """Return how many prompts there are, and whether their data is there."""
    from recap_eval.generate.options import prompts_of

    try:
        found = prompts_of(run)
    except DataError as error:
        return None, f"not there. {error.what} {error.hint}"
    return len(found), f"there, prompts {found.fingerprint[:12]}"


def _judged(run: argparse.Namespace, suite: Suite) -> dict[str, Any]:
    """Return the digest of the images that a judge is to see, if the data is there."""
    from recap_eval.data.coco_ids import coco_id
    from recap_eval.generate.options import prompts_of

    if suite.judge is None or run.limit is not None:
        return {}
    try:
        kept = judged(suite.judge, prompts_of(run))
    except DataError:
        return {}
    ids = [number for number in map(coco_id, kept) if number is not None]
    return {"judged": {"images": len(kept), "digest": digest_of_ids(ids), "known": digest_of_ids(ids) == suite.judge.digest}}


def words(run: argparse.Namespace) -> list[str]:
    """Return the command that a set's run is."""
    given = ["model", "prompts", "column", "images", *GENERATE, *SCORE, "metrics", *YOURS, "out"]
    found = ["recap-eval", "t2i"]
    for name in given:
        value = getattr(run, name)
        if value is None or value is False or value == YOURS.get(name):
            continue
        found += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return found


def _text(facts: dict[str, Any]) -> str:
    blocks = [f"{facts['suite']}: {facts['title']}. Nothing is made.", _constants(facts), *map(_set_text, facts["sets"])]
    blocks += [_columns(facts)] + ([_judge(facts)] if "judge" in facts else []) + [_disk(facts)]
    return "\n\n".join(blocks)


def _constants(facts: dict[str, Any]) -> str:
    told = {
        name: "all" if name == "limit" and known["value"] is None else known["value"]
        for name, known in facts["constants"].items()
    }
    lines = [f"  {name:<18} {told[name]!s:<18} {known['source']}" for name, known in facts["constants"].items()]
    return "\n".join(["Constants, and who says so:", *lines])


def _set_text(one: dict[str, Any]) -> str:
    number = "?" if one["images"] is None else f"{one['images']:,}"
    what = f"{one['prompts']} {one['column']}".strip()
    lines = [f"{one['name']}: {number} images of {what} into {one['folder']}", f"  {one['source']}", f"  data: {one['data']}"]
    return "\n".join([*lines, f"  {shlex.join(one['command'])}"])


def _columns(facts: dict[str, Any]) -> str:
    width = max((len(one["label"]) for one in facts["columns"]), default=0)
    lines = [
        f"  {one['label']:<{width}}  "
        + (f"{one['metric']} on {one['set']}" if "metric" in one else f"not measured: {one['lacks']}")
        for one in facts["columns"]
    ]
    return "\n".join(["Row of figures:", *lines])


def _judge(facts: dict[str, Any]) -> str:
    judge, seen = facts["judge"], [one["judged"] for one in facts["sets"] if "judged" in one]
    known = " (those of Karpathy's restval)" if seen and seen[-1]["known"] else ""
    told = f"; here {seen[-1]['images']:,} with ids {seen[-1]['digest'][:12]}{known}" if seen else ""
    return f"A judge is to see {judge['images']:,} images ({judge['source']}{told})."


def _disk(facts: dict[str, Any]) -> str:
    sizes = [one["bytes"] for one in facts["sets"]]
    images = [one["images"] for one in facts["sets"] if one["images"] is not None]
    disk = f", about {sum(sizes) / 1e9:.1f} GB" if all(sizes) else ""
    return f"In all {sum(images):,} images{disk}." if len(images) == len(sizes) else "How many images: get the data first."
