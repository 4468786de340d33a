"""The end of a run: the manifest in the order of the prompts, and the artifact that makes the folder complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from recap_eval.artifact import Artifact, find_artifact, write_artifact
from recap_eval.files import digest_file
from recap_eval.generate.base import ImageModel
from recap_eval.generate.folder import State, read_state, sweep
from recap_eval.generate.manifest import MANIFEST, Made, write_manifest
from recap_eval.generate.plan import Item
from recap_eval.generate.run import Job
from recap_eval.provenance import run_record


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Args:
        total: Images asked for.
        done: Images that are there.
        failed: Rows that failed the last time they were tried.
        artifact: The folder's description; None while images have not had their turn.
    """

    total: int
    done: int
    failed: list[Made]
    artifact: Artifact | None

    @property
    def pending(self) -> int:
        """Images that have not had their turn."""
        return self.total - self.done - len(self.failed)


def finish(model: ImageModel, job: Job, seconds: float) -> Standing:
    """Fold the parts of a run into its manifest and describe the folder, if every image had its turn.

    Args:
        model: The model.
        job: What was to be made.
        seconds: Wall time of this process.

    Raises:
        DataError: A record is damaged, or the disk is full.
    """
    items = job.items()
    state = read_state(job.out, items)
    failed = [state.failed[item.key] for item in items if item.key in state.failed]
    standing = Standing(len(items), len(state.done), failed, None)
    if standing.pending or not state.done:
        return standing
    rows = [(state.done.get(item.key) or state.failed[item.key]).row for item in items]
    write_manifest(job.out / MANIFEST, rows)
    if not failed:
        sweep(job.out)
    return Standing(len(items), len(state.done), failed, _describe(model, job, items, state, seconds))


def _describe(model: ImageModel, job: Job, items: Sequence[Item], state: State, seconds: float) -> Artifact:
    """Write artifact.json, unless the one that is there describes these very images."""
    known = find_artifact(job.out)
    if known is not None and known.files == {MANIFEST: digest_file(job.out / MANIFEST)}:
        return known
    run = run_record(seconds)
    run["packages"] |= {name: version(name) for name in ("diffusers", "safetensors")}
    made = _made(model, job, items, state)
    return write_artifact(job.out, "images", f"{model.name}/{job.prompts.name}", [MANIFEST], made, run)


def _made(model: ImageModel, job: Job, items: Sequence[Item], state: State) -> dict[str, Any]:
    done = [state.done[item.key] for item in items if item.key in state.done]
    seconds = sum(made.seconds for made in done)
    prompts = {"name": job.prompts.name, "n": len(job.prompts), "fingerprint": job.prompts.fingerprint} | job.prompts.source
    return {
        "model": {"name": model.name, "revision": model.revision} | model.about,
        "sampling": job.identity(model),
        "prompts": prompts | {"truncated": _cuts([*state.done.values(), *state.failed.values()], len(items))},
        "images": len(done),
        "failed": len(state.failed),
        "blanked": sum(made.row.blanked for made in done),
        "devices": sorted({made.device for made in done}),
        "batch_sizes": sorted({made.batch_size for made in done}),
        "device_seconds": round(seconds, 2),
        "images_per_second": round(len(done) / seconds, 4) if seconds else None,
    }


def _cuts(made: Sequence[Made], total: int) -> dict[str, Any]:
    """Return by tokenizer, as NAME:LIMIT, how many of the images' prompts it cut."""
    counts = Counter(cut for one in made for cut in one.row.cut_by)
    return {name: {"images": n, "share": n / total} for name, n in sorted(counts.items())}
