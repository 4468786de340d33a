"""Caption rows → parquet in the published schema of Recap-DataComp-1B: eleven columns, their types and their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_caption.exchange.place import Place
from recap_caption.exchange.tallies import facts_of, recall
from recap_caption.rows import PUBLISHED, schema
from recap_eval.captions.row_files import GOOD, STATUS
from recap_eval.console import progress_bar
from recap_eval.data.parquet import schema_of
from recap_eval.errors import DataError, UserError
from recap_eval.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

DATA = "data"
ROWS = 1 << 16
LENGTHS = {"re_length": "re_caption", "org_length": "org_caption"}  # words, as str.split counts
WANTED = ("re_caption", "key")  # without these, a file is none of captions
AGAIN = "Get it again, or make it again; it may be cut short."
Only = tuple[tuple[str, Any], ...]


@dataclass
class Tally:
    """What became of the rows of a file, or of all.

    Args:
        rows: Rows read that are by the prompt that is meant.
        other: Rows by other prompts.
        written: Rows written.
        statuses: Rows by status.
        without: Rows without a recaption that are written all the same.
        size: Bytes of the columns in memory.
        words: Rows by number of words, by column of lengths.
        models: Rows by model.
    """

    rows: int = 0
    other: int = 0
    written: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    without: int = 0
    size: int = 0
    words: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in LENGTHS})
    models: dict[str, int] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add another's."""
        for name, value in asdict(other).items():
            setattr(self, name, _sum(getattr(self, name), value))


def _sum(one: Any, two: Any) -> Any:
    if not isinstance(one, dict):
        return one + two
    return {**one, **two} | {name: _sum(one[name], two[name]) for name in one if name in two}


def captions_in(files: Sequence[Path]) -> list[tuple[str, int]]:
    """Return the prompts and sample numbers that caption files have, sorted; none if they do not say.

    Raises:
        DataError: A file is damaged, or none of captions.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: set[tuple[str, int]] = set()
    for path in files:
        names = schema_of(path, WANTED)[0].names
        if not {"prompt_id", "sample_index"} <= set(names):
            continue
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(ROWS, columns=["prompt_id", "sample_index"], use_threads=False):
                    rows = pa.table(batch).group_by(["prompt_id", "sample_index"]).aggregate([]).to_pylist()
                    found |= {(row["prompt_id"], row["sample_index"]) for row in rows}
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is not a readable parquet file ({error}).", AGAIN) from error
    return sorted(found, key=str)


def choose(files: Sequence[Path], prompt: str | None, sample: int | None) -> Only:
    """Return what columns must say in the rows that are meant.

    Raises:
        UserError: Files have several captions an image, and it is not said which; or not those that were said.
    """
    found = captions_in(files)
    meant = [one for one in found if prompt in (None, one[0]) and sample in (None, one[1])]
    known = ", ".join(f"--prompt {name} --sample {number}" for name, number in found)
    if found and len(meant) != 1:
        what = "have no such captions" if not meant else f"have {len(meant)} captions an image"
        raise UserError(f"The files {what}.", f"There are: {known}")
    if not found and (prompt is not None or sample is not None):
        raise UserError("The files do not say by which prompt a caption was made.", "Leave out --prompt and --sample.")
    return (("prompt_id", meant[0][0]), ("sample_index", meant[0][1])) if meant else ()


def publish(files: Sequence[Path], place: Place, only: Only, keep_failed: bool) -> Tally:
    """Write caption files in the published schema; file n becomes file n.

    Args:
        files: The caption files, in order.
        place: The output folder, held by this process.
        only: What columns must say in rows that are meant.
        keep_failed: Write rows without a recaption, too, as null.

    Returns:
        What became of the rows.

    Raises:
        DataError: A file is damaged or none of captions, or the disk is full.
    """
    total = Tally()
    with progress_bar(len(files), "writing", "file") as bar:
        for number, path in enumerate(files):
            target = place.root / DATA / f"train-{number:05d}-of-{len(files):05d}.parquet"
            total.add(recall(target, Tally) or _publish(path, target, only, keep_failed))
            bar.update()
    return total


def published_schema() -> pa.Schema:
    """Return the published schema."""
    import pyarrow as pa

    return pa.schema([schema().field(name) for name in PUBLISHED])


def _publish(path: Path, target: Path, only: Only, keep_failed: bool) -> Tally:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds, tally = published_schema(), Tally()
    names = schema_of(path, WANTED)[0].names
    read = [name for name in dict.fromkeys([*PUBLISHED, STATUS, "model_id", *(name for name, _ in only)]) if name in names]
    try:
        with (
            pq.ParquetFile(path) as file,
            replacing(target) as part,
            pq.ParquetWriter(part, kinds, compression="zstd") as writer,
        ):
            for batch in file.iter_batches(ROWS, columns=read, use_threads=False):
                table = _columns(_meant(pa.table(batch), only, keep_failed, tally), kinds)
                _count(table, tally)
                writer.write_table(table)
            writer.add_key_value_metadata(facts_of(tally))
    except pa.ArrowException as error:
        raise DataError(f"{path} is no readable file of captions ({error}).", AGAIN) from error
    return tally


def _meant(table: pa.Table, only: Only, keep_failed: bool, tally: Tally) -> pa.Table:
    """Return the rows that are written, and count the others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n = len(table)
    for name, value in only:
        if name in table.column_names:
            table = table.filter(pc.fill_null(pc.equal(table[name], value), False))
    tally.rows += len(table)
    tally.other += n - len(table)
    there = pc.is_valid(table["re_caption"])
    if STATUS in table.column_names:
        tally.statuses = _sum(tally.statuses, _counted(table[STATUS]))
        good = pc.fill_null(pc.is_in(table[STATUS], pa.array(GOOD)), False)
        there = pc.and_(there, good)
        texts = pc.if_else(there, table["re_caption"], pa.scalar(None, table["re_caption"].type))
        table = table.set_column(table.column_names.index("re_caption"), "re_caption", texts)
    table = table if keep_failed else table.filter(there)
    if "model_id" in table.column_names:
        tally.models = _sum(tally.models, _counted(table["model_id"].drop_null()))
    return table


def _counted(column: Any) -> dict[str, int]:
    return dict(Counter(map(str, column.to_pylist())))


def _columns(table: pa.Table, kinds: pa.Schema) -> pa.Table:
    """Return a table with the published columns, null where it has none; missing lengths are counted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = {
        kind.name: table[kind.name].cast(kind.type) if kind.name in table.column_names else pa.nulls(len(table), kind.type)
        for kind in kinds
    }
    for name, texts in LENGTHS.items():
        words = [None if text is None else len(text.split()) for text in found[texts].to_pylist()]
        found[name] = pc.coalesce(found[name], pa.array(words, pa.int64()))
    whole = pa.table(found, schema=kinds)
    whole.validate(full=True)
    return whole


def _count(table: pa.Table, tally: Tally) -> None:
    tally.written += len(table)
    tally.without += table["re_caption"].null_count
    tally.size += table.nbytes
    for name in LENGTHS:
        tally.words[name] = _sum(tally.words[name], _counted(table[name].drop_null()))
