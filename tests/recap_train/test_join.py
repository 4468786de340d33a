import json
import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import assert_two_line_error, make_run, recap, write_tar

from recap_eval.artifact import find_artifact
from recap_eval.data.shards import read_shards
from recap_eval.errors import DataError, UserError
from recap_train.captions import Captions, SampleTexts, check_roles, read_captions
from recap_train.clip import train
from recap_train.join import CaptionSource, join
from recap_train.mixing import Mix
from recap_train.training_data import read_training_data

ROLES = {"original": "parquet:org_caption", "recaption": "parquet:re_caption"}
N = 7


@pytest.fixture
def texts(tmp_path):
    """Seven samples of a download: key, url, sha256, and the alt-text as KEY.txt."""
    members = {}
    for number in range(N):
        meta = {"sha256": f"{number:064x}", "url": f"http://host/{number}", "key": f"{number:09d}"}
        members |= {f"{number:09d}.jpg": b"x", f"{number:09d}.txt": f"alt {number}".encode()}
        members[f"{number:09d}.json"] = json.dumps(meta).encode()
    folder = tmp_path / "shards"
    folder.mkdir()
    write_tar(folder / "00000.tar", members)
    return SampleTexts(read_shards(folder))


def row(number, **facts):
    known = {"url": f"http://host/{number}", "sha256": f"{number:064x}", "key": f"{number:09d}"}
    return known | {"org_caption": f"alt {number}", "re_caption": f"re {number}"} | facts


def write(path, rows, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return str(path)


def joined(texts, tmp_path, rows, name="captions.parquet", **facts):
    source = CaptionSource(write(tmp_path / name, rows), **facts)
    return join(texts, source, ["re_caption", "org_caption"], tmp_path / "cache")


@pytest.mark.parametrize("join_on", ["sha256", "key", "url"])
def test_rows_find_their_images_among_strangers(texts, tmp_path, join_on):
    rows = [row(number) for number in (9, 5, 3, 0, 1, 2, 6, 4, 8)]
    found = joined(texts, tmp_path, rows, join_on=join_on)
    assert found.texts("re_caption") == [f"re {number}" for number in range(N)]
    assert found.texts("org_caption", np.array([4, 0])) == ["alt 4", "alt 0"]
    assert (found.count.images, found.count.rows, found.count.unjoined, found.count.repeated) == (N, 9, 0, 0)
    captions = read_captions(texts, {"original": "txt", "recaption": "parquet:re_caption"}, found)
    assert captions[2] == Captions("alt 2", ("re 2",))


def test_many_files_and_row_groups_are_read_in_order(texts, tmp_path):
    """Of a folder and of a pattern; row groups without a wanted row are passed over."""
    write(tmp_path / "c" / "1.parquet", [row(n) for n in (50, 51, 3, 4, 5, 60, 61, 62, 6)], row_group_size=2)
    write(tmp_path / "c" / "0.parquet", [row(n) for n in range(3)])
    for words in (tmp_path / "c", tmp_path / "c" / "*.parquet"):
        found = join(texts, CaptionSource(str(words)), ["re_caption"], tmp_path / "cache")
        assert found.texts("re_caption") == [f"re {number}" for number in range(N)] and found.count.rows == 12


def test_a_missing_row_stops_and_is_named_unless_accepted(texts, tmp_path, capsys):
    rows = [row(number) for number in range(N) if number not in (2, 5)]
    with pytest.raises(DataError, match=r"2 of 7 images have no row .*000000002\.jpg") as error:
        joined(texts, tmp_path, rows)
    assert "--max-unjoined 2" in error.value.hint
    found = joined(texts, tmp_path, rows, max_unjoined=2)
    assert found.texts("re_caption")[1:4] == ["re 1", "", "re 3"] and found.count.unjoined == 2
    assert "2 without a row" in capsys.readouterr().err


def test_of_two_rows_the_first_stands_and_other_words_stop(texts, tmp_path):
    whole = [row(number) for number in range(N)]
    found = joined(texts, tmp_path, [*whole, row(3), row(3)])
    assert found.count.repeated == 2 and found.count.conflicting == 0
    odd = [*whole, row(4, re_caption="other"), row(3)]
    with pytest.raises(DataError, match=r"1 have rows that differ; the first is .*000000004\.jpg"):
        joined(texts, tmp_path, odd, "odd.parquet")
    found = joined(texts, tmp_path, odd, "odd.parquet", max_unjoined=1)
    assert found.texts("re_caption")[4] == "re 4" and found.count.conflicting == 1 and found.count.repeated == 1


def test_a_failure_row_has_no_recaption_and_gives_way_to_a_good_one(texts, tmp_path, capsys):
    rows = [row(number, status="ok") for number in range(4)]
    rows += [row(4, status="error", re_caption="half a"), row(5, status="refused", re_caption=None), row(6, status="error")]
    rows += [row(6, status="ok"), row(0, status="error", re_caption="late failure")]
    found = joined(texts, tmp_path, rows)
    assert found.texts("re_caption") == ["re 0", "re 1", "re 2", "re 3", "", "", "re 6"]
    assert found.texts("org_caption") == [f"alt {number}" for number in range(N)]
    assert (found.count.failed, found.count.unjoined, found.count.conflicting) == (2, 0, 0)
    assert "2 whose captioning failed" in capsys.readouterr().err


def test_null_captions_are_missing_ones(texts, tmp_path):
    rows = [row(number, org_caption=None if number % 2 else "x", sha256=f"{number:064x}") for number in range(N)]
    rows += [row(99, sha256=None)]
    found = joined(texts, tmp_path, rows)
    assert found.texts("org_caption") == ["x", "", "x", "", "x", "", "x"]


def test_images_that_share_a_digest_share_a_row(tmp_path):
    members = {}
    for key in ("a", "b"):
        members |= {f"{key}.jpg": b"x", f"{key}.json": json.dumps({"sha256": "0" * 64}).encode()}
    write_tar(tmp_path / "0.tar", members)
    found = joined(SampleTexts(read_shards(tmp_path)), tmp_path, [row(0)])
    assert found.texts("re_caption") == ["re 0", "re 0"]


def test_keys_of_another_download_are_seen_by_their_digests(texts, tmp_path):
    rows = [row(number, sha256=f"{number + 1:064x}") for number in range(N)]
    with pytest.raises(DataError, match=r"captions\.parquet is of another download: 7 of 7") as error:
        joined(texts, tmp_path, rows, join_on="key")
    assert "sha256 or url" in error.value.hint


def test_what_is_joined_on_must_be_there(tmp_path, capsys):
    write_tar(tmp_path / "0.tar", {"1.jpg": b"x", "1.json": b"{}"})
    texts = SampleTexts(read_shards(tmp_path))
    with pytest.raises(DataError, match=r"1\.jpg has no sha256") as error:
        joined(texts, tmp_path, [row(1)])
    assert "--join-on url" in error.value.hint and "this very download" in error.value.hint
    joined(texts, tmp_path, [row(1, key="1")], join_on="key")
    assert "no sha256 to check it by" in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown"):
        joined(texts, tmp_path, [row(1)], join_on="uid")


def test_wrong_files_and_columns_are_named(texts, tmp_path):
    whole = [row(number) for number in range(N)]
    path = write(tmp_path / "c.parquet", [{"sha256": one["sha256"], "re_caption": 3} for one in whole])
    with pytest.raises(DataError, match=r"c\.parquet has no column 'caption'") as error:
        join(texts, CaptionSource(path), ["caption"], tmp_path / "cache")
    assert "sha256, re_caption" in error.value.hint
    with pytest.raises(DataError, match=r"'re_caption' holds no texts but int64"):
        join(texts, CaptionSource(path), ["re_caption"], tmp_path / "cache")
    with pytest.raises(DataError, match="has no column 'url'"):
        join(texts, CaptionSource(path, "url"), ["re_caption"], tmp_path / "cache")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(DataError, match=r"bad\.parquet is not a readable parquet"):
        join(texts, CaptionSource(str(tmp_path / "bad.parquet")), ["re_caption"], tmp_path / "cache")
    with pytest.raises(DataError, match="is no file, folder or pattern"):
        join(texts, CaptionSource(str(tmp_path / "none-*.parquet")), ["re_caption"], tmp_path / "cache")


def test_a_join_is_remembered_until_a_file_changes(texts, tmp_path, monkeypatch):
    from recap_eval.captions import joined as module

    rows = [row(number) for number in range(N)]
    first = joined(texts, tmp_path, rows)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_read", None)
        again = join(
            texts, CaptionSource(str(tmp_path / "captions.parquet")), ["re_caption", "org_caption"], tmp_path / "cache"
        )
    assert pickle.loads(pickle.dumps(again)).texts("re_caption") == first.texts("re_caption")
    changed = joined(texts, tmp_path, [*rows[:-1], row(N - 1, re_caption="new words")])
    assert changed.texts("re_caption")[-1] == "new words"
    changed.path.write_bytes(b"junk")
    with pytest.raises(DataError, match=r"\.arrow is damaged"):
        join(texts, CaptionSource(str(tmp_path / "captions.parquet")), ["re_caption", "org_caption"], tmp_path / "cache")


def test_roles_and_caption_files_must_fit():
    with pytest.raises(UserError, match="none is given"):
        check_roles(ROLES, False)
    with pytest.raises(UserError, match="no role is in it"):
        check_roles({"original": "txt", "recaption": "json:re"}, True)
    with pytest.raises(UserError, match="original is not named"):
        check_roles({"recaption": "txt"}, False)


def test_a_null_member_is_a_missing_caption_and_an_absent_one_an_error(tmp_path):
    members = {"1.jpg": b"x", "1.txt": b"alt", "1.json": b'{"re_caption": null}'}
    write_tar(tmp_path / "0.tar", members)
    texts = SampleTexts(read_shards(tmp_path))
    assert read_captions(texts, {"original": "txt", "recaption": "json:re_caption"}) == [Captions("alt", ("",))]
    with pytest.raises(DataError, match=r"1 of 1 samples lack a caption member, the first .*1\.jpg"):
        read_captions(texts, {"original": "txt", "recaption": "json:re"})


def scenes_rows(world, **facts):
    samples = read_shards(world / "train")
    names = ("sha256", "url", "org_caption")
    return [{name: one.meta[name] for name in names} | {"re_caption": f"about {one.key}"} | facts for one in samples]


def test_training_takes_the_joined_captions_and_their_texts_make_its_data(world, tmp_path):
    source = CaptionSource(write(tmp_path / "c.parquet", scenes_rows(world)))
    run = make_run(world, tmp_path / "r", roles=ROLES, captions=source)
    data = read_training_data(run)
    assert data.captions_at(5).recaptions == (f"about {data.name(5)}",)
    plain = read_training_data(make_run(world, tmp_path / "r"))
    assert plain.captions_at(5).original == data.captions_at(5).original and plain.fingerprint != data.fingerprint


def test_several_recaptions_and_concat_train_and_tell_what_was_shown(world, tmp_path):
    roles = {"original": "json:org_caption", "recaption": "json:re_caption", "recaption_2": "parquet:re_caption"}
    source = CaptionSource(write(tmp_path / "c.parquet", scenes_rows(world)))
    mix = Mix(0.2, recaptions=2, weights=(1.0, 3.0), dropout=0.1)
    artifact, _ = train(replace(make_run(world, tmp_path / "r", roles=roles, captions=source, samples=384), mix=mix))
    first, second = artifact.made["recaptions_shown"]
    assert second > first > 0 and artifact.made["dropped_captions"] > 0
    assert artifact.made["mix"] == "recaption weights 1, 3; caption dropout 0.1" and artifact.made["roles"] == roles
    artifact, _ = train(replace(make_run(world, tmp_path / "c", samples=256), mix=Mix(None, "concat")))
    assert artifact.made["mix"] == "concat" and artifact.made["p_original"] is None
    assert artifact.made["concatenated_captions"] > 200 and "dropped_captions" not in artifact.made


def test_the_command_joins_mixes_and_says_so(world, tmp_path):
    path = write(tmp_path / "c.parquet", scenes_rows(world)[1:])
    words = ["--data", world, "--model", "scenes-tiny", "--samples-seen", 128, "--no-eval", "--captions", path]
    words += ["--original-key", "json:org_caption", "--recaption-key", "json:re_caption", "--mix", "concat"]
    words += ["--recaption-key", "parquet:re_caption", "--out", tmp_path / "o"]
    done = recap("recap-train", "clip", *words)
    assert_two_line_error(done, 1, "1 of 96 images have no row", "--max-unjoined 1")
    done = recap("recap-train", "clip", *words, "--max-unjoined", 1)
    assert done.returncode == 0, done.stderr
    assert "joined (concat)" not in done.stderr and done.stderr.count("recaption:") == 6
    assert "shown with both captions" in done.stdout and find_artifact(tmp_path / "o").name == "scenes-tiny-concat-s0"


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ([], ["--p-original is not given"]),
        (["--mix", "concat", "--p-original", "0.5"], ["no meaning"]),
        (["--p-original", "0.5", "--recaption-weights", "1,2"], ["2 --recaption-weights for 1"]),
        (["--p-original", "0.5", "--captions", "c.parquet"], ["no role is in it", "parquet:re_caption"]),
        (["--p-original", "0.5", "--caption-preset", "caption-rows"], ["--captions FILE.parquet"]),
        (["--p-original", "0.5", "--recaption-key", "txt", "--recaption-key", "txt"], ["given twice"]),
    ],
)
def test_wrong_words(world, tmp_path, words, fragments):
    base = ["--data", world, "--model", "scenes-tiny", "--samples-seen", 128, "--out", tmp_path / "o"]
    assert_two_line_error(recap("recap-train", "clip", *base, *words), 2, *fragments)
