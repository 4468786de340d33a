"""From requests to what a model takes: token ids padded on the left, and pixels.

Where the model's image processor brings every image to one square, as LLaVA-1.5's does, images are brought there by `canon`,
and its resize has nothing left to do; questions are then made into tokens without their images, and pixels are normalised a
batch at a time. That both give what the processor itself gives is shown with the loaded processor before anything is asked;
where they do not, or where a model takes images of any size, the processor does it all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_caption.canon import Canon, Canonical
from recap_caption.engines.chat import Chat
from recap_eval.errors import DataError
from recap_eval.models.pixels import TransformPixels

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

PLAIN = {"input_ids", "attention_mask", "pixel_values"}  # what a model takes that has no inputs of its own kind
CLOSE = 1e-5  # of normalised pixel values


@dataclass(frozen=True)
class Question:
    """A question in the model's form.

    Args:
        text: The question.
        ids: Its tokens, those of the image included; where the processor does it all, without them.
        with_image: Whether it has an image.
    """

    text: str
    ids: list[int]
    with_image: bool


class Inputs:
    """Makes inputs for one model.

    Args:
        processor: The model's processor.
        chat: Its questions' form.
        side: What the user says of the image size, made by `EngineOptions.side` of `takes(processor)`.
        device: Where the model is.
        dtype: Of pixels.
    """

    def __init__(self, processor: Any, chat: Chat, side: int | None, device: str, dtype: torch.dtype) -> None:
        self._processor, self._chat, self._device, self._dtype = processor, chat, device, dtype
        images = processor.image_processor
        mean, std = (tuple(float(v) for v in getattr(images, name, None) or (0.5,) * 3) for name in ("image_mean", "image_std"))
        self.canon = Canon(side, (mean[0], mean[1], mean[2]))
        self._pixels = TransformPixels(lambda image: image, mean, std)
        self._pad = next(id for id in (chat.tokenizer.pad_token_id, chat.tokenizer.eos_token_id, 0) if id is not None)
        self._image_ids: list[int] = []
        self.is_plain = side is not None and self._shows_plain(side)

    def question(self, text: str, system: str | None, with_image: bool) -> Question:
        """Return a question in the model's form.

        Raises:
            UserError, DataError: The chat template cannot form it.
        """
        rendered = self._chat.render(text, system, with_image)
        return Question(
            rendered, self._expanded(self._chat.ids(rendered)) if with_image else self._chat.ids(rendered), with_image
        )

    def _expanded(self, ids: list[int]) -> list[int]:
        """Return ids with the image's tokens in place of its one."""
        if not self._image_ids:
            return ids
        place = ids.index(self._image_ids[0])
        return [*ids[:place], *self._image_ids, *ids[place + 1 :]]

    def picture(self, made: Canonical) -> Any:
        """Return an image as `batch` takes it; called from several threads at once."""
        return self._pixels.shrink(made.image) if self.is_plain else made.image

    def batch(self, questions: list[Question], pictures: list[Any], multiple: int = 1) -> dict[str, torch.Tensor]:
        """Return what `generate` takes.

        Args:
            questions: (B) questions, all with an image or none.
            pictures: (B) their images, made by `picture`; none.
            multiple: Of what number of tokens the length is to be a multiple.
        """
        if pictures and not self.is_plain:
            return self._moved(self._by_processor(questions, pictures))
        found = self._padded([question.ids for question in questions], multiple)
        if pictures:
            found["pixel_values"] = self._pixels.batch(pictures, self._device).to(self._dtype)
        return found

    def _padded(self, ids: list[list[int]], multiple: int) -> dict[str, torch.Tensor]:
        import torch

        longest = -(-max(map(len, ids)) // multiple) * multiple
        tokens = [[self._pad] * (longest - len(row)) + row for row in ids]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in ids]
        return {
            "input_ids": torch.tensor(tokens, device=self._device), "attention_mask": torch.tensor(mask, device=self._device)
        }  # fmt: skip

    def _moved(self, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        moved = {name: value.to(self._device) for name, value in found.items()}
        return {name: value.to(self._dtype) if value.is_floating_point() else value for name, value in moved.items()}

    def _by_processor(self, questions: list[Question], pictures: list[Image]) -> dict[str, torch.Tensor]:
        import torch

        texts = [question.text for question in questions]
        try:
            found = self._processor(
                text=texts, images=[[picture] for picture in pictures], padding=True, padding_side="left",
                add_special_tokens=self._chat.adds_tokens(texts[0]), return_tensors="pt",
            )  # fmt: skip
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise DataError(
                f"The model's processor takes no question with an image: {error}", "Try --image-size 336."
            ) from error
        return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}

    def _shows_plain(self, side: int) -> bool:
        """Show with a probe that tokens and pixels made here are the processor's own."""
        import torch

        image, rendered = probe(side), self._chat.render("What is this?", None, True)
        theirs = self._by_processor([Question(rendered, [], True)], [image])
        token: Any = self._chat.tokenizer.convert_tokens_to_ids(self._chat.image_token) if self._chat.image_token else None
        ids = theirs["input_ids"][0].tolist()
        self._image_ids = [token] * ids.count(token)
        plain = self._chat.ids(rendered)
        if set(theirs) != PLAIN or plain.count(token) != 1 or self._expanded(plain) != ids:
            self._image_ids = []
            return False
        ours = self._pixels.batch([self._pixels.shrink(image)], "cpu")
        same = ours.shape == theirs["pixel_values"].shape and bool(torch.allclose(ours, theirs["pixel_values"], 0, CLOSE))
        self._image_ids = self._image_ids if same else []
        return same


def takes(processor: Any) -> int | None:
    """Return the pixels of a side to which an image processor brings every image; None if it takes them as they are."""
    images = processor.image_processor
    crop = getattr(images, "crop_size", None) if getattr(images, "do_center_crop", False) else None
    sizes = [_edges(found) for found in (crop, getattr(images, "size", None)) if found is not None]
    height, width = next(iter(sizes), (None, None))
    return height if height is not None and height == width else None


def _edges(size: Any) -> tuple[int | None, int | None]:
    """Return height and width, as images come out that are square already."""
    get = size.get if hasattr(size, "get") else lambda name: getattr(size, name, None)
    if get("longest_edge") is not None or get("max_pixels") is not None:
        return None, None
    short = get("shortest_edge")
    return (get("height"), get("width")) if short is None else (short, short)


def probe(side: int) -> Image:
    """Return an RGB image in which no two neighbours are alike."""
    import numpy as np
    from PIL import Image

    values = np.arange(side * side * 3, dtype=np.int64).reshape(side, side, 3)
    return Image.fromarray((values * 2654435761 % 4294967291 % 256).astype(np.uint8))
