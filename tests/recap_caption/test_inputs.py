"""What is captioned: shards, parquet files, folders; each sample once and in order, whatever is wrong with it."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_engine import FakeEngine
from small_inputs import caption, image, members, write_shards
from support import write_tar

from recap_caption.rows import BAD_IMAGE, BAD_TEXT, DUPLICATE_KEY
from recap_caption.sources.base import Reading
from recap_caption.sources.places import check_found, check_names, check_said, find_source
from recap_eval.errors import DataError, UserError


def opened(words, reading=None, part=0):
    source = find_source([str(word) for word in (words if isinstance(words, list) else [words])], reading or Reading("txt"))
    return source.open(list(source.parts())[part])


def statuses(items):
    return [item.fault and item.fault.status for item in items]


def table(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


def test_a_shard_gives_its_samples_in_order_with_their_texts(tmp_path):
    write_tar(tmp_path / "00007.tar", members("b") | members("a"))
    found = opened(tmp_path)
    assert [item.key for item in found.items] == ["b", "a"] and found.torn is None and found.lost == 0
    first = found.items[0]
    assert first.read_image() == image("b") and first.org_caption == "alt b" and first.url == "http://x/b"
    assert first.where == "00007.tar:b.jpg" and len(first.sha256) == 64
    found.close()
    with pytest.raises(DataError, match="given back"):
        first.read_image()


def test_members_of_a_key_belong_together_wherever_they_lie(tmp_path):
    both = members("a") | members("b")
    unsorted = {name: both[name] for name in sorted(both, key=lambda name: name[::-1])}
    write_tar(tmp_path / "0.tar", unsorted)
    items = opened(tmp_path).items
    assert sorted(item.key for item in items) == ["a", "b"] and all(item.org_caption for item in items)
    assert {item.key: item.read_image() for item in items} == {"a": image("a"), "b": image("b")}


def test_what_is_wrong_with_a_sample_is_a_fault_of_that_sample(tmp_path):
    odd = members("json", **{".json": b"{"}) | members("list", **{".json": b"[]"}) | members("deep", **{".json": b"[" * 99999})
    odd |= members("latin", **{".txt": b"caf\xe9"}) | members("blind", **{".jpg": None}) | members("fine")
    write_tar(tmp_path / "0.tar", odd | {"stray.npy": b"1", "README": b"x"})
    items = {item.key: item for item in opened(tmp_path).items}
    assert list(items) == ["json", "list", "deep", "latin", "blind", "fine"]
    assert statuses(items.values()) == [BAD_TEXT, BAD_TEXT, BAD_TEXT, BAD_TEXT, BAD_IMAGE, None]
    by_json = {item.key: item for item in opened(tmp_path, Reading("json:org_caption")).items}
    assert by_json["latin"].fault is None, "a text that nobody reads cannot be wrong"


def test_a_key_that_comes_again_is_told_and_the_first_is_captioned(tmp_path):
    import io
    import tarfile

    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for word in ("one", "two"):
            for name, payload in {"k.jpg": image(word), "k.txt": word.encode()}.items():
                info = tarfile.TarInfo(name)
                info.size = len(payload)
                tar.addfile(info, io.BytesIO(payload))
    items = opened(tmp_path).items
    assert [item.org_caption for item in items] == ["one", "two"] and statuses(items) == [None, DUPLICATE_KEY]


@pytest.mark.parametrize("stated", [None, 10])
def test_a_torn_shard_gives_what_is_whole_and_counts_the_rest(tmp_path, stated):
    path = write_tar(tmp_path / "00000.tar", {k: v for n in range(10) for k, v in members(f"{n:03d}").items()})
    os.truncate(path, 6 * 3 * 1024 + 700)
    if stated:
        (tmp_path / "00000_stats.json").write_text(json.dumps({"successes": stated}))
    found = opened(tmp_path)
    assert [item.key for item in found.items] == [f"{n:03d}" for n in range(6)] and found.torn
    assert found.lost == (4 if stated else -1)


def test_a_shard_that_is_no_tar_has_no_sample(tmp_path):
    (tmp_path / "0.tar").write_bytes(b"what is this" * 100)
    found = opened(tmp_path)
    assert not found.items and found.torn and found.lost == -1


def test_names_that_are_no_utf8_stay_two_keys(tmp_path):
    write_tar(tmp_path / "0.tar", {b"\xff.jpg".decode("utf-8", "surrogateescape"): image(1), "é.jpg": image(2)})
    keys = [item.key for item in opened(tmp_path).items]
    assert keys == ["\\xff", "é"] and "".join(keys).encode()


def test_half_a_surrogate_pair_in_a_text_is_no_character(tmp_path):
    write_tar(tmp_path / "0.tar", members("a", **{".json": b'{"org_caption": "x\\ud83d", "url": 5}'}))
    item = opened(tmp_path, Reading("json:org_caption")).items[0]
    assert item.org_caption == "x\ufffd" and item.url is None


def test_a_folder_of_images_is_cut_into_parts(tmp_path):
    for name in ("b/2.png", "a/1.jpg", "a/0.JPG", ".hidden/3.jpg", "a/note.md"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(name))
    (tmp_path / "in/a/1.txt").write_text("one")
    (tmp_path / "in/a/1.json").write_text('{"url": "u"}')
    source = find_source([str(tmp_path / "in")], Reading("txt", part=2))
    parts = list(source.parts())
    assert source.form == "images" and [part.name for part in parts] == ["00000", "00001"]
    items = [item for part in parts for item in source.open(part).items]
    assert [item.key for item in items] == ["a/0", "a/1", "b/2"] and items[1].org_caption == "one" and items[1].url == "u"
    assert items[2].read_image() == image("b/2.png") and [item.org_caption for item in items] == [None, "one", None]
    with pytest.raises(UserError, match="is not said"):
        check_said(Reading(), source)
    before = source.identity(parts[0], hashed=False)
    (tmp_path / "in/a/1.txt").write_text("another")
    assert source.identity(parts[0], hashed=False) != before and source.identity(parts[1], hashed=False)
    (tmp_path / "in/a/1.jpg").unlink()
    with pytest.raises(DataError, match=r"Cannot read a/1\.jpg: No such file"):
        items[1].read_image()


def test_parquet_is_cut_at_row_groups_and_its_images_are_read(tmp_path):
    keys = list(range(10))
    images = [{"bytes": image(key), "path": None} for key in keys]
    path = table(tmp_path / "coco.parquet", image_id=keys, image=images, caption=[f"c{key}" for key in keys])
    reading = Reading("parquet:caption", columns=(("key", "image_id"),), part=4)
    source = find_source([str(path)], reading)
    parts = list(source.parts())
    assert [(part.name, part.groups, part.rows) for part in parts] == [
        ("coco-00000", (0, 1), 6), ("coco-00001", (2, 3), 4)
    ]  # fmt: skip
    items = [item for part in parts for item in source.open(part).items]
    assert [item.key for item in items] == [str(key) for key in keys] and items[7].org_caption == "c7"
    assert [item.read_image() for item in items] == [image(key) for key in keys]


def test_parquet_without_keys_is_numbered_through(tmp_path):
    path = table(tmp_path / "p.parquet", image=[image(n) for n in range(7)])
    source = find_source([str(path)], Reading("none", part=3))
    assert [item.key for part in source.parts() for item in source.open(part).items] == [f"p-{n}" for n in range(7)]


def test_parquet_may_name_files_beside_it_and_nothing_outside(tmp_path):
    (tmp_path / "a.jpg").write_bytes(image("a"))
    names = ["a.jpg", "gone.jpg", "../a.jpg", "/etc/hosts", None, "nul\0.jpg"]
    path = table(tmp_path / "p.parquet", key=list("abcdef"), image=names)
    source = find_source([str(path)], Reading("none", part=9))
    items = source.open(next(iter(source.parts()))).items
    assert items[0].read_image() == image("a") and statuses(items)[2:5] == [BAD_IMAGE] * 3
    for item in (items[1], items[5]):
        with pytest.raises(DataError, match=r"Cannot read (gone|nul)"):
            item.read_image()


def test_rows_with_odd_cells_are_faults(tmp_path):
    path = table(tmp_path / "p.parquet", key=["a", None, "a"], text=pa.array([["x"], ["y"], None]), image=[image(1)] * 3)
    items = opened(path, Reading("parquet:text")).items
    assert statuses(items) == [BAD_TEXT, BAD_TEXT, DUPLICATE_KEY] and items[1].key == "p-1"


def test_texts_alone_need_no_image(tmp_path):
    path = table(tmp_path / "p.parquet", key=["a"], org_caption=["o"], re_caption=["r"])
    reading = Reading("parquet:org_caption", "parquet:re_caption", images=False)
    (item,) = opened(path, reading).items
    assert (item.org_caption, item.re_caption, item.read_image) == ("o", "r", None)
    with pytest.raises(DataError, match="no column 'image'"):
        opened(path, Reading("parquet:org_caption"))


def test_what_an_input_can_be(tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    write_tar(shards / "00000.tar", members("a"))
    table(shards / "00000.parquet", key=["a"])  # img2dataset's own, beside the shard
    assert find_source([str(shards)], Reading("txt")).form == "shards"
    assert find_source([str(shards / "{00000..00000}.tar")], Reading("txt")).form == "shards"
    assert find_source([str(shards / "*.parquet")], Reading("none", images=False)).form == "parquet"


@pytest.mark.parametrize(("files", "said"), [
    ([], "holds nothing"), (["a.md"], "holds nothing"), (["a.parquet", "b.jpg"], "parquet files and images"),
])  # fmt: skip
def test_folders_that_are_no_input(tmp_path, files, said):
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=said):
        find_source([str(tmp_path)], Reading())


def test_words_that_are_no_input(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match="is not there"):
        find_source([str(tmp_path / "absent")], Reading())
    with pytest.raises(DataError, match="neither a shard nor a parquet file"):
        find_source([str(tmp_path / "*.csv")], Reading())
    (tmp_path / "d.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a readable parquet"):
        list(find_source([str(tmp_path / "d.parquet")], Reading()).parts())


def test_which_text_is_which_must_be_said(tmp_path):
    write_tar(tmp_path / "0.tar", members("a", **{".txt": None}))
    source = find_source([str(tmp_path)], Reading("txt"))
    (part,) = source.parts()
    with pytest.raises(UserError, match="is not said"):
        check_said(Reading(), source)
    check_said(Reading("none"), source)
    with pytest.raises(UserError, match="--columns is about parquet files"):
        find_source([str(tmp_path)], Reading("txt", columns=(("key", "id"),)))
    with pytest.raises(DataError, match="No sample of 0 has txt"):
        check_found(Reading("txt"), source, part)
    with pytest.raises(UserError, match="names no text of shards"):
        find_source([str(tmp_path)], Reading("parquet:x"))


@pytest.mark.parametrize(("names", "said"), [(["a/0.tar", "b/0.tar"], "Two inputs"), (["x.g1.tar"], "no name for an output")])
def test_outputs_need_names_of_their_own(tmp_path, names, said):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_tar(tmp_path / name, members("a"))
    source = find_source([str(tmp_path / name) for name in names], Reading("txt"))
    with pytest.raises(DataError, match=said):
        check_names(source.parts())


def test_identity_follows_contents_or_time(tmp_path):
    path = write_tar(tmp_path / "0.tar", members("a"))
    source = find_source([str(tmp_path)], Reading("txt"))
    (part,) = source.parts()
    by_time, by_digest = source.identity(part, hashed=False), source.identity(part, hashed=True)
    os.utime(path, (1, 1))
    assert source.identity(part, hashed=False) != by_time and source.identity(part, hashed=True) == by_digest
    path.unlink()
    with pytest.raises(DataError, match="Cannot read"):
        source.identity(part, hashed=False)


def test_captions_of_a_run_are_an_input_in_their_newest_generation(tmp_path):
    from recap_caption.run.generation import begin_retry
    from recap_caption.run.worker import Worker

    run, _ = caption(tmp_path / "out", write_shards(tmp_path / "in"), FakeEngine(fail=0.3))
    Worker(run, FakeEngine(), "w", begin_retry(run, ("engine_error",))).work()
    reading = Reading("parquet:org_caption", "parquet:re_caption", images=False, part=99)
    for words in (tmp_path / "out", tmp_path / "out/captions", tmp_path / "out/captions/*.parquet"):
        source = find_source([str(words)], reading)
        parts = list(source.parts())
        check_names(parts)
        assert [part.name for part in parts] == ["00000", "00001", "00002"]
        assert all(item.re_caption for part in parts for item in source.open(part).items)
