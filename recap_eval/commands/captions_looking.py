"""Images in `recap-eval captions`: who looks at them, loaded before anything is counted, and which rows are drawn."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.console import note
from recap_eval.errors import UserError

if TYPE_CHECKING:
    from recap_eval.captions.image_source import Source
    from recap_eval.captions.pictured import Views
    from recap_eval.captions.scan import Question
    from recap_eval.judge.rating import Config
    from recap_eval.models.base import DualEncoder
    from recap_eval.runner import Options
    from recap_eval.tasks.captions import Family
    from recap_eval.tasks.captions_seen import Pictures


@dataclass(frozen=True)
class Lookers:
    """Who looks at images, and where these are.

    Args:
        models: Loaded models, by the user's words.
        scorers: Which of these words are asked for, by the family's key.
        jury: The judge at work, or None.
        judged: Rows that the judge sees; None for all.
        source: The images.
    """

    models: dict[str, DualEncoder]
    scorers: dict[str, tuple[str, ...]]
    jury: Config | None
    judged: int | None
    source: Source


def find_lookers(args: argparse.Namespace, families: dict[str, Family], device: str | None) -> Lookers | None:
    """Return who looks at images for some families; None if none does.

    Raises:
        UserError: A wrong word, or an option of images without a metric that needs them.
        DataError: A model cannot be had, or there are no images.
    """
    from recap_eval.captions.image_source import find_places, open_source
    from recap_eval.data.root import default_cache
    from recap_eval.judge.options import config_of, sample_of
    from recap_eval.judge.questions import TEMPLATE_HINT
    from recap_eval.memory import keep_freed_memory

    looking = {name: family for name, family in families.items() if family.looks}
    _refuse_idle(args, looking)
    if not looking:
        return None
    keep_freed_memory()
    jury, judged = (config_of(args), sample_of(args)) if "judge" in looking else (None, None)
    if jury is not None and jury.judge.template.n_texts != 1:
        raise UserError(f"The template {jury.judge.template.name} compares two captions.", TEMPLATE_HINT)
    cache = None if args.no_cache else args.cache or default_cache()
    source = open_source(find_places(args.images or args.captions), cache, args.skip_bad)
    scorers = _scorers(args, looking)
    return Lookers(_load(args, scorers, device), scorers, jury, judged, source)


def _refuse_idle(args: argparse.Namespace, looking: dict[str, Family]) -> None:
    """Refuse options that would do nothing."""
    for name, needed in {"images": "", "join_on": "", "clip_model": "clip", "longclip_model": "longclip"}.items():
        used = needed in looking if needed else looking or args.page
        if getattr(args, name) is not None and not used:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is given, and no metric that needs it.", f"Ask for one: --metrics {needed or 'clip'}")


def _scorers(args: argparse.Namespace, looking: dict[str, Family]) -> dict[str, tuple[str, ...]]:
    from recap_eval.tasks.captions import SCORERS

    named = {"clip": args.clip_model, "longclip": args.longclip_model}
    return {key: tuple(dict.fromkeys(named[key] or [usual])) for key, usual in SCORERS.items() if key in looking}


def _load(args: argparse.Namespace, scorers: dict[str, tuple[str, ...]], device: str | None) -> dict[str, DualEncoder]:
    from recap_eval.models.base import Loading
    from recap_eval.models.loading import load, resolve_device, resolve_precision

    words = dict.fromkeys(word for named in scorers.values() for word in named)
    if not words:
        return {}
    where = resolve_device(args.device or device)
    how = Loading(resolve_precision(args.precision, where), where)
    return {word: load(word, how) for word in words}


def look(args: argparse.Namespace, lookers: Lookers, files: Sequence[Path], question: Question, options: Options) -> Pictures:
    """Draw the sample and return it with who looks at it.

    Raises:
        DataError: No row has an image at hand, two images share a key, or one cannot be read.
    """
    from recap_eval.runner import make_embedder
    from recap_eval.tasks.captions_seen import Pictures, Sight

    sizes = [args.sample] if lookers.scorers else []
    sizes += [] if lookers.jury is None else [lookers.judged or 2**62]
    views = draw_views(args, lookers.source, files, question, options, max(sizes))
    seen = views.first(args.sample)
    sights = {word: Sight(seen, make_embedder(model, options)) for word, model in lookers.models.items()}
    return Pictures(views, sights, lookers.scorers, lookers.jury, lookers.judged)


def draw_views(
    args: argparse.Namespace, source: Source, files: Sequence[Path], question: Question, options: Options, size: int
) -> Views:
    """Draw the keyed sample of the rows whose image is at hand.

    Raises:
        DataError: See `look`.
    """
    from recap_eval.captions.image_index import index_images
    from recap_eval.captions.pictured import draw_rows, states_digests, view
    from recap_eval.data.digests import MEMORY, Digests

    on = args.join_on or ("sha256" if states_digests(files[0], question) else "key")
    index = index_images(source, on)
    rows, tally = draw_rows(files, question, index, size)
    memory = None if options.cache is None else options.cache / MEMORY
    views = view(rows, question, index, tally, Digests(memory))
    note(f"images: {views.line()}")
    return views


def fill_part(pictures: Pictures, shard: tuple[int, int]) -> None:
    """Embed one part of the sample's images and captions into the cache."""
    for sight in pictures.sights.values():
        sight.fill(shard)
