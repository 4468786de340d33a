import json
import os
import shlex
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from published import CONDITIONED, coco, digest, download, newer, picture, row, sample, write_rows
from support import assert_two_line_error, recap, write_tar

from recap_caption.exchange.published import SCORES
from recap_caption.rows import schema
from recap_eval.data.shards import read_shards


def ask(*words, **options):
    return recap("recap-caption", "import", *words, **options)


def report(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def members(*samples):
    found = {}
    for one in samples:
        found |= one
    return found


@pytest.fixture
def both(tmp_path):
    """A file of each generation: images 0-7, then 8-15 with a row of image 3 that says something else."""
    write_rows(tmp_path / "set" / "a.parquet", [row(n) for n in range(8)])
    rows = [newer(n) for n in range(8, 16)] + [newer(3, org_caption="other alt"), newer(4)]
    write_rows(tmp_path / "set" / "b.parquet", rows, row_group_size=4)
    return tmp_path / "set"


# Lists of URLs.


def test_both_generations_are_listed_alike(both, tmp_path):
    facts = report(ask(both, "--out", tmp_path / "d", "--json"))
    assert (facts["rows"], facts["listed"], facts["files"], facts["set"]) == (18, 18, 2, "recap-datacomp-1b")
    tables = [pq.read_table(tmp_path / "d" / "urls" / name) for name in ("a.parquet", "b.parquet")]
    assert tables[0].schema.equals(tables[1].schema)
    assert ",".join(tables[0].schema.names) == "url,re_caption,org_caption,sha256"
    assert tables[1].to_pylist()[0] == {name: newer(8)[name] for name in tables[1].schema.names}
    again = report(ask(both, "--out", tmp_path / "d", "--json"))
    assert again["done_before"] and not facts["done_before"] and again["listed"] == 18


def test_the_command_names_the_columns_of_the_lists(both, tmp_path):
    done = ask(both, "--out", tmp_path / "d")
    line = next(line for line in done.stdout.splitlines() if line.startswith("img2dataset"))
    words = shlex.split(line)
    flags = dict(zip(words[1::2], words[2::2], strict=True))
    names = pq.read_schema(tmp_path / "d" / "urls" / "a.parquet").names
    assert flags["--url_list"] == str(tmp_path / "d" / "urls") and flags["--url_col"] in names
    assert flags["--caption_col"] == "re_caption" and json.loads(flags["--save_additional_columns"]) == ["org_caption"]
    told = done.stdout.splitlines()[-1]
    assert told == f"Then: recap-caption import {both} --images {tmp_path}/d/shards --out joined"
    assert json.loads(flags["--verify_hash"]) == ["sha256", flags["--compute_hash"]] and "sha256" in names


def test_another_column_becomes_the_recaption(both, tmp_path):
    path = both / "b.parquet"
    report(ask(path, "--out", tmp_path / "d", "--recaption-column", CONDITIONED, "--json"))
    found = pq.read_table(tmp_path / "d" / "urls" / "b.parquet")
    assert found["re_caption"].to_pylist()[0] == newer(8)[CONDITIONED]
    done = ask(both, "--out", tmp_path / "e", "--recaption-column", CONDITIONED)
    assert_two_line_error(done, 1, f"a.parquet has no column '{CONDITIONED}'")
    assert_two_line_error(ask(path, "--out", tmp_path / "e", "--recaption-column", "re_length"), 1, "holds no texts but int64")


def test_rows_without_url_are_counted_and_odd_texts_pass(tmp_path):
    odd = [row(0, url=None), row(1, url="  "), row(2, org_caption=None), row(3, re_caption='"x"\n\x00 <|eot_id|> 漢字 😀')]
    write_rows(tmp_path / "a.parquet", odd)
    facts = report(ask(tmp_path / "a.parquet", "--out", tmp_path / "d", "--json"))
    assert (facts["listed"], facts["without_url"]) == (2, 2)
    found = pq.read_table(tmp_path / "d" / "urls" / "a.parquet").to_pylist()
    assert found[0]["org_caption"] is None and found[1]["re_caption"] == odd[3]["re_caption"]


@pytest.mark.parametrize("share", [0.5, 0.1, 1e-9])
def test_a_share_is_of_images_and_the_same_every_time(tmp_path, share):
    rows = [row(n, sha256=f"{n * 2654435761 % 2**32:08x}" + "0" * 56) for n in range(400)]
    write_rows(tmp_path / "a.parquet", [*rows, *rows[:50]])
    facts = report(ask(tmp_path / "a.parquet", "--out", tmp_path / "d", "--share", share, "--json"))
    expected = [one["url"] for one in [*rows, *rows[:50]] if int(one["sha256"][:8], 16) < share * 2**32]
    assert pq.read_table(tmp_path / "d" / "urls" / "a.parquet")["url"].to_pylist() == expected
    assert facts["listed"] + facts["outside"] == 450


def test_large_and_dictionary_texts_are_read(tmp_path):
    rows = [row(n) for n in range(4)]
    table = pa.table({name: pa.array([one[name] for one in rows]) for name in rows[0]})
    for name, kind in (("re_caption", pa.large_string()), ("org_caption", pa.dictionary(pa.int32(), pa.string()))):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    pq.write_table(table, tmp_path / "a.parquet")
    report(ask(tmp_path / "a.parquet", "--out", tmp_path / "d", "--json"))
    assert pq.read_table(tmp_path / "d" / "urls" / "a.parquet")["org_caption"].to_pylist() == [f"alt {n}" for n in range(4)]


def test_files_are_chosen_by_number(both, tmp_path):
    facts = report(ask(both, "--out", tmp_path / "d", "--files", "1", "--json"))
    assert facts["rows"] == 10 and [path.name for path in (tmp_path / "d" / "urls").iterdir()] == ["b.parquet"]
    for words in ("2", "1-0", "0-2", "x", "-1"):
        assert_two_line_error(ask(both, "--out", tmp_path / "e", f"--files={words}"), 2, "names none of 2 files")


# Images joined.


@pytest.fixture
def images(tmp_path):
    """Images 0-4; 9 twice, 12 whose bytes changed, 13 without a sha256, 77 of which no row tells."""
    changed, silent = sample(12, sha256="0" * 64), sample(13, sha256="")
    second = members(sample(9), changed, silent, sample(77), sample(9, key="again"))
    return download(tmp_path / "images", members(*(sample(n) for n in range(5))), second)


def test_everything_that_does_not_join_is_counted(both, images, tmp_path):
    facts = report(ask(both, "--images", images, "--out", tmp_path / "o", "--json"))
    assert facts["outcomes"] == {"paired": 8, "changed": 1, "no_row": 1} and facts["images"] == 10
    assert facts["found_by"] == {"sha256": 7, "url": 1}
    rows = {name: facts[f"rows_{name}"] for name in ("of_images_at_hand", "of_their_urls_only", "not_downloaded", "repeated")}
    # 0-4 and 9 once, 3 and 4 again; 12 and 13; the other 8 were not downloaded
    assert rows == {"of_images_at_hand": 8, "of_their_urls_only": 2, "not_downloaded": 8, "repeated": 1} and facts["rows"] == 18
    assert (facts["images_whose_rows_differ"], facts["images_repeated"], facts["images_without_sha256"]) == (1, 1, 1)
    told = ask(both, "--images", images, "--out", tmp_path / "o").stdout
    assert "8 of 10 images with both captions (7 by sha256, 1 by url), 2 shards (all of it was there)" in told
    assert "8 of images that are not at hand" in told and "--caption-preset recap-datacomp" in told


def test_shards_hold_the_images_untouched_and_both_captions_by_name(both, images, tmp_path):
    report(ask(both, "--images", images, "--out", tmp_path / "o", "--json"))
    found = {one.key: one for one in read_shards(tmp_path / "o")}
    assert sorted(found) == ["000000000", "000000001", "000000002", "000000003", "000000004", "000000009", "000000013", "again"]
    for number in (0, 3, 9, 13):
        one = found[f"{number:09d}"]
        assert one.read_image() == picture(number) and one.text == one.meta["re_caption"] == row(number)["re_caption"]
        assert one.meta["org_caption"] == f"alt {number}" and one.meta["sha256"] == digest(number)
        assert one.meta["org_clip_score"] == number / 10 and one.meta["org_gpt4v_score"] == 4
    assert found["again"].read_image() == picture(9) and found["again"].text == row(9)["re_caption"]
    assert not (tmp_path / "o" / ".work").exists()


def test_changed_images_are_taken_where_that_is_said(both, images, tmp_path):
    facts = report(ask(both, "--images", images, "--accept-changed", "--out", tmp_path / "o", "--json"))
    assert facts["outcomes"] == {"paired": 9, "no_row": 1} and facts["found_by"] == {"sha256": 7, "url": 2}


def test_a_download_without_digests_is_joined_by_url(both, tmp_path):
    images = download(tmp_path / "images", members(*(sample(n, sha256="") for n in (2, 3))))
    words = (both, "--images", images, "--out", tmp_path / "o")
    assert_two_line_error(ask(*words), 1, "No image states its sha256", "--join-on url")
    facts = report(ask(*words, "--join-on", "url", "--json"))
    assert facts["found_by"] == {"url": 2}


def test_a_published_key_is_not_this_download_s(both, images, tmp_path):
    """Where both state a sha256, a join on keys of another download is found out."""
    rows = [row(n, key=f"{(n + 1) % 5:09d}") for n in range(5)]
    path = write_rows(tmp_path / "keyed.parquet", rows)
    assert_two_line_error(ask(path, "--images", images, "--join-on", "key", "--out", tmp_path / "o"), 1, "another download")
    right = write_rows(tmp_path / "right.parquet", [row(n, key=f"{n:09d}") for n in range(5)])
    facts = report(ask(right, "--images", images, "--join-on", "key", "--out", tmp_path / "k", "--json"))
    assert facts["outcomes"] == {"paired": 5, "no_row": 5}


def test_rows_have_our_schema_and_read_back(both, images, tmp_path):
    facts = report(ask(both, "--images", images, "--to", "rows", "--out", tmp_path / "o", "--json"))
    assert facts["outcomes"]["paired"] == 8
    tables = [pq.read_table(tmp_path / "o" / f"0000{n}.parquet") for n in (0, 1)]
    assert all(table.schema.equals(schema()) for table in tables)
    first = tables[0].to_pylist()[3]
    assert first["key"] == "000000003" and first["sha256"] == digest(3) and first["status"] == "ok"
    assert first["org_caption"] == "alt 3", "the first row of an image counts"
    assert (first["re_length"], first["org_length"], first["org_clip_score"], first["org_gpt4v_score"]) == (5, 2, 0.3, 4)
    assert first["prompt_id"] == "published:re_caption" and first["run_id"].startswith("import-") and first["flags"] == []
    assert set(SCORES) <= set(tables[0].schema.names)
    told = recap("recap-eval", "captions", "--captions", tmp_path / "o", "--column", "re_caption", "--metrics", "length",
                 "--out", tmp_path / "lb")  # fmt: skip
    assert told.returncode == 0 and "8 rows" in told.stderr, told.stderr


def test_a_cell_that_holds_no_image_of_the_web_is_counted(tmp_path):
    table = pq.read_table(coco(tmp_path / "c.parquet", 3))
    cells = [{"bytes": payload, "path": None} for payload in (picture(0), b"no image", None)]
    pq.write_table(table.set_column(2, "image", pa.array(cells, table.schema.field("image").type)), tmp_path / "c.parquet")
    done = ask(tmp_path / "c.parquet", "--out", tmp_path / "o", "--json")
    assert report(done)["outcomes"] == {"paired": 1, "unreadable": 2}
    assert "c.parquet:101: it is neither JPEG nor PNG nor WebP" in done.stderr and "c.parquet:102 holds no image" in done.stderr


def test_recap_coco_brings_its_images(tmp_path):
    path = coco(tmp_path / "coco" / "new_data.parquet", 9)
    facts = report(ask(path, "--out", tmp_path / "o", "--json"))
    assert facts["outcomes"] == {"paired": 9} and facts["set"] == "recap-coco-30k"
    found = {one.key: one for one in read_shards(tmp_path / "o")}
    assert found["104"].read_image() == picture(4) and found["104"].meta["url"] == "http://coco/4.jpg"
    assert (found["104"].text, found["104"].meta["org_caption"]) == ("A model's words about 4.", "alt 4")
    urls = report(ask(path, "--to", "urls", "--out", tmp_path / "u", "--json"))
    assert "--verify_hash" not in urls["command"] and urls["listed"] == 9
    rows = report(ask(path, "--to", "rows", "--out", tmp_path / "r", "--json"))
    found = pq.read_table(tmp_path / "r" / "new_data.parquet").to_pylist()
    assert rows["outcomes"] == {"paired": 9} and [one["sha256"] for one in found] == [digest(number) for number in range(9)]


def test_an_image_that_cannot_be_read_is_counted_and_named(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [row(n) for n in range(4)])
    unlike = {name.replace(".jpg", ".jpeg"): payload for name, payload in sample(1).items()}
    unlike |= {"000000001.jpeg": picture(1, "PNG")}
    orphan = {name: payload for name, payload in sample(2).items() if not name.endswith(".jpg")}
    images = download(tmp_path / "images", members(sample(0), unlike, orphan, sample(3) | {"000000003.jpg": b"GIF89a"}))
    done = ask(path, "--images", images, "--out", tmp_path / "o", "--json")
    assert report(done)["outcomes"] == {"paired": 3, "unreadable": 1}
    assert "00000.tar:000000002: there are texts of this key, and no image" in done.stderr
    names = [f"{one.key}{one.suffix}" for one in read_shards(tmp_path / "o")]
    assert names == ["000000000.jpg", "000000001.png", "000000003.jpg"], "endings that fit, where they are known"


def test_a_torn_shard_gives_what_it_still_has(both, images, tmp_path):
    path = images / "00001.tar"
    path.write_bytes(path.read_bytes()[:5000])
    done = ask(both, "--images", images, "--out", tmp_path / "o", "--json")
    facts = report(done)
    assert facts["torn_shards"] == 1 and json.loads((tmp_path / "o" / "00001_stats.json").read_text())["counts"]["torn"]
    assert 5 <= facts["outcomes"]["paired"] < 8 and "00001" in done.stderr


def test_a_shard_of_strangers_leaves_no_tar_and_is_counted(both, tmp_path):
    images = download(tmp_path / "images", sample(1), members(sample(200), sample(201)))
    facts = report(ask(both, "--images", images, "--out", tmp_path / "o", "--json"))
    assert facts["outcomes"] == {"paired": 1, "no_row": 2}
    assert sorted(path.name for path in (tmp_path / "o").glob("*.tar")) == ["00000.tar"]
    assert json.loads((tmp_path / "o" / "00001_stats.json").read_text())["successes"] == 0
    assert_two_line_error(ask(both, "--images", tmp_path / "images" / "00001.tar", "--out", tmp_path / "p"), 1, "Not one of 2")


def test_keys_that_readers_of_tars_would_cut_become_digests(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [row(n) for n in range(3)])
    odd = ["v1.2/a", "x" * 150, "über"]
    images = download(tmp_path / "images", members(*(sample(n, key=key) for n, key in enumerate(odd))))
    report(ask(path, "--images", images, "--out", tmp_path / "o", "--json"))
    found = read_shards(tmp_path / "o")
    assert [one.meta["key"] for one in found] == odd and all(len(one.key) == 32 and one.key.isalnum() for one in found)


def test_hostile_texts_come_through_unchanged(tmp_path):
    texts = ["</script><|eot_id|><image>", "a\x00b\r\n\t", "=cmd|' /C calc'!A0", "😀" * 500, "\u202eevil"]
    path = write_rows(tmp_path / "a.parquet", [row(n, re_caption=text, org_caption=text) for n, text in enumerate(texts)])
    images = download(tmp_path / "images", members(*(sample(n) for n in range(5))))
    report(ask(path, "--images", images, "--out", tmp_path / "o", "--json"))
    assert [one.text for one in read_shards(tmp_path / "o")] == texts
    assert [one.meta["org_caption"] for one in read_shards(tmp_path / "o")] == texts


def test_bytes_that_are_no_text_are_an_error_of_the_file(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [row(n) for n in range(3)])
    table = pq.read_table(path)
    bad = pa.array([b"fine", b"\xff\xfe", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(table.set_column(table.column_names.index("re_caption"), "re_caption", bad), path)
    images = download(tmp_path / "images", members(*(sample(n) for n in range(3))))
    assert_two_line_error(ask(path, "--out", tmp_path / "u"), 1, "a.parquet is not a readable parquet file")
    assert_two_line_error(ask(path, "--images", images, "--out", tmp_path / "o"), 1, "a.parquet")


# Stopped, again, otherwise.


@pytest.mark.parametrize("to", ["webdataset", "rows"])
def test_a_stopped_import_goes_on_shard_by_shard_to_the_same_bytes(both, images, tmp_path, to, monkeypatch):
    from recap_caption.exchange import pairing

    report(ask(both, "--images", images, "--to", to, "--out", tmp_path / "whole", "--json"))
    real, calls = pairing._one, []

    def stopping(*given):
        calls.append(given[1].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(pairing, "_one", stopping)
    assert ask(both, "--images", images, "--to", to, "--out", tmp_path / "o").returncode == 130
    monkeypatch.setattr(pairing, "_one", lambda *given: calls.append(given[1].name) or real(*given))
    monkeypatch.setattr("recap_caption.exchange.joining.text_hashes", None)  # the images are not read again for the join
    report(ask(both, "--images", images, "--to", to, "--out", tmp_path / "o", "--json"))
    assert calls == ["00000", "00001", "00001"]
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "o" / path.name).read_bytes(), path.name


def test_a_tar_without_its_counts_is_made_again(both, images, tmp_path):
    """As a kill between the two leaves it."""
    report(ask(both, "--images", images, "--out", tmp_path / "o", "--json"))
    whole = (tmp_path / "o" / "00001.tar").read_bytes()
    (tmp_path / "o" / "00001_stats.json").unlink()
    (tmp_path / "o" / "00001.tar").write_bytes(b"something else")
    record = tmp_path / "o" / "exchange.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"report": None}))
    report(ask(both, "--images", images, "--out", tmp_path / "o", "--json"))
    assert (tmp_path / "o" / "00001.tar").read_bytes() == whole


def test_exact_reruns_touch_nothing_and_others_are_refused(both, images, tmp_path):
    words = (both, "--images", images, "--out", tmp_path / "o")
    report(ask(*words, "--json"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "o").iterdir()}
    assert report(ask(*words, "--json"))["done_before"]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "o").iterdir()}
    assert_two_line_error(ask(*words, "--to", "rows"), 2, "another command", "differs in makes")
    os.utime(both / "a.parquet", (1, 1))
    assert_two_line_error(ask(*words), 2, "differs in files")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("x")
    assert_two_line_error(ask(both, "--out", tmp_path / "mine"), 2, "is not empty")


def test_wrong_requests(both, images, tmp_path):
    out = ("--out", tmp_path / "o")
    assert_two_line_error(ask(tmp_path / "no", *out), 1, "is no file, folder or pattern")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    assert_two_line_error(ask(tmp_path / "bad.parquet", *out), 1, "bad.parquet is not a readable parquet file")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    assert_two_line_error(ask(tmp_path / "other.parquet", *out), 1, "no published caption set: a", "recap-datacomp-1b")
    coco(both / "z.parquet", 2)
    assert_two_line_error(ask(both, *out), 1, "are of different sets")
    (both / "z.parquet").unlink()
    assert_two_line_error(ask(both, "--to", "webdataset", *out), 2, "hold URLs, and no images", "--images SHARDS")
    assert_two_line_error(ask(both, "--to", "urls", "--images", images, *out), 2, "do not go together")
    assert_two_line_error(ask(both, "--images", tmp_path / "none", *out), 1, "none is not there")
    assert_two_line_error(ask(both, "--images", images, "--share", "0.5", *out), 2, "--share is of lists")
    assert_two_line_error(ask(coco(tmp_path / "c.parquet", 2), "--to", "urls", "--share", "0.5", *out), 2, "no sha256")
    assert ask(both, "--share", "0", *out).returncode == 2
    write_tar(tmp_path / "images" / "00009.tar", {})
    assert_two_line_error(ask("recap-datacomp-1b", *out), 2, "433 GB", "--files 0-9")
    assert_two_line_error(ask("recap-datacomp-1b", "--files", "0", *out), 1, "Cannot get UCSC-VLAA/Recap-DataComp-1B")
    assert not (tmp_path / "o").exists()


def test_of_a_set_on_the_hub_only_the_files_that_were_asked_for_are_fetched(both, tmp_path, monkeypatch):
    from recap_eval.models import hub

    asked = []
    monkeypatch.setattr(hub, "list_hub_files", lambda repo, pattern: ["a.parquet", "b.parquet"])
    monkeypatch.setattr(hub, "fetch_files", lambda repo, names, kind: asked.append((repo, names, kind)) or both)
    done = ask("recap-datacomp-1b", "--files", "1", "--out", tmp_path / "o")
    assert asked == [("UCSC-VLAA/Recap-DataComp-1B", ["b.parquet"], "dataset")]
    assert "10 of 10 rows of 1 files" in done.stdout and "import recap-datacomp-1b --files 1 --images" in done.stdout


@pytest.mark.serial
def test_a_killed_import_ends_as_one_that_was_not(tmp_path):
    """Killed whenever another shard is there, and given again, it leaves the bytes of a run without kills, and nothing else."""
    n, per = 12, 40
    write_rows(tmp_path / "set.parquet", [row(number) for number in range(n * per)])
    shards = [members(*(sample(number) for number in range(first, first + per))) for first in range(0, n * per, per)]
    images = download(tmp_path / "images", *shards)
    report(ask(tmp_path / "set.parquet", "--images", images, "--out", tmp_path / "whole", "--json"))
    words = ["import", "set.parquet", "--images", "images", "--out", "o"]
    kills, ended = 0, False
    while not ended:
        before = len(list((tmp_path / "o").glob("*_stats.json")))
        process = subprocess.Popen([sys.executable, "-m", "recap_caption.cli", *words], cwd=tmp_path, stderr=subprocess.DEVNULL)
        while (ended := process.poll() is not None) is False and kills < 4:
            if len(list((tmp_path / "o").glob("*_stats.json"))) > before:
                process.kill()
                kills += 1
                break
            time.sleep(0.001)
        code = process.wait()
        ended = code == 0
    assert kills >= 1
    assert {path.name for path in (tmp_path / "o").iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "o" / path.name).read_bytes(), path.name
