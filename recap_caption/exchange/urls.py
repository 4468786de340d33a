"""Published captions → lists of URLs for img2dataset, a file each, and the command that downloads them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_caption.exchange.place import Place, identity
from recap_caption.exchange.published import Form, as_text, check_column, one_form
from recap_caption.exchange.tallies import facts_of, recall
from recap_eval.console import progress_bar
from recap_eval.errors import DataError, UserError
from recap_eval.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

LISTS, SHARDS = "urls", "shards"
ROWS = 1 << 16
DIGEST_BITS = 32  # of a sha256, by which a share of the rows is taken
AGAIN = "Get it again; it may be cut short."


@dataclass(frozen=True)
class Wanted:
    """Which rows of a published set are listed.

    Args:
        recaption: The column that becomes `re_caption`; None for the set's own.
        share: Which share of the images, by their sha256: the same ones every time.
    """

    recaption: str | None = None
    share: float = 1.0


@dataclass
class Tally:
    """What became of the rows.

    Args:
        rows: Rows read.
        listed: Rows listed.
        without_url: Rows without a URL.
        outside: Rows outside the share.
    """

    rows: int = 0
    listed: int = 0
    without_url: int = 0
    outside: int = 0

    def add(self, other: Tally) -> None:
        """Add another file's."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


def make_lists(files: list[Path], out: Path, wanted: Wanted) -> dict[str, Any]:
    """Write a list for each file of a published set.

    Args:
        files: The set's files.
        out: The folder; the lists go into its folder `urls`.
        wanted: Which rows.

    Returns:
        Counts, and the command of img2dataset.

    Raises:
        UserError: A share is wanted of a set without sha256, two files have one name, or the folder holds something else.
        DataError: A file is damaged or lacks a column.
    """
    form = one_form(files)
    column = wanted.recaption or form.columns["re_caption"]
    check_column(files, column)
    names = _names(files)
    if wanted.share < 1 and "sha256" not in form.columns:
        raise UserError(f"{form.name} has no sha256 by which a share could be taken.", "Leave --share out.")
    question = {"makes": "urls", "files": identity(files), "recaption": column, "share": wanted.share}
    place = Place(out, question)
    with place.held() as known, progress_bar(len(files), "listing", "file", disable=len(files) < 2) as bar:
        if known is None:
            counts = asdict(_lists(files, names, place, form, wanted, bar))
            known = place.finish({"set": form.name, "files": len(files)} | counts)
    return known | {"command": command(out, "sha256" in form.columns)}


def _names(files: list[Path]) -> list[str]:
    names = [path.name for path in files]
    if len(set(names)) < len(names):
        raise UserError("Two files have one name, and lists are named like files.", "Import each folder by itself.")
    return names


def _lists(files: list[Path], names: list[str], place: Place, form: Form, wanted: Wanted, bar: Any) -> Tally:
    total = Tally()
    for path, name in zip(files, names, strict=True):
        target = place.root / LISTS / name
        total.add(recall(target, Tally) or _list(path, target, form, wanted))
        bar.update()
    return total


def _list(path: Path, target: Path, form: Form, wanted: Wanted) -> Tally:
    import pyarrow as pa
    import pyarrow.parquet as pq

    named = {name: form.columns[name] for name in ("url", "re_caption", "org_caption", "sha256") if name in form.columns}
    named["re_caption"] = wanted.recaption or named["re_caption"]
    tally, schema = Tally(), pa.schema([(name, pa.string()) for name in named])
    try:
        with (
            pq.ParquetFile(path) as file,
            replacing(target) as part,
            pq.ParquetWriter(part, schema, compression="zstd") as writer,
        ):
            for batch in file.iter_batches(ROWS, columns=list(dict.fromkeys(named.values())), use_threads=False):
                table = pa.table({name: as_text(batch.column(column)) for name, column in named.items()})
                kept = _kept(table, wanted.share, tally)
                if len(kept):
                    writer.write_table(kept)
            writer.add_key_value_metadata(facts_of(tally))
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a readable parquet file ({error}).", AGAIN) from error
    return tally


def _kept(table: pa.Table, share: float, tally: Tally) -> pa.Table:
    """Return the rows that are listed, and count the others."""
    import pyarrow.compute as pc

    tally.rows += len(table)
    if share < 1:
        limit = f"{int(share * 2**DIGEST_BITS):0{DIGEST_BITS // 4}x}"
        inside = pc.fill_null(pc.less(pc.utf8_lower(table["sha256"]), limit), False)
        tally.outside += len(table) - (pc.sum(inside).as_py() or 0)
        table = table.filter(inside)
    there = pc.greater(pc.fill_null(pc.utf8_length(pc.utf8_trim_whitespace(table["url"])), 0), 0)
    kept = table.filter(there)
    tally.without_url += len(table) - len(kept)
    tally.listed += len(kept)
    return kept


def command(out: Path, digests: bool) -> str:
    """Return the command of img2dataset that downloads what was listed, as the set's authors say it; verified by sha256.

    Images are kept as DataComp keeps them: at most 512 px a side, re-encoded only where they are larger.
    """
    words: Sequence[str] = (
        "img2dataset", "--url_list", str(out / LISTS), "--input_format", "parquet", "--url_col", "url",
        "--caption_col", "re_caption", "--save_additional_columns", '["org_caption"]',
        *(("--compute_hash", "sha256", "--verify_hash", '["sha256","sha256"]') if digests else ()),
        "--output_format", "webdataset", "--output_folder", str(out / SHARDS), "--image_size", "512",
        "--resize_mode", "keep_ratio_largest", "--resize_only_if_bigger", "True", "--skip_reencode", "True",
        "--number_sample_per_shard", "10000", "--processes_count", "16", "--thread_count", "64", "--retries", "2",
    )  # fmt: skip
    return shlex.join(words)
