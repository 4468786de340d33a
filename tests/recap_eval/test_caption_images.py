"""Images joined with caption rows: every layout and way, against a plain dictionary; what is not joined is counted."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictured import PAIR, PLACES, as_files, as_parquet, as_shards, card, sha256, text, views_of, write_captions

from recap_eval.captions.image_index import index_images
from recap_eval.captions.image_source import find_places, open_source
from recap_eval.captions.pictured import states_digests
from recap_eval.captions.sample import STREAM
from recap_eval.captions.scan import Question
from recap_eval.data.parquet import RowGroups
from recap_eval.errors import DataError
from recap_eval.hashrand import combine_array, text_hashes


def by_hash(keys):
    ranks = combine_array(text_hashes(np.array(keys, dtype=object)), STREAM)
    return [key for _, key in sorted(zip(ranks.tolist(), keys, strict=True))]


@pytest.mark.parametrize("on", ["sha256", "key"])
@pytest.mark.parametrize("layout", PLACES)
def test_rows_are_joined_with_their_images(tmp_path, layout, on):
    rng = np.random.default_rng(3)
    there = sorted(rng.choice(60, 35, replace=False).tolist())
    files = [write_captions(tmp_path / f"{part}.parquet", list(range(20 * part, 20 * part + 20))) for part in range(3)]
    place = PLACES[layout](tmp_path / "images", there)
    found = views_of(files, place, on)
    assert found.names == by_hash([f"k{n}" for n in there])
    assert [hashlib.sha256(image.read_image()).hexdigest() for image in found.images] == found.digests
    assert found.digests == [sha256(int(name[1:])) for name in found.names] and found.stated == found.digests
    assert found.column("re_caption") == [text(int(name[1:])) for name in found.names]
    assert (found.tally.rows, found.tally.joined, found.tally.without, found.tally.nameless) == (60, 35, 25, 0)
    few = views_of(files[::-1], place, on, size=9)
    assert few.names == found.names[:9] and few.fingerprint == found.first(9).fingerprint != found.fingerprint
    assert few.tally.joined == 35


def test_small_samples_of_many_batches_are_the_smallest_hashes(tmp_path):
    numbers = list(range(200))
    files = [write_captions(tmp_path / f"{n}.parquet", numbers[n::10]) for n in range(10)]
    place = as_files(tmp_path / "images", numbers)
    for size in (1, 2, 3, 50):
        assert views_of(files, place, size=size).names == by_hash([f"k{n}" for n in numbers])[:size]


def test_missing_blank_and_failed_captions_are_none_and_stay_in_the_sample(tmp_path):
    texts = ["a dog", None, " \n", "", "lost"]
    path = write_captions(
        tmp_path / "a.parquet", range(5), re_caption=texts, org_caption=texts[::-1], status=["ok"] * 4 + ["timeout"]
    )
    found = views_of([path], as_files(tmp_path / "images", range(5)))
    assert dict(zip(found.names, found.column("re_caption"), strict=True)) == {
        "k0": "a dog", "k1": None, "k2": None, "k3": None, "k4": None,
    }  # fmt: skip
    assert dict(zip(found.names, found.column("org_caption"), strict=True))["k0"] == "lost"
    assert dict(zip(found.names, found.column("org_caption"), strict=True))["k4"] == "a dog"


def test_digests_that_are_not_the_images_and_rows_that_state_none_are_counted(tmp_path):
    stated = [sha256(0).upper(), sha256(1), None, "0" * 64, sha256(9)]
    path = write_captions(tmp_path / "a.parquet", range(5), sha256=stated)
    found = views_of([path], as_files(tmp_path / "images", range(5)))
    assert sorted(found.names) == ["k0", "k1"] and found.differ == 0
    assert found.facts() == {
        "rows": 5, "rows_joined": 2, "rows_without_image": 2, "rows_without_sha256": 1, "sha256_differs": 0,
    }  # fmt: skip
    keyed = views_of([path], as_files(tmp_path / "images", range(5)), "key")
    assert len(keyed) == 5 and keyed.differ == 2
    assert "2 of these state another sha256" in keyed.line() and "5 of 5 rows" in keyed.line()


def test_shards_state_digests_of_what_was_downloaded(tmp_path):
    """img2dataset states the digest before it resizes, so the join is on what is stated, and the difference is told."""
    path = write_captions(tmp_path / "a.parquet", range(12), sha256=[f"{n:064x}" for n in range(12)])
    place = as_shards(tmp_path / "images", list(range(12)), stated=lambda n: f"{n:064x}", keys="other{}")
    found = views_of([path], place)
    assert len(found) == 12 and found.differ == 12
    assert found.digests == [sha256(int(name[1:])) for name in found.names]
    bare = as_shards(tmp_path / "bare", list(range(12)), stated=lambda n: None)
    assert len(views_of([write_captions(tmp_path / "b.parquet", range(12))], bare)) == 12


@pytest.mark.parametrize("plain", [True, False])
def test_cells_without_an_image_are_not_at_hand(tmp_path, plain):
    path = write_captions(tmp_path / "a.parquet", range(30))
    as_parquet(tmp_path / "images" / "a.parquet", list(range(15)), lost={3, 4, 14}, plain=plain)
    as_parquet(tmp_path / "images" / "b.parquet", list(range(15, 30)), plain=plain, sha256=[sha256(n) for n in range(15, 30)])
    for on in ("key", "sha256"):
        found = views_of([path], tmp_path / "images", on)
        assert {*range(30)} - {int(name[1:]) for name in found.names} == {3, 4, 14}
        assert [image.read_image() for image in found.images] == [card(int(name[1:])) for name in found.names]


def test_a_sample_in_the_order_of_hashes_is_read_in_the_order_of_files(tmp_path, monkeypatch):
    """A row group is decoded as a whole: read in another order, each image would cost one."""
    numbers, made = list(range(400)), []
    place = PLACES["parquet"](tmp_path / "images", numbers)
    held = 24 * 4 * (len(card(0)) + 16)  # some twenty of a hundred groups of four: threads are in as many at once

    def groups():
        made.append(RowGroups(held))
        return made[0]

    monkeypatch.setattr("recap_eval.captions.image_source.RowGroups", groups)
    found = views_of([write_captions(tmp_path / "a.parquet", numbers)], place, "key")
    assert found.numbers != sorted(found.numbers) and [found.numbers[place] for place in found.as_stored] == numbers
    assert 100 <= made[0].reads < 200  # in the order of hashes it would be over 300


def test_coco_ids_join_numbers_with_file_names(tmp_path):
    path = write_captions(tmp_path / "a.parquet", range(3), key=["7", "42", "x"], sha256=None)
    place = as_files(tmp_path / "images", [7, 42], "COCO_val2014_{:012d}.png")
    with pytest.raises(DataError, match="No row of") as caught:
        views_of([path], place, "key")
    assert "--join-on sha256 or coco-id" in caught.value.hint and "COCO_val2014_" in caught.value.hint
    assert sorted(views_of([path], place, "coco-id").names) == ["42", "7"]


def test_captions_of_one_key_are_items_of_their_own_in_any_order_of_files(tmp_path):
    one = write_captions(tmp_path / "a.parquet", range(3), key=["k0"] * 3, sha256=[sha256(0)] * 3)
    two = write_captions(tmp_path / "b.parquet", range(2), key=["k0", "k1"], sha256=[sha256(0), sha256(1)])
    place = as_files(tmp_path / "images", range(2))
    found, again = views_of([one, two], place), views_of([two, one], place)
    assert sorted(found.names) == ["k0", "k0#2", "k0#3", "k0#4", "k1"]
    assert (found.names, found.texts) == (again.names, again.texts)


def test_rows_of_a_table_without_a_key_are_no_image_of_that_name(tmp_path):
    keys = ["k0", None, "k2"]
    place = as_parquet(tmp_path / "images" / "a.parquet", range(3), key=keys).parent
    path = write_captions(tmp_path / "a.parquet", range(3), key=["k0", "None", "k2"], sha256=None)
    assert sorted(views_of([path], place, "key").names) == ["k0", "k2"]


def test_one_key_of_two_images_is_refused_and_one_image_of_two_keys_is_not(tmp_path):
    place = as_files(tmp_path / "images" / "a", [1])
    as_files(tmp_path / "images" / "b", [1])
    path = write_captions(tmp_path / "a.parquet", range(3))
    with pytest.raises(DataError, match="1 keys name several images"):
        views_of([path], place.parent, "key")
    assert views_of([path], place.parent).names == ["k1"]


def test_a_limit_counts_rows_of_all_files(tmp_path):
    files = [write_captions(tmp_path / f"{n}.parquet", range(10 * n, 10 * n + 10)) for n in range(3)]
    place = as_files(tmp_path / "images", range(30))
    found = views_of(files, place, question=Question("re_caption", limit=13))
    assert found.tally.rows == 13 and {int(name[1:]) for name in found.names} == {*range(13)}


def test_what_rows_state_is_seen(tmp_path):
    assert states_digests(write_captions(tmp_path / "a.parquet", range(3)), PAIR)
    assert not states_digests(write_captions(tmp_path / "b.parquet", range(3), sha256=None), PAIR)
    assert not states_digests(write_captions(tmp_path / "c.parquet", range(3), sha256=[None] * 3), PAIR)
    shard = as_shards(tmp_path / "s", [1, 2]) / "00000.tar"
    assert states_digests(shard, Question("txt", "json:org_caption"))


def test_places_without_images_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    urls = write_captions(tmp_path / "urls" / "a.parquet", range(3))
    as_files(tmp_path / "mixed" / "a", [1])
    as_parquet(tmp_path / "mixed" / "a.parquet", [2])
    cut = as_shards(tmp_path / "cut", [1, 2]) / "00000.tar"
    cut.write_bytes(cut.read_bytes()[:700])
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 no")
    for place, sentence in {
        tmp_path / "empty": "holds no image", tmp_path / "nowhere": "holds no image",
        urls: "holds no images: its columns are key", cut: "00000.tar", broken: "not a readable parquet",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=sentence):
            len(open_source(find_places([str(place)]), None))
    with pytest.raises(DataError, match="images and parquet files"):
        find_places([str(tmp_path / "mixed" / "a"), str(tmp_path / "mixed" / "a.parquet")])
    assert len(open_source(find_places([str(tmp_path / "mixed")]), None)) == 1
    assert len(open_source(find_places([str(tmp_path / "mixed" / "**" / "*.png")]), None)) == 1
    all_lost = as_parquet(tmp_path / "lost.parquet", [1, 2], lost={1, 2})
    with pytest.raises(DataError, match="no image to join"):
        index_images(open_source([all_lost], None), "key")


def test_what_img2dataset_writes_beside_its_shards_is_no_image(tmp_path):
    """NAME.parquet tells of NAME.tar, which alone is read; parquet of another name beside it is still ambiguous."""
    as_shards(tmp_path, range(12))
    for name in ("00000", "00010"):
        pq.write_table(pa.table({"url": ["x"], "status": ["success"]}), tmp_path / f"{name}.parquet")
    assert [path.name for path in find_places([str(tmp_path)])] == ["00000.tar", "00010.tar"]
    assert len(open_source(find_places([str(tmp_path)]), None)) == 12
    as_parquet(tmp_path / "more.parquet", range(3))
    with pytest.raises(DataError, match="parquet files and shards"):
        find_places([str(tmp_path)])
