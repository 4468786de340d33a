"""The dataset card beside published captions: a head that the hub reads, and what a reader must know, all of it counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recap_caption.exchange.publish import DATA, Tally
from recap_caption.rows import PUBLISHED
from recap_eval.errors import UserError

CARD = "README.md"
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
SIZES = (  # the hub's words
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"), (10_000_000_000, "1B<n<10B"),
)  # fmt: skip
LARGEST = "10B<n<100B"
MEANINGS = {
    "url": "where the image was",
    "re_caption": "the recaption, as the model gave it",
    "org_caption": "the caption that the image came with",
    "sha256": "digest of the image's bytes as downloaded; images are joined by it",
    "key": "the image's key in the download that was captioned",
    "re_clip_score": "CLIP score of the recaption, where it was measured",
    "org_clip_score": "CLIP score of the original caption, where it was measured",
    "re_length": "words of the recaption, split at white space",
    "org_length": "words of the original caption",
    "re_gpt4v_score": "rating of the recaption by GPT-4V, 1 to 5, where it was asked",
    "org_gpt4v_score": "rating of the original caption, likewise",
}


@dataclass(frozen=True)
class About:
    """What a card tells beside counts.

    Args:
        name: The data set's name.
        licence: The hub's word for its licence.
        keeps_failed: Whether rows without a recaption are written.
        missing: Shards of the run that are not captioned yet.
        prompt: The prompt, as a run records it; None if unknown.
        run_id: The run; None if unknown.
    """

    name: str
    licence: str
    keeps_failed: bool = False
    missing: int = 0
    prompt: Mapping[str, Any] | None = None
    run_id: str | None = None


def check_licence(word: str) -> None:
    """Check that a licence is a word that the hub may know.

    Raises:
        UserError: It is not.
    """
    if not LICENCE.fullmatch(word):
        raise UserError(f"{word!r} is no identifier of a licence.", "Examples: cc-by-4.0, cc0-1.0, apache-2.0, other, unknown")


def render(tally: Tally, about: About) -> str:
    """Return the card."""
    parts = [_head(tally, about), f"# {_line(about.name)}", _opening(tally), _counts(tally, about), _lengths(tally)]
    parts += [_captioner(tally, about), _table(), _use()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(tally: Tally, about: About) -> str:
    import yaml

    from recap_caption.exchange.publish import published_schema

    kinds = {"double": "float64"}
    features = [{"name": kind.name, "dtype": kinds.get(str(kind.type), str(kind.type))} for kind in published_schema()]
    head = {
        "license": about.licence,
        "pretty_name": about.name,
        "task_categories": ["image-to-text", "text-to-image"],
        "size_categories": [next((word for most, word in SIZES if tally.written < most), LARGEST)],
        "tags": ["image-captioning", "recaptioning"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": f"{DATA}/train-*.parquet"}]}],
        "dataset_info": {
            "features": features,
            "splits": [{"name": "train", "num_bytes": tally.size, "num_examples": tally.written}],
        },
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _opening(tally: Tally) -> str:
    return (
        f"{tally.written:,} images by their URLs, each with the caption that it came with and a caption that a model wrote. "
        "The columns are those of Recap-DataComp-1B, in its order and types. The images themselves are not in it."
    )


def _counts(tally: Tally, about: About) -> str:
    lines = ["## Counts", "| | rows |\n|---|---:|", f"| captioned or tried | {tally.rows:,} |"]
    lines += [f"| status `{_line(status)}` | {n:,} |" for status, n in sorted(tally.statuses.items())]
    lines += [f"| written | {tally.written:,} |", f"| of these without a recaption | {tally.without:,} |"]
    text = lines[0] + "\n" + "\n".join(lines[1:])
    kept = "Rows without a recaption are in it, with null." if about.keeps_failed else "Rows without a recaption are left out."
    missing = f" {about.missing:,} shards of the input were not captioned when this was written." if about.missing else ""
    return f"{text}\n\n{kept}{missing}"


def _lengths(tally: Tally) -> str:
    rows = [("recaption", tally.words["re_length"]), ("original", tally.words["org_length"])]
    lines = ["## Words a caption", "| | captions | mean | median | longest |", "|---|---:|---:|---:|---:|"]
    for name, counts in rows:
        if (numbers := {int(word): n for word, n in counts.items()}) and (n := sum(numbers.values())):
            mean = sum(words * count for words, count in numbers.items()) / n
            lines.append(f"| {name} | {n:,} | {mean:.2f} | {median(numbers)} | {max(numbers)} |")
    return "\n".join(lines) if len(lines) > 3 else ""


def median(counts: Mapping[int, int]) -> int:
    """Return the lower median of numbers given as counts."""
    left = (sum(counts.values()) + 1) // 2
    for number in sorted(counts):
        left -= counts[number]
        if left <= 0:
            return number
    raise ValueError("there are no numbers")


def _captioner(tally: Tally, about: About) -> str:
    models = [f"- `{_line(name)}`: {n:,} captions" for name, n in sorted(tally.models.items())]
    lines = ["## How they were made", *(models or ["The rows do not say by which model."])]
    if about.run_id:
        lines.append(f"- run `{_line(about.run_id)}`")
    if about.prompt is None:
        return "\n".join(lines)
    sampling = ", ".join(f"{name} {value}" for name, value in about.prompt["sampling"].items() if value is not None)
    if about.prompt.get("system"):
        lines += ["- system message:", "", _fenced(str(about.prompt["system"])), ""]
    lines += [f"- prompt `{_line(str(about.prompt['id']))}`; {sampling}:", "", _fenced(str(about.prompt["text"]))]
    return "\n".join(lines)


def _fenced(text: str) -> str:
    """Return a text as a block that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.strip()}\n{fence}"


def _line(text: str) -> str:
    """Return a text as one line that neither ends a cell nor begins code or markup."""
    return re.sub(r"[|`<>\s]+", " ", text).strip()


def _table() -> str:
    from recap_caption.exchange.publish import published_schema

    lines = ["## Columns", "| column | type | |", "|---|---|---|"]
    lines += [f"| `{kind.name}` | {kind.type} | {MEANINGS[kind.name]} |" for kind in published_schema()]
    assert list(MEANINGS) == list(PUBLISHED)
    return "\n".join(lines)


def _use() -> str:
    return (
        "## Use\n"
        "```sh\n"
        f"recap-caption import '{DATA}/*.parquet' --out download      # lists of URLs; prints the command that downloads\n"
        f"recap-caption import '{DATA}/*.parquet' --images download/shards --out joined\n"
        "recap-train clip --data joined --caption-preset recap-datacomp --p-original 0.5 …\n"
        "```\n"
        "Captions were written by a model: they may tell what is not in the image, and lack names that the original has."
    )
