"""The rows of a captioning run beside its images: output n has the captions of input n, so a join is a zip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_caption.exchange.told import FAILED, NO_ROW, Told, tell
from recap_caption.rows import OK
from recap_caption.run.output import read_output
from recap_caption.run.record import Run, read_run
from recap_caption.sources.base import Item, Part
from recap_eval.captions.generations import RUN
from recap_eval.errors import DataError, UserError, unknown_name

FACTS = ("prompt_id", "sample_index", "model_id", "finish_reason")


@dataclass(frozen=True)
class Caption:
    """Which of an image's captions is meant.

    Args:
        prompt: The prompt's id.
        sample: Which of several by the same prompt.
    """

    prompt: str
    sample: int = 0

    @property
    def only(self) -> tuple[tuple[str, Any], ...]:
        """It, as what columns of a row must say."""
        return ("prompt_id", self.prompt), ("sample_index", self.sample)


def find_run(word: str) -> Run | None:
    """Return the run whose folder a word names; None if it names something else."""
    folder = Path(word).expanduser()
    return read_run(folder) if (folder / RUN).is_file() else None


def choose(run: Run, prompt: str | None, sample: int | None) -> Caption:
    """Return which captions of a run are meant.

    Raises:
        UserError: It has several an image, and it is not said which; or it has no such ones.
    """
    prompts = {one["id"]: int(one["samples"]) for one in run.config["prompts"]}
    if prompt is None and len(prompts) > 1:
        raise UserError(f"The run has captions by {len(prompts)} prompts: {', '.join(prompts)}.", "Say which: --prompt ID")
    chosen = prompt or next(iter(prompts))
    if chosen not in prompts:
        raise unknown_name("prompt of the run", chosen, prompts, ", ".join(prompts))
    n = prompts[chosen]
    if sample is None and n > 1:
        raise UserError(f"The run has {n} captions an image by {chosen}.", f"Say which: --sample 0, …, --sample {n - 1}")
    if not 0 <= (sample or 0) < n:
        raise UserError(f"--sample {sample}: {chosen} has {n} captions an image.", f"They are counted from 0 to {n - 1}.")
    return Caption(chosen, sample or 0)


def newest_outputs(run: Run, partial: bool) -> list[Path | None]:
    """Return the newest output of each part of a run, in order; None where there is none.

    Raises:
        DataError: Parts have none, and that was not accepted.
    """
    there = run.folder.outputs()
    found = [run.folder.output(part.name, max(there[part.name])) if there.get(part.name) else None for part in run.parts]
    lacking = sum(path is None for path in found)
    if lacking == len(found):
        raise DataError(f"{run.folder.root} has no captions yet.", "Let the run go on: give its command again.")
    if lacking and not partial:
        raise DataError(
            f"{lacking:,} of {len(found):,} shards of {run.folder.root} are not captioned yet.",
            "Let the run end: give its command again. Or take what is there: --partial",
        )
    return found


def check_input(run: Run) -> None:
    """Check that a run's input is what it was when it was captioned.

    Raises:
        DataError: It is not.
    """
    for part in run.parts:
        if run.identity(part) != part.identity:
            what = f"{part.name} is not what it was when it was captioned."
            raise DataError(what, "Restore it; or say where the images are now, to join them by sha256: --images PLACE")


class RunCaptions:
    """The captions of a run.

    Args:
        outputs: The newest output of each part, None where there is none.
        caption: Which of an image's captions is meant.
    """

    def __init__(self, outputs: list[Path | None], caption: Caption) -> None:
        self._outputs, self._caption = outputs, caption

    def of(self, number: int, part: Part, items: Sequence[Item]) -> list[Told]:
        """Return what is told of a part's images; see `Captions.of`.

        Raises:
            DataError: The output is damaged.
        """
        path = self._outputs[number]
        rows = [] if path is None else read_output(path).table.to_pylist()
        mine = [row for row in rows if (row["prompt_id"], row["sample_index"]) == (self._caption.prompt, self._caption.sample)]
        if mine and [row["key"] for row in mine] != [item.key for item in items][: len(mine)]:
            raise DataError(f"{path} has other keys than {part.name}.", "Look into it: recap-caption verify DIR")
        told = [_tell(row) for row in mine]
        return told + [Told(NO_ROW)] * (len(items) - len(mine))


def _tell(row: dict[str, Any]) -> Told:
    if row["status"] != OK:
        return Told(FAILED, row["org_caption"])
    return tell(row["org_caption"], row["re_caption"], {name: row[name] for name in FACTS}, "its own row")
