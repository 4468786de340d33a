"""Fetching: nothing unverified, nothing half, nothing fetched twice, nothing of the user's replaced."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from support import ROOT, assert_two_line_error, recap
from web import DATA, NAME, described, source_of, tarred, zipped

from recap_eval.cli import main
from recap_eval.data import download, sources
from recap_eval.data.fetch import get_source, is_there
from recap_eval.data.unpack import HostileArchive
from recap_eval.errors import DataError


def archive_source(host, content, kind, **other):
    host.files["/a"] = content
    return source_of(host.address, files=[described(content, "a")], unpack=kind, **({"makes": ["photos/in/1.txt"]} | other))


def leftovers(root):
    return sorted(path.name for path in (root / "photos/.fetch").rglob("*")) if (root / "photos/.fetch").exists() else []


# ---- downloading


@pytest.mark.serial
def test_a_file_comes_whole_with_a_record_and_no_leftovers(host, tmp_path):
    source = source_of(host.address)
    assert not is_there(source, tmp_path)
    done = get_source(source, tmp_path)
    assert (tmp_path / "photos" / NAME).read_bytes() == DATA and is_there(source, tmp_path)
    assert leftovers(tmp_path) == ["photos.json"]
    record = json.loads(source.record(tmp_path).read_text())
    assert record == done and record["licence"] == "free" and "revision" not in record
    assert record["files"] == [described(DATA, url=f"{host.address}/{NAME}")]
    assert host.asked[0][1]["Accept-Encoding"] == "identity" and "Range" not in host.asked[0][1]


@pytest.mark.serial
@pytest.mark.parametrize("tag", ['"v1"', 'W/"v1"', None])
def test_cut_connections_are_gone_on_from(host, tmp_path, tag):
    host.cuts = [300_000, 1, 400_000]
    if tag:
        host.tags[f"/{NAME}"] = tag
    get_source(source_of(host.address), tmp_path)
    assert (tmp_path / "photos" / NAME).read_bytes() == DATA
    ranges = [headers.get("Range") for _, headers in host.asked]
    assert ranges == [None, "bytes=300000-", "bytes=300001-", "bytes=700001-"]
    assert {headers.get("If-Range") for _, headers in host.asked[1:]} == {'"v1"' if tag == '"v1"' else None}


@pytest.mark.serial
def test_a_server_without_ranges_begins_again(host, tmp_path):
    host.cuts, host.ranges = [300_000, 500_000], False
    get_source(source_of(host.address), tmp_path)
    assert (tmp_path / "photos" / NAME).read_bytes() == DATA and len(host.asked) == 3


@pytest.mark.serial
def test_an_endless_row_of_cuts_ends(host, tmp_path):
    host.cuts, host.ranges = [300_000] * 50, False
    with pytest.raises(DataError, match="it ended after 300,000 of 1,024,000 bytes"):
        get_source(source_of(host.address), tmp_path)
    assert len(host.asked) == download.TRIES
    assert leftovers(tmp_path) == ["photos", f"{NAME}.etag", f"{NAME}.part"]


@pytest.mark.serial
def test_a_changed_file_is_begun_again_and_not_glued(host, tmp_path):
    """What a first run got is of the old file; the server says by the ETag that there is another."""
    old = bytes(len(DATA))
    host.files[f"/{NAME}"], host.tags[f"/{NAME}"], host.cuts = old, '"old"', [300_000] + [0] * 9
    with pytest.raises(DataError):
        get_source(source_of(host.address), tmp_path)
    host.files[f"/{NAME}"], host.tags[f"/{NAME}"], host.cuts, host.asked = DATA, '"new"', [], []
    get_source(source_of(host.address), tmp_path)
    assert (tmp_path / "photos" / NAME).read_bytes() == DATA
    assert [headers.get("If-Range") for _, headers in host.asked] == ['"old"']


@pytest.mark.serial
def test_a_server_that_answers_a_part_of_a_changed_file_is_not_believed(host, tmp_path):
    """Its ETag is new, but it ignores If-Range and sends the rest."""
    work = tmp_path / "photos/.fetch/photos"
    work.mkdir(parents=True)
    (work / f"{NAME}.part").write_bytes(bytes(1000))
    (work / f"{NAME}.etag").write_text(json.dumps({"url": f"{host.address}/{NAME}", "etag": '"old"'}))
    host.tags[f"/{NAME}"] = '"new"'
    believe = host.send

    def careless(to, path, body):
        del to.headers["If-Range"]
        believe(to, path, body)

    host.send = careless
    get_source(source_of(host.address), tmp_path)
    assert (tmp_path / "photos" / NAME).read_bytes() == DATA and len(host.asked) == 2


@pytest.mark.serial
@pytest.mark.parametrize(("kind", "make"), [("sha256", hashlib.sha256), ("md5", hashlib.md5), ("git_blob_sha1", None)])
def test_a_wrong_file_is_deleted_and_both_digests_named(host, tmp_path, kind, make):
    header = b"blob %d\0" % len(DATA)  # git hash-object
    right = make(DATA).hexdigest() if make else hashlib.sha1(header + DATA).hexdigest()
    source = source_of(host.address, files=[{"name": NAME, "size": len(DATA), kind: right}])
    wrong = DATA[:-1] + b"x"
    found = make(wrong).hexdigest() if make else hashlib.sha1(header + wrong).hexdigest()
    host.files[f"/{NAME}"] = wrong
    with pytest.raises(DataError, match=f"{kind} {right} expected, {found} found"):
        get_source(source, tmp_path)
    assert not is_there(source, tmp_path) and f"{NAME}.part" not in leftovers(tmp_path)
    host.files[f"/{NAME}"] = DATA
    get_source(source, tmp_path)
    assert is_there(source, tmp_path)


@pytest.mark.serial
def test_a_damaged_part_does_not_pass(host, tmp_path):
    """Bytes of an earlier run count for the digest as they are on the disk now."""
    host.cuts = [300_000] + [0] * 9
    source = source_of(host.address)
    with pytest.raises(DataError):
        get_source(source, tmp_path)
    part = source.work_folder(tmp_path) / f"{NAME}.part"
    part.write_bytes(b"x" + part.read_bytes()[1:])
    host.cuts = []
    with pytest.raises(DataError, match="expected"):
        get_source(source, tmp_path)
    get_source(source, tmp_path)
    assert (tmp_path / "photos" / NAME).read_bytes() == DATA


@pytest.mark.serial
@pytest.mark.parametrize("body", [DATA + b"more", DATA[:5000]])
@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_of_another_size_is_refused(host, tmp_path, body, lengths):
    host.files[f"/{NAME}"], host.lengths = body, lengths
    with pytest.raises(DataError, match="1,024,000"):
        get_source(source_of(host.address), tmp_path)


@pytest.mark.serial
def test_the_next_mirror_is_asked_and_goes_on_with_the_part(host, tmp_path):
    host.files[f"/second/{NAME}"] = DATA
    host.answers = [404]
    get_source(source_of(host.address, f"{host.address}/second"), tmp_path)
    assert [path for path, _ in host.asked] == [f"/{NAME}", f"/second/{NAME}"]
    shutil.rmtree(tmp_path / "photos")
    host.asked, host.cuts = [], [300_000] + [0] * (download.TRIES - 1)
    get_source(source_of(host.address, f"{host.address}/second"), tmp_path)
    assert host.asked[-1][0] == f"/second/{NAME}" and host.asked[-1][1]["Range"] == "bytes=300000-"
    assert (tmp_path / "photos" / NAME).read_bytes() == DATA


@pytest.mark.serial
def test_no_mirror_has_it(host, tmp_path):
    with pytest.raises(DataError, match="answers 404") as caught:
        get_source(source_of(f"{host.address}/a", f"{host.address}/b"), tmp_path)
    assert caught.value.what.count("404") == 2 and "same command" in caught.value.hint


@pytest.mark.serial
def test_a_busy_server_is_asked_again_and_a_forbidding_one_not(host, tmp_path):
    host.answers = [503, 429, 500]
    get_source(source_of(host.address), tmp_path)
    assert len(host.asked) == 4
    host.answers, host.asked = [403], []
    with pytest.raises(DataError, match="403"):
        get_source(source_of(host.address), tmp_path / "other")
    assert len(host.asked) == 1


@pytest.mark.serial
def test_redirects_within_the_web_only(host, tmp_path):
    host.moved[f"/old/{NAME}"] = f"{host.address}/{NAME}"
    host.cuts = [300_000]
    get_source(source_of(f"{host.address}/old"), tmp_path)
    assert host.asked[-1][0] == f"/{NAME}" and host.asked[-1][1]["Range"] == "bytes=300000-"
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    for target in (f"file://{secret}", "ftp://127.0.0.1/x", "data:text/plain,x"):
        host.moved[f"/old/{NAME}"] = target
        with pytest.raises(DataError, match=r"not followed|answers 302"):
            get_source(source_of(f"{host.address}/old"), tmp_path / "other")


@pytest.mark.parametrize("address", ["file:///etc", "ftp://127.0.0.1", "data:text"])
def test_nothing_but_the_web_is_opened(address, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    with pytest.raises(download.Refused, match="unknown url type"):
        download.ask(f"{address}/passwd", lambda answer: answer.read())


def test_https_is_not_left_for_http():
    request = download.request.Request("https://example.org/a")
    with pytest.raises(download.Refused, match="from https to http"):
        download._Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/a")


@pytest.mark.serial
def test_encoded_answers_are_refused(host, tmp_path):
    host.encoding = "gzip"
    with pytest.raises(DataError, match="comes encoded"):
        get_source(source_of(host.address), tmp_path)


@pytest.mark.serial
def test_a_dead_host_is_an_error_of_two_lines(host, tmp_path, monkeypatch, capsys):
    table = tmp_path / "sources.toml"
    table.write_text(
        '[photos]\nurls = ["http://127.0.0.1:9/{file}"]\nplace = "p"\nmakes = ["p/x"]\nlicence = "-"\npage = "-"\n'
        f'files = [{{ name = "x", size = 1, sha256 = "{"0" * 64}" }}]\n'
    )
    monkeypatch.setattr(sources, "SOURCES", table)
    assert main(["fetch", "photos", "--data", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "error: photos: Cannot get x: 127.0.0.1:9" in error and "Traceback" not in error


@pytest.mark.serial
def test_a_place_that_cannot_be_written_is_told(host, tmp_path):
    (tmp_path / "photos").write_text("a file")
    with pytest.raises(DataError, match=r"Cannot put photos into .*: Not a directory") as caught:
        get_source(source_of(host.address), tmp_path)
    assert "--data" in caught.value.hint and not host.asked


# ---- space


Usage = namedtuple("Usage", "total used free")


@pytest.mark.serial
def test_a_disk_too_small_is_told_before_anything_is_fetched(host, tmp_path, monkeypatch):
    content = zipped({"in/1.txt": "x"})
    source = archive_source(host, content, "zip", unpacked=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 10**9))
    need = 10**9 + len(content)
    with pytest.raises(DataError, match=f"needs 1.0 GB .{need:,} bytes.* 1.0 GB .1,000,000,000 bytes. are free") as caught:
        get_source(source, tmp_path)
    assert not host.asked and "--data" in caught.value.hint


@pytest.mark.serial
def test_what_is_there_already_needs_no_space(host, tmp_path, monkeypatch):
    source = source_of(host.address)
    host.cuts = [1_000_000] + [0] * 9
    with pytest.raises(DataError):
        get_source(source, tmp_path)
    host.cuts = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 24_000))
    get_source(source, tmp_path)
    assert is_there(source, tmp_path)


@pytest.mark.serial
def test_a_disk_that_fills_up_is_no_lost_connection(host, tmp_path, monkeypatch):
    """/dev/full answers every write as a full disk does."""
    from recap_eval.data.part import Part

    class FullPart(Part):
        def _append(self, url, answer):
            with Path("/dev/full").open("ab", buffering=0) as stream:
                self._write(stream, answer.read(1000))

    monkeypatch.setattr("recap_eval.data.fetch.Part", FullPart)
    with pytest.raises(DataError, match=r"needs 1\.0 MB"):
        get_source(source_of(host.address), tmp_path)
    assert len(host.asked) == 1


# ---- unpacking


@pytest.mark.serial
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("zip", zipped({"in/": "", "in/1.txt": "one", "in/2.txt": "two"})),
        ("tar", tarred({"in/1.txt": b"one", "in/2.txt": b"two"})),
        ("tar.gz", tarred({"in/1.txt": b"one", "in/2.txt": b"two"}, "w:gz")),
        ("tar", tarred({"in/1.txt": b"one", "in/2.txt": b"two"}, "w:gz")),  # ImageNet-V2 is misnamed, the other way round
    ],
)
def test_archives_are_unpacked_and_deleted(host, tmp_path, kind, content):
    source = archive_source(host, content, kind, unpacked=6)
    get_source(source, tmp_path)
    assert (tmp_path / "photos/in/1.txt").read_text() == "one" and (tmp_path / "photos/in/2.txt").read_text() == "two"
    assert leftovers(tmp_path) == ["photos.json"]


@pytest.mark.serial
def test_archives_are_kept_if_asked(host, tmp_path):
    content = zipped({"in/1.txt": "one"})
    source = archive_source(host, content, "zip")
    get_source(source, tmp_path, keep=True)
    assert (source.work_folder(tmp_path) / "a").read_bytes() == content and is_there(source, tmp_path)
    (tmp_path / "photos/in/1.txt").unlink()
    host.asked = []
    get_source(source, tmp_path)
    assert (tmp_path / "photos/in/1.txt").exists() and not host.asked and leftovers(tmp_path) == ["photos.json"]


@pytest.mark.serial
def test_folders_of_two_archives_are_merged_and_the_user_s_files_left_alone(host, tmp_path):
    folder = tmp_path / "photos/in"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    (folder / "2.txt").write_text("two")
    source = archive_source(host, zipped({"in/1.txt": "one", "in/2.txt": "two"}), "zip")
    get_source(source, tmp_path)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"mine.txt": "mine", "1.txt": "one", "2.txt": "two"}
    (folder / "1.txt").unlink()
    (folder / "2.txt").write_text("my own two")
    with pytest.raises(DataError, match=r"2\.txt is there already and differs"):
        get_source(source, tmp_path)
    assert (folder / "2.txt").read_text() == "my own two" and not is_there(source, tmp_path)
    (folder / "2.txt").unlink()
    get_source(source, tmp_path)
    assert (folder / "2.txt").read_text() == "two" and is_there(source, tmp_path)


@pytest.mark.serial
def test_members_are_renamed_and_put_into_folders(host, tmp_path):
    content = zipped({"one.json": "1", "two.json": "2"})
    rename = {"one.json": "a/one.json", "two.json": "b/two.json"}
    source = archive_source(host, content, "zip", place=".", makes=["a/one.json", "b/two.json"], rename=rename)
    get_source(source, tmp_path)
    assert (tmp_path / "a/one.json").read_text() == "1" and (tmp_path / "b/two.json").read_text() == "2"
    files = [described(b"1", "1.json"), described(b"2", "2.json")]
    host.files |= {"/1.json": b"1", "/2.json": b"2"}
    makes = ["photos/data/1.json", "photos/data/2.json"]
    get_source(source_of(host.address, files=files, into="data", makes=makes), tmp_path)
    assert (tmp_path / "photos/data/2.json").read_text() == "2"


@pytest.mark.serial
def test_an_archive_without_what_it_should_hold_is_told(host, tmp_path):
    with pytest.raises(DataError, match=r"holds no photos/in/1\.txt"):
        get_source(archive_source(host, zipped({"other.txt": "x"}), "zip"), tmp_path)
    with pytest.raises(DataError, match="holds no sketch"):
        get_source(archive_source(host, zipped({"other.txt": "x"}), "zip", rename={"sketch": "x"}), tmp_path / "b")


@pytest.mark.serial
def test_of_a_hostile_archive_nothing_stays(host, tmp_path):
    source = archive_source(host, tarred({"in/1.txt": b"x", "../../../up.txt": b"x"}), "tar")
    with pytest.raises(HostileArchive):
        get_source(source, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# ---- killed


RUN = """
import json, sys
from pathlib import Path
from recap_eval.data.fetch import get_source
from recap_eval.data.sources import Source
get_source(Source(**json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def start(source, root):
    words = [sys.executable, "-c", RUN, json.dumps(vars(source)), str(root)]
    return subprocess.Popen(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)


def wait_for(condition, child):
    deadline = time.time() + 60
    while not condition() and child.poll() is None and time.time() < deadline:
        time.sleep(0.001)


@pytest.mark.serial
def test_killed_in_the_middle_of_a_file_it_goes_on(host, tmp_path):
    host.pause = 0.01  # the file takes half a second and more
    source = source_of(host.address)
    part = source.work_folder(tmp_path) / f"{NAME}.part"
    child = start(source, tmp_path)
    wait_for(lambda: part.exists() and part.stat().st_size > 0, child)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL and not is_there(source, tmp_path)
    got = part.stat().st_size
    assert 0 < got < len(DATA)
    host.pause, host.asked = 0.0, []
    get_source(source, tmp_path)
    assert [headers["Range"] for _, headers in host.asked] == [f"bytes={got}-"]
    assert (tmp_path / "photos" / NAME).read_bytes() == DATA


def written_since(path, when):
    try:
        return path.stat().st_mtime > when
    except FileNotFoundError:
        return False


@pytest.mark.serial
def test_killed_while_unpacking_nothing_half_is_there(host, tmp_path):
    members = {f"in/{i}.txt": str(i) for i in range(400)}
    source = archive_source(host, zipped(members), "zip", makes=["photos/in"])
    fresh = source.work_folder(tmp_path) / "unpacking"
    for last in (1, 100, 300):
        seen, began = fresh / f"in/{last}.txt", time.time()
        child = start(source, tmp_path)
        wait_for(lambda seen=seen, began=began: written_since(seen, began), child)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL and not is_there(source, tmp_path) and not (tmp_path / "photos/in").exists()
    get_source(source, tmp_path)
    assert len(host.asked) == 1  # the verified archive was still there
    assert {path.name for path in (tmp_path / "photos/in").iterdir()} == {name.removeprefix("in/") for name in members}


@pytest.mark.serial
def test_broken_off_while_moving_it_goes_on(host, tmp_path, monkeypatch):
    """The target folder exists, so files are moved one by one; what `makes` names is there before the last of them."""
    (tmp_path / "photos/in").mkdir(parents=True)
    source = archive_source(host, zipped({f"in/{i}.txt": "x" for i in range(9)}), "zip")
    moved, real = [], type(tmp_path).replace

    def replace(self, target):
        if "ready" in self.parts:
            moved.append(self)
        if len(moved) == 4:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            get_source(source, tmp_path)
    assert not source.missing(tmp_path) and not is_there(source, tmp_path)
    get_source(source, tmp_path)
    assert len(list((tmp_path / "photos/in").iterdir())) == 9 and leftovers(tmp_path) == ["photos.json"]


@pytest.mark.serial
def test_two_at_once_do_not_share_a_part(host, tmp_path):
    host.pause = 0.005
    source = source_of(host.address)
    child = start(source, tmp_path)
    wait_for(lambda: (source.work_folder(tmp_path) / f"{NAME}.part").exists(), child)
    with pytest.raises(DataError, match="Another process"):
        get_source(source, tmp_path)
    assert child.wait(timeout=60) == 0 and (tmp_path / "photos" / NAME).read_bytes() == DATA


# ---- the command


@pytest.fixture
def table(host, tmp_path, monkeypatch):
    """Two sources and two tasks of the user's own: one of them can be fetched."""
    path = tmp_path / "sources.toml"
    content = zipped({"in/1.txt": "one"})
    host.files["/a.zip"] = content
    rows = {
        "photos": f'files = [{{ name = "{NAME}", size = {len(DATA)}, sha256 = "{hashlib.sha256(DATA).hexdigest()}" }}]\n'
        f'makes = ["photos/{NAME}"]',
        "texts": f'files = [{{ name = "a.zip", size = {len(content)}, sha256 = "{hashlib.sha256(content).hexdigest()}" }}]\n'
        'makes = ["photos/in/1.txt"]\nunpack = "zip"',
    }
    shared = f'urls = ["{host.address}/{{file}}"]\nplace = "photos"\nlicence = "free"\npage = "https://example.org"'
    path.write_text("\n".join(f"[{name}]\n{shared}\n{row}" for name, row in rows.items()))
    monkeypatch.setattr(sources, "SOURCES", path)
    root = tmp_path / "data"
    root.mkdir()
    row = 'kind = "retrieval"\nsummary = "-"\nreader = "recap_eval.data.own:shards"\nsuites = ["mine"]\n'
    (root / "tasks.toml").write_text(
        f'[task-photos]\n{row}needs = ["photos/{NAME}", "photos/in"]\nget = "-"\nfetch = ["photos", "texts"]\n'
        f'[task-form]\n{row}needs = ["form"]\nget = "Fill in the form at example.org."\n'
    )
    return root


@pytest.mark.serial
def test_a_task_is_fetched_and_can_run_then(table, host, capsys):
    assert main(["fetch", "task-photos", "--data", str(table)]) == 0
    done = capsys.readouterr()
    assert "photos: 1.0 MB fetched and verified" in done.out and "These tasks can run: task-photos" in done.out
    assert "licence: free" in done.err
    host.asked = []
    assert main(["fetch", "photos", "texts", "--data", str(table)]) == 0
    assert capsys.readouterr().err.count("there already") == 2 and not host.asked


@pytest.mark.serial
def test_a_task_that_lacks_nothing_is_not_fetched_for(table, host, capsys):
    """Its data may lie otherwise than we would put it, such as COCO's images without a folder of their own."""
    with (table / "tasks.toml").open("a") as rows:
        rows.write(
            '[flat]\nkind = "retrieval"\nsummary = "-"\nreader = "recap_eval.data.own:shards"\n'
            'needs = ["flat"]\nget = "-"\nfetch = ["photos"]\n'
        )
    (table / "flat").mkdir()
    assert main(["fetch", "flat", "--data", str(table)]) == 0 and not host.asked
    assert "These tasks can run: flat" in capsys.readouterr().out


@pytest.mark.serial
def test_what_nobody_may_fetch_is_explained(table, host, capsys):
    assert main(["fetch", "task-form", "--data", str(table)]) == 1
    assert "task-form still lacks form\n    Fill in the form at example.org." in capsys.readouterr().out and not host.asked
    assert main(["fetch", "mine", "--data", str(table), "--json"]) == 1
    done = json.loads(capsys.readouterr().out)
    assert list(done["fetched"]) == ["photos", "texts"] and done["ready"] == ["task-photos"]
    assert done["by_hand"] == {"task-form": {"missing": ["form"], "get": "Fill in the form at example.org."}}


@pytest.mark.serial
def test_one_that_fails_leaves_the_others_to_go_on(table, host, capsys):
    del host.files[f"/{NAME}"]
    assert main(["fetch", "photos", "texts", "--data", str(table)]) == 1
    done = capsys.readouterr()
    assert "texts: " in done.out and "error: photos: Cannot get photos.bin" in done.err
    assert (table / "photos/in/1.txt").exists()


@pytest.mark.serial
def test_data_from_elsewhere_is_left_and_named_unverified(table, host, capsys):
    (table / "photos").mkdir()
    (table / "photos" / NAME).write_text("mine")
    assert main(["fetch", "photos", "--data", str(table)]) == 0
    assert "not verified" in capsys.readouterr().err and not host.asked
    assert (table / "photos" / NAME).read_text() == "mine"


@pytest.mark.serial
def test_ctrl_c_keeps_the_part_and_says_how_to_go_on(table, host, capsys, monkeypatch):
    def interrupt(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr("recap_eval.data.part.Part.tell", interrupt)
    host.cuts = [300_000]
    assert main(["fetch", "photos", "--data", str(table)]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    assert (table / "photos/.fetch/photos" / f"{NAME}.part").stat().st_size == 300_000


def test_the_list_names_size_state_and_licence(tmp_path):
    done = recap("recap-eval", "fetch", "--data", tmp_path)
    assert done.returncode == 0 and re.search(r"urban1k +80\.6 MB +missing +CC BY-NC 4\.0", done.stdout)
    listed = json.loads(recap("recap-eval", "fetch", "--data", tmp_path, "--json").stdout)
    assert {"name", "size", "present", "licence", "page"} == set(listed[0])


def test_an_unknown_name_is_told_with_the_nearest():
    assert_two_line_error(recap("recap-eval", "fetch", "urban-1k"), 2, "urban-1k", "Did you mean 'urban1k'")


def test_help_imports_nothing_but_the_standard_library():
    code = (
        "import sys; sys.argv = ['x', 'fetch', '--help']\nfrom recap_eval.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'tqdm', 'numpy', 'huggingface_hub', 'urllib.request'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr
