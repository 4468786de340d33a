"""What a run has made and what it has cost, by what its outputs say of themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recap_caption.run.generation import READERS
from recap_caption.run.output import read_facts
from recap_caption.run.progress import Progress
from recap_caption.run.record import Run
from recap_eval.captions.generations import newest

SUMMED = ("captions", "tokens_in", "tokens_out", "seconds", "device_seconds")


def account(run: Run) -> dict[str, Any]:
    """Return what all outputs say together.

    Raises:
        DataError: One is damaged.
    """
    paths = sorted(run.folder.captions.glob("[!.]*.parquet"))
    with ThreadPoolExecutor(READERS) as pool:
        facts = dict(zip(paths, pool.map(read_facts, paths), strict=True))
    made = add_up(facts[path] for path in newest(paths))
    return made | spent(run, facts.values())


def add_up(outputs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what the rows of outputs are, together."""
    found = list(outputs)
    torn = [facts for facts in found if facts["torn"] is not None]
    sums = {name: _counted(facts[name] for facts in found) for name in ("statuses", "errors", "flags")}
    return {
        "rows": sum(facts["rows"] for facts in found), **sums,
        "torn": {
            "parts": [facts["part"] for facts in torn], "samples_lost": sum(max(0, facts["lost"]) for facts in torn),
            "parts_of_unknown_loss": sum(facts["lost"] < 0 for facts in torn),
        },
    }  # fmt: skip


def _counted(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total.most_common())


def spent(run: Run, outputs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what all outputs cost, of every generation."""
    found = list(outputs)
    sums = {name: sum(facts["asked"][name] for facts in found) for name in SUMMED}
    seconds = sums["seconds"]
    return {
        "asked": sums["captions"], "tokens_in": sums["tokens_in"], "tokens_out": sums["tokens_out"],
        "engine_hours": round(seconds / 3600, 6), "gpu_hours": round(sums["device_seconds"] / 3600, 6),
        "captions_per_second": round(sums["captions"] / seconds, 3) if seconds else None,
        "tokens_per_second": round(sums["tokens_out"] / seconds, 3) if seconds else None,
        "cost": _cost(run, sums["tokens_in"], sums["tokens_out"]),
    }  # fmt: skip


def _cost(run: Run, tokens_in: int, tokens_out: int) -> dict[str, Any] | None:
    """Return US dollars, where the price of the model's tokens is known."""
    from recap_eval.endpoint.money import find_price

    price = find_price(run.config["model_id"], str(run.config["engine"].get("provider", "")))
    return None if price is None else {"dollars": round(price.of(tokens_in, tokens_out), 6), "price": price.source}


def state_of(run: Run, progress: Progress) -> dict[str, Any]:
    """Return all that `status` tells, as data."""
    return {
        "folder": str(run.folder.root), "run_id": run.run_id, "model_id": run.config["model_id"],
        "prompts": [prompt.id for prompt in run.asking.prompts], "partial": run.config["limit"] is not None,
        "shards": progress.parts, "shards_committed": progress.committed, "complete": progress.committed == progress.parts,
        "rows_expected": progress.rows, "rows_expected_exactly": progress.exact, "rows_answered": progress.done,
        "rate": round(progress.rate, 3), "token_rate": round(progress.token_rate, 3),
        "eta_seconds": None if progress.eta is None else round(progress.eta, 1),
        "workers": progress.workers, "made": account(run),
    }  # fmt: skip
