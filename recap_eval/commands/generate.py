"""`recap-eval generate`: prompts and a text-to-image model to a folder of images with its manifest."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError
from recap_eval.generate.options import prompts_of, running_of, sampling_of
from recap_eval.memory import keep_freed_memory
from recap_eval.parallel import Team

if TYPE_CHECKING:
    from recap_eval.generate.finish import Standing
    from recap_eval.generate.run import Job, Progress


def run_generate(args: argparse.Namespace) -> int:
    """Make the images that are not there yet, and the manifest when every prompt had its turn.

    Returns:
        0, or 1 if images failed.
    """
    from recap_eval.generate.finish import finish
    from recap_eval.generate.loading import load

    keep_freed_memory()
    team = Team.of(args.shard)
    job = _job(args)
    model = load(args.model, sampling_of(args), running_of(args, team.device))
    if team.talks:
        print(f"{args.model}: {len(job.items()):,} images of {job.prompts.name} into {job.out}", file=sys.stderr)
    progress = _generate(model, job, team)
    team.wait()
    if team.launched and not team.scores:
        return 0
    standing = finish(model, job, progress.seconds)
    print(json.dumps(_as_json(job, progress, standing)) if args.json else _told(job, team, progress, standing))
    _tell_failures(standing)
    return 1 if standing.failed or (standing.pending and team.shard is None) else 0


def _job(args: argparse.Namespace) -> Job:
    from recap_eval.generate.run import Job

    return Job(args.out, prompts_of(args), args.samples, args.seed, args.format, args.batch_size)


def _generate(model: Any, job: Job, team: Team) -> Progress:
    from recap_eval.generate.run import generate_images

    try:
        return generate_images(model, job, team.shard, team.talks)
    except KeyboardInterrupt:
        print(f"\nWhat was made is kept in {job.out}; the same command goes on.", file=sys.stderr)
        raise


def _told(job: Job, team: Team, progress: Progress, standing: Standing) -> str:
    rate = f", {progress.made / progress.seconds:.2f} images/s" if progress.made and progress.seconds else ""
    lines = [f"{job.out}: {standing.done:,} of {standing.total:,} images ({progress.made:,} made now{rate})"]
    if standing.artifact is not None:
        made = standing.artifact.made
        for name, cut in made["prompts"]["truncated"].items():
            tokenizer, _, limit = name.rpartition(":")
            lines.append(f"{cut['images']:,} prompts ({cut['share']:.1%}) are longer than {tokenizer} reads ({limit} tokens)")
        if made["blanked"]:
            lines.append(f"{made['blanked']:,} images were blanked by the safety checker")
        lines.append(f"Manifest: {job.out / 'manifest.jsonl'}, revision {standing.artifact.revision[:12]}")
    elif team.shard is not None:
        lines.append(
            f"{standing.pending:,} are missing. When the other parts are done, the last one writes the manifest; "
            "so does the same command without --shard."
        )
    return "\n".join(lines)


def _tell_failures(standing: Standing) -> None:
    if not standing.failed:
        return
    first = standing.failed[0].row
    error = DataError(
        f"{len(standing.failed):,} of {standing.total:,} images failed; the first, of prompt {first.id}: {first.error}",
        "They are rows with their error in the manifest; the same command tries them again.",
    )
    print(f"error: {error.what}\n       {error.hint}", file=sys.stderr)


def _as_json(job: Job, progress: Progress, standing: Standing) -> dict[str, Any]:
    facts = {"out": str(job.out), "images": standing.total, "done": standing.done, "made": progress.made}
    facts |= {"failed": [made.row.id for made in standing.failed], "pending": standing.pending}
    revision = standing.artifact.revision if standing.artifact else None
    return facts | {"seconds": round(progress.seconds, 2), "revision": revision}
