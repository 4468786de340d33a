"""The options of `recap-caption run`, group by group, and what they mean. Standard library only at import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_caption.engine_options import add_engine
from recap_caption.prompt_options import add_prompt, prompts_of
from recap_eval.cluster.options import add_cluster
from recap_eval.console import as_path, positive, positive_number
from recap_eval.errors import UserError

if TYPE_CHECKING:
    from recap_caption.prompts import Prompt
    from recap_caption.run.record import Wanted
    from recap_caption.sources.base import Reading

NAMED = ("key", "image", "url", "sha256")  # columns of a parquet file that --columns may name


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add all options of a run."""
    need = add_input(parser)
    need.add_argument("--output", type=as_path, required=True, metavar="DIR", help="the run's folder")
    need.add_argument("--limit", type=positive, metavar="N", help="caption the first N samples only, for a try")
    need.add_argument("--hash-input", action="store_true", help="know the input by its digests, not by sizes and times")
    add_texts(parser)
    add_prompt(parser)
    add_engine(parser)
    add_workers(parser)
    add_eval(parser)


def add_input(parser: argparse.ArgumentParser) -> Any:
    """Add what is captioned; returns the group."""
    need = parser.add_argument_group("what is captioned, and where captions go")
    need.add_argument(
        "--input", nargs="+", required=True, metavar="IN",
        help="folder of shards (*.tar), of parquet or of images; files; patterns in quotes",
    )  # fmt: skip
    need.add_argument(
        "--part", type=positive, default=5000, metavar="N", help="of folders and parquet: samples of an output (default 5000)"
    )
    need.add_argument("--seed", type=int, default=0, metavar="N", help="of prompts that draw tokens (default 0)")
    return need


def add_texts(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which text is which."""
    texts = parser.add_argument_group("which text is which (never guessed)")
    texts.add_argument("--caption-preset", metavar="P", help="datacomp, recap-datacomp, scenes, caption-rows, recap-coco-30k")
    texts.add_argument("--original-key", metavar="KEY", help="txt, json:FIELD, parquet:COLUMN, or none")
    texts.add_argument("--recaption-key", metavar="KEY", help="likewise: an earlier recaption, for prompts that work on it")
    texts.add_argument(
        "--columns", type=_columns, default=(), metavar="key=C,…", help="parquet: columns of key, image, url, sha256"
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add how many processes work."""
    group = parser.add_argument_group("processes (more may join at any time, on any machine that sees the folder)")
    group.add_argument("--workers", type=positive, default=1, metavar="N", help="start N processes; with GPUs, one GPU each")
    cluster = add_cluster(parser, "start the workers")
    cluster.add_argument(
        "--ray-cpus", type=positive_number, default=1, metavar="N", help="processors that a worker takes (default 1)"
    )
    cluster.add_argument(
        "--ray-gpus", type=positive_number, metavar="N",
        help="GPUs that a worker takes (default: one for engine transformers where the cluster has any)",
    )  # fmt: skip


def add_eval(parser: argparse.ArgumentParser) -> None:
    """Add whether and how the captions are measured."""
    after = parser.add_argument_group("measuring it, when the last shard is committed")
    after.add_argument("--no-eval", action="store_true", help="do not measure the captions")
    after.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    after.add_argument("--name", metavar="N", help="what tables call it (default: the output folder's name)")


def _columns(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split(",")]
    for name, _, column in pairs:
        if name not in NAMED or not column:
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COLUMN,… with names of {', '.join(NAMED)}")
    return tuple(sorted((name, column) for name, _, column in pairs))


def wanted_of(args: argparse.Namespace, command: list[str]) -> Wanted:
    """Return what the options ask for.

    Args:
        args: The options.
        command: The words that they were given as.

    Raises:
        UserError: A text that a prompt needs was not named, or a name is unknown.
        DataError: A prompt's file is damaged.
    """
    from recap_caption.run.record import Wanted

    prompts = tuple(prompts_of(args))
    reading = _reading(args, prompts)
    return Wanted(tuple(args.input), reading, prompts, args.seed, args.limit, args.hash_input, tuple(command))


def _reading(args: argparse.Namespace, prompts: tuple[Prompt, ...]) -> Reading:
    from recap_caption.sources.base import NO_ROLE, Reading
    from recap_caption.sources.places import PRESETS
    from recap_eval.data.shards import resolve_roles

    none = args.original_key == NO_ROLE
    roles = resolve_roles(args.caption_preset, None if none else args.original_key, args.recaption_key)
    original = NO_ROLE if none else roles.get("original")
    needed = {name for prompt in prompts for name in prompt.fields}
    recaption = roles.get("recaption") if "re_caption" in needed else None
    for field, role, flag in (("org_caption", original, "--original-key"), ("re_caption", recaption, "--recaption-key")):
        if field in needed and role in (None, NO_ROLE):
            raise UserError(
                f"A prompt asks for {field}, and no text was named so.", f"Name it: {flag} txt|json:FIELD|parquet:COLUMN"
            )
    columns = PRESETS.get(args.caption_preset or "", {}) | dict(args.columns)
    return Reading(original, recaption, tuple(sorted(columns.items())), any(one.sees_image for one in prompts), args.part)
