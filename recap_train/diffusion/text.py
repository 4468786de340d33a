"""Frozen text encoders in the form that a PixArt pipeline calls: token ids and their mask to a state a token.

A tower of our own CLIP becomes the model of transformers that computes the same: a causal one CLIPTextModel, a bidirectional
one (Recap-CLIP's) SiglipTextModel. The pipeline masks padding, so it is masked in training, too, although Recap-CLIP was
trained without a mask. Texts are lower-cased and stripped as PixArt's pipeline does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import find_artifact, verify
from recap_eval.errors import DataError, UserError
from recap_train.diffusion.frozen import FAILURES, digest_of, load_pretrained
from recap_train.diffusion.text_towers import as_transformers

if TYPE_CHECKING:
    import torch

OPTION = "--text-encoder"
ABSENT = -1  # the id of a place behind a text's end
CLASSES = {  # transformers' class by model_type
    "clip": "CLIPTextModel",
    "clip_text_model": "CLIPTextModel",
    "siglip": "SiglipTextModel",
    "siglip_text_model": "SiglipTextModel",
    "t5": "T5EncoderModel",
    "umt5": "UMT5EncoderModel",
}
T5_LENGTH = 120  # tokens that PixArt reads; a T5 has no limit of its own


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder that is not trained further.

    Args:
        model: transformers' model.
        tokenizer: transformers' tokenizer; its `model_max_length` is what is read of a text.
        digest: Of the weights, the vocabulary and the length.
    """

    model: Any
    tokenizer: Any
    digest: str

    @property
    def length(self) -> int:
        """Most tokens that are read of a text."""
        return int(self.tokenizer.model_max_length)

    @property
    def width(self) -> int:
        """Numbers in a token's state."""
        config = self.model.config
        return int(config.hidden_size if hasattr(config, "hidden_size") else config.d_model)

    def tokens(self, texts: list[str]) -> torch.Tensor:
        """Return (B, L) token ids, `ABSENT` behind the end of each text."""
        read = self.tokenizer(
            [text.lower().strip() for text in texts], padding="max_length", truncation=True, max_length=self.length,
            add_special_tokens=True, return_attention_mask=True, return_tensors="pt",
        )  # fmt: skip
        ids: torch.Tensor = read.input_ids.masked_fill(read.attention_mask == 0, ABSENT)
        return ids

    def states(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode texts.

        Args:
            tokens: (B, L) ids as `tokens` gives them.

        Returns:
            (B, K, D) the last layer's states and (B, K) True where there is a token; K is the longest text's length.
        """
        import torch

        present = tokens != ABSENT
        if not len(tokens):  # of which transformers makes nothing
            return torch.zeros(0, 1, self.width, device=tokens.device), present[:, :1]
        longest = max(1, int(present.sum(dim=1).max()))
        present, ids = present[:, :longest], tokens[:, :longest].masked_fill(~present[:, :longest], self.padding)
        with torch.no_grad():
            found: torch.Tensor = self.model(ids, attention_mask=present.long())[0]
        return found, present

    @property
    def padding(self) -> int:
        """The id that stands behind the end of a text."""
        return int(self.tokenizer.pad_token_id)


def open_text_encoder(spec: str) -> TextEncoder:
    """Open a text encoder: a CLIP of `recap-train clip`, a folder of transformers' or of a pipeline's, or ORG/NAME on the hub.

    Raises:
        UserError: It is none, or of a kind that is not known.
        DataError: It is damaged, or cannot be had.
    """
    folder = Path(spec).expanduser()
    artifact = find_artifact(folder) if folder.is_dir() else None
    if artifact is not None and artifact.kind not in ("clip", "diffusion"):
        raise UserError(f"{spec} is an artifact of kind {artifact.kind!r}.", f"Name a text encoder: {OPTION} DIR")
    if artifact is not None:
        verify(folder, artifact)
    if (folder / "open_clip_config.json").is_file():
        model, length = as_transformers(folder)
        return _described(model, _tokenizer(str(folder), {}), length, spec)
    inner = (folder / "text_encoder").is_dir()
    source = str(folder) if folder.is_dir() else spec
    model = _load(source, {"subfolder": "text_encoder"} if inner else {})
    length = getattr(model.config, "max_position_embeddings", None) or T5_LENGTH
    return _described(model, _tokenizer(source, {"subfolder": "tokenizer"} if inner else {}), int(length), spec)


def _load(source: str, arguments: dict[str, str]) -> Any:
    import transformers

    if not Path(source).is_dir() and source.count("/") != 1:
        raise UserError(f"{source} does not exist.", f"Name a folder, or ORG/NAME on the hub: {OPTION}")
    try:
        kind = transformers.AutoConfig.from_pretrained(source, **arguments).model_type
    except FAILURES as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{source} holds no text encoder ({type(error).__name__}: {why}).", f"{OPTION} DIR") from error
    if kind not in CLASSES:
        raise UserError(f"{source} is a {kind}, which is no text encoder known here.", f"Known: {', '.join(CLASSES)}.")
    return load_pretrained(getattr(transformers, CLASSES[kind]), source, "text encoder", OPTION, **arguments)


def _tokenizer(source: str, arguments: dict[str, str]) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, **arguments)
    except FAILURES as error:
        raise DataError(
            f"{source} holds no tokenizer.", f"It needs tokenizer.json, or vocab.json and merges.txt, beside it: {OPTION} DIR"
        ) from error


def _described(model: Any, tokenizer: Any, length: int, spec: str) -> TextEncoder:
    if tokenizer.pad_token_id is None:
        raise UserError(f"The tokenizer of {spec} has no padding token.", "Name another text encoder.")
    size = model.config.vocab_size
    if len(tokenizer) > size:
        raise UserError(f"The tokenizer of {spec} has {len(tokenizer)} tokens, its model {size}.", "Name another.")
    tokenizer.model_max_length = min(tokenizer.model_max_length, length)
    tokenizer.padding_side = "right"
    said = {"vocabulary": sorted(tokenizer.get_vocab().items()), "length": tokenizer.model_max_length}
    return TextEncoder(model, tokenizer, digest_of(model, said))
