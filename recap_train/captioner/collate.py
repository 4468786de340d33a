"""Rows to what a LLaVA takes, and which of their tokens it learns: those of the answers, their ends included."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from recap_eval.errors import DataError, UserError
from recap_train.captioner.rows import IMAGE, Marks, Row, Rows

PLAIN, CHAT = "plain", "chat"
FORMS = (PLAIN, CHAT)
FAILURE = "failure"  # of a batch: what is wrong, and what to do


def opened(row: Row) -> list[Any]:
    """Return a row's images, decoded.

    Raises:
        DataError: One cannot be read; the message names row and file.
    """
    from PIL import Image, UnidentifiedImageError

    found = []
    for picture in row.pictures:
        try:
            found.append(Image.open(io.BytesIO(picture.read())).convert("RGB"))
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{row.name}: {picture.where} is no readable image ({error}).", "Mend or remove it.") from error
    return found


@dataclass(frozen=True)
class Collate:
    """Numbers of rows to batches, by TRL's collator.

    In the form "chat" a row is a conversation under the processor's chat template, and what the template marks as generated is
    learnt. In the form "plain" it is an image and a caption with nothing between them, and the caption is learnt, its line
    break included, as in the first stage of LLaVA-1.5.

    Args:
        rows: The data set.
        processor: transformers' processor.
        form: One of FORMS.
        max_length: Tokens of a row at most; what is beyond is cut off.
        marks: The tokenizer's special tokens.
    """

    rows: Rows
    processor: Any
    form: str
    max_length: int
    marks: Marks

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return input_ids, attention_mask, pixel_values (where there are images) and labels.

        In a worker, what went wrong comes in place of a batch, since torch would make a traceback of it.

        Args:
            examples: Each has the number of its row under "row".

        Raises:
            DataError: An image cannot be read, or a row does not suit the form.
        """
        from torch.utils.data import get_worker_info

        try:
            return self._batch(examples)
        except DataError as error:
            if get_worker_info() is None:
                raise
            return {FAILURE: [error.what, error.hint]}

    def _batch(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

        collate = DataCollatorForVisionLanguageModeling(
            self.processor, max_length=self.max_length, completion_only_loss=self.form == PLAIN,
            assistant_only_loss=self.form == CHAT,
        )  # fmt: skip
        form = self._plain if self.form == PLAIN else self._chat
        batch: dict[str, Any] = dict(collate([form(self.rows[example["row"]]) for example in examples]))
        return batch

    def _chat(self, row: Row) -> dict[str, Any]:
        clean = Row(row.name, row.pictures, tuple((role, self.marks.broken(text)) for role, text in row.turns))
        return {"images": opened(row), "messages": clean.messages()}

    def _plain(self, row: Row) -> dict[str, Any]:
        if len(row.pictures) != 1 or len(row.turns) != 2:
            raise DataError(
                f"{row.name} is not one image and one caption.",
                "Stage projector takes pairs, as LLaVA-Pretrain has: --data",
            )
        caption = self.marks.broken(row.turns[1][1])
        begin = self.processor.tokenizer.bos_token or ""
        return {"images": opened(row), "prompt": begin + IMAGE, "completion": caption + "\n"}


def check_template(processor: Any) -> None:
    """Refuse a chat template that does not mark what the model says: with it nothing, or everything, would be learnt.

    Raises:
        UserError: It marks nothing, or not the token that ends an answer.
    """
    talk = [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
    ]
    hint = "Name another: --chat-template llama-3 | llava-next | llava-pp | FILE"
    if not processor.chat_template:
        raise UserError("The model has no chat template.", hint)
    if "generation" not in processor.chat_template:
        raise UserError("The model's chat template does not mark what the model says ({% generation %}).", hint)
    told = processor.tokenizer.apply_chat_template(
        talk, chat_template=processor.chat_template, return_dict=True, return_assistant_tokens_mask=True
    )
    learnt = [token for token, mark in zip(told["input_ids"], told["assistant_masks"], strict=True) if mark]
    ends = {processor.tokenizer.eos_token_id, processor.tokenizer.convert_tokens_to_ids("<|eot_id|>")} - {None}
    if not learnt or learnt[-1] not in ends:
        raise UserError("The model's chat template does not mark the token that ends an answer.", hint)
