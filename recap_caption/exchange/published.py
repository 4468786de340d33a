"""Published caption sets: what their columns are called, and where their files lie.

Recap-DataComp-1B has two generations of columns: newer files have more than its page says, at which readers that expect one
schema fail. Here each file is read for itself, by the columns that are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from recap_caption.sources.base import Reading
from recap_eval.captions.row_files import list_files
from recap_eval.data.parquet import schema_of
from recap_eval.errors import DataError, UserError

if TYPE_CHECKING:
    import pyarrow as pa

SCORES = ("re_clip_score", "org_clip_score", "re_gpt4v_score", "org_gpt4v_score")


@dataclass(frozen=True)
class Form:
    """The columns of a published set.

    Args:
        name: What it is called here.
        columns: Column by what it holds: url, sha256, key, org_caption, re_caption, image.
        repo: ORG/NAME on the hub.
        files: Its files there.
        size: What fetching all of them takes.
    """

    name: str
    columns: Mapping[str, str]
    repo: str
    files: str
    size: str

    def reading(self, recaption: str | None) -> Reading:
        """Return how files that hold their images are read."""
        named = tuple(sorted((name, self.columns[name]) for name in ("key", "url", "image")))
        columns = self.columns["org_caption"], recaption or self.columns["re_caption"]
        return Reading(f"parquet:{columns[0]}", f"parquet:{columns[1]}", named)


def _form(name: str, columns: dict[str, str], repo: str, files: str, size: str) -> Form:
    return Form(name, MappingProxyType(columns), repo, files, size)


FORMS = {form.name: form for form in (
    _form(
        "recap-datacomp-1b",
        {"url": "url", "sha256": "sha256", "key": "key", "org_caption": "org_caption", "re_caption": "re_caption"},
        "UCSC-VLAA/Recap-DataComp-1B", "data/train_data/*.parquet", "433 GB",
    ),
    _form(
        "recap-coco-30k",
        {"url": "coco_url", "key": "image_id", "org_caption": "caption", "re_caption": "recaption", "image": "image"},
        "UCSC-VLAA/Recap-COCO-30K", "*.parquet", "5 GB",
    ),
)}  # fmt: skip
KNOWN = "Known are " + " and ".join(f"{form.name} ({', '.join(form.columns.values())})" for form in FORMS.values()) + "."


def find_files(word: str, chosen: str | None) -> list[Path]:
    """Return the parquet files that a word stands for, fetched if they lie on the hub.

    Args:
        word: A file, a folder, a pattern, or a published set's name.
        chosen: Which of a set's files, "0-9" or "all"; of files at hand, None for all.

    Raises:
        UserError: It is not said which files of a set are to be fetched.
        DataError: There are none.
    """
    form = None if Path(word).exists() else FORMS.get(word) or next((one for one in FORMS.values() if one.repo == word), None)
    if form is None:
        files = list_files(word)
        return files if chosen is None else [files[place] for place in _places(chosen, len(files))]
    from recap_eval.models.hub import fetch_files, list_hub_files

    if chosen is None:
        raise UserError(f"{form.name} is {form.size}.", "Say which of its files: --files 0-9, or --files all")
    names = list_hub_files(form.repo, form.files)
    names = [names[place] for place in _places(chosen, len(names))]
    folder = fetch_files(form.repo, names, "dataset")
    return [folder / name for name in names]


def _places(chosen: str, n: int) -> range:
    """Return the numbers of the files that are meant, of n.

    Raises:
        UserError: They are none.
    """
    low, _, high = chosen.partition("-")
    if chosen == "all":
        return range(n)
    if not (low.isdecimal() and (high or low).isdecimal() and int(low) <= int(high or low) < n):
        raise UserError(f"--files {chosen} names none of {n:,} files.", f"Say 0-{n - 1}, one number, or all.")
    return range(int(low), int(high or low) + 1)


def form_of(path: Path) -> Form:
    """Return whose columns a file has.

    Raises:
        DataError: Those of no published set, or it is damaged.
    """
    names = schema_of(path, [])[0].names
    for form in FORMS.values():
        if all(column in names for name, column in form.columns.items() if name != "image"):
            return form
    raise DataError(f"{path} has the columns of no published caption set: {', '.join(names)}.", KNOWN)


def one_form(files: list[Path]) -> Form:
    """Return whose columns files have.

    Raises:
        DataError: Two files are of different sets, or one of none.
    """
    found = {form_of(path).name: path for path in files}
    if len(found) > 1:
        one, two = list(found.values())[:2]
        raise DataError(f"{one} and {two} are of different sets.", "Import each by itself.")
    return FORMS[next(iter(found))]


def has_images(form: Form, files: list[Path]) -> bool:
    """Tell whether the files hold the images, too."""
    column = form.columns.get("image")
    return column is not None and all(column in schema_of(path, [])[0].names for path in files)


def check_column(files: list[Path], column: str) -> None:
    """Check that all files have a column of texts.

    Raises:
        DataError: One has not; older generations lack the newer columns.
    """
    import pyarrow as pa

    for path in files:
        kind = schema_of(path, [column])[0].field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
            raise DataError(f"{path}: column {column!r} holds no texts but {kind}.", "Name another: --recaption-column")


def as_text(column: pa.Array) -> pa.Array:
    """Return a column as plain texts; bytes that are no UTF-8 raise ArrowInvalid."""
    import pyarrow as pa

    texts = column.cast(pa.string())
    texts.validate(full=True)
    return texts
