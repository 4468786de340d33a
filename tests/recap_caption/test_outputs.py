"""Outputs: one schema, two digests, no bit that changes unseen; and what is marked on rows."""

import random

import pyarrow.parquet as pq
import pytest

from recap_caption.rows import schema
from recap_caption.run.asking import EMPTY
from recap_caption.run.marking import mark, trimmed
from recap_caption.run.output import check_rows, count_rows, digest_rows, pack, read_facts, read_output
from recap_eval.captions.flags import flags
from recap_eval.captions.words import Lexicon
from recap_eval.errors import DataError


def row(key="k", caption="A cat on a mat.", **other):
    good = {"key": key, "re_caption": caption, "status": "ok" if caption is not None else "timeout", "flags": []}
    return EMPTY | good | {"error_type": None if caption is not None else "T"} | other


ROWS = [
    row("a", url="u", seed=5, mean_logprob=-0.25, flags=["x"]), row("b", None, flags=None), row("c", "\0 é\n🙂"), row("d", ""),
]  # fmt: skip


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "0.parquet"
    path.write_bytes(pack(ROWS, {"torn": None, "note": "sha256:" + "0" * 64}))
    found = read_output(path)
    assert found.table.to_pylist() == ROWS and found.table.schema.equals(schema())
    assert read_facts(path) == found.facts == {
        "torn": None, "note": "sha256:" + "0" * 64, "rows": 4, "statuses": {"ok": 3, "timeout": 1}, "flags": {"x": 1},
        "errors": {"timeout: T": 1}, "digest": digest_rows(ROWS),
    }  # fmt: skip
    check_rows(path, ROWS, found.facts)
    with pytest.raises(DataError, match="another digest"):
        check_rows(path, ROWS[:3], found.facts)
    with pytest.raises(DataError, match="counted otherwise"):
        check_rows(path, ROWS, found.facts | {"statuses": {"ok": 4}})


def test_no_row_at_all(tmp_path):
    path = tmp_path / "0.parquet"
    path.write_bytes(pack([], {}))
    assert read_output(path).table.num_rows == 0 and read_facts(path)["rows"] == 0
    assert count_rows([]) == {"rows": 0, "statuses": {}, "flags": {}, "errors": {}}


def test_every_bit_counts(tmp_path):
    """Flipped, cut off or added: no byte changes unseen."""
    path = tmp_path / "0.parquet"
    payload = pack([row(str(n), f"caption {n} " * 5) for n in range(20)], {"torn": None})
    draw = random.Random(0)
    for place in [*draw.sample(range(len(payload)), 300), *range(4), *range(len(payload) - 200, len(payload))]:
        damaged = bytearray(payload)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"0\.parquet"):
            read_output(path)
    for damaged in (payload[:-1], payload + b"\0", payload[:100], b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            read_output(path)


def test_other_parquet_is_no_output(tmp_path):
    path = tmp_path / "0.parquet"
    pq.write_table(schema().empty_table(), path)
    for read in (read_facts, read_output):
        with pytest.raises(DataError, match="no readable output"):
            read(path)


def test_the_digest_is_of_rows_and_their_order():
    assert digest_rows(ROWS) == digest_rows([dict(reversed(one.items())) for one in ROWS])
    assert len({digest_rows(ROWS), digest_rows(ROWS[::-1]), digest_rows(ROWS[1:]), digest_rows([])}) == 4


CAPTIONS = [
    "A red bus on a street.", "a cat a cat a cat a cat", "I'm sorry, I cannot see", "Bus",
    "Ein Hund und eine Katze sind nicht da.",
    "There is a lot. And then", "", "   ", "alt text of this", "A red bus on a street.", "\x00\ud7ff word",
]  # fmt: skip


def test_flags_are_those_of_single_captions():
    rows = [row(str(n), caption, org_caption="alt text of this", flags=None) for n, caption in enumerate(CAPTIONS)]
    rows[3]["finish_reason"] = "length"
    rows.insert(2, row("failed", None, flags=None))
    mark(rows, Lexicon())
    good = [one for one in rows if one["status"] == "ok"]
    for one in good:
        expected = list(flags(one["re_caption"], one["org_caption"], one["finish_reason"]))
        assert [name for name in one["flags"] if name != "duplicate"] == expected, one["re_caption"]
    assert [one["key"] for one in rows if one["flags"] and "duplicate" in one["flags"]] == ["0", "9"]
    assert rows[2]["flags"] is None and rows[2]["re_caption_trimmed"] is None
    assert [one["re_caption"] for one in good] == CAPTIONS
    mark([], Lexicon())


def test_the_same_caption_for_the_same_image_is_no_duplicate():
    rows = [row("a", sha256="1"), row("b", sha256="1"), row("c", None), row("a", sha256="1", sample_index=1)]
    mark(rows, Lexicon())
    assert [one["flags"] for one in rows] == [[], [], [], []]
    rows = [row("a"), row("a", sample_index=1), row("b")]
    mark(rows, Lexicon())
    assert [one["flags"] for one in rows] == [["duplicate"]] * 3


@pytest.mark.parametrize(("caption", "expected"), [
    ("It is red. It is lar", "It is red."), ("It is red.", None), ("It is lar", None), ("", None),
    ("One! \"Two.\" three\n", 'One! "Two."'),
    ("A 1.5 m tall. And", "A 1.5 m tall."),
])  # fmt: skip
def test_an_unfinished_last_sentence_is_left_out(caption, expected):
    assert trimmed(caption) == expected
