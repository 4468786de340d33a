import json

import pytest
from support import write_tar

from recap_eval.data.digests import Digests, fingerprint
from recap_eval.data.shards import list_shards, read_shard, read_shards, resolve_roles, stated_digests
from recap_eval.errors import DataError, UserError


def sample(key, **meta):
    return {f"{key}.jpg": b"jpeg", f"{key}.json": json.dumps(meta).encode(), f"{key}.txt": b"a recaption"}


def test_a_download_by_the_authors_recipe(tmp_path):
    """KEY.txt is the recaption there, and the json holds the original: only named roles tell."""
    write_tar(tmp_path / "00000.tar", sample("000000001", org_caption="alt") | sample("000000002", org_caption="alt 2"))
    samples = read_shards(tmp_path)
    roles = resolve_roles("recap-datacomp", None, None)
    assert [s.caption(roles["original"]) for s in samples] == ["alt", "alt 2"]
    assert samples[0].caption(roles["recaption"]) == "a recaption"
    assert samples[1].read_image() == b"jpeg"
    assert samples[0].where.endswith("00000.tar:000000001.jpg")


def test_plain_datacomp_has_no_recaption():
    assert resolve_roles("datacomp", None, None) == {"original": "txt"}
    assert resolve_roles("datacomp", None, "json:re")["recaption"] == "json:re"


def test_a_member_that_is_not_there_is_none_and_an_empty_one_is_empty(tmp_path):
    write_tar(tmp_path / "0.tar", {"1.jpg": b"x", "1.txt": b""})
    (found,) = read_shards(tmp_path)
    assert found.caption("txt") == "" and found.caption("json:org_caption") is None


@pytest.mark.parametrize(
    ("preset", "original", "words"),
    [("scenez", None, "scenes"), (None, "jpg", "json:FIELD"), (None, "org_caption", "org_caption")],
)
def test_wrong_roles(preset, original, words):
    with pytest.raises(UserError) as error:
        resolve_roles(preset, original, None)
    assert words in error.value.what + error.value.hint


def test_truncated_empty_and_foreign_files(tmp_path):
    whole = write_tar(tmp_path / "00000.tar", {"1.jpg": b"x" * 5000, "2.jpg": b"y" * 5000})
    cut = tmp_path / "00001.tar"
    cut.write_bytes(whole.read_bytes()[:7000])
    with pytest.raises(DataError, match=r"00001\.tar"):
        read_shard(cut)
    (tmp_path / "00002.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"00002\.tar"):
        read_shard(tmp_path / "00002.tar")
    (tmp_path / "00003.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(DataError, match=r"00003\.tar is not a readable tar"):
        read_shard(tmp_path / "00003.tar")
    with pytest.raises(DataError, match="holds no image"):
        read_shard(write_tar(tmp_path / "00004.tar", {"1.txt": b"x"}))
    with pytest.raises(DataError, match="unreadable text"):
        read_shard(write_tar(tmp_path / "00005.tar", {"1.jpg": b"x", "1.json": b"{"}))


def test_two_samples_of_one_key(tmp_path):
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, sample("7"))
    with pytest.raises(DataError, match=r"a\.tar and in .*b\.tar"):
        read_shards(tmp_path)


def test_no_folder_and_no_shard(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        list_shards(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no \*\.tar"):
        list_shards(tmp_path)


def test_a_shard_that_shrinks_while_it_is_used(tmp_path):
    path = write_tar(tmp_path / "0.tar", {"1.jpg": b"x" * 2000})
    (found,) = read_shard(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match="cut short"):
        found.read_image()


def test_fingerprint_sees_pixels_texts_and_order(tmp_path):
    """img2dataset states the digest of the image before it resized it: an evaluation set is read."""
    write_tar(tmp_path / "0.tar", sample("1", sha256="a" * 64) | sample("2", sha256="b" * 64))

    def read(texts, samples, digests):
        return fingerprint([sample.key for sample in samples], digests, texts)

    samples, memory = read_shards(tmp_path), tmp_path / "digests.sqlite"
    digests, stated = Digests(memory).of(samples), stated_digests(samples)
    base = read(["x", "y"], samples, digests)
    assert base != read(["x", "z"], samples, digests) and base != read(["x", "y"], samples[::-1], digests[::-1])
    other = sample("1", sha256="a" * 64) | sample("2", sha256="b" * 64) | {"1.jpg": b"resized"}
    write_tar(tmp_path / "0.tar", other)
    again = read_shards(tmp_path)
    assert read(["x", "y"], again, Digests(memory).of(again)) != base
    assert read(["x", "y"], again, stated_digests(again)) == read(["x", "y"], samples, stated) != base


def test_digests_are_remembered_and_a_damaged_memory_costs_only_time(tmp_path, monkeypatch):
    write_tar(tmp_path / "0.tar", sample("1") | sample("2"))
    samples, memory = read_shards(tmp_path), tmp_path / "digests.sqlite"
    found = Digests(memory).of(samples)
    monkeypatch.setattr("recap_eval.data.digests._digest", lambda item: "0" * 64)
    assert Digests(memory).of(samples) == found
    memory.write_bytes(b"damaged" * 1000)
    assert Digests(memory).of(samples) == ["0" * 64] * 2
