"""Images of several models, paired by prompt and sample, and what a reader must know of the pairing."""

from __future__ import annotations

from collections.abc import Sequence

from recap_eval.generate.plan import Key
from recap_eval.generate.sheet import Sheet


def all_keys(sheets: Sequence[Sheet]) -> list[Key]:
    """Return every prompt and sample that any model was asked for, in the order of the first that has it."""
    return list(dict.fromkeys(key for sheet in sheets for key in sheet.shots))


def pairing_notes(sheets: Sequence[Sheet]) -> list[str]:
    """Return what of the pairing a reader must know: prompts that a model lacks, other prompts, other seeds."""
    keys, notes = all_keys(sheets), []
    for sheet in sheets:
        lacking = sum(key not in sheet.shots for key in keys)
        failed = sum(bool(shot.error) for shot in sheet.shots.values())
        blanked = sum(shot.blanked for shot in sheet.shots.values())
        told = {"prompts are missing": lacking, "images failed": failed, "images were blanked by a safety checker": blanked}
        notes += [f"{sheet.name}: {count:,} of {len(keys):,} {what}." for what, count in told.items() if count]
        notes += [f"{sheet.name}: {sentence}." for sentence in sheet.notes]
    for sheet in sheets[1:]:
        notes += _against_first(sheets[0], sheet)
    return notes


def _against_first(first: Sheet, other: Sheet) -> list[str]:
    common = [key for key in first.shots if key in other.shots]
    if not common:
        return [f"{other.name} and {first.name} have no prompt in common."]
    pairs = [(first.shots[key], other.shots[key]) for key in common]
    prompts = sum(one.prompt != two.prompt for one, two in pairs)
    seeds = sum(None not in (one.seed, two.seed) and one.seed != two.seed for one, two in pairs)
    unknown = sum(None in (one.seed, two.seed) for one, two in pairs)
    told = {
        "have another prompt under the same id": prompts,
        "were drawn with another seed, so that chance differs too": seeds,
        "have no known seed on one side": unknown,
    }
    pair = f"{other.name} to {first.name}"
    return [f"{pair}: {count:,} of {len(common):,} images {what}." for what, count in told.items() if count]
