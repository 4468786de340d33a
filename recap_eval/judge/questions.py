"""What is asked: an item, a judge, a repeat; and the key under which the answer is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from recap_eval.data.coco_ids import JUDGED
from recap_eval.data.digests import Digests
from recap_eval.data.items import ImageItem
from recap_eval.data.pictures import BytesImage, NoImage, Picture, picture_of, size_of
from recap_eval.endpoint.address import LIMIT_NAMES
from recap_eval.endpoint.money import image_tokens, text_tokens
from recap_eval.endpoint.reply import Reply
from recap_eval.errors import UserError
from recap_eval.files import canonical_json, digest_json
from recap_eval.hashrand import combine, text_key
from recap_eval.judge.answers import Answer
from recap_eval.judge.parsing import Verdict, judge_reply
from recap_eval.judge.templates import Template, claims_of

VERSION = 1  # raised when the same question would be put otherwise
MODEL = "gpt-4.1-2025-04-14"  # a dated snapshot that takes a temperature and a seed; GPT-4V, the paper's, is gone
TEMPLATE_HINT = "Pairwise templates are for recap-eval judge check --other-column C; ratings take --judge-template paper"
Texts = tuple[str, ...]


@dataclass(frozen=True)
class Item:
    """Something to be judged.

    Args:
        key: Its key; it says which items are sampled.
        image: The image.
        texts: The caption, the two captions to be compared, or answer, prediction and question.
    """

    key: str
    image: ImageItem
    texts: Texts

    @staticmethod
    def of(key: str, image: ImageItem | bytes | None, *texts: str) -> Item:
        """Return an item; half a surrogate pair, which no request can hold, becomes a question mark.

        Args:
            key: Its key.
            image: The image, its encoded bytes, or None for a template that shows none.
            texts: Its texts, by the alphabet of the template's fields.
        """
        item = BytesImage(key, image) if isinstance(image, bytes) else image or NoImage(key)
        return Item(key, item, tuple(text.encode("utf-8", "replace").decode() for text in texts))


@dataclass(frozen=True)
class Judge:
    """Who is asked, and how: all that an answer depends on besides image, texts and repeat.

    Args:
        template: The question's form.
        model: The model's name.
        provider: "openai", or "compatible" for others' servers, where a name may stand for anything.
        detail: How closely the image is looked at: "auto", "low" or "high".
        temperature: Of sampling; None for the server's own.
        seed: Of sampling; a repeat adds its number. None for none.
        max_tokens: The most that an answer may have; None for the template's.
    """

    template: Template
    model: str
    provider: str = "openai"
    detail: str = "auto"
    temperature: float | None = 0.0
    seed: int | None = 0
    max_tokens: int | None = None

    @property
    def most(self) -> int:
        """The most tokens that an answer may have."""
        return self.max_tokens or self.template.max_tokens

    def settings(self) -> dict[str, Any]:
        """Return what tells one judge from another, for results."""
        facts = {"model": self.model, "provider": self.provider, "template": self.template.name}
        facts |= {"template_digest": self.template.digest[:16], "detail": self.detail}
        return facts | {"temperature": self.temperature, "seed": self.seed, "max_tokens": self.most}


@dataclass(frozen=True)
class Ticket:
    """What must be remembered of a question to keep its answer.

    Args:
        key: What the answer is kept under.
        image: Digest of the image as it is meant.
        texts: Digest of the texts.
        repeat: Number of the repeat, from 0.
        claims: How many claims are asked about; 0 for other forms.
    """

    key: str
    image: str
    texts: str
    repeat: int
    claims: int = 0

    def read(self, judge: Judge, reply: Reply) -> Verdict:
        """Return what an answer says."""
        return judge_reply(reply, judge.template.parser, self.claims)

    def answer(self, judge: Judge, reply: Reply, via: str) -> Answer:
        """Return an answer as it is kept."""
        verdict = self.read(judge, reply)
        return Answer(
            self.key, self.image, self.texts, judge.template.digest, judge.model, canonical_json(judge.settings()), self.repeat,
            reply.text, reply.refusal, reply.finish_reason, verdict.status, verdict.value, reply.model, reply.fingerprint,
            reply.tokens_in, reply.tokens_out, via, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One thing asked of one judge.

    Args:
        item: The item.
        judge: The judge.
        ticket: What is remembered of it.
    """

    item: Item
    judge: Judge
    ticket: Ticket

    @property
    def key(self) -> str:
        """What the answer is kept under."""
        return self.ticket.key

    def picture(self) -> Picture:
        """Return the image ready to be sent; an empty one where none is shown.

        Raises:
            DataError: It is not a readable image.
        """
        return picture_of(self.item.image) if self.judge.template.sees else Picture("", (0, 0))

    def size(self) -> tuple[int, int]:
        """Return the image's width and height in pixels, from its head.

        Raises:
            DataError: It is not a readable image.
        """
        return size_of(self.item.image) if self.judge.template.sees else (0, 0)

    def body(self, picture: Picture) -> dict[str, Any]:
        """Return the request."""
        judge = self.judge
        look = {"type": "image_url", "image_url": {"url": picture.uri, "detail": judge.detail}}
        text = {"type": "text", "text": judge.template.fill(self.item.texts)}
        content = [look, text] if judge.template.sees else [text]
        body: dict[str, Any] = {"model": judge.model, "messages": [{"role": "user", "content": content}]}
        body |= {LIMIT_NAMES[judge.provider]: judge.most}
        body |= {} if judge.temperature is None else {"temperature": judge.temperature}
        return body | ({} if judge.seed is None else {"seed": judge.seed + self.ticket.repeat})

    def tokens(self, size: tuple[int, int]) -> int:
        """Return how many tokens the question has, estimated."""
        asked = text_tokens(self.judge.template.fill(self.item.texts))
        return asked + (image_tokens(self.judge.model, size, self.judge.detail) if self.judge.template.sees else 0)


def questions_of(items: Sequence[Item], judge: Judge, repeats: int, digests: Digests) -> list[list[Question]]:
    """Return the questions about each item, one a repeat.

    Raises:
        UserError: An item has another number of texts than the template.
        DataError: An image cannot be read.
    """
    needed = judge.template.n_texts
    if any(len(item.texts) != needed for item in items):
        what = {1: "takes one caption", 2: "compares two captions", 3: "grades answers to questions"}[needed]
        raise UserError(f"The template {judge.template.name} {what}, and other items are given.", TEMPLATE_HINT)
    images = digests.of([item.image for item in items])
    return [
        [Question(item, judge, _ticket(item, judge, image, repeat)) for repeat in range(repeats)]
        for item, image in zip(items, images, strict=True)
    ]  # fmt: skip


def _ticket(item: Item, judge: Judge, image: str, repeat: int) -> Ticket:
    # Without the template's name, and with the whole of its digest: a renamed file asks the same.
    settings = judge.settings() | {"template": "", "template_digest": judge.template.digest}
    texts = hashlib.sha256(canonical_json(list(item.texts)).encode()).hexdigest()
    claims = len(claims_of(item.texts[0])) if judge.template.parser == "claims" else 0
    return Ticket(digest_json([VERSION, image, texts, settings, repeat]), image, texts, repeat, claims)


def sampled(numbers: Sequence[int], n: int | None) -> list[int]:
    """Return the places of the items to be judged, in order: those whose number has the smallest hash.

    So the same items are judged of every model, a smaller sample is part of a larger one, and order does not matter.

    Args:
        numbers: (N) numbers of `draw_number`: an image of COCO has its id.
        n: How many; None for all.
    """
    if n is None or n >= len(numbers):
        return list(range(len(numbers)))
    purpose = text_key(JUDGED)
    return sorted(sorted(range(len(numbers)), key=lambda place: combine(purpose, numbers[place]))[:n])
