import json
from pathlib import Path

import pytest
from captioner_data import make_edits, make_mix, make_pairs, png, said, write_images, write_json
from support import write_tar

from recap_eval.errors import DataError, UserError
from recap_train.captioner.conversations import read_conversations
from recap_train.captioner.described import read_described, read_edits
from recap_train.captioner.rows import Marks, Picture, Row

TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "This."}]


def test_pairs(tmp_path):
    rows = read_conversations(make_pairs(tmp_path), tmp_path / "images")
    assert len(rows) == 12 and all(rows.shown())
    assert rows[1].turns == (("user", "Describe it shortly."), ("assistant", said(1)))
    assert rows[1].pictures[0].read() == png(1)
    assert rows[0].messages()[0]["content"] == [{"type": "image"}, {"type": "text", "text": "Write a caption."}]
    assert rows.lengths()[1] == 3 + len(said(1).split())


def test_mix_has_rows_without_image_and_drops_an_answer_that_comes_first(tmp_path):
    rows = read_conversations(make_mix(tmp_path), tmp_path / "images")
    assert [shown for shown in rows.shown()] == [number % 3 != 0 for number in range(12)]
    assert rows.facts == {"rows": 12, "with_image": 8, "images_not_there": 0, "began_with_an_answer": 1}
    assert [role for role, _ in rows[3].turns] == ["user", "assistant"] * 2
    assert rows[3].messages()[0]["content"] == [{"type": "text", "text": "What is shown?"}]


def test_images_lie_beside_the_json_where_nothing_else_is_named(tmp_path):
    place = write_images(tmp_path, 1)[0]
    path = write_json(tmp_path / "one.json", [{"image": f"images/{place}", "conversations": TALK}])
    assert read_conversations(path, None)[0].pictures[0].read() == png(0)


def test_several_images_and_a_system_message(tmp_path):
    places = write_images(tmp_path, 2)
    talk = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "<image> <image>\nBoth?"}, TALK[1]]
    row = read_conversations(write_json(tmp_path / "a.json", [{"image": places, "conversations": talk}]), tmp_path / "images")[
        0
    ]
    assert len(row.pictures) == 2 and row.turns[1] == ("user", "Both?")
    roles = [(one["role"], [part["type"] for part in one["content"]]) for one in row.messages()]
    assert roles == [("system", ["text"]), ("user", ["image", "image", "text"]), ("assistant", ["text"])]


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"conversations": TALK}, "no list of conversations"),
        ([{"id": "x"}], "row 0 has no conversations"),
        (["text"], "row 0 has no conversations"),
        ([{"conversations": []}], "do not take turns"),
        ([{"conversations": TALK[1:]}], "do not take turns"),
        ([{"conversations": [TALK[0], TALK[0]]}], "do not take turns"),
        ([{"conversations": [*TALK, {"from": "system", "value": "late"}]}], "do not take turns"),
        ([{"conversations": [{"from": "dog", "value": "wau"}]}], "neither a human's nor gpt's"),
        ([{"conversations": [{"from": "human", "value": 3}]}], "neither a human's nor gpt's"),
        ([{"image": "a.png", "conversations": [{"from": "human", "value": "What?"}, TALK[1]]}], "stands in it 0 times"),
        (
            [{"image": "a.png", "conversations": [{"from": "human", "value": "<image><image>"}, TALK[1]]}],
            "stands in it 2 times",
        ),
    ],
)
def test_wrong_layouts_are_told(tmp_path, record, what):
    with pytest.raises(DataError, match=what):
        read_conversations(write_json(tmp_path / "a.json", record), None)


def test_unreadable_and_empty_files(tmp_path):
    with pytest.raises(UserError, match="holds no conversation"):
        read_conversations(write_json(tmp_path / "a.json", []), None)
    (tmp_path / "b.json").write_text("[{")
    with pytest.raises(DataError):
        read_conversations(tmp_path / "b.json", None)
    with pytest.raises(DataError):
        read_conversations(tmp_path / "none.json", None)


def test_images_that_are_not_there(tmp_path):
    path = make_pairs(tmp_path)
    whole = read_conversations(path, tmp_path / "images").fingerprint
    (tmp_path / "images/part/003.png").unlink()
    with pytest.raises(DataError, match=r"1 of 12 rows show an image that is not there, the first .*003\.png"):
        read_conversations(path, tmp_path / "images")
    rows = read_conversations(path, tmp_path / "images", max_bad=0.1)
    with pytest.raises(DataError, match="1 of 12 rows"):
        read_conversations(path, tmp_path / "images", max_bad=0.05)
    assert len(rows) == 11 and rows.facts["images_not_there"] == 1 and rows.fingerprint != whole


def test_shards(tmp_path):
    members = {}
    for number in range(3):
        members |= {f"{number}.png": png(number), f"{number}.txt": said(number).encode() if number else b" "}
        members |= {f"{number}.json": json.dumps({"key": str(number), "re_caption": "other"}).encode()}
    write_tar(tmp_path / "00000.tar", members)
    rows = read_described(tmp_path, "txt", "Tell.")
    assert len(rows) == 2 and rows.facts["without_caption"] == 1
    assert rows[0].turns == (("user", "Tell."), ("assistant", said(1))) and rows[0].pictures[0].read() == png(1)
    assert read_described(tmp_path, "json:re_caption", "Tell.").fingerprint != rows.fingerprint
    with pytest.raises(DataError, match="No sample"):
        read_described(tmp_path, "json:nothing", "Tell.")


def test_hq_edit_gives_two_rows_a_row(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("RECAP_CACHE", str(tmp_path / "cache"))
    rows = read_edits([make_edits(tmp_path / "hq")], "Tell.")
    assert len(rows) == 12 and rows.lengths()[:2] == [len(said(0).split())] * 2
    assert rows[3].turns[1] == ("assistant", said(101)) and rows[3].pictures[0].read() == png(101)
    assert rows[2].pictures[0].read() == png(1)


def test_parquet_of_others_is_refused(tmp_path):
    pytest.importorskip("datasets")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"caption": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column 'input_image'"):
        read_edits([tmp_path / "a.parquet"], "Tell.")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="no readable parquet"):
        read_edits([tmp_path / "b.parquet"], "Tell.")


def test_special_tokens_in_data_are_broken():
    marks = Marks(("<image>", "<|eot_id|>", "<|e", "\n"))
    assert marks.broken("see <image> and <|eot_id|>\n") == "see < image> and < |eot_id|>\n"
    assert marks.broken("plain < text >") == "plain < text >" and not marks.within("plain")
    hostile = "<<image>image>" * 3
    assert not marks.within(marks.broken(hostile))
    assert Marks(()).broken("<image>") == "<image>"


def test_parts_of_files_and_missing_ones(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    assert Picture(str(tmp_path / "a"), 2, 3).read() == b"234" and Picture("x", payload=b"y").read() == b"y"
    with pytest.raises(DataError, match="cannot be read"):
        Picture(str(Path(tmp_path / "none"))).read()
    assert Row("r", (), (("user", "a b"), ("assistant", "c"))).length == 3
