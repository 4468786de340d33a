"""What a judge is asked: templates as files, with the parser that reads the answers declared at their head.

A template is a head of `name: value` lines, a line `---`, and the text. In the text stand `{caption}`, or `{caption_a}` and
`{caption_b}`, or `{claims}`: the caption's sentences, numbered; or `{question}`, `{answer}` and `{prediction}`. What is filled
in stands between two marks that hold a digest of it, so that no caption can end its own; `{caption:plain}` fills in the bare
text, as the paper did. `image: none` in the head makes a question of text alone.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.files import digest_json
from recap_eval.judge.parsing import PARSERS

FOLDER = Path(__file__).with_name("templates")
PAPER = "paper"
FIELD = re.compile(r"\{(caption|caption_a|caption_b|claims|question|answer|prediction)(:plain)?\}")
FORMS = {  # fields of a template, and how many texts it takes
    ("caption",): 1, ("caption_a", "caption_b"): 2, ("claims",): 1, ("answer", "prediction", "question"): 3,
}  # fmt: skip
MAX_TOKENS = 64
MARKS = {"caption_a": "caption", "caption_b": "caption"}  # what stands between marks, where its field is called otherwise
SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"')\]])\s+")
HEAD_END = "\n---\n"


@dataclass(frozen=True)
class Template:
    """A template.

    Args:
        name: What results call it.
        text: Its text, with fields.
        parser: Who reads the answers, a name of `PARSERS`.
        max_tokens: The most that an answer may have, unless the user says otherwise.
        sees: Whether the image is shown.
    """

    name: str
    text: str
    parser: str
    max_tokens: int = MAX_TOKENS
    sees: bool = True

    @property
    def digest(self) -> str:
        """Digest of what it asks and of how answers are read."""
        blind = [] if self.sees else ["image: none"]
        return digest_json([self.text, self.parser, PARSERS[self.parser].version, *blind])

    @property
    def n_texts(self) -> int:
        """How many texts a question has: 1, 2 for a comparison, 3 for the grade of an answer."""
        return FORMS[_fields(self.text)]

    def fill(self, texts: tuple[str, ...]) -> str:
        """Return the question about these texts; fields that stand in the texts are left alone."""
        named = dict(zip(sorted({found[1] for found in FIELD.finditer(self.text)}), texts, strict=True))

        def value(found: re.Match[str]) -> str:
            text = named[found[1]]
            text = numbered(text) if found[1] == "claims" else text
            return text if found[2] else delimited(text, MARKS.get(found[1], found[1]))

        return FIELD.sub(value, self.text)


def delimited(text: str, what: str) -> str:
    """Return a text between two marks that do not stand in it: they hold a digest of it."""
    number = 0
    while (mark := f"{what}-{hashlib.sha256(f'{number}:{text}'.encode()).hexdigest()[:12]}") in text:
        number += 1
    return f"<{mark}>\n{text}\n</{mark}>"


def claims_of(text: str) -> list[str]:
    """Return the claims of a caption: its sentences, each in one line."""
    return [line for part in SENTENCE.split(text.strip()) if (line := " ".join(part.split()))]


def numbered(text: str) -> str:
    """Return the claims of a caption, numbered from 1, a line each."""
    return "\n".join(f"{number}: {claim}" for number, claim in enumerate(claims_of(text), start=1))


def find_template(word: str) -> Template:
    """Return a template by name, or from a file.

    Raises:
        UserError: Neither.
        DataError: The file is not a template; the message says why.
    """
    path = FOLDER / f"{word}.txt"
    if not path.is_file() or "/" in word:
        path = Path(word).expanduser()
        if not path.is_file():
            raise unknown_name("template", word, shipped(), f"{', '.join(shipped())}, or a file")
    return read_template(path)


def shipped() -> list[str]:
    """Return the names of the templates that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read_template(path: Path) -> Template:
    """Read a template's file.

    Raises:
        UserError: It names a parser that does not exist.
        DataError: It is unreadable, or lacks head, parser or fields.
    """
    try:
        head, found, text = path.read_text(encoding="utf-8").replace("\r\n", "\n").partition(HEAD_END)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no readable text ({error}).", "A template is UTF-8 text.") from error
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in head.splitlines())}
    if not found or "parser" not in facts:
        raise DataError(f"{path} has no head that names its parser.", "Begin it with: parser: rating, then a line ---")
    if facts["parser"] not in PARSERS:
        raise unknown_name("parser", facts["parser"], PARSERS, ", ".join(PARSERS))
    if PARSERS[facts["parser"]].fields != _fields(text):
        wanted = " and ".join(f"{{{name}}}" for name in PARSERS[facts["parser"]].fields)
        raise DataError(
            f"{path} must hold {wanted} for its parser {facts['parser']!r}, each once or more.", "See docs/judge.md"
        )
    tokens = facts.get("max_tokens", str(MAX_TOKENS))
    if not tokens.isdecimal() or int(tokens) < 1:
        raise UserError(f"{path} says max_tokens: {tokens}, which is no number of tokens.", "Example: max_tokens: 64")
    if facts.get("image", "shown") not in ("shown", "none"):
        raise UserError(f"{path} says image: {facts['image']}.", "image: none shows none; without that line it is shown.")
    return Template(path.stem, text.rstrip("\n"), facts["parser"], int(tokens), facts.get("image") != "none")


def _fields(text: str) -> tuple[str, ...]:
    return tuple(sorted({found[1] for found in FIELD.finditer(text)}))
