"""The table of sources: nothing in it without a digest, and what the hub states of the rest."""

import hashlib
import json
import re
from pathlib import PurePosixPath

import pytest
from web import DATA, NAME, described, source_of

from recap_eval.data import sources
from recap_eval.data.fetch import get_source
from recap_eval.data.sources import read_sources, resolve
from recap_eval.errors import DataError
from recap_eval.tasks.catalog import load_catalog


@pytest.mark.parametrize("name", read_sources())
def test_every_source_is_well_formed(name):
    source = read_sources()[name]
    assert source.licence and source.page.startswith("https://") and source.makes and source.files
    for file in source.files:
        kinds = [kind for kind in sources.DIGESTS if kind in file]
        assert not source.hub or not kinds
        for kind in kinds:
            assert re.fullmatch(r"[0-9a-f]+", file[kind]) and len(file[kind]) == sources.DIGESTS[kind][0]
        assert source.hub or (len(kinds) == 1 and file["size"] > 0 and "/" not in file["name"])
    if source.urls:  # the digest protects what comes over http too, but https is asked first
        assert source.urls[0].startswith("https://")
        assert all("{file}" in url for url in source.urls) and not any("/main/" in url for url in source.urls)
    for path in (source.place, source.into, *source.makes, *source.rename.values()):
        assert not PurePosixPath(path).is_absolute() and ".." not in path and "\\" not in path


def test_no_two_sources_make_the_same():
    made = [path for source in read_sources().values() for path in source.makes]
    assert len(made) == len(set(made))


def test_a_mirror_of_the_hub_is_asked_for_pinned_files_too(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    (file,), revision = resolve(read_sources()["urban1k"])
    assert file.urls[0].startswith("https://mirror.example/datasets/BeichenZhang/Urban1k/resolve/953f") and not revision
    (file,), _ = resolve(read_sources()["imagenet-a"])
    assert file.urls == ("https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar",)


def test_tasks_name_sources_that_exist():
    for name, row in load_catalog().items():
        assert set(row.fetch) <= set(read_sources()), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": "/tmp"}, "leads out"),
        ({"makes": ["../x"]}, "leads out"),
        ({"rename": {"a": "../x"}}, "leads out"),
        ({"unpack": "rar"}, "unpack is none of"),
        ({"urls": ["file:///x"]}, "neither https nor http"),
        ({"urls": []}, "either urls or hub"),
        ({"files": [{"name": "x", "size": 1}]}, "no size or no digest"),
        ({"files": [{"name": "x", "sha256": "0" * 64}]}, "no size or no digest"),
        ({"files": [{"name": "x", "size": 1, "sha256": "0" * 63}]}, "no size or no digest"),
        ({"colour": "red"}, "not a table of sources"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused(tmp_path, change, message):
    good = {
        "files": [described(b"x", "x")],
        "place": "p",
        "makes": ["p/x"],
        "licence": "-",
        "page": "-",
        "urls": ["https://x/x"],
    }
    path = tmp_path / "sources.toml"
    for fields in (good, good | change):
        lines = [f"{key} = {_toml(value)}" for key, value in fields.items()]
        path.write_text("[photos]\n" + "\n".join(lines) + "\n")
        if fields is good:
            assert read_sources(path)["photos"].size == 1
    with pytest.raises(DataError, match=message):
        read_sources(path)


def _toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


# ---- the hub


def hub_of(host, monkeypatch, revision="a" * 40, **other):
    monkeypatch.setenv("HF_ENDPOINT", host.address)
    large = {"rfilename": f"data/{NAME}", "size": 1, "blobId": "0" * 40} | {
        "lfs": {"sha256": hashlib.sha256(DATA).hexdigest(), "size": len(DATA), "pointerSize": 134}
    }
    small = {"rfilename": "small.json", "size": 2, "blobId": hashlib.sha1(b"blob 2\0{}").hexdigest(), "lfs": None}
    answer = {"sha": revision, "gated": False, "siblings": [large, small]} | other
    host.files["/api/datasets/org/photos/revision/main"] = json.dumps(answer).encode()
    host.files |= {f"/datasets/org/photos/resolve/{revision}/data/{NAME}": DATA}
    host.files |= {f"/datasets/org/photos/resolve/{revision}/small.json": b"{}"}
    makes = [f"photos/{NAME}", "photos/small.json"]
    return source_of(files=[{"name": f"data/{NAME}"}, {"name": "small.json"}], hub="datasets/org/photos", makes=makes)


@pytest.mark.serial
def test_the_hub_states_the_digests_and_the_revision_is_kept(host, tmp_path, monkeypatch):
    source = hub_of(host, monkeypatch)
    done = get_source(source, tmp_path)
    assert done["revision"] == "a" * 40 and [set(file) & {"sha256", "git_blob_sha1"} for file in done["files"]] == [
        {"sha256"}, {"git_blob_sha1"},
    ]  # fmt: skip
    assert (tmp_path / "photos" / NAME).read_bytes() == DATA and (tmp_path / "photos/small.json").read_text() == "{}"
    host.files[f"/datasets/org/photos/resolve/{'a' * 40}/small.json"] = b"[]"
    with pytest.raises(DataError, match="git_blob_sha1"):
        get_source(source, tmp_path / "other")


@pytest.mark.serial
def test_a_download_from_the_hub_goes_on_with_its_revision(host, tmp_path, monkeypatch):
    source = hub_of(host, monkeypatch)
    host.cuts = [10**6, 300_000] + [0] * 9  # the first answer is the hub's own
    with pytest.raises(DataError):
        get_source(source, tmp_path)
    hub_of(host, monkeypatch, revision="b" * 40)
    host.cuts, host.asked = [], []
    assert get_source(source, tmp_path)["revision"] == "a" * 40
    assert host.asked[0][1]["Range"] == "bytes=300000-"


@pytest.mark.serial
@pytest.mark.parametrize(
    ("other", "message"),
    [({"gated": "auto"}, "is gated"), ({"siblings": []}, "does not state"), ({"sha": "main"}, "does not state")],
)
def test_without_a_digest_of_the_hub_nothing_is_fetched(host, tmp_path, monkeypatch, other, message):
    source = hub_of(host, monkeypatch, **other)
    with pytest.raises(DataError, match=message):
        get_source(source, tmp_path)
    assert len(host.asked) == 1


@pytest.mark.serial
def test_a_hub_out_of_reach_is_told(host, tmp_path, monkeypatch):
    source = hub_of(host, monkeypatch)
    host.answers = [401]
    with pytest.raises(DataError, match=r"Cannot ask the hub about datasets/org/photos: .* answers 401"):
        get_source(source, tmp_path)
