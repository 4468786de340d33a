"""What is written: whole or not there, whatever fails."""

import errno
import os
import shutil
import stat

import pytest

from recap_caption.run import disk
from recap_caption.run.disk import check_room, create, publish, write_part
from recap_caption.run.spool import Spool, drop_spool, read_spool
from recap_eval.errors import DataError

OK = {"status": "ok", "caption": "c"}


def failing(code):
    def fail(*words, **more):
        raise OSError(code, os.strerror(code))

    return fail


def test_answers_come_back(tmp_path):
    spool = Spool(tmp_path / "s", "a")
    answers = {3: OK, 0: {"status": "ok", "caption": "é\ud800\n\0 \u2028"}, 7: {"status": "timeout"}}
    for place, answer in answers.items():
        spool.append(place, answer)
    spool.close()
    kept = read_spool(tmp_path / "s")
    assert kept.answers == answers and kept.damaged == 0 and len(kept.all) == 3
    assert read_spool(tmp_path / "absent").answers == {}
    drop_spool(tmp_path / "s")
    drop_spool(tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("cut", range(0, 160, 7))
def test_cut_off_anywhere_whole_lines_count(tmp_path, cut):
    spool = Spool(tmp_path, "a")
    for place in range(3):
        spool.append(place, OK)
    spool.close()
    payload = spool.path.read_bytes()
    spool.path.write_bytes(payload[:cut])
    ends = [place for place, byte in enumerate(payload) if byte == 10]
    kept = read_spool(tmp_path)
    whole = sum(end <= cut for end in ends)  # a line without its line end is whole, too
    assert list(kept.answers) == list(range(whole)) and kept.damaged <= 1
    later = Spool(tmp_path, "b")
    later.append(2, {"status": "ok", "caption": "later"})
    later.close()
    assert read_spool(tmp_path).answers[2]["caption"] == ("c" if whole == 3 else "later")


def test_damage_in_the_middle_costs_its_lines_only(tmp_path):
    spool = Spool(tmp_path, "a")
    for place in range(4):
        spool.append(place, OK)
    spool.close()
    lines = spool.path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"ok", b"oK")  # valid JSON, wrong checksum
    lines[2] = b"\0" * len(lines[2])  # a block that never reached the disk
    spool.path.write_bytes(b"\n".join(lines))
    kept = read_spool(tmp_path)
    assert list(kept.answers) == [0, 3] and kept.damaged == 2


def test_of_two_answers_the_good_one_counts(tmp_path):
    for token, answer in (("b", {"status": "timeout"}), ("c", OK), ("d", {"status": "engine_error"})):
        spool = Spool(tmp_path, token)
        spool.append(0, answer)
        spool.close()
    kept = read_spool(tmp_path)
    assert kept.answers == {0: OK} and len(kept.all) == 3


def test_a_full_disk_is_told_and_half_a_line_does_not_count(tmp_path, monkeypatch):
    spool = Spool(tmp_path, "a")
    spool.append(0, OK)
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, payload: real(handle, payload[:5]) if len(payload) > 30 else failing(28)())
    with pytest.raises(DataError, match="No space left") as told:
        spool.append(1, OK | {"caption": "c" * 30})
    assert "same command goes on" in told.value.hint
    monkeypatch.undo()
    spool.append(2, OK)
    spool.close()
    assert 0 in read_spool(tmp_path).answers and 1 not in read_spool(tmp_path).answers


def test_the_first_to_publish_wins(tmp_path):
    path = tmp_path / "x.parquet"
    assert create(path, b"first") and not create(path, b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_a_rename_does(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "link", failing(code))
    path = tmp_path / "x.parquet"
    assert create(path, b"first") and not create(path, b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["link", "fsync", "write"])
def test_what_fails_leaves_nothing_behind(tmp_path, monkeypatch, call):
    monkeypatch.setattr(os, call, failing(errno.EIO))
    with pytest.raises(DataError, match="Cannot write"):
        create(tmp_path / "x.parquet", b"payload")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_a_part_swept_away_because_another_was_first(tmp_path):
    path = tmp_path / "x.parquet"
    part = write_part(path, b"late")
    create(path, b"first")
    part.unlink()
    assert not publish(part, path)
    path.unlink()
    with pytest.raises(DataError):
        publish(part, path)


def test_a_file_system_that_cannot_sync_folders_is_used_all_the_same(tmp_path, monkeypatch):
    real = os.fsync

    def sync(handle):
        return failing(errno.EINVAL)() if stat.S_ISDIR(os.fstat(handle).st_mode) else real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    assert create(tmp_path / "x", b"")


def test_room_is_looked_for_before_anything_is_spent(tmp_path, monkeypatch):
    check_room(tmp_path, 1)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 9, 1 << 20))
    check_room(tmp_path, 1 << 20)
    with pytest.raises(DataError, match="has 1 MiB left"):
        check_room(tmp_path, 1 << 21)
