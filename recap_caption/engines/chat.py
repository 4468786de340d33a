"""A question as the model was trained to read it: its chat template, its special tokens, and where its answers end."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from recap_caption.engines.neutral import neutralised
from recap_eval.errors import DataError, UserError

ANSWER = "answer"  # stands where an answer would
HINT = "Give another one: --chat-template FILE"


class Chat:
    """Makes questions of one model.

    Args:
        processor: The model's processor.
        template: The chat template, Jinja; transformers runs it in a sandbox.
    """

    def __init__(self, processor: Any, template: str) -> None:
        self._processor, self._template = processor, template
        self.tokenizer = processor.tokenizer
        self.image_token = getattr(processor, "image_token", None)

    @cached_property
    def special(self) -> list[str]:
        """The tokens that mean more than their letters, those for images among them."""
        added = [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        names = [getattr(self._processor, f"{kind}_token", None) for kind in ("image", "video", "audio")]
        return sorted({*added, *self.tokenizer.all_special_tokens, *filter(None, names)}, key=len, reverse=True)

    def render(self, text: str, system: str | None, with_image: bool) -> str:
        """Return a question in the model's form, special tokens in the texts taken apart.

        Raises:
            UserError: The template has no place for the system message or the question.
            DataError: The template fails.
        """
        text, system = neutralised(text, self.special), None if system is None else neutralised(system, self.special)
        rendered = self._apply([*_system(system), _user(text, with_image)], prompt=True)
        for told, what in ((system, "the system message"), (text, "the question")):
            if told is not None and told.strip() not in rendered:
                raise UserError(f"The chat template leaves out {what}.", HINT)
        return rendered

    def check(self) -> None:
        """Check that the template has a place for an image.

        Raises:
            UserError: It has none.
            DataError: It fails.
        """
        if self.render("question", None, True) == self.render("question", None, False):
            raise UserError("The chat template leaves out the image.", HINT)

    def _apply(self, messages: list[dict[str, Any]], prompt: bool) -> str:
        from jinja2 import TemplateError

        try:
            return str(
                self._processor.apply_chat_template(
                    messages, chat_template=self._template, tokenize=False, add_generation_prompt=prompt
                )
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise DataError(f"The chat template fails: {str(error) or type(error).__name__}.", HINT) from error

    def adds_tokens(self, rendered: str) -> bool:
        """Return whether the tokenizer is to begin the text with its own token: not where the template has done so."""
        first = self.tokenizer.bos_token
        return first is None or not rendered.startswith(first)

    def ids(self, rendered: str) -> list[int]:
        """Return the token ids of a question."""
        found: list[int] = self.tokenizer(rendered, add_special_tokens=self.adds_tokens(rendered))["input_ids"]
        return found

    def ends(self, configured: Any) -> list[int]:
        """Return the ids that end an answer: those configured, the tokenizer's, and what the template puts after an answer.

        A checkpoint of LLaMA-3 may name only <|end_of_text|>, while its answers end in <|eot_id|>.

        Args:
            configured: An id, several, or None.
        """
        found = [configured] if isinstance(configured, int) else list(configured or [])
        found += [self.tokenizer.eos_token_id, self._turn_end()]
        return list(dict.fromkeys(id for id in found if id is not None))

    def _turn_end(self) -> int | None:
        """Return the special token that the template puts right after an answer."""
        said = {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}
        try:
            rest = self._apply([_user("question", False), said], prompt=False).rpartition(ANSWER)[2].strip()
        except DataError:  # templates for captioning alone need no form of answers
            return None
        ids = self.tokenizer(rest, add_special_tokens=False)["input_ids"] if rest else []
        return ids[0] if ids and self.tokenizer.convert_ids_to_tokens(ids[0]) in self.special else None


def _system(text: str | None) -> list[dict[str, Any]]:
    return [] if text is None else [{"role": "system", "content": [{"type": "text", "text": text}]}]


def _user(text: str, with_image: bool) -> dict[str, Any]:
    image = [{"type": "image"}] if with_image else []
    return {"role": "user", "content": [*image, {"type": "text", "text": text}]}
