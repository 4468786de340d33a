"""How many tokens texts have: CLIP's BPE word by word, since no token of it crosses white space; others text by text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from recap_eval.captions.marks import ODD
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file

if TYPE_CHECKING:
    from recap_eval.captions.part import Part

CLIP = "clip"
CLIP_SPECIAL = 2  # start and end of text
MOST_CACHED = 1 << 20  # words whose BPE is kept


class Tokenizer(Protocol):
    """Counts tokens, special ones included.

    Attributes:
        name: What tables call it.
        digest: Of its file; empty for one that ships with a library.
    """

    name: str
    digest: str

    def count(self, part: Part) -> np.ndarray:
        """Return (N,) tokens of each caption of a batch."""

    def count_texts(self, texts: list[str]) -> list[int]:
        """Return tokens text by text: the definition."""


class ClipTokenizer:
    """OpenAI CLIP's byte-pair encoding, as it ships with open_clip."""

    name, digest = CLIP, ""

    def __init__(self) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self._bpe: Any = SimpleTokenizer()

    def count_texts(self, texts: list[str]) -> list[int]:
        """Return tokens text by text."""
        if len(self._bpe.cache) > MOST_CACHED:
            self._bpe.cache = {word: known for word, known in self._bpe.cache.items() if word.startswith("<")}
        return [len(self._bpe.encode(text)) + CLIP_SPECIAL for text in texts]

    def count(self, part: Part) -> np.ndarray:
        """Return tokens: sums over words where each stands for itself, else of the whole text."""
        import pyarrow.compute as pc

        lexicon = part.lexicon
        known = lexicon.counted.get(self.name, np.zeros(0, dtype=np.int32))
        if len(known) < len(lexicon.raw):
            new = np.array(self.count_texts(lexicon.raw[len(known) :]), dtype=np.int32) - CLIP_SPECIAL
            known = lexicon.counted[self.name] = np.concatenate([known, new])
        out = part.words.sums(known) + CLIP_SPECIAL
        plain = pc.string_is_ascii(part.texts).to_numpy(zero_copy_only=False)
        odd = np.flatnonzero(((part.words.any(lexicon.marks.bits) & ODD) > 0) | ~plain)
        out[odd] = self.count_texts(part.texts.take(odd).to_pylist())
        return out


class FileTokenizer:
    """A tokenizer.json of the tokenizers library.

    Args:
        path: The file, or a folder that holds it.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Loaded

        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file():
            raise DataError(f"{file} does not exist.", f"Name a tokenizer.json, its folder, or {CLIP}.")
        try:
            self._loaded: Any = Loaded.from_file(str(file))
        except Exception as error:
            raise DataError(
                f"{file} is no tokenizer ({error}).", "It must be a tokenizer.json of the tokenizers library."
            ) from error
        self._loaded.no_truncation()
        self._loaded.no_padding()
        self.name = file.parent.resolve().name if file.name == "tokenizer.json" else file.stem
        self.digest = digest_file(file)

    def count_texts(self, texts: list[str]) -> list[int]:
        """Return tokens text by text."""
        return [len(found.ids) for found in self._loaded.encode_batch_fast(texts)] if texts else []

    def count(self, part: Part) -> np.ndarray:
        """Return tokens text by text."""
        return np.array(self.count_texts(part.texts.to_pylist()), dtype=np.int64)


def load_tokenizer(word: str) -> Tokenizer:
    """Return a tokenizer: "clip", or a file.

    Raises:
        UserError: It is neither.
        DataError: The file is no tokenizer.
    """
    if word == CLIP:
        return ClipTokenizer()
    path = Path(word).expanduser()
    if not path.exists():
        raise UserError(
            f"The tokenizer {word!r} is neither {CLIP!r} nor a file.", f"Example: --tokenizer {CLIP}, or bert/tokenizer.json"
        )
    return FileTokenizer(path)
