"""Prompts: what files and data sets give, and that a wrong row is named."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_eval.errors import DataError, UserError
from recap_eval.generate.prompt_files import Columns, read_prompts
from recap_eval.generate.prompt_sources import PRESETS, find_prompts


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def pairs(found):
    return [(prompt.id, prompt.text) for prompt in found.prompts]


def test_every_form_gives_the_same_prompts(tmp_path):
    rows = [{"id": "a", "prompt": 'a "red", cube'}, {"id": "b", "prompt": "zwei\nZeilen – ü"}]
    expected = [("a", 'a "red", cube'), ("b", "zwei\nZeilen – ü")]
    write(tmp_path / "p.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    write(tmp_path / "p.csv", '\ufeffid,prompt\r\na,"a ""red"", cube"\r\nb,"  zwei\nZeilen – ü "\r\n')
    write(tmp_path / "p.tsv", 'id\tprompt\na\t"a ""red"", cube"\nb\t"zwei\nZeilen – ü"\n')
    pq.write_table(pa.Table.from_pylist([row | {"image": b"1"} for row in rows]), tmp_path / "p.parquet")
    found = [read_prompts(tmp_path / f"p.{suffix}") for suffix in ("jsonl", "csv", "tsv", "parquet")]
    assert [pairs(one) for one in found] == [expected] * 4
    assert len({one.fingerprint for one in found}) == 1
    assert found[0].first(1).fingerprint != found[0].fingerprint and len(found[0].first(1)) == 1


def test_a_text_file_has_a_prompt_a_line_and_numbers_for_ids(tmp_path):
    found = read_prompts(write(tmp_path / "p.txt", "one\n two \n\n\n"))
    assert pairs(found) == [("000001", "one"), ("000002", "two")]


def test_columns_are_named_or_clear(tmp_path):
    path = write(tmp_path / "p.csv", "image_id,caption,recaption,n,other\n7,short,a long one,3,x\n")
    with pytest.raises(UserError, match="caption and recaption"):
        read_prompts(path)
    found = read_prompts(path, Columns("recaption", reference="image_id"))
    prompt = found.prompts[0]
    assert (prompt.id, prompt.text, prompt.reference) == ("7", "a long one", "7")
    assert prompt.extra == {"caption": "short", "n": "3", "other": "x"}
    assert pairs(read_prompts(path, Columns("caption", "other"))) == [("x", "short")]
    with pytest.raises(DataError, match=r"has no column 'nothing'"):
        read_prompts(path, Columns("nothing"))


@pytest.mark.parametrize(
    ("name", "text", "fragments"),
    [
        ("p.csv", "id,prompt\na,x\na,y\n", ["line 3", "'a' occurs twice", "line 2"]),
        ("p.csv", "id,prompt\na,x\nb,  \n", ["line 3", "empty prompt"]),
        ("p.csv", "id,prompt\n,x\n", ["line 2", "empty id"]),
        ("p.csv", "id,prompt\na,x,y\n", ["line 2", "fields"]),
        ("p.csv", "id,prompt\na\n", ["line 2", "fields"]),
        ("p.csv", 'id,prompt\na,"x\n', ["line 2", "no CSV"]),
        ("p.csv", "id,words\na,x\n", ["no column of prompts", "words"]),
        ("p.csv", "", ["no prompt"]),
        ("p.txt", "a\n\nb\n", ["line 2", "empty prompt"]),
        ("p.jsonl", '{"id": "a", "prompt": 3}\n', ["line 1", "no text"]),
        ("p.jsonl", '{"id": "a", "prompt": "x"}\n{"id": "b"}\n', ["line 2", "empty prompt"]),
        ("p.jsonl", '{"id": null, "prompt": "x"}\n', ["line 1", "empty id"]),
        ("p.jsonl", '{"id": "a", "prompt": "\\ud800"}\n', ["line 1", "no valid text"]),
        ("p.jsonl", "[1]\n", ["line 1", "no JSON object"]),
        ("p.jsonl", "{\n", ["line 1", "not JSON"]),
        ("p.parquet", "PAR1", ["not a readable parquet file"]),
    ],
)
def test_a_wrong_row_is_named(tmp_path, name, text, fragments):
    with pytest.raises(DataError) as caught:
        read_prompts(write(tmp_path / name, text))
    for fragment in fragments:
        assert fragment in f"{caught.value.what} {caught.value.hint}"


def test_scenes_by_name(world):
    raw, recap = (find_prompts("scenes", world, column) for column in (None, "recap"))
    assert len(raw) == len(recap) == 48 and [p.id for p in raw.prompts] == [p.id for p in recap.prompts]
    assert all(a.text != b.text and len(a.text) < len(b.text) for a, b in zip(raw.prompts, recap.prompts, strict=True))
    assert raw.prompts[0].reference == raw.prompts[0].id and raw.name == "scenes-raw"


def test_recap_coco_by_name(tmp_path):
    (tmp_path / "recap-coco-30k").mkdir()
    rows = [{"image_id": f"{n:012d}", "image": {"bytes": b"x"}, "caption": f"c {n}", "recaption": f"r {n}"} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "recap-coco-30k" / "train.parquet")
    assert pairs(find_prompts("recap-coco-30k", tmp_path, "recap"))[2] == ("000000000002", "r 2")
    assert pairs(find_prompts("recap-coco-30k", tmp_path))[2] == ("000000000002", "c 2")


def test_coco_by_name_takes_the_first_caption(tmp_path):
    (tmp_path / "coco").mkdir()
    sentences = [{"raw": " First one. "}, {"raw": "second"}]
    document = {"images": [{"filename": "a.jpg", "split": "restval", "sentences": sentences}]}
    (tmp_path / "coco" / "dataset_coco.json").write_text(json.dumps(document))
    (tmp_path / "coco" / "a.jpg").write_bytes(b"x")
    assert pairs(find_prompts("coco-restval", tmp_path)) == [("a.jpg", "First one.")]
    with pytest.raises(UserError, match="has no column 'recap'"):
        find_prompts("coco-restval", tmp_path, "recap")


def test_a_locked_preset_refuses_other_prompts(world, monkeypatch):
    fingerprint = find_prompts("scenes", world).fingerprint
    monkeypatch.setitem(PRESETS["scenes"].digests, "raw", fingerprint)
    assert find_prompts("scenes", world).fingerprint == fingerprint
    monkeypatch.setitem(PRESETS["scenes"].digests, "raw", "0" * 64)
    with pytest.raises(DataError, match="not what this name stands for"):
        find_prompts("scenes", world)


def test_what_does_not_go_together(world, tmp_path):
    path = write(tmp_path / "p.txt", "one\n")
    with pytest.raises(UserError, match="--column"):
        find_prompts(str(path), world, "recap")
    with pytest.raises(UserError, match="takes no names of columns"):
        find_prompts("scenes", world, None, Columns("caption"))
    with pytest.raises(UserError, match="Unknown set of prompts 'scene'"):
        find_prompts("scene", world)
    with pytest.raises(UserError, match="suffix"):
        read_prompts(write(tmp_path / "p.doc", "one\n"))
