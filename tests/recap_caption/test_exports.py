import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fake_engine import FakeEngine
from published import download, newer, row, sample, write_rows
from small_inputs import caption, image, keys_of, rows_of, write_shards
from support import assert_two_line_error, recap

from recap_caption.exchange.card import median
from recap_caption.prompts import Prompt, Sampling
from recap_caption.rows import PUBLISHED, schema
from recap_caption.run.generation import begin_retry
from recap_caption.run.worker import Worker
from recap_eval.data.shards import read_shards

PLAIN = Prompt("plain", "Describe it.")
DRAWN = Prompt("drawn", "Say: {org_caption}", sampling=Sampling(temperature=1.0, top_k=5), samples=2)
TYPES = ["string"] * 5 + ["double"] * 2 + ["int64"] * 4  # of the published data set's card


def ask(*words, **options):
    return recap("recap-caption", "export", *words, **options)


def report(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def published(folder):
    """The rows of a release, in the order of its files."""
    files = sorted((folder / "data").glob("*.parquet"))
    return [found for path in files for found in pq.read_table(path).to_pylist()]


@pytest.fixture
def run(tmp_path):
    """A run of 3 shards of 10: images 1 and 6 of each are none, and some of the others fail."""
    return caption(tmp_path / "run", write_shards(tmp_path / "in", bad=5), FakeEngine(fail=0.3))[0]


def statuses(run):
    return dict(Counter(one["status"] for one in rows_of(run)))


# The published schema.


def test_a_run_becomes_the_eleven_columns_and_failures_are_counted(run, tmp_path):
    facts = report(ask(tmp_path / "run", "--out", tmp_path / "o", "--json"))
    kept = [one for one in rows_of(run) if one["status"] == "ok"]
    assert facts["rows"] == 30 and facts["written"] == len(kept) < 24 and facts["statuses"] == statuses(run)
    assert set(facts["statuses"]) == {"ok", "bad_image", "engine_error"}
    files = sorted((tmp_path / "o" / "data").iterdir())
    assert [path.name for path in files] == [f"train-0000{n}-of-00003.parquet" for n in range(3)]
    for path in files:
        kinds = pq.read_schema(path)
        assert kinds.names == list(PUBLISHED) and [str(kind) for kind in kinds.types] == TYPES
    assert published(tmp_path / "o") == [{name: one[name] for name in PUBLISHED} for one in kept]


def test_failures_are_kept_as_null_where_that_is_said(run, tmp_path):
    facts = report(ask(tmp_path / "run", "--out", tmp_path / "o", "--failed", "keep", "--json"))
    found = published(tmp_path / "o")
    assert facts["written"] == 30 and [one["key"] for one in found] == keys_of()
    lost = [one for one in found if one["re_caption"] is None]
    assert len(lost) == facts["without"] == 30 - facts["statuses"]["ok"]
    assert all(one["org_caption"] and one["re_length"] is None and one["org_length"] == 2 for one in lost)
    assert "Rows without a recaption are in it, with null." in (tmp_path / "o" / "README.md").read_text()


def test_of_generations_the_newest_counts(run, tmp_path):
    before = statuses(run)["engine_error"]
    generation = begin_retry(run, ("engine_error",))
    Worker(run, FakeEngine(), "again", generation=generation).work()
    facts = report(ask(tmp_path / "run", "--out", tmp_path / "o", "--json"))
    assert before and facts["statuses"] == {"ok": 24, "bad_image": 6} and len(published(tmp_path / "o")) == 24
    again = report(ask(tmp_path / "run" / "captions", "--out", tmp_path / "p", "--json"))
    assert again["written"] == 24, "of a folder of files, too"


def test_one_of_several_captions_is_named(tmp_path):
    run, _ = caption(tmp_path / "run", write_shards(tmp_path / "in", 2, 3), prompts=[PLAIN, DRAWN])
    out = ("--out", tmp_path / "o")
    assert_two_line_error(ask(tmp_path / "run", *out), 2, "captions by 2 prompts: plain, drawn", "--prompt ID")
    assert_two_line_error(ask(tmp_path / "run", *out, "--prompt", "drwan"), 2, "Did you mean 'drawn'")
    assert_two_line_error(ask(tmp_path / "run", *out, "--prompt", "drawn"), 2, "2 captions an image", "--sample 1")
    assert_two_line_error(ask(tmp_path / "run", *out, "--prompt", "plain", "--sample", "1"), 2, "counted from 0 to 0")
    facts = report(ask(tmp_path / "run", *out, "--prompt", "drawn", "--sample", "1", "--json"))
    mine = [one for one in rows_of(run) if (one["prompt_id"], one["sample_index"]) == ("drawn", 1)]
    assert [one["re_caption"] for one in published(tmp_path / "o")] == [one["re_caption"] for one in mine]
    assert (facts["rows"], facts["other"], facts["written"]) == (6, 12, 6)
    files = tmp_path / "run" / "captions" / "*.parquet"
    assert_two_line_error(ask(files, "--out", tmp_path / "p"), 2, "have 3 captions an image", "--prompt drawn --sample 1")
    assert_two_line_error(ask(files, "--out", tmp_path / "p", "--prompt", "x"), 2, "have no such captions")
    report(ask(files, "--out", tmp_path / "p", "--prompt", "drawn", "--sample", "1", "--json"))
    assert published(tmp_path / "p") == published(tmp_path / "o")


def test_a_run_that_has_not_ended_is_refused_unless_that_is_said(run, tmp_path):
    (tmp_path / "run" / "captions" / "00001.parquet").unlink()
    assert_two_line_error(ask(tmp_path / "run", "--out", tmp_path / "o"), 1, "1 of 3 shards", "--partial")
    facts = report(ask(tmp_path / "run", "--out", tmp_path / "o", "--partial", "--json"))
    assert facts["rows"] == 20 and facts["missing_shards"] == 1
    assert "1 shards of the input were not captioned" in (tmp_path / "o" / "README.md").read_text()
    for path in (tmp_path / "run" / "captions").iterdir():
        path.unlink()
    assert_two_line_error(ask(tmp_path / "run", "--partial", "--out", tmp_path / "p"), 1, "has no captions yet")


def test_published_rows_of_both_generations_come_out_in_one_schema(tmp_path):
    write_rows(tmp_path / "set" / "a.parquet", [row(n) for n in range(3)])
    odd = [newer(4, re_caption=None), newer(5, re_length=None, org_caption="a b c")]
    write_rows(tmp_path / "set" / "b.parquet", [newer(3), *odd])
    facts = report(ask(tmp_path / "set", "--out", tmp_path / "o", "--json"))
    assert (facts["rows"], facts["written"], facts["statuses"]) == (6, 5, {})
    found = published(tmp_path / "o")
    assert found[:4] == [row(n) for n in range(4)] and found[4]["re_length"] == 5 and found[4]["org_length"] == 2
    assert {str(pq.read_schema(path).types) for path in (tmp_path / "o" / "data").iterdir()} == {
        str([schema().field(name).type for name in PUBLISHED])
    }


def test_import_of_an_export_gives_the_captions_back(run, tmp_path):
    """Out and in again: URL lists and, with the run's own images, all captions."""
    report(ask(tmp_path / "run", "--out", tmp_path / "o", "--json"))
    back = recap("recap-caption", "import", tmp_path / "o" / "data", "--images", tmp_path / "in", "--to", "rows",
                 "--out", tmp_path / "back", "--json")  # fmt: skip
    facts = report(back)
    good = [one for one in rows_of(run) if one["status"] == "ok"]
    assert facts["outcomes"]["paired"] == len(good)
    found = [one for path in sorted((tmp_path / "back").glob("*.parquet")) for one in pq.read_table(path).to_pylist()]
    for name in ("key", "re_caption", "org_caption", "sha256", "url", "re_length"):
        assert [one[name] for one in found] == [one[name] for one in good], name


# The card.


def card_of(folder):
    head, _, text = (folder / "README.md").read_text().removeprefix("---\n").partition("\n---\n")
    return yaml.safe_load(head), text


def test_the_card_s_head_is_what_the_hub_reads(run, tmp_path):
    from huggingface_hub import DatasetCard

    words = ("--name", 'mine: "a" #1 – é', "--licence", "cc-by-4.0")
    facts = report(ask(tmp_path / "run", "--out", tmp_path / "o", *words, "--json"))
    head, _ = card_of(tmp_path / "o")
    card = DatasetCard.load(tmp_path / "o" / "README.md")
    assert card.data.license == head["license"] == "cc-by-4.0" and head["pretty_name"] == 'mine: "a" #1 – é'
    assert head["size_categories"] == ["n<1K"] and head["configs"][0]["data_files"][0]["path"] == "data/train-*.parquet"
    features = head["dataset_info"]["features"]
    assert [one["name"] for one in features] == list(PUBLISHED)
    assert [one["dtype"] for one in features] == [kind.replace("double", "float64") for kind in TYPES]
    assert head["dataset_info"]["splits"][0]["num_examples"] == facts["written"]


def test_the_card_tells_counts_lengths_model_and_prompt(tmp_path):
    hostile = Prompt("odd", "Tell ```|<b>``` it.\n````\n# no heading", system="Be <b>brief</b>.")
    says = {f"00000000{n}": "word " * (n + 1) + "end." for n in range(5)}

    def say(request, payload):
        return says[payload[3:].decode()]

    engine = FakeEngine("org/model", say=say)
    run, _ = caption(tmp_path / "run", write_shards(tmp_path / "in", 1, 5), engine, prompts=[hostile])
    report(ask(tmp_path / "run", "--out", tmp_path / "o", "--json"))
    _, text = card_of(tmp_path / "o")
    assert "| captioned or tried | 5 |" in text and "| written | 5 |" in text
    assert "| recaption | 5 | 4.00 | 4 | 6 |" in text and "| original | 5 | 2.00 | 2 | 2 |" in text
    assert "- `org/model`: 5 captions" in text and f"run `{run.run_id}`" in text and "max_new_tokens 128" in text
    assert "`````text\nTell ```|<b>``` it.\n````\n# no heading\n`````" in text, "nothing in a prompt ends its block"
    assert "- system message:\n\n```text\nBe <b>brief</b>.\n```" in text


@pytest.mark.parametrize("numbers", [[3], [1, 2], [5, 1, 1], [0, 0, 9, 9, 9], list(range(50)) * 3])
def test_the_median_is_the_lower_one(numbers):
    import statistics

    assert median(Counter(numbers)) == statistics.median_low(numbers)


def test_nothing_to_write_makes_a_card_without_lengths(tmp_path):
    write_rows(tmp_path / "a.parquet", [row(0, re_caption="x", org_caption="y")])
    table = pq.read_table(tmp_path / "a.parquet").slice(0, 0)
    pq.write_table(table, tmp_path / "a.parquet")
    facts = report(ask(tmp_path / "a.parquet", "--out", tmp_path / "o", "--json"))
    assert facts["written"] == 0 and "Words a caption" not in card_of(tmp_path / "o")[1]
    assert pq.read_table(tmp_path / "o" / "data" / "train-00000-of-00001.parquet").num_rows == 0


# Shards.


def test_a_run_s_own_images_and_captions_become_shards(run, tmp_path):
    facts = report(ask(tmp_path / "run", "--to", "webdataset", "--out", tmp_path / "o", "--json"))
    good = {one["key"]: one for one in rows_of(run) if one["status"] == "ok"}
    assert facts["outcomes"] == {"paired": len(good), "failed": 30 - len(good)} and facts["shards"] == 3
    found = read_shards(tmp_path / "o")
    assert [one.key for one in found] == list(good)
    for one in found:
        told = good[one.key]
        assert one.read_image() == image(one.key) and one.text == one.meta["re_caption"] == told["re_caption"]
        assert one.meta["org_caption"] == f"alt {one.key}" and one.meta["model_id"] == "fake-1"
        assert one.meta["prompt_id"] == "plain" and one.meta["sha256"] == told["sha256"]


def test_folders_and_parts_become_shards_too(tmp_path):
    """No tar was captioned here: outputs are parts of fixed size."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.jpg").write_bytes(image(number))
        (folder / f"{number}.txt").write_text(f"alt {number}")
    caption(tmp_path / "run", folder, part=3, prompts=[PLAIN, DRAWN])
    words = ("--to", "webdataset", "--prompt", "drawn", "--sample", "0", "--json")
    facts = report(ask(tmp_path / "run", *words, "--out", tmp_path / "o"))
    assert facts["outcomes"] == {"paired": 7} and facts["shards"] == 3
    assert [one.read_image() for one in read_shards(tmp_path / "o")] == [image(number) for number in range(7)]


def test_a_limited_run_gives_what_it_captioned(tmp_path):
    caption(tmp_path / "run", write_shards(tmp_path / "in"), limit=13)
    facts = report(ask(tmp_path / "run", "--to", "webdataset", "--out", tmp_path / "o", "--json"))
    assert facts["images"] == 13 and [one.key for one in read_shards(tmp_path / "o")] == keys_of()[:13]


def test_images_elsewhere_are_joined(run, tmp_path):
    """The same images in one shard, in another order and under other keys."""
    shuffled = {}
    for one in reversed(read_shards(tmp_path / "in")):
        meta = json.dumps({"sha256": one.meta["sha256"]}).encode()
        shuffled |= {f"n{one.key}.jpg": one.read_image(), f"n{one.key}.json": meta}
    images = download(tmp_path / "images", shuffled)
    words = (tmp_path / "run", "--to", "webdataset", "--images", images, "--json")
    facts = report(ask(*words, "--out", tmp_path / "o"))
    good = [one for one in rows_of(run) if one["status"] == "ok"]
    assert facts["outcomes"] == {"paired": len(good), "no_caption": 30 - len(good)}
    assert [one.text for one in read_shards(tmp_path / "o")] == [one["re_caption"] for one in reversed(good)]
    assert_two_line_error(ask(*words, "--join-on", "key", "--out", tmp_path / "k"), 1, "Not one of 30 images")


def test_recap_train_trains_from_it_by_the_preset(world, tmp_path):
    """Scenes, captioned: real images, so that training can decode them."""
    caption(tmp_path / "run", world / "val", FakeEngine(threads=4), original="json:org_caption")
    done = ask(tmp_path / "run", "--to", "webdataset", "--out", tmp_path / "o")
    assert done.returncode == 0 and f"--data {tmp_path / 'o'} --caption-preset recap-datacomp" in done.stdout
    words = ("--recipe", "scenes-tiny", "--samples-seen", 32, "--batch-size", 16, "--no-eval", "--p-original", "0.5")
    trained = recap(
        "recap-train", "clip", "--data", tmp_path / "o", "--caption-preset", "recap-datacomp", *words, "--out", tmp_path / "m"
    )
    assert trained.returncode == 0, trained.stderr
    one = read_shards(tmp_path / "o")[0]
    assert f"original:  {one.meta['org_caption'][:40]!r}"[:30] in trained.stderr and "recaption: 'There is" in trained.stderr


# Stopped, again, wrong.


def test_a_stopped_export_goes_on_and_a_rerun_does_nothing(run, tmp_path, monkeypatch):
    from recap_caption.exchange import publish

    words = (tmp_path / "run", "--name", "n", "--json")
    report(ask(*words, "--out", tmp_path / "whole"))
    real, calls = publish._publish, []

    def stopping(path, *rest):
        calls.append(path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(path, *rest)

    monkeypatch.setattr(publish, "_publish", stopping)
    assert ask(*words, "--out", tmp_path / "o").returncode == 130
    report(ask(*words, "--out", tmp_path / "o"))
    assert calls == ["00000.parquet", "00001.parquet", "00001.parquet", "00002.parquet"]
    for name in ("README.md", "data/train-00001-of-00003.parquet"):
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert report(ask(*words, "--out", tmp_path / "o"))["done_before"] and len(calls) == 4
    assert_two_line_error(ask(*words, "--failed", "keep", "--out", tmp_path / "o"), 2, "differs in keep_failed")


def test_a_changed_input_is_found_out(run, tmp_path):
    """Other images under the same keys would get captions of the old ones."""
    path = tmp_path / "in" / "00001.tar"
    path.write_bytes(path.read_bytes().replace(image("000010003"), image("000010009")))
    done = ask(tmp_path / "run", "--to", "webdataset", "--out", tmp_path / "o")
    assert_two_line_error(done, 1, "00001 is not what it was when it was captioned", "--images")
    assert not (tmp_path / "o").exists()


def test_a_damaged_output_is_found_out(run, tmp_path):
    path = tmp_path / "run" / "captions" / "00001.parquet"
    payload = bytearray(path.read_bytes())
    payload[40] ^= 1
    path.write_bytes(payload)
    done = ask(tmp_path / "run", "--to", "webdataset", "--out", tmp_path / "o")
    assert_two_line_error(done, 1, "00001.parquet")


def test_wrong_requests(run, tmp_path):
    out = ("--out", tmp_path / "o")
    assert_two_line_error(ask(tmp_path / "no", *out), 1, "is no file, folder or pattern")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    assert_two_line_error(ask(tmp_path / "a.parquet", *out), 1, "has no column 're_caption'")
    (tmp_path / "b.parquet").write_bytes(b"x")
    assert_two_line_error(ask(tmp_path / "b.parquet", *out), 1, "b.parquet is not a readable parquet")
    assert_two_line_error(ask(tmp_path / "run", *out, "--licence", "CC BY"), 2, "no identifier of a licence")
    assert_two_line_error(ask(tmp_path / "run", *out, "--images", tmp_path / "in"), 2, "--to webdataset")
    bare = {name: row(1)[name] for name in ("key", "url", "re_caption", "org_caption")}
    files = write_rows(tmp_path / "set" / "c.parquet", [bare])
    assert_two_line_error(ask(files, *out, "--to", "webdataset"), 2, "hold no images", "--images SHARDS")
    assert_two_line_error(ask(files, *out, "--prompt", "x"), 2, "do not say by which prompt")
    images = download(tmp_path / "images", sample(1))
    shards = (files, *out, "--to", "webdataset", "--images", images)
    assert_two_line_error(ask(*shards), 1, "has no column 'sha256'", "--join-on")
    report(ask(*shards, "--join-on", "url", "--json"))
    assert read_shards(tmp_path / "o")[0].meta["org_caption"] == "alt 1"
