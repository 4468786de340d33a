"""How many tokens texts have: CLIP's BPE word by word, since no token of it crosses white space; others text by text."""

from __future__ import annotations

import gzip
import html
from importlib.util import find_spec
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
MERGES, MERGE_COUNT = "bpe_simple_vocab_16e6.txt.gz", 49152 - 256 - 2
SPECIAL = ("<start_of_text>", "<end_of_text>")
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"  # of CLIP's simple_tokenizer.py


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
    """OpenAI CLIP's byte-pair encoding, from the merges that ship with open_clip; torch, 0.7 GB, is not imported for it."""

    name, digest = CLIP, ""

    def __init__(self) -> None:
        self._bpe: Any = _clip_bpe()

    def count_texts(self, texts: list[str]) -> list[int]:
        """Return tokens text by text."""
        return [len(found.ids) + CLIP_SPECIAL for found in self._bpe.encode_batch_fast([_clean(text) for text in texts])]

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


def _clip_bpe() -> Any:
    """Return CLIP's encoding for texts that are clean; its numbers are not CLIP's, its tokens are."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    package = find_spec("open_clip")
    assert package is not None and package.submodule_search_locations
    with gzip.open(Path(package.submodule_search_locations[0]) / MERGES, "rt", encoding="utf-8") as stream:
        lines = stream.read().split("\n")[1 : MERGE_COUNT + 1]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    letters = pre_tokenizers.ByteLevel.alphabet()
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *(left + right for left, right in merges)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    words = pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.add_special_tokens(list(SPECIAL))
    return bpe


def _clean(text: str) -> str:
    """Return a text as CLIP's tokenizer mends it: encodings (ftfy), entities, white space, case."""
    if not text.isascii() or not text.isprintable() or "&" in text:
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


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
