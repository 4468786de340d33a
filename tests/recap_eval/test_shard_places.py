import pytest
from support import write_tar
from web import tarred

from recap_eval.data.shard_places import expand, find_shards, is_pattern
from recap_eval.errors import DataError, UserError

SHARD = tarred({"1.jpg": b"x" * 100_000, "1.txt": b"t"})


def names(host, *numbers):
    for number in numbers:
        host.files[f"/data/{number:05d}.tar"] = SHARD
        host.tags[f"/data/{number:05d}.tar"] = f'"{number}"'


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("h://a/{08..11}.tar", ["h://a/08.tar", "h://a/09.tar", "h://a/10.tar", "h://a/11.tar"]),
        ("/d/{8..10}.tar", ["/d/8.tar", "/d/9.tar", "/d/10.tar"]),
        ("{a,b}/{0..1}.tar", ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]),
        ("a.tar::{0..0}.tar", ["a.tar", "0.tar"]),
    ],
)
def test_patterns(pattern, words):
    assert expand(pattern) == words


@pytest.mark.parametrize("inside", ["9..1", "a..c", "1..", "..", "1..2..3"])
def test_a_range_that_is_none(inside):
    with pytest.raises(UserError, match="is not a range"):
        expand(f"https://host/{{{inside}}}.tar")


def test_what_is_a_pattern():
    assert is_pattern("https://h/0.tar") and is_pattern("/d/{0..3}.tar") and is_pattern("a.tar::b.tar")
    assert not is_pattern("/data/shards") and not is_pattern("/data/{odd}/folder")


def test_shards_are_fetched_once_and_in_order(host, tmp_path):
    names(host, 0, 1, 2)
    pattern = f"{host.address}/data/{{00000..00002}}.tar"
    paths, absent = find_shards(pattern, tmp_path)
    assert [path.name for path in paths] == ["00000.tar", "00001.tar", "00002.tar"] and absent == ()
    assert all(path.read_bytes() == SHARD for path in paths)
    asked = len(host.asked)
    assert find_shards(pattern, tmp_path)[0] == paths and len(host.asked) == asked == 3
    assert not [path for path in paths[0].parent.iterdir() if path.name.endswith((".part", ".etag"))]


def test_a_lost_connection_is_resumed(host, tmp_path):
    names(host, 0)
    host.cuts = [30_000, 20_000]
    (path,), _ = find_shards(f"{host.address}/data/00000.tar", tmp_path)
    assert path.read_bytes() == SHARD
    ranges = [headers.get("Range") for _, headers in host.asked]
    assert ranges == [None, "bytes=30000-", "bytes=50000-"]


def test_an_interrupted_start_goes_on_where_it_was(host, tmp_path):
    names(host, 0)
    host.cuts = [30_000] + [0] * 20
    with pytest.raises(DataError, match=r"Cannot get http.*00000\.tar"):
        find_shards(f"{host.address}/data/00000.tar", tmp_path)
    host.cuts, host.asked = [], []
    (path,), _ = find_shards(f"{host.address}/data/00000.tar", tmp_path)
    assert path.read_bytes() == SHARD and host.asked[0][1]["Range"] == "bytes=30000-"


@pytest.mark.parametrize("tag", [None, '"new"'])
def test_a_file_that_may_have_changed_is_fetched_anew(host, tmp_path, tag):
    names(host, 0)
    if tag is None:
        host.tags.clear()
    host.cuts = [30_000] + [0] * 20
    with pytest.raises(DataError):
        find_shards(f"{host.address}/data/00000.tar", tmp_path)
    host.cuts, new = [], SHARD.replace(b"x", b"y")
    host.files["/data/00000.tar"] = new
    if tag:
        host.tags["/data/00000.tar"] = tag
    (path,), _ = find_shards(f"{host.address}/data/00000.tar", tmp_path)
    assert path.read_bytes() == new


def test_a_shard_that_cannot_be_had(host, tmp_path):
    names(host, 0, 2)
    pattern = f"{host.address}/data/{{00000..00002}}.tar"
    with pytest.raises(DataError, match=r"Cannot get .*/data/00001\.tar: .* answers 404"):
        find_shards(pattern, tmp_path)
    paths, (problem,) = find_shards(pattern, tmp_path, skip_bad=True)
    assert [path.name for path in paths] == ["00000.tar", "00002.tar"]
    assert problem.line().startswith("00001.tar: Cannot get") and "unknown number" in problem.line()
    with pytest.raises(DataError, match="404"):
        find_shards(f"{host.address}/nothing.tar", tmp_path, skip_bad=True)


def test_files_may_be_named_by_pattern(tmp_path):
    shards = [write_tar(tmp_path / f"{number}.tar", {"1.jpg": b"x"}) for number in range(3)]
    assert find_shards(str(tmp_path / "{0..1}.tar"), tmp_path)[0] == shards[:2]
    with pytest.raises(DataError, match=r"3\.tar does not exist"):
        find_shards(str(tmp_path / "{2..3}.tar"), tmp_path)


def test_other_schemes_are_refused(tmp_path):
    with pytest.raises(UserError, match="neither a file nor an http"):
        find_shards("s3://bucket/{0..1}.tar", tmp_path)
    with pytest.raises(UserError, match="neither a file nor an http"):
        find_shards("file:///etc/passwd", tmp_path)
