"""The one loop: skip what is measured, evaluate, fold, stamp, write. A task that fails does not stop the others."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from recap_eval.data.digests import MEMORY, Digests, fingerprint
from recap_eval.data.items import AnyData, DataId
from recap_eval.embed import Embedder
from recap_eval.errors import DataError
from recap_eval.files import digest_file
from recap_eval.models.base import DualEncoder
from recap_eval.provenance import run_record
from recap_eval.results import Result, identity, new_record, read_result, result_path, settings_of, write_result
from recap_eval.store import Store, evict
from recap_eval.tasks.base import Asked, Task
from recap_eval.tasks.catalog import incomplete

T = TypeVar("T", bound=Asked)


@dataclass(frozen=True)
class Options:
    """How to measure.

    Args:
        out: The leaderboards folder.
        data: The data root.
        batch_size: Images per forward pass; None for what suits the device.
        limit: Measure the first so many images only; the results are marked partial.
        skip_bad: Leave out unreadable images, counted, instead of stopping.
        force: Measure again what is measured already; embeddings that are kept are still used.
        progress: Show progress on standard error.
        cache: Folder in which embeddings and digests are kept between runs, or None.
        cache_limit: Bytes that embeddings may take there.
    """

    out: Path
    data: Path
    batch_size: int | None = None
    limit: int | None = None
    skip_bad: bool = False
    force: bool = False
    progress: bool = True
    cache: Path | None = None
    cache_limit: int = 20 << 30


@dataclass
class Outcome:
    """What came of a run.

    Args:
        results: Results, new and found, in the order of the tasks.
        skipped: Names of the tasks that were measured already.
        failed: Error by task.
    """

    results: list[Result] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, DataError] = field(default_factory=dict)


def measure(model: DualEncoder, tasks: list[Task], options: Options) -> Outcome:
    """Measure a model on tasks and write each result as soon as it is there.

    Args:
        model: The model.
        tasks: The tasks.
        options: How.

    Returns:
        Results found or made, and what failed; a `DataError` in one task leaves the others running.
    """
    embedder = make_embedder(model, options)
    return measure_each(tasks, lambda task: _measure_task(embedder, task, options), _line, options)


def measure_each(
    tasks: Sequence[T],
    work: Callable[[T], tuple[Result, bool]],
    line: Callable[[T, Result, bool], str],
    options: Options,
) -> Outcome:
    """Measure one task after the other; a `DataError` in one leaves the others running.

    Args:
        tasks: The tasks.
        work: Returns a task's result, and whether it was made now.
        line: Says it in a line.
        options: How.
    """
    outcome = Outcome()
    for task in tasks:
        try:
            result, fresh = work(task)
        except DataError as error:
            outcome.failed[task.name] = error
            _say(options, f"  {task.name}: FAILED. {error.what}")
            continue
        outcome.results.append(result)
        if not fresh:
            outcome.skipped.append(task.name)
        _say(options, line(task, result, fresh))
    return outcome


def known_result(path: Path, options: Options) -> Result | None:
    """Return the result that is there already, if it is whole and need not be measured again."""
    if not path.is_file() or options.force:
        return None
    known = read_result(path)
    return known if not (known.record["skipped"] and not options.skip_bad) and _items_whole(known) else None


def make_embedder(model: DualEncoder, options: Options) -> Embedder:
    """Return an embedder that keeps what it made, if there is a cache."""
    store = memory = None
    if options.cache is not None:
        store, memory = Store(options.cache, model.id), options.cache / MEMORY
        for folder in evict(options.cache, options.cache_limit, store.folder):
            _say(options, f"  cache: embeddings {folder} made room (--cache-limit)")
    digests = Digests(memory, options.progress)
    return Embedder(model, options.batch_size, options.skip_bad, options.progress, store, digests)


def fill(model: DualEncoder, tasks: list[Task], options: Options, shard: tuple[int, int]) -> Outcome:
    """Embed one part of the tasks' images and texts into the cache; a run without a part then finds them all there.

    Args:
        model: The model.
        tasks: The tasks.
        options: How.
        shard: Which part of how many, from 0.

    Returns:
        No results; a `DataError` in one task leaves the others running.
    """
    outcome = Outcome()
    embedder = make_embedder(model, options)
    for task in tasks:
        try:
            data = task.load(options.data)
            data = data if options.limit is None else data.first(options.limit)
            embedder.fill(data.images, data.texts(), shard)
        except DataError as error:
            outcome.failed[task.name] = error
            continue
        _say(options, f"  {task.name}: part {shard[0] + 1} of {shard[1]} is embedded")
    return outcome


def _measure_task(embedder: Embedder, task: Task, options: Options) -> tuple[Result, bool]:
    data = task.load(options.data)
    source, model = identify(embedder, data), embedder.model.id
    settings = settings_of(task, model, options.limit) | getattr(data, "settings", {})
    path = result_path(options.out, task, model, identity(task, model, source, settings))
    if (known := known_result(path, options)) is not None:
        return known, False
    start = time.perf_counter()
    scores = task.score(embedder, data if options.limit is None else data.first(options.limit))
    seconds = time.perf_counter() - start
    bad = {image.where: embedder.bad[image.where] for image in data.images if image.where in embedder.bad}
    record = new_record(task, model, source, settings, scores, bad)
    if lack := incomplete(task.row, data):
        record |= {"partial": True, "incomplete": lack}
    record["run"] = run_record(seconds) | {"images_per_second": round(len(data.images) / seconds, 1)}
    return write_result(path, record, scores), True


def identify(embedder: Embedder, data: AnyData) -> DataId:
    """Return which data this is, with the fingerprint of all its images, texts and labels."""
    digests = embedder.digests.of(data.images)
    return replace(data.source, fingerprint=fingerprint([image.key for image in data.images], digests, data.contents()))


def _items_whole(result: Result) -> bool:
    path = result.path.with_name(result.record["items"]["file"])
    return path.is_file() and digest_file(path) == result.record["items"]["sha256"]


def _line(task: Task, result: Result, fresh: bool) -> str:
    cell = result.record["metrics"][task.primary.name]
    half = f" ± {100 * (cell['ci95'][1] - cell['ci95'][0]) / 2:.1f}" if cell["ci95"] else ""
    note = f"{result.record['run']['seconds']:.1f} s" if fresh else "measured before, not measured again"
    return f"  {task.name}: {task.primary.label} {100 * cell['value']:.1f}{half} (n={cell['n']}{result.shortfall}; {note})"


def _say(options: Options, line: str) -> None:
    if options.progress:
        print(line, file=sys.stderr)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome for machines."""
    return {
        "results": [{"path": str(result.path)} | result.record for result in outcome.results],
        "measured_before": outcome.skipped,
        "failed": {name: {"what": error.what, "hint": error.hint} for name, error in outcome.failed.items()},
    }
