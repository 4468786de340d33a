"""Unpacking: nothing outside the folder, no more than stated, nothing but files."""

import io
import os
import tarfile
import zipfile

import pytest
from web import tarred, zipped

from recap_eval.data.unpack import HostileArchive, unpack
from recap_eval.errors import DataError

OUTSIDE = ("/abs.txt", "../up.txt", "in/../../up.txt", "..\\up.txt", "C:up.txt", "C:\\up.txt")
LINK = {"type": tarfile.SYMTYPE, "linkname": "in"}


def link(target, kind=tarfile.SYMTYPE):
    return {"type": kind, "linkname": target}


HOSTILE_TARS = [{name: b"x"} for name in OUTSIDE] + [
    {"in/l": link("/etc/passwd")},
    {"in/l": link("../../x")},
    {"in/l": link("../../x", tarfile.LNKTYPE)},
    {"in/l": link("/etc/passwd", tarfile.LNKTYPE)},
    {"a": link("."), "a/b": link(".."), "a/b/x": b"x"},
    {"dev": {"type": tarfile.CHRTYPE}},
    {"pipe": {"type": tarfile.FIFOTYPE}},
]


@pytest.mark.parametrize("members", HOSTILE_TARS, ids=lambda members: " ".join(members))
def test_hostile_tars_are_refused(tmp_path, members):
    archive = tmp_path / "box/a.tar"
    archive.parent.mkdir()
    archive.write_bytes(tarred(members))
    with pytest.raises(HostileArchive):
        unpack(archive, "tar", tmp_path / "box/out/deep")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.tar"]


def test_links_inside_a_tar_are_good(tmp_path):
    (tmp_path / "a.tar").write_bytes(tarred({"in/1.txt": b"one", "in/2.txt": link("in/1.txt", tarfile.LNKTYPE)}))
    unpack(tmp_path / "a.tar", "tar", tmp_path / "out")
    assert (tmp_path / "out/in/2.txt").read_text() == "one"


def hostile_zip(name, mode=None, flags=0):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name  # past the constructor, which would clean it
        info.external_attr = (mode or 0) << 16
        file.writestr(info, "x")
        info.flag_bits |= flags
    return stream.getvalue()


@pytest.mark.parametrize("name", OUTSIDE)
def test_hostile_zips_are_refused(tmp_path, name):
    archive = tmp_path / "box/a.zip"
    archive.parent.mkdir()
    archive.write_bytes(hostile_zip(name))
    with pytest.raises(HostileArchive, match="leads out"):
        unpack(archive, "zip", tmp_path / "box/out/deep")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.zip"]


@pytest.mark.parametrize(("mode", "flags"), [(0o120777, 0), (0o020666, 0), (0o100644, 1)], ids=["link", "device", "encrypted"])
def test_zips_hold_nothing_but_files(tmp_path, mode, flags):
    (tmp_path / "a.zip").write_bytes(hostile_zip("x", mode, flags))
    with pytest.raises(HostileArchive, match="is encrypted, a link or a device"):
        unpack(tmp_path / "a.zip", "zip", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_bombs_are_refused(tmp_path, kind):
    bomb = {"a": bytes(800_000), "b": bytes(800_000)}
    (tmp_path / "a").write_bytes(zipped(bomb) if kind == "zip" else tarred(bomb, "w:gz" if kind == "tar.gz" else "w"))
    unpack(tmp_path / "a", kind, tmp_path / "fits", stated=1_500_000)  # a tenth more is borne
    with pytest.raises(HostileArchive, match="1,100,000 are the most"):
        unpack(tmp_path / "a", kind, tmp_path / "out", stated=1_000_000)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_damaged_archives_are_told(tmp_path, kind):
    members = {"a": os.urandom(100_000)}
    whole = zipped(members) if kind == "zip" else tarred(members, "w:gz" if kind == "tar.gz" else "w")
    for content in (b"no archive", whole[:50_000], b""):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(tmp_path / "a", kind, tmp_path / "out")
