"""Tars: every kind of member, cut off and damaged anywhere."""

import io
import random
import tarfile

import pytest
from support import write_tar

from recap_eval.data.tars import list_entries

NAMES = [
    "a.jpg",
    "b/c.txt",
    "n" * 99,
    "n" * 100,
    "n" * 101,
    "d/" * 60 + "deep.json",
    "é.jpg",
    "\udcff.jpg",
    "with space .txt",
    ".hidden",
]


def by_tarfile(path):
    with tarfile.open(path, "r:") as tar:
        return [(info.name, info.offset_data, info.size) for info in tar if info.isfile()]


def write(path, names, form, extra=()):
    draw = random.Random(str(names))
    with tarfile.open(path, "w", format=form) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = draw.choice([0, 1, 511, 512, 513, 2000])
            tar.addfile(info, io.BytesIO(bytes(info.size)))
        for info in extra:
            tar.addfile(info)
    return path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_name_in_every_format(tmp_path, form):
    for name in NAMES:
        try:
            path = write(tmp_path / "a.tar", ["first.jpg", name, "last.txt"], form)
        except (ValueError, UnicodeEncodeError):
            continue  # the format has no such name
        assert list_entries(path) == (by_tarfile(path), None)


def test_folders_links_and_holes(tmp_path):
    folder, link = tarfile.TarInfo("d"), tarfile.TarInfo("l")
    folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "a"
    path = write(tmp_path / "a.tar", ["a", "b"], tarfile.GNU_FORMAT, [folder])
    assert list_entries(path) == (by_tarfile(path), None)
    path = write(tmp_path / "b.tar", ["a", "b"], tarfile.GNU_FORMAT, [link])
    assert list_entries(path) == (by_tarfile(path), None)
    sparse = tarfile.TarInfo("s")
    sparse.type = tarfile.GNUTYPE_SPARSE
    path = write(tmp_path / "c.tar", ["a"], tarfile.GNU_FORMAT, [sparse])
    found, torn = list_entries(path)
    assert [entry.name for entry in found] == ["a"] and "holes" in torn


@pytest.mark.parametrize("before", [[], ["n" * 150]])
def test_old_folders_and_hostile_sizes(tmp_path, before):
    old, regular = tarfile.TarInfo("old/"), tarfile.TarInfo("regular/")
    old.type, old.size = tarfile.AREGTYPE, 700
    path = write(tmp_path / "a.tar", before, tarfile.GNU_FORMAT, [old, regular])
    assert list_entries(path) == (by_tarfile(path), None)
    path = write(tmp_path / "b.tar", [*before, "a.jpg", "b.jpg"], tarfile.GNU_FORMAT)
    payload, size = bytearray(path.read_bytes()), b"-0000001000"
    at = payload.rindex(b"b.jpg")
    payload[at + 124 : at + 135] = size
    payload[at + 148 : at + 156] = b" " * 8
    payload[at + 148 : at + 156] = b"%06o\0 " % sum(payload[at : at + 512])
    path.write_bytes(payload)
    found, torn = list_entries(path)
    assert len(found) == len(before) + 1 and torn == "a file in it has a negative size"


def test_cut_off_anywhere(tmp_path):
    payload = write(tmp_path / "a.tar", [f"{n}.jpg" for n in range(4)], tarfile.USTAR_FORMAT).read_bytes()
    whole = by_tarfile(tmp_path / "a.tar")
    last = whole[-1][1] + -(-whole[-1][2] // 512) * 512
    cut = tmp_path / "cut.tar"
    for length in range(0, last + 700, 37):
        cut.write_bytes(payload[:length])
        found, torn = list_entries(cut)
        begun = [entry for entry in whole if entry[1] <= length]
        assert found == begun[: len(found)] and len(begun) - len(found) <= 1
        assert (torn is None) == (length >= last + 512), length


def test_a_damaged_header_in_the_middle_is_told(tmp_path):
    """tarfile takes it for the tar's end and says nothing."""
    path = write_tar(tmp_path / "a.tar", {f"{n}.jpg": bytes(600) for n in range(4)})
    payload = bytearray(path.read_bytes())
    payload[2 * 1536 + 3] ^= 1
    path.write_bytes(payload)
    assert len(by_tarfile(path)) == 2
    found, torn = list_entries(path)
    assert [entry.name for entry in found] == ["0.jpg", "1.jpg"] and torn == "its header at byte 3,072 is damaged"


def test_what_is_no_tar(tmp_path):
    for payload in (b"", b"x" * 5000, b"\x1f\x8b" + bytes(600)):
        (tmp_path / "a.tar").write_bytes(payload)
        assert list_entries(tmp_path / "a.tar")[0] == [] and list_entries(tmp_path / "a.tar")[1]
    assert list_entries(tmp_path / "absent.tar")[1]
    assert list_entries(write_tar(tmp_path / "empty.tar", {})) == ([], None)
