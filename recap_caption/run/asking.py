"""What a run asks of every sample, and the row that comes of it. A row's place is its sample's place and the question's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from recap_caption.engines.base import Reply, Request
from recap_caption.prompts import MissingText, Prompt
from recap_caption.rows import BAD_IMAGE, BAD_TEXT, ENGINE_ERROR, OK, OURS, PUBLISHED, STATUSES
from recap_caption.sources.base import Fault, Item, plain_text
from recap_eval.endpoint.failures import clean
from recap_eval.errors import DataError

NO_IMAGE = Fault(BAD_IMAGE, "NoImage", "there is no image")
EMPTY = dict.fromkeys((*PUBLISHED, *OURS))
KEPT = (
    "status", "error_type", "error", "attempts", "finish_reason", "n_prompt_tokens", "n_output_tokens", "mean_logprob", "width",
    "height",
)  # fmt: skip
Answer = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """What all rows of a run share.

    Args:
        model_id: The model's name.
        run_id: The run's.
        engine: The engine's.
    """

    model_id: str
    run_id: str
    engine: str


@dataclass(frozen=True)
class Asking:
    """The questions about a sample.

    Args:
        prompts: The prompts, in order.
        seed: The run's seed.
    """

    prompts: tuple[Prompt, ...]
    seed: int

    @cached_property
    def questions(self) -> tuple[tuple[Prompt, int], ...]:
        """Prompt and number of the caption by it, in the order of the rows of a sample."""
        return tuple((prompt, sample) for prompt in self.prompts for sample in range(prompt.samples))

    def split(self, place: int) -> tuple[int, Prompt, int]:
        """Return sample, prompt and number of the caption at a row's place."""
        number, question = divmod(place, len(self.questions))
        return number, *self.questions[question]

    def request(
        self, place: int, item: Item, read_image: Callable[[], bytes] | None, number: int | None = None
    ) -> Request | Fault:
        """Return what is asked at a row's place, or why nothing can be.

        Args:
            place: The row's place.
            item: Its sample.
            read_image: Reads the sample's image.
            number: What the engine is to hand back; None for the place.
        """
        _, prompt, sample = self.split(place)
        if item.fault is not None:
            return item.fault
        if prompt.sees_image and item.read_image is None:
            return NO_IMAGE
        try:
            text = prompt.fill({name: getattr(item, name) for name in prompt.fields})
        except MissingText as error:
            return Fault(BAD_TEXT, "MissingText", error.what)
        seed = prompt.seed(self.seed, item.key, sample)
        image = read_image if prompt.sees_image else None
        return Request(place if number is None else number, text, prompt.system, image, item.where, prompt.sampling, seed)

    def row(self, place: int, item: Item, answer: Answer, made: Made) -> dict[str, Any]:
        """Return a row, without its flags."""
        _, prompt, sample = self.split(place)
        caption = answer.get("caption")
        return EMPTY | {name: answer.get(name) for name in KEPT} | {
            "url": item.url, "re_caption": caption, "org_caption": item.org_caption,
            "sha256": item.sha256 or answer.get("sha256"), "key": item.key,
            "re_length": count_words(caption), "org_length": count_words(item.org_caption), "prompt_id": prompt.id,
            "sample_index": sample, "seed": prompt.seed(self.seed, item.key, sample), "model_id": made.model_id,
            "run_id": made.run_id, "engine": made.engine,
        }  # fmt: skip


def count_words(text: str | None) -> int | None:
    """Return a text's words as `str.split` has them; None of none."""
    return None if text is None else len(text.split())


def answer_of(reply: Reply) -> Answer:
    """Return a reply as it is kept: with nothing in it that no row can hold.

    Raises:
        DataError: It has a status that there is not.
    """
    if reply.status not in STATUSES:
        raise DataError(f"The engine answers with status {reply.status!r}.", f"There are: {', '.join(STATUSES)}.")
    answer: Answer = {name: getattr(reply, name) for name in KEPT}
    answer["caption"] = plain_text(reply.caption) if reply.status == OK else None
    if reply.status == OK and answer["caption"] is None:
        answer |= {"status": ENGINE_ERROR, "error_type": "NoCaption", "error": "the engine answered without a caption"}
    if answer["error"] is not None:
        answer["error"] = clean(answer["error"])
    if answer["mean_logprob"] is not None and not math.isfinite(answer["mean_logprob"]):
        answer["mean_logprob"] = None
    return answer


def fault_answer(fault: Fault) -> Answer:
    """Return what stands for an answer where nothing could be asked."""
    return {"status": fault.status, "error_type": fault.kind, "error": clean(fault.what), "attempts": 0}
