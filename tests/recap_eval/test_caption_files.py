"""Reading caption files: each format, the columns named, and every wrong file told in two lines."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support import write_tar

from recap_eval.captions.files import Wanted, count_rows, find_files, preset_roles, read_rows
from recap_eval.captions.references import read_references
from recap_eval.errors import DataError, UserError

ROWS = {"key": ["1", "2", "3"], "caption": ["A dog.", None, "naïve café, “quoted”\nline"]}
PUBLISHED = {
    "url": pa.string(), "re_caption": pa.string(), "org_caption": pa.string(), "sha256": pa.string(), "key": pa.string(),
    "re_clip_score": pa.float64(), "org_clip_score": pa.float64(), "re_length": pa.int64(), "org_length": pa.int64(),
    "re_gpt4v_score": pa.int64(), "org_gpt4v_score": pa.int64(),
}  # fmt: skip
NEWER = {"re_caption_condition_diverse_topk": pa.string(), "re_condition_length": pa.int64()}


def read(path, *columns, key=None):
    batches = list(read_rows(path, Wanted(columns or ("caption",), key)))
    texts = [text for rows in batches for text in rows.texts[(columns or ("caption",))[0]].to_pylist()]
    return [key for rows in batches for key in rows.keys.to_pylist()], texts, batches


def parquet(path, rows=ROWS, **types):
    table = pa.table({name: pa.array(values, types.get(name)) for name, values in rows.items()})
    pq.write_table(table, path)
    return path


def jsonl(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def shard(path, samples, **other):
    members = {}
    for key, (meta, text) in samples.items():
        members |= {f"{key}.jpg": b"jpeg", f"{key}.json": json.dumps(meta).encode(), f"{key}.txt": text.encode()}
    return write_tar(path, members | other)


def test_every_format_gives_the_same_rows(tmp_path):
    rows = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    files = [parquet(tmp_path / "a.parquet"), jsonl(tmp_path / "a.jsonl", rows)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    for path in [*files, tmp_path / "a.json"]:
        assert read(path)[:2] == (ROWS["key"], ROWS["caption"])
    filled = pa.table({name: [value or "" for value in values] for name, values in ROWS.items()})
    for suffix, mark in ((".csv", ","), (".tsv", "\t")):
        pyarrow.csv.write_csv(filled, tmp_path / f"a{suffix}", pyarrow.csv.WriteOptions(delimiter=mark))
        assert read(tmp_path / f"a{suffix}")[:2] == (ROWS["key"], [text or "" for text in ROWS["caption"]])


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_every_type_of_text(tmp_path, kind):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"key": ["1", "2"], "caption": pa.array(["x", None]).cast(kind)}), path)
    assert read(path)[1] == ["x", None]


def test_both_published_schemas(tmp_path):
    for name, types in (("old", PUBLISHED), ("new", PUBLISHED | NEWER)):
        values = {column: ["7"] if kind == pa.string() else [1] for column, kind in types.items()}
        parquet(tmp_path / f"{name}.parquet", values, **types)
    keys, texts, batches = read(tmp_path / "old.parquet", "re_caption", "org_caption")
    assert (keys, texts, len(batches[0])) == (["7"], ["7"], 1)
    assert read(tmp_path / "new.parquet", "re_caption_condition_diverse_topk")[1] == ["7"]
    with pytest.raises(DataError, match="has no column 're_caption_condition_diverse_topk'"):
        read(tmp_path / "old.parquet", "re_caption_condition_diverse_topk")


def test_numbers_are_keys_and_status_marks_failures(tmp_path):
    rows = {"image_id": [9, 10], "caption": ["x", "y"], "status": ["ok", "bad_image"], "finish_reason": ["stop", None]}
    keys, _, (batch,) = read(parquet(tmp_path / "a.parquet", rows))
    assert keys == ["9", "10"]
    assert batch.ok.tolist() == [True, False]
    assert batch.finish.to_pylist() == ["stop", None]


def test_without_keys_file_and_row_are_the_key(tmp_path):
    assert read(parquet(tmp_path / "a.parquet", {"caption": ["x", "y"]}))[0] == ["a.parquet:0", "a.parquet:1"]


def test_rows_of_long_texts_come_in_small_batches(tmp_path):
    path = parquet(
        tmp_path / "a.parquet", {"key": [str(n) for n in range(200)], "caption": [str(n).zfill(1_000_000) for n in range(200)]}
    )
    batches = read(path)[2]
    assert sum(map(len, batches)) == 200 and max(map(len, batches)) < 200


def test_shards_by_roles(tmp_path):
    samples = {"0": ({"org_caption": "alt", "sha256": "a"}, "long"), "1": ({"org_caption": None}, "longer")}
    path = shard(tmp_path / "00000.tar", samples)
    keys, texts, (batch,) = read(path, "txt", "json:org_caption")
    assert (keys, texts, batch.texts["json:org_caption"].to_pylist()) == (["0", "1"], ["long", "longer"], ["alt", None])
    with pytest.raises(UserError, match="is a shard"):
        read(path, "re_caption")
    with pytest.raises(DataError, match="json:re_caption"):
        read(path, "json:re_caption")
    whole = path.read_bytes()
    path.write_bytes(whole[:700])
    with pytest.raises(DataError, match="not a readable tar"):
        read(path, "txt")


def test_presets():
    shards, tables = [Path("0.TAR")], [Path("0.parquet")]
    assert preset_roles("recap-datacomp", shards) == ("txt", "json:org_caption")
    assert preset_roles("recap-datacomp", tables) == ("re_caption", "org_caption")
    assert preset_roles("scenes", shards) == ("json:re_caption", "json:org_caption")
    assert preset_roles("caption-rows", tables) == ("re_caption", "org_caption")
    assert preset_roles("datacomp", shards) == ("txt", "") and preset_roles("datacomp", tables) == ("text", "")
    with pytest.raises(UserError, match="datacmp"):
        preset_roles("datacmp", tables)


def test_half_a_surrogate_pair_becomes_a_replacement_character(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"key": 1, "caption": "x \\ud800 y"}\n')
    assert read(tmp_path / "a.jsonl")[1] == ["x \ufffd y"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.parquet", b"PAR1 not at all", "not a readable parquet"),
        ("a.jsonl", b'{"key": 1, "caption": "x"}\n{oops\n', "line 2 is not JSON"),
        ("a.jsonl", b'{"key": 1, "caption": ["x"]}\n', "line 1: 'caption' is no text but list"),
        ("a.jsonl", b"[1, 2]\n", "line 1 is no JSON object"),
        ("a.jsonl", b'{"key": 1, "caption": "\xff"}\n', "not a readable text file"),
        ("a.json", b'{"images": 3}', "no list of rows"),
        ("a.json", b"", "not a readable JSON"),
        ("a.csv", b"key,caption\n1,\xff\xfe\n", "not a readable CSV"),
        ("a.csv", b"", "not a readable CSV"),
        ("a.csv", b"key,text\n1,x\n", "has no column 'caption'"),
        ("a.jsonl", b'{"key": null, "caption": "x"}\n', "have no 'key'"),
    ],
)
def test_wrong_files_are_named(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        read(path)
    assert str(path) in caught.value.what and caught.value.hint


def test_columns_of_other_types_and_broken_text_are_errors(tmp_path):
    with pytest.raises(DataError, match="holds no texts but int64"):
        read(parquet(tmp_path / "a.parquet", {"key": ["1"], "caption": [3]}))
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    pq.write_table(pa.table({"key": ["1"], "caption": broken}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="no UTF-8"):
        read(tmp_path / "b.parquet")


def test_finding_files(tmp_path):
    for name in ("b.parquet", "a.parquet"):
        parquet(tmp_path / name)
    both = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert find_files([str(tmp_path)]) == find_files([str(tmp_path / "*.parquet"), str(tmp_path / "a.parquet")]) == both
    jsonl(tmp_path / "c.jsonl", [])
    with pytest.raises(DataError, match=r"\.jsonl and \.parquet"):
        find_files([str(tmp_path)])
    with pytest.raises(DataError, match="no caption file"):
        find_files([str(tmp_path / "*.nothing")])
    (tmp_path / "x.md").write_text("")
    with pytest.raises(DataError, match="by its ending"):
        find_files([str(tmp_path / "x.md")])


def test_row_counts_come_from_the_footer(tmp_path):
    assert count_rows(parquet(tmp_path / "a.parquet")) == 3
    assert count_rows(jsonl(tmp_path / "a.jsonl", [])) is None


def test_references_of_coco_and_of_tables(tmp_path):
    notes = [{"image_id": 9, "id": 1, "caption": "a dog"}, {"image_id": 9, "id": 2, "caption": "the dog"}]
    (tmp_path / "captions_val.json").write_text(json.dumps({"images": [], "annotations": notes}))
    assert read_references(str(tmp_path / "captions_val.json")) == {"9": ["a dog", "the dog"]}
    assert read_references(str(parquet(tmp_path / "a.parquet"))) == {"1": ["A dog."], "3": [ROWS["caption"][2]]}
    with pytest.raises(DataError, match="holds no caption"):
        read_references(str(parquet(tmp_path / "b.parquet", {"key": ["1"], "caption": [" "]})))
