"""A batch of questions to a batch of answers, by `generate` of transformers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recap_caption.engines.chat import Chat
from recap_caption.engines.choosing import Choosing
from recap_caption.engines.inputs import Inputs, Question
from recap_caption.prompts import Sampling

COMPILED = 64  # a compiled model sees lengths that are multiples of it, so that it is compiled few times
PLAIN = {  # `Choosing` chooses; these keep `generate` from doing so, whatever the checkpoint says
    "do_sample": False, "num_beams": 1, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "return_dict_in_generate": False,
}  # fmt: skip
HABITS = (  # what a checkpoint may ask of generation besides
    "repetition_penalty", "no_repeat_ngram_size", "min_new_tokens", "min_length", "bad_words_ids", "suppress_tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Told:
    """An answer.

    Args:
        text: Its text, without special tokens, untouched.
        finish_reason: "stop" if the model ended it, "length" if it was cut.
        n_prompt_tokens: Tokens of the question, those of the image included.
        n_output_tokens: Tokens of the answer, the one that ends it included.
        mean_logprob: Mean natural logarithm of its tokens' probabilities under the model.
    """

    text: str
    finish_reason: str
    n_prompt_tokens: int
    n_output_tokens: int
    mean_logprob: float | None


class Generating:
    """Generates with one model.

    Args:
        model: The model.
        chat: Its questions' form.
        inputs: Makes its inputs.
        compiled: Compile it.

    Attributes:
        ends: The ids that end an answer.
    """

    def __init__(self, model: Any, chat: Chat, inputs: Inputs, compiled: bool) -> None:
        self._model, self._chat, self._inputs, self._compiled = model, chat, inputs, compiled
        self.ends = chat.ends(model.generation_config.eos_token_id)

    def record(self) -> dict[str, Any]:
        """Return what of it decides captions, for a run's fingerprint."""
        habits = {name: getattr(self._model.generation_config, name, None) for name in HABITS}
        return {"ends": self.ends} | {name: value for name, value in habits.items() if value is not None}

    def answer(self, questions: list[Question], pictures: list[Any], sampling: Sampling, seeds: Sequence[int]) -> list[Told]:
        """Answer questions.

        Args:
            questions: (B) questions, all with an image or none.
            pictures: (B) their images, made by `Inputs.picture`; none.
            sampling: How tokens are chosen.
            seeds: (B) seeds; not read in greedy decoding.

        Raises:
            torch.OutOfMemoryError: The batch does not fit into memory.
        """
        import torch

        inputs = self._inputs.batch(questions, pictures, COMPILED if self._compiled else 1)
        choosing = Choosing(sampling, list(seeds))
        config = self._config(sampling.max_new_tokens)
        with torch.inference_mode():
            found = self._model.generate(**inputs, generation_config=config, logits_processor=[choosing])
        rows = [until_end(row, self.ends) for row in found[:, inputs["input_ids"].shape[1] :].tolist()]
        texts = self._chat.tokenizer.batch_decode(rows, skip_special_tokens=True)
        prompts, sure = inputs["attention_mask"].sum(1).tolist(), choosing.mean_logprobs([len(row) for row in rows])
        return [
            Told(texts[i], "stop" if row[-1] in self.ends else "length", prompts[i], len(row), sure[i])
            for i, row in enumerate(rows)
        ]

    def _config(self, max_new_tokens: int) -> Any:
        """Return how `generate` is to work: as the checkpoint says, but for the choice of tokens."""
        found, tokenizer = copy.deepcopy(self._model.generation_config), self._chat.tokenizer
        pads = (found.pad_token_id, tokenizer.pad_token_id, *self.ends, 0)
        found.update(
            **PLAIN, max_new_tokens=max_new_tokens, max_length=None, eos_token_id=self.ends or None,
            pad_token_id=next(id for id in pads if id is not None),
        )  # fmt: skip
        if self._compiled:
            found.cache_implementation = "static"
        return found


def until_end(row: list[int], ends: list[int]) -> list[int]:
    """Return a row's tokens up to and with the one that ends it."""
    place = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
    return row[: place + 1]
