"""What a run starts from: an earlier artifact's weights, and a tokenizer that lies in a folder.

A later stage takes weights only: the optimiser and the schedule are new, and fixed positions are computed for the new image
size, never loaded (CLIPA hands its parameters over in the same way).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import Artifact, find_artifact, verify
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, read_json
from recap_train.weights import CONFIG, WEIGHTS
from recap_train.words import save_tokenizer, vocabulary

if TYPE_CHECKING:
    from recap_train.captions import Captions
    from recap_train.run import Run

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
    "added_tokens.json",
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """What a run starts from besides its seed.

    Args:
        init: The artifact whose weights it takes.
        before: The run of the stage before, whose artifact it takes instead.
        tokenizer: A folder with a tokenizer that transformers loads.
    """

    init: Path | None = None
    before: Run | None = None
    tokenizer: Path | None = None

    @property
    def folder(self) -> Path | None:
        """Where the weights lie that it takes; None where they are drawn from the seed."""
        return self.before.out if self.before is not None else self.init

    def artifact(self) -> Artifact | None:
        """Return the artifact that it starts from, its files proven whole.

        Raises:
            UserError: The folder holds none, or one that is no CLIP model.
            DataError: It is damaged.
        """
        if self.folder is None:
            return None
        found = find_artifact(self.folder)
        if found is None or found.kind != "clip" or WEIGHTS not in found.files:
            raise UserError(
                f"{self.folder} is no CLIP model that recap-train made.", "Name the --out of an earlier run: --init DIR"
            )
        verify(self.folder, found)
        return found

    def tokenizer_digests(self) -> dict[str, str]:
        """Return the sha256 of the tokenizer folder's files.

        Raises:
            UserError: No tokenizer lies there.
        """
        if self.tokenizer is None:
            return {}
        files = [self.tokenizer / name for name in TOKENIZER_FILES if (self.tokenizer / name).is_file()]
        if not files:
            raise UserError(
                f"{self.tokenizer} holds no tokenizer.", "It needs tokenizer.json, or vocab.txt and tokenizer_config.json."
            )
        return {path.name: digest_file(path) for path in files}


def write_tokenizer(run: Run, captions: Iterable[Captions], text: dict[str, Any]) -> list[str]:
    """Write the tokenizer's files into the run's folder, so that the artifact needs nothing else.

    Args:
        run: The run; one that starts from an artifact takes its tokenizer, unless it names another.
        captions: Captions of which a word tokenizer is made.
        text: The model's text_cfg; its vocab_size becomes that of a word tokenizer.

    Returns:
        The names of the files written, none for open_clip's built-in tokenizer.
    """
    kind, start = run.recipe.tokenizer, run.start
    if kind == "open_clip":
        return []
    if start.folder is not None and start.tokenizer is None:
        text["vocab_size"] = read_json(start.folder / CONFIG)["model_cfg"]["text_cfg"]["vocab_size"]
        return _copied(start.folder, run.out)
    if kind == "words":
        tokens = vocabulary((text for one in captions for text in one.texts()), text["vocab_size"])
        text["vocab_size"] = len(tokens)
        return save_tokenizer(run.out, tokens, text["context_length"])
    return _of_transformers(str(start.tokenizer or text["hf_tokenizer_name"]), run.out, text)


def _copied(source: Path, folder: Path) -> list[str]:
    names = [name for name in TOKENIZER_FILES if (source / name).is_file()]
    for name in names:
        shutil.copyfile(source / name, folder / name)
    return names


def _of_transformers(name: str, folder: Path, text: dict[str, Any]) -> list[str]:
    """Save a tokenizer that transformers loads, proven to suit the text tower."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"The tokenizer {name!r} cannot be loaded.", "Point to a folder that holds it (tokenizer.json): --tokenizer DIR"
        ) from error
    if len(tokenizer) > text["vocab_size"]:
        raise UserError(f"{name} has {len(tokenizer)} tokens, the recipe {text['vocab_size']}.", "Name another --tokenizer.")
    strips = (text.get("tokenizer_kwargs") or {}).get("strip_sep_token", False)
    if tokenizer.pad_token_id is None or (strips and (tokenizer.sep_token_id is None or tokenizer.pad_token_id != 0)):
        raise UserError(f"{name} lacks a padding token with id 0, or a separator.", "Name a BERT tokenizer: --tokenizer DIR")
    return sorted({Path(path).name for path in tokenizer.save_pretrained(folder) if Path(path).is_file()})
