import json
import os
import pickle

import numpy as np
import pytest
from support import write_tar
from web import tarred

from recap_eval.data import shard_set
from recap_eval.data.shard_index import RECORD, index_shard
from recap_eval.data.shard_set import open_shards
from recap_eval.data.shards import list_shards, read_shards
from recap_eval.errors import DataError
from recap_eval.hashrand import text_key


def sample(key, **meta):
    return {f"{key}.jpg": f"image of {key}".encode(), f"{key}.json": json.dumps(meta).encode(), f"{key}.txt": b"a recaption"}


def shard(folder, name, keys):
    members = {}
    for key in keys:
        members |= sample(key, org_caption=f"alt of {key}")
    return write_tar(folder / name, members)


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        shard(tmp_path, f"{number:05d}.tar", [f"{number}{row:04d}" for row in range(number + 2)])
    return tmp_path


def test_the_set_holds_what_a_full_read_finds(folder):
    found, known = open_shards(list_shards(folder)), read_shards(folder)
    assert len(found) == len(known) == 9 and found.sizes.tolist() == [2, 3, 4]
    assert list(found) == known
    assert found.sample(8).read_image() == b"image of 20003"
    assert (found.keys[np.array([8, 0, 4])] == np.array([text_key(key) for key in ("20003", "00000", "10002")])).all()
    assert RECORD.itemsize == 32


@pytest.mark.parametrize("name", ["n" * 99, "n" * 180, "folder/" * 20 + "n", "ü" * 60, "n" * 300])
def test_names_of_any_length_are_recovered(tmp_path, name):
    write_tar(tmp_path / "0.tar", sample(name) | sample("short"))
    found = open_shards([tmp_path / "0.tar"])
    assert [one.key for one in found] == [name, "short"]
    assert found.sample(0).read_image() == f"image of {name}".encode()


def test_a_second_start_walks_no_tar(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = open_shards(list_shards(folder), cache)
    monkeypatch.setattr("recap_eval.data.shard_index.collect", lambda path: pytest.fail("walked again"))
    again = open_shards(list_shards(folder), cache)
    assert list(again) == list(first)
    assert again.facts.digests == first.facts.digests


def test_a_changed_shard_is_walked_again(folder, tmp_path):
    cache = tmp_path / "cache"
    before = open_shards(list_shards(folder), cache)
    shard(folder, "00001.tar", ["a", "b"])
    after = open_shards(list_shards(folder), cache)
    assert [one.key for one in after][2:4] == ["a", "b"]
    assert [a == b for a, b in zip(before.facts.digests, after.facts.digests, strict=True)] == [True, False, True]


def test_a_damaged_cache_costs_time_only(folder, tmp_path):
    cache = tmp_path / "cache"
    open_shards(list_shards(folder), cache)
    files = sorted(cache.iterdir())
    assert len(files) == 4
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    assert len(open_shards(list_shards(folder), cache)) == 9
    (tmp_path / "file").write_text("x")
    assert len(open_shards(list_shards(folder), tmp_path / "file" / "cache")) == 9


def test_memory_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(shard_set, "HELD", 5 * RECORD.itemsize)
    found = open_shards(list_shards(folder))
    assert [one.key for one in found] == [one.key for one in read_shards(folder)]
    assert sum(rows.nbytes for rows in found._held.values()) <= 5 * RECORD.itemsize


def test_the_digest_is_of_contents_and_not_of_the_file(tmp_path):
    one = index_shard(write_tar(tmp_path / "a.tar", sample("1", sha256="x")), None)
    two = index_shard(write_tar(tmp_path / "b.tar", sample("1", sha256="x")), None)
    other = index_shard(write_tar(tmp_path / "c.tar", sample("1", sha256="y")), None)
    assert one.digest == two.digest != other.digest


def cut(path, size):
    os.truncate(path, size)


@pytest.mark.parametrize("stats", [{"00001_stats.json": {"successes": 3}}, {"sizes.json": {"00001.tar": 3}}, {}])
def test_a_shard_that_is_cut_short(folder, stats):
    for name, content in stats.items():
        (folder / name).write_text(json.dumps(content))
    cut(folder / "00001.tar", 3072 + 600)  # in the second sample's image
    with pytest.raises(DataError, match=r"00001\.tar is not a readable tar"):
        open_shards(list_shards(folder))
    found = open_shards(list_shards(folder), skip_bad=True)
    assert [one.key for one in found] == ["00000", "00001", "10000", "20000", "20001", "20002", "20003"]
    (line,) = found.ledger()["lost"]
    number = "2" if stats else "an unknown number of"
    assert line.startswith("00001.tar: ") and line.endswith(f"; {number} samples lost")


def test_a_missing_end_mark_costs_the_last_sample_only(folder):
    whole = tarred(sample("10000") | sample("10001") | sample("10002"))
    (folder / "00001.tar").write_bytes(whole[: 3072 * 2])
    with pytest.raises(DataError, match="the mark of its end is missing"):
        open_shards(list_shards(folder))
    found = open_shards(list_shards(folder), skip_bad=True)
    assert len(found) == 2 + 1 + 4 and found.sizes.tolist() == [2, 1, 4]


def test_what_is_no_tar_or_holds_no_image(folder):
    (folder / "00001.tar").write_bytes(b"no tar" * 1000)
    write_tar(folder / "00002.tar", {"1.txt": b"x"})
    with pytest.raises(DataError, match=r"00001\.tar is not a readable tar"):
        open_shards(list_shards(folder))
    found = open_shards(list_shards(folder), skip_bad=True)
    assert len(found) == 2 and "00002.tar holds no image" in found.ledger()["lost"][1]
    (folder / "00000.tar").unlink()
    with pytest.raises(DataError, match="is not a readable tar"):
        open_shards(list_shards(folder), skip_bad=True)


def test_a_text_that_is_not_json(folder):
    members = sample("10000") | sample("10001") | sample("10002")
    write_tar(folder / "00001.tar", members | {"10001.json": b"{"})
    with pytest.raises(DataError, match=r"00001\.tar:10001 has an unreadable text member"):
        open_shards(list_shards(folder))
    found = open_shards(list_shards(folder), skip_bad=True)
    assert len(found) == 8 and found.ledger()["lost"][0].endswith("1 samples lost")


@pytest.mark.parametrize("kept", [True, False])
def test_keys_that_occur_twice(folder, tmp_path, kept):
    cache = tmp_path / "cache" if kept else None
    shard(folder, "00003.tar", ["new", "00001", "20000"])
    shard(folder, "00004.tar", ["20000"])
    for _ in range(2):
        with pytest.raises(DataError, match=r"Key 00001 occurs in .*00000\.tar and in .*00003\.tar \(3 such keys\)"):
            open_shards(list_shards(folder), cache)
        found = open_shards(list_shards(folder), cache, skip_bad=True)
        keys = [one.key for one in found]
        assert len(keys) == len(set(keys)) == len(found) == 10 and keys[-1] == "new"
        assert found.ledger() == {"samples": 10, "lost": [], "duplicates": 3}


def test_a_shard_that_changes_under_a_run_is_told(folder):
    found = open_shards(list_shards(folder))
    assert found.sample(0).key == "00000"
    shard(folder, "00000.tar", ["elsewhere", "z"])
    with pytest.raises(DataError, match="not what it was when it was indexed"):
        found.sample(0)
    (folder / "00000.tar").unlink()
    with pytest.raises(DataError, match="Cannot read"):
        found.sample(0)


def test_a_set_can_be_sent_to_another_process(folder):
    found = open_shards(list_shards(folder))
    assert list(pickle.loads(pickle.dumps(found))) == list(found)
