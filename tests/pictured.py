"""Caption rows with images of their own, in every layout that images come in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fakes import ALL_KINDS, Card
from support import write_tar

from recap_eval.captions.image_index import index_images
from recap_eval.captions.image_source import find_places, open_source
from recap_eval.captions.pictured import Tally, Views, draw_rows, view
from recap_eval.captions.scan import Question
from recap_eval.data.digests import Digests

PAIR = Question("re_caption", "org_caption")


def card(number: int) -> bytes:
    return Card("", number).read_image()


def sha256(number: int) -> str:
    return hashlib.sha256(card(number)).hexdigest()


def text(number: int, kind: str = "text") -> str:
    """A caption of image n, in words that models of scenes know."""
    return f"{kind} {number} of a {ALL_KINDS[number % len(ALL_KINDS)]}"


def write_captions(path: Path, numbers, **columns) -> Path:
    """Write rows whose image shows n: key kn, sha256, `re_caption` and `org_caption`; columns may be replaced."""
    rows = {"key": [f"k{n}" for n in numbers], "sha256": [sha256(n) for n in numbers]}
    rows |= {"re_caption": [text(n) for n in numbers], "org_caption": [text(n, "alt") for n in numbers]}
    rows |= columns
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: pa.array(values, pa.string()) for name, values in rows.items() if values is not None})
    pq.write_table(table, path, row_group_size=7)
    return path


def as_shards(folder: Path, numbers, stated=sha256, keys="k{}") -> Path:
    """Write shards of ten images; KEY.json states what `stated` says, nothing if it says None."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(numbers), 10):
        members = {}
        for n in numbers[start : start + 10]:
            key, said = keys.format(n), stated(n)
            members[f"{key}.png"] = card(n)
            meta = {"re_caption": text(n), "org_caption": text(n, "alt")} | ({"sha256": said} if said else {})
            members |= {f"{key}.json": json.dumps(meta).encode(), f"{key}.txt": text(n).encode()}
        write_tar(folder / f"{start:05d}.tar", members)
    return folder


def as_files(folder: Path, numbers, name="k{}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for n in numbers:
        (folder / name.format(n)).write_bytes(card(n))
    return folder


def as_parquet(path: Path, numbers, lost=(), plain=False, **columns) -> Path:
    """Write a parquet file of images, as structs or plain binaries, null where `lost`; columns beside them as given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [None if n in lost else card(n) if plain else {"bytes": card(n), "path": None} for n in numbers]
    kind = pa.binary() if plain else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = {"key": [f"k{n}" for n in numbers]} | columns
    table = {"image": pa.array(cells, kind)} | {name: pa.array(values) for name, values in rows.items()}
    pq.write_table(pa.table(table), path, row_group_size=4)
    return path


PLACES = {
    "shards": as_shards,
    "files": as_files,
    "parquet": lambda folder, numbers: as_parquet(folder / "a.parquet", numbers).parent,
}


def views_of(files, place, on="sha256", size=1000, question=PAIR) -> Views:
    """Join caption files with the images of a place and draw a sample."""
    index = index_images(open_source(find_places([str(place)]), None), on)
    rows, tally = draw_rows(files, question, index, size, progress=False)
    return view(rows, question, index, tally, Digests())


def made_views(cards, **columns) -> Views:
    """Return views of images that are at hand already."""
    names, nothing = [f"k{number}" for number in range(len(cards))], [""] * len(cards)
    texts, numbers = list(zip(*columns.values(), strict=True)), list(range(len(cards)))
    return Views(
        tuple(columns), names, list(cards), Digests().of(cards), nothing, texts, numbers, "key", Tally(len(cards))
    )  # fmt: skip
