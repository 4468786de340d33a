"""The converted model's tokenizer, chat template and generation config.

The published captioner comes without a tokenizer, and its authors say of the conversation only that they changed it "to
LLaMA3's". Three such conversations are in circulation and lie here as templates. The default is LLaMA-3's own, without a system
message: what the sentence says literally. Which one a model was converted with stands in its artifact.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recap_eval.errors import DataError, UserError, nearest
from recap_eval.files import read_json, write_json
from recap_eval.models.hub import fetch_files
from recap_eval.models.llava.vocabulary import IMAGE, Vocabulary, plan_vocabulary

LLAMA_3 = "meta-llama/Meta-Llama-3-8B-Instruct"
TEMPLATES = Path(__file__).with_name("templates")
DEFAULT_TEMPLATE = "llama-3"
FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
ENDS = ("<|end_of_text|>", "<|eot_id|>")  # with the first alone, every caption runs to its limit
LLAMA_MARKS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")  # of the shipped templates


def template_names() -> list[str]:
    """Return the names of the shipped chat templates."""
    return sorted(path.stem for path in TEMPLATES.glob("*.jinja"))


def read_template(word: str) -> tuple[str, str]:
    """Return the name and the text of a chat template.

    Args:
        word: A shipped one's name, or a file.

    Raises:
        UserError: Neither.
        DataError: The file is unreadable or empty.
    """
    path = TEMPLATES / f"{word}.jinja" if word in template_names() else Path(word).expanduser()
    if not path.is_file():
        guess = nearest(word, template_names())
        known = f"Shipped are {', '.join(template_names())}; or name a file."
        raise UserError(f"Unknown chat template {word!r}.", f"Did you mean {guess!r}? {known}" if guess else known)
    try:
        text = path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable text ({error}).", "Name a file of Jinja.") from error
    if not text.strip():
        raise DataError(f"{path} is empty.", "Name a file of Jinja.")
    return path.stem, text


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a checkpoint brings its tokenizer."""
    return (folder / "tokenizer.json").is_file() or (folder / "tokenizer.model").is_file()


def load_tokenizer(word: str) -> Any:
    """Return a tokenizer.

    Args:
        word: A folder, or ORG/NAME on the hub.

    Raises:
        DataError: It cannot be had or read.
    """
    from transformers import AutoTokenizer

    folder = Path(word).expanduser()
    folder = folder if folder.is_dir() else fetch_files(word, FILES)
    if not has_tokenizer(folder):
        raise DataError(f"{word} holds no tokenizer.json and no tokenizer.model.", f"Name another: --tokenizer {LLAMA_3}")
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"The tokenizer {word} cannot be read ({line[:200]}).", "Name another: --tokenizer") from error


def fit(tokenizer: Any, rows: int, template: str) -> Vocabulary:
    """Add what a LLaVA needs to a language model's tokenizer: `<image>`, padding, the chat template.

    Args:
        tokenizer: The tokenizer; it is changed.
        rows: Rows of the checkpoint's embedding.
        template: The chat template's text.

    Raises:
        UserError: The tokenizer is not the checkpoint's, or lacks the marks of a shipped template.
    """
    known = tokenizer.get_vocab()
    if lacking := [mark for mark in LLAMA_MARKS if mark in template and mark not in known]:
        raise UserError(
            f"The chat template writes {lacking[0]}, and the tokenizer has no such token.",
            "Name the template that the model was trained with: --chat-template FILE",
        )
    tokens = max(known.values()) + 1
    plan = plan_vocabulary(tokens, rows, known.get(IMAGE), tokenizer.pad_token_id)
    tokenizer.add_tokens(list(plan.added), special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(plan.pad_id)
    tokenizer.chat_template = template
    return plan


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer that pads on the left, as generation in batches needs, in a form that transformers 4 reads, too."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    facts = read_json(path) | {"padding_side": "left"}
    if facts.get("tokenizer_class") == "TokenizersBackend":  # what transformers 5 calls it
        facts["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(path, facts)


def end_tokens(tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: LLaMA-3's two, or the tokenizer's own."""
    known = tokenizer.get_vocab()
    found = [known[token] for token in ENDS if token in known]
    return found or [tokenizer.eos_token_id]


def generation_config(tokenizer: Any, plan: Vocabulary) -> dict[str, Any]:
    """Return the generation_config.json: greedy, as the paper decodes."""
    found = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": end_tokens(tokenizer), "pad_token_id": plan.pad_id}
    return {**found, "do_sample": False}
