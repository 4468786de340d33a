"""Prompts: what files and data sets give, and that a wrong row is named."""

import hashlib
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_eval.data.coco_ids import Lock, chosen, coco_id, digest_of_ids
from recap_eval.data.sources import read_sources
from recap_eval.errors import DataError, UserError
from recap_eval.generate.presets import ALIASES, PRESETS, preset_name
from recap_eval.generate.prompt_files import Columns, read_prompts
from recap_eval.generate.prompt_sources import find_prompts, read_preset
from recap_eval.hashrand import combine, text_key


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


def recap_coco(folder, ids):
    """Write a small Recap-COCO-30K."""
    (folder / "recap-coco-30k").mkdir(exist_ok=True)
    rows = [{"image_id": n, "image": {"bytes": b"x"}, "caption": f"c {n}", "recaption": f"r {n}"} for n in ids]
    pq.write_table(pa.Table.from_pylist(rows), folder / "recap-coco-30k" / "train.parquet")


def lock(monkeypatch, name, ids, presumed=False):
    """Let a name stand for these images."""
    digest = hashlib.sha256("".join(f"{n}\n" for n in sorted(ids)).encode()).hexdigest()
    monkeypatch.setitem(PRESETS, name, replace(PRESETS[name], lock=Lock(len(ids), digest, presumed)))
    return digest


def test_recap_coco_by_name_in_the_order_of_its_ids(tmp_path, monkeypatch, capsys):
    recap_coco(tmp_path, [30, 4, 112])
    digest = lock(monkeypatch, "recap-coco-30k", [4, 30, 112], presumed=True)
    found = find_prompts("recap-coco30k", tmp_path, "recap")
    assert pairs(found) == [("4", "r 4"), ("30", "r 30"), ("112", "r 112")] and found.name == "recap-coco-30k-recap"
    assert pairs(find_prompts("recap-coco-30k", tmp_path))[2] == ("112", "c 112")
    assert found.source["ids"] == digest and found.source["locked"] is True and not capsys.readouterr().err


def test_other_images_than_are_presumed_are_told_and_recorded(tmp_path, capsys):
    recap_coco(tmp_path, [30, 4])
    found = find_prompts("recap-coco-30k", tmp_path)
    assert "its 2 images are not the 30,504 of COCO that are presumed" in capsys.readouterr().err
    assert found.source["locked"] is False and len(found.source["ids"]) == 64


def coco(folder, ids, captions=("one", "two", "three")):
    """Write small annotations of val2014, their captions in descending order of their ids, and the images."""
    (folder / "coco" / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "coco" / "val2014").mkdir(exist_ok=True)
    names = {n: f"COCO_val2014_{n:012d}.jpg" for n in ids}
    images = [{"id": n, "file_name": name} for n, name in names.items()]
    notes = [{"id": 10 * n - i, "image_id": n, "caption": f"{n} {text}"} for n in ids for i, text in enumerate(captions)]
    document = {"images": images, "annotations": notes}
    (folder / "coco" / "annotations" / "captions_val2014.json").write_text(json.dumps(document))
    for name in names.values():
        (folder / "coco" / "val2014" / name).write_bytes(b"x")


def test_coco_30k_is_chosen_by_hash_with_a_caption_each(tmp_path, monkeypatch):
    ids = range(1, 200)
    coco(tmp_path, ids)
    coco30k = PRESETS["coco-30k"]
    monkeypatch.setitem(PRESETS, "coco-30k", replace(coco30k, options=coco30k.options | {"n": 60}))
    kept = sorted(sorted(ids, key=lambda n: combine(text_key("coco-30k"), n))[:60])
    lock(monkeypatch, "coco-30k", kept)
    found = find_prompts("coco30k", tmp_path)
    assert [prompt.id for prompt in found.prompts] == [f"COCO_val2014_{n:012d}.jpg" for n in kept]
    by_annotation_id = ("three", "two", "one")
    drawn = [by_annotation_id[combine_below(3, "coco-30k", n)] for n in kept]
    assert [prompt.text.split()[1] for prompt in found.prompts] == drawn and len(set(drawn)) == 3
    assert found.source["captions"].startswith("drawn by hash")


def combine_below(n, purpose, number):
    """The first draw of `Draws`, written out."""
    from recap_eval.hashrand import _mix

    return (_mix(combine(text_key(purpose), text_key("caption"), number) ^ 1) * n) >> 64


def test_too_few_annotations_and_other_images_are_refused(tmp_path, monkeypatch):
    coco(tmp_path, [5, 6, 7])
    with pytest.raises(DataError, match="lists 3 images, where 30,000"):
        find_prompts("coco-30k", tmp_path)
    with pytest.raises(DataError, match=r"coco-val2014 stands for 40,504 images of COCO \(08d12f2dc062\); here are 3 others"):
        read_preset("coco-val2014", tmp_path)
    lock(monkeypatch, "coco-val2014", [5, 6, 7])
    assert [image.key[-7:] for image in read_preset("coco-val2014", tmp_path).images] == ["005.jpg", "006.jpg", "007.jpg"]
    assert find_prompts("coco-val2014", tmp_path).prompts[0].text == "5 one"


def test_karpathy_by_name_takes_the_first_caption(tmp_path, monkeypatch):
    (tmp_path / "coco").mkdir()
    sentences = [{"raw": " First one. "}, {"raw": "second"}]
    document = {"images": [{"filename": "COCO_val2014_000000000042.jpg", "split": "restval", "sentences": sentences}]}
    (tmp_path / "coco" / "dataset_coco.json").write_text(json.dumps(document))
    (tmp_path / "coco" / "COCO_val2014_000000000042.jpg").write_bytes(b"x")
    lock(monkeypatch, "coco-restval", [42])
    assert pairs(find_prompts("coco-restval", tmp_path)) == [("COCO_val2014_000000000042.jpg", "First one.")]
    with pytest.raises(UserError, match="has no column 'recap'"):
        find_prompts("coco-restval", tmp_path, "recap")
    lock(monkeypatch, "coco-restval", [43])
    with pytest.raises(DataError, match="coco-restval stands for 1 images"):
        find_prompts("coco-restval", tmp_path)


def test_ids_of_coco_and_their_digest():
    names = ["42", "000000000042", "COCO_val2014_000000000042.jpg", "val2014/COCO_train2014_000000000042.jpeg"]
    assert {coco_id(name) for name in names} == {42}
    assert [coco_id(name) for name in ("a.jpg", "", "42.png", "4x2", "COCO_val2014_.jpg", "1234567890123")] == [None] * 6
    assert digest_of_ids([10, 9]) == hashlib.sha256(b"9\n10\n").hexdigest() != digest_of_ids([910])
    assert chosen(range(9), 20, "x") == list(range(9)) and chosen([], 3, "x") == []


def test_locks_agree_with_each_other():
    """restval is what Karpathy's val and test leave of val2014, and what Recap-COCO-30K is presumed to be."""
    locks = {name: preset.lock for name, preset in PRESETS.items() if preset.lock}
    assert locks["coco-val2014"].n == sum(locks[f"coco-{split}"].n for split in ("val", "test", "restval"))
    assert locks["recap-coco-30k"].digest == locks["coco-restval"].digest and locks["recap-coco-30k"].presumed
    assert [name for name, one in locks.items() if one.presumed] == ["recap-coco-30k"]
    assert all(len(one.digest) == 64 for one in locks.values()) and all(preset_name(alias) in PRESETS for alias in ALIASES)


def test_how_to_get_data_names_sources_that_exist():
    for name, preset in PRESETS.items():
        command, *words = preset.get.removeprefix("recap-eval ").format(root="DATA").split()
        sources = words[: words.index("--data")] if command == "fetch" else []
        assert command in ("fetch", "scenes") and set(sources) <= read_sources().keys(), name


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
