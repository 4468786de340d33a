"""`recap-eval captions`: what its text says of a caption set, and what models see of it in its images."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.console import note
from recap_eval.data.root import default_cache
from recap_eval.errors import DataError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recap_eval.caption_scoring import Extras
    from recap_eval.captions.scan import Question
    from recap_eval.captions.survey import Survey
    from recap_eval.parallel import Team
    from recap_eval.report.captions_page import Written
    from recap_eval.runner import Options, Outcome
    from recap_eval.tasks.captions import Family

WIDE = 110  # characters of a sample shown
SCENES = "drawn scenes, not web data"


def evaluate_captions(args: argparse.Namespace) -> int:
    """Measure caption files by every family named; one that fails leaves the others running.

    Returns:
        0, or 1 if anything failed.
    """
    from recap_eval.artifact import named
    from recap_eval.caption_scoring import Set, measure_captions
    from recap_eval.captions.files import find_files
    from recap_eval.captions.on_cluster import count_on_cluster
    from recap_eval.captions.scan import Scan, first_samples
    from recap_eval.commands.captions_looking import fill_part, find_lookers, look
    from recap_eval.commands.captions_page import check_page, write_page
    from recap_eval.parallel import Team
    from recap_eval.tasks.captions import find_families

    check_page(args)
    families = find_families(args.metrics)
    files = find_files(args.captions)
    question = _question(args, families, files)
    extras = _extras(args, families, question)
    team = Team.of(args.shard)
    options = _options(args, team)
    lookers = find_lookers(args, families, team.device)
    name = args.name or named(_name(args.captions), args.fact)
    note(f"{name}: {len(files):,} files; {_told(question)}")
    _show(first_samples(files[0], question))
    start, scan = time.perf_counter(), Scan(files, question, options.cache)
    if args.ray is not None:
        count_on_cluster(scan, args.ray, args.ray_workers)
    surveys = scan.run(team.shard)
    seconds = time.perf_counter() - start
    note(f"{name}: {surveys[question.column].content.rows:,} rows in {seconds:.1f} s")
    pictures = look(args, lookers, files, question, options) if lookers else None
    if team.shard is not None:
        if pictures is not None:
            fill_part(pictures, team.shard)
        note("This part is done. When all parts are, the same command without --shard gives the figures.")
        return 0
    if args.metrics is None:
        families = _fitting(families, surveys)
    found = Set(name, question, surveys, seconds, dict(args.fact))
    outcomes = measure_captions(found, list(families.values()), replace(extras, pictures=pictures), options)
    page = write_page(args, found, files, pictures, options) if args.page else None
    return _end(args, outcomes, page)


def _options(args: argparse.Namespace, team: Team) -> Options:
    from recap_eval.runner import Options

    cache = None if args.no_cache else args.cache or default_cache()
    in_parts = team.shard is not None or args.ray is not None
    if team.shard is not None and args.ray is not None:
        raise UserError("--shard and --ray both divide the files.", "Leave one out.")
    if in_parts and (cache is None or args.limit is not None):
        raise UserError(
            "A run in parts goes neither with --no-cache nor with --limit.",
            "Parts meet in the cache: leave that out, or --shard and --ray.",
        )
    return Options(
        args.out, Path(), args.batch_size, None, args.skip_bad, args.force, True, cache, int(args.cache_limit * 1e9)
    )  # fmt: skip


def _fitting(families: dict[str, Family], surveys: dict[str, Survey]) -> dict[str, Family]:
    """Return the families that nobody asked for by name as far as they can be measured: a few captions have no diversity."""
    from recap_eval.captions.diversity import BLOCK
    from recap_eval.captions.words import normal_words

    words = min(sum(len(normal_words(one.text)) for one in survey.sample.drawn) for survey in surveys.values())
    if words >= BLOCK:
        return families
    print(f"  captions-diversity: left out, it needs {BLOCK:,} words in each column", file=sys.stderr)
    return {name: family for name, family in families.items() if name != "diversity"}


def _question(args: argparse.Namespace, families: dict[str, Family], files: Sequence[Path]) -> Question:
    from recap_eval.captions.files import preset_roles
    from recap_eval.captions.scan import Question
    from recap_eval.captions.tokens import load_tokenizer
    from recap_eval.tasks.captions import states_of

    column, against = args.column, args.against
    if args.caption_preset is not None:
        if column is not None:
            raise UserError("--caption-preset names the column already.", "Leave out --column, or the preset.")
        column, original = preset_roles(args.caption_preset, files)
        against = against or original or None
    if column is None:
        raise UserError(
            "Which column holds the captions is not said.",
            "Name it: --column re_caption, or --caption-preset recap-datacomp|datacomp|scenes",
        )
    if column == against:
        raise UserError(f"--column and --against are both {column!r}.", "Name two columns, or leave --against out.")
    tokenizers = (
        tuple(load_tokenizer(word) for word in dict.fromkeys(args.tokenizer or ["clip"])) if "tokens" in families else ()
    )
    if len({one.name for one in tokenizers}) < len(tokenizers):
        raise UserError("Two tokenizers have one name.", "Put each tokenizer.json into a folder of its own name.")
    return Question(column, against, args.key, states_of(list(families.values())), tokenizers, args.limit)


def _extras(args: argparse.Namespace, families: dict[str, Family], question: Question) -> Extras:
    from recap_eval.caption_scoring import Extras
    from recap_eval.captions.references import read_references

    if "truth" in families and args.truth is None:
        raise UserError(
            "Nothing tells the truth of these captions.", "Name a scenes split's ground truth: --truth scenes/test.parquet"
        )
    if "references" in families and args.references is None and question.against is None:
        raise UserError(
            "There is nothing to hold the captions against.",
            "Give --references FILE, or the column that holds them: --against caption",
        )
    if args.truth is not None and not args.truth.is_file():
        raise DataError(f"{args.truth} does not exist.", "Name a scenes split's ground truth, such as scenes/test.parquet.")
    known = None if args.references is None else read_references(args.references, args.reference_column, args.key)
    about = SCENES if args.caption_preset == "scenes" or args.truth is not None else ""
    return Extras(known, args.reference_tokens, args.truth, about=about)


def _name(words: list[str]) -> str:
    """Return what the files are called: a file's stem, a folder's name, of a pattern the folder that it begins with."""
    place = Path(words[0]).expanduser()
    if place.is_file():
        return place.stem
    whole = place.parts
    plain = whole[: next((number for number, part in enumerate(whole) if any(sign in part for sign in "*?[")), len(whole))]
    return Path(*plain).resolve().name or "captions"


def _told(question: Question) -> str:
    return f"captions: {question.column}" + (f", against: {question.against}" if question.against else "")


def _show(samples: list[tuple[str, dict[str, str | None]]]) -> None:
    """Show samples, so that a wrong column is seen before anything is counted."""
    for key, texts in samples:
        for column, text in texts.items():
            print(f"  {key}  {column}: {text[:WIDE]!r}" if text is not None else f"  {key}  {column}: null", file=sys.stderr)


def _end(args: argparse.Namespace, outcomes: dict[str, Outcome], page: Written | None) -> int:
    from recap_eval.runner import as_json

    failed = [(column, name, why) for column, found in outcomes.items() for name, why in found.failed.items()]
    if args.json:
        told = {column: as_json(found) for column, found in outcomes.items()}
        print(json.dumps(told | ({"page": str(page.path)} if page else {})))
    else:
        place = "" if args.out == Path("leaderboards") else f" --leaderboards {args.out}"
        shown = "boards that ask for these facts: recap-eval report" if args.fact else "the table: recap-eval report captions"
        print(f"Results: {args.out / 'results'}; {shown}{place}", file=sys.stderr)
        if page is not None:
            print(f"Page: {page.path}{f', thumbnails in {page.folder}' if page.folder else ''}", file=sys.stderr)
    for column, name, why in failed:
        print(f"error: {column}, {name}: {why.what}\n       {why.hint}", file=sys.stderr)
    return 1 if failed else 0
