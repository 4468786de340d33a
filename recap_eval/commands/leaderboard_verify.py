"""`recap-eval leaderboard verify`: results measured again in part, with the model and data that they name."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.commands.show import check_same_data, find_result
from recap_eval.console import note
from recap_eval.data.root import default_root
from recap_eval.errors import DataError, UserError
from recap_eval.files import read_json
from recap_eval.published import IMPORTED, PUBLISHED
from recap_eval.results import Result

if TYPE_CHECKING:
    from recap_eval.models.base import DualEncoder
    from recap_eval.verifying import Agreement, Verdict

LOADED = ("hf-hub:", "local-dir:", "transformers:", "longclip:")  # before names of models that are files, not code
NO_ITEMS = {
    PUBLISHED: "it holds figures that a paper printed: there is no model and no item behind them here",
    IMPORTED: "it holds figures of another program, without items",
}


def verify_records(args: argparse.Namespace) -> int:
    """Measure samples of results again; one that cannot be verified leaves the others running.

    Returns:
        0 if all agree, 1 if one differs or cannot be verified.
    """
    if not args.tolerance >= 0 or not 0 <= args.allow <= 1:
        raise UserError("--tolerance is a number from 0, and --allow a share from 0 to 1.", "For example: --allow 0.005")
    verdicts: list[Verdict] = []
    failed: dict[str, DataError] = {}
    for word in args.records:
        try:
            verdicts.append(_verify(args, word))
        except DataError as error:
            failed[word] = error
        else:
            if not args.json:
                print("\n".join(_lines(verdicts[-1], args)))
    if args.json:
        errors = [{"record": word, "what": why.what, "hint": why.hint} for word, why in failed.items()]
        print(json.dumps({"verified": [_as_json(one, args) for one in verdicts], "not_verified": errors}))
    for why in failed.values():
        print(f"error: {why.what}\n       {why.hint}", file=sys.stderr)
    return 0 if not failed and all(one.agrees(args.allow) for one in verdicts) else 1


def _verify(args: argparse.Namespace, word: str) -> Verdict:
    from recap_eval.embed import Embedder
    from recap_eval.registry import get_task
    from recap_eval.verifying import check_model, check_settings, compare_again, verify
    from recap_eval.vetting import vet

    result = _readable(word, args.leaderboards)
    said = words_of(result)
    root = args.data or _place(said.get("--data", [""])[-1]) or default_root()
    vet(result.path, root)
    if args.again:
        return compare_again(result, _measured_again(result, args.again, root), args.tolerance)
    _check_repeatable(result)
    task = get_task(result.task, root, said.get("--templates", [""])[-1])
    if absent := task.missing(root):
        what = f"{result.path} cannot be verified: its data is not under {root}: no {', '.join(absent)}."
        raise DataError(what, "Name its folder: --data DIR")
    data = task.load(root)
    check_same_data(result, data, root)
    model = _load(args, result, said)
    check_model(result, model)
    check_settings(result, task, model, data)
    embedder = Embedder(model, args.batch_size, skip_bad=bool(result.record["skipped"]))
    return verify(result, embedder, data, args.sample, args.tolerance)


def _readable(word: str, root: Path) -> Result:
    """Return a result that a user names, which has items of its own.

    Raises:
        DataError: It has none; the message says why.
    """
    path = Path(word).expanduser()
    if path.is_file() and isinstance(record := read_json(path), dict) and record.get("kind") in NO_ITEMS:
        what = f"{path} cannot be verified: {NO_ITEMS[record['kind']]}."
        raise DataError(what, "Measure the model yourself: recap-eval clip --model M")
    return find_result(word, root)


def _check_repeatable(result: Result) -> None:
    from recap_eval.verifying import why_not

    if why := why_not(result):
        command = result.record["run"].get("command")
        hint = f"Measure it again with --out DIR, then verify with --again DIR: {command or 'recap-eval …'}"
        raise DataError(f"{result.path} cannot be verified: {why}.", hint)


def _measured_again(result: Result, folder: Path, root: Path) -> Result:
    """Return the answer to the same question in another folder: it lies in the same place there."""
    from recap_eval.results import record_path
    from recap_eval.vetting import vet

    place = record_path(folder, result.record)
    if place.resolve() == result.path.resolve():
        raise UserError(f"{folder} is where {result.path} lies itself.", "Measure it again into another folder: --out DIR")
    if not place.is_file():
        command = result.record["run"].get("command", "the command that measured it")
        what = f"{place} is not there: this question was not measured again into {folder}, or came out as another one."
        raise DataError(what, f"Measure it with --out {folder}: {command}")
    return vet(place, root)


def words_of(result: Result) -> dict[str, list[str]]:
    """Return the options of the command that measured a result, each with what it was given; nothing if it was another one."""
    run = result.record.get("run")
    words = str(run.get("command", "")).split() if isinstance(run, dict) else []
    if words[1:2] != ["clip"]:
        return {}
    found: dict[str, list[str]] = {}
    for name, value in zip(words, [*words[1:], ""], strict=True):
        if name.startswith("--"):
            option, given, rest = name.partition("=")
            found.setdefault(option, []).append(rest if given else value)
    return found


def _place(word: str) -> Path | None:
    """Return a folder that a record names, if it is there."""
    path = Path(word).expanduser()
    return path if word and path.is_dir() else None


def _load(args: argparse.Namespace, result: Result, said: dict[str, list[str]]) -> DualEncoder:
    from recap_eval.models.base import Loading
    from recap_eval.models.loading import load, resolve_device

    protocol = result.record["model"]["protocol"]
    precision = protocol.get("precision", "fp32")
    fast = protocol.get("pixels") == "fast"
    how = Loading("bf16" if precision == "bf16" else "fp32", resolve_device(args.device), fast)
    *others, last = [args.model] if args.model else _named(result, said)
    for spec in others:  # a command may have measured several models
        if (model := load(spec, how)).id.revision == result.record["model"]["revision"]:
            return model
    note(f"{result.task}: {last}")
    return load(last, how)


def _named(result: Result, said: dict[str, list[str]]) -> list[str]:
    """Return the models that a record's command named; what would run somebody's code is never taken from a record."""
    specs = said.get("--model", [])
    if not specs:
        raise DataError(f"{result.path} does not say where its model is.", "Name it: --model M")
    if code := next(filter(_is_code, specs), None):
        raise DataError(f"{result.path} names code as its model: {code}.", "If you trust it, name it yourself: --model M")
    return specs


def _is_code(spec: str) -> bool:
    """Return whether a word may name a class, MODULE:ATTR, and no file or model of a hub."""
    return ".py:" in spec or (":" in spec and not spec.startswith(LOADED) and not Path(spec).exists())


def _lines(verdict: Verdict, args: argparse.Namespace) -> list[str]:
    result, good = verdict.result, verdict.agrees(args.allow)
    drawn = "all" if verdict.images == verdict.of else f"{verdict.images:,} of"
    how = f"against {verdict.against}" if verdict.against else f"{drawn} {verdict.of:,} images measured again"
    head = f"{result.model}, {result.task}: {'agrees' if good else 'DIFFERS'}; {how}"
    rule = f"a score may differ by {args.tolerance:g}" + (
        f", and {100 * args.allow:g} % of items by more" if args.allow else ""
    )
    lines = [f"{head}, {rule}", *(f"  {_line(one)}" for one in verdict.agreements)]
    if verdict.follow:
        why = "they are not there" if verdict.against else "they follow from these items"
        lines.append(f"  not compared, since {why}: {', '.join(verdict.follow)}")
    return lines if good else [*lines, f"  {_devices(result)}"]


def _line(one: Agreement) -> str:
    equal = f"{one.metric}: {one.items - one.differ:,} of {one.items:,} items agree"
    if one.first is None:
        return f"{equal}, the largest difference is {one.largest:g}"
    item, *scores = one.first
    then, now = ("no score" if math.isnan(score) else f"{score:g}" for score in scores)
    return f"{equal}; the first that does not: {item}, {then} in the record, {now} now"


def _devices(result: Result) -> str:
    """Say on what a result was measured, and on what now: near ties fall differently between devices and versions."""
    from recap_eval.provenance import device_name, package_versions

    run = result.record.get("run", {})
    then = f"{run.get('device', 'a device that is not told')}, torch {run.get('packages', {}).get('torch', '?')}"
    here = f"{device_name()}, torch {package_versions().get('torch', '?')}"
    return f"Measured on {then}; now on {here}. Near ties may fall otherwise on another device: --allow 0.005"


def _as_json(verdict: Verdict, args: argparse.Namespace) -> dict[str, Any]:
    metrics = {
        one.metric: {"items": one.items, "differ": one.differ, "largest": one.largest}
        | {"first": None if one.first is None else _first(*one.first)}
        for one in verdict.agreements
    }
    facts = {"record": str(verdict.result.path), "agrees": verdict.agrees(args.allow), "images": verdict.images}
    facts |= {"of": verdict.of, "tolerance": args.tolerance, "allow": args.allow}
    facts |= {"against": str(verdict.against) if verdict.against else None}
    return facts | {"metrics": metrics, "not_compared": list(verdict.follow)}


def _first(item: str, then: float, now: float) -> dict[str, Any]:
    """Return the first item that differs; a score that one side lacks is null."""
    return {"item": item, "then": None if math.isnan(then) else then, "now": None if math.isnan(now) else now}
