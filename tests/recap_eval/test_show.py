"""What a model got wrong, as a user asks for it; results are written by hand, so every failure is known."""

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import Card, Oracle
from PIL import Image
from support import ROOT

from recap_eval.cli import main
from recap_eval.commands.show import find_result
from recap_eval.data.items import CaptionedImages, CaptionPairs, CaptionQuads, DataId, FileImage, LabelledImages
from recap_eval.embed import Embedder
from recap_eval.errors import DataError, UserError
from recap_eval.failures import list_failures
from recap_eval.files import digest_file
from recap_eval.models.base import ModelId
from recap_eval.registry import get_task
from recap_eval.report.failures_page import failures_page, thumbnail
from recap_eval.report.failures_text import listing_text, visible
from recap_eval.report.render import render_board
from recap_eval.results import new_record, result_path, settings_of, write_result
from recap_eval.runner import identify
from recap_eval.tasks.base import ItemScores, Scores
from recap_eval.tasks.retrieval import score_retrieval

SOURCE = DataId("cards", "test", "f" * 64, "cards")
HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b]0;title\x07 \u202eevil\nline"


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """Lines are wrapped at the terminal's width, and the tests' paths are long."""
    monkeypatch.setenv("COLUMNS", "400")


def by_hand(root, metrics, task="scenes-zeroshot", model="hand", source=SOURCE, limit=None, precision="fp32"):
    """Write a result with these per-item scores; metrics that are not given are all right."""
    asked, known = get_task(task), ModelId(model, f"rev-{model}", protocol={"precision": precision})
    first = next(iter(metrics.values()))
    whole = {m.name: ItemScores(first.items, first.clusters, np.ones(len(first.items))) for m in asked.metrics} | metrics
    settings = settings_of(asked, known, limit)
    record = new_record(asked, known, source, settings, Scores(whole), {}) | {"run": {"command": f"recap-eval clip {model}"}}
    return write_result(result_path(root, asked, known, f"{settings}".encode().hex()[-8:]), record, Scores(whole))


def images_scored(values, given=None, rank=None):
    keys = [f"i{n}" for n in range(len(values))]
    return ItemScores(keys, keys, np.asarray(values, float), given, None if rank is None else np.asarray(rank, float))


def show(capsys, *words):
    code = main(["show", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def measured(models, world, tmp_path_factory):
    """Two models measured by the command on what shows every kind of failure."""
    root = tmp_path_factory.mktemp("show")
    words = [
        "--data",
        str(world),
        "--out",
        str(root),
        "--no-report",
        "--tasks",
        "scenes-zeroshot,scenes-retrieval,scenes-attributes",
    ]
    assert main(["clip", "--model", str(models[0.0, 0]), "--model", str(models[1.0, 0]), *words]) == 0
    return root


@pytest.fixture(scope="module")
def truth(world):
    return {row["key"]: row for row in pq.read_table(world / "test.parquet").to_pylist()}


def shown(capsys, measured, world, task, *words):
    code, out, _ = show(
        capsys, f"tiny-p1/{task}", "--leaderboards", measured, "--data", world, "--failures", 999, "--json", *words
    )
    assert code == 0
    told = json.loads(out)
    scores = pq.read_table(told["result"].replace(".json", ".parquet")).to_pylist()
    wrong = {row["item"] for row in scores if row["metric"] == told["metric"] and row["value"] < 1}
    assert {failure["item"] for failure in told["failures"]} == wrong and told["n_failures"] == len(wrong) > 0
    return told


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['x', 'show', '--help']\nfrom recap_eval.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not [n for n in ('torch', 'numpy', 'PIL', 'pyarrow', 'jinja2') if n in sys.modules]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "--against" in done.stdout, done.stderr


def test_failures_of_a_measured_model_are_those_of_the_truth(capsys, measured, world, truth):
    """Held against the parquet of truth, read by another way than the tasks'."""
    for failure in shown(capsys, measured, world, "scenes-zeroshot")["failures"]:
        row, main_thing = truth[failure["item"]], failure["right"][0]["text"]
        assert failure["put_first"]["text"] != main_thing and main_thing in row["long_caption"].lower()
        assert failure["asked"]["image"].endswith(f"00000.tar:{failure['item']}.jpg") and failure["rank"] > 1
    for failure in shown(capsys, measured, world, "scenes-retrieval", "--metric", "t2i_r1")["failures"]:
        key, number = failure["item"].split("#")
        assert failure["asked"]["text"] == truth[key]["captions"][int(number) % 5]
        assert failure["right"][0]["id"] == key and failure["right"][0]["image"].endswith(f"{key}.jpg")
        assert failure["put_first"]["image"].endswith(f"{failure['put_first']['id']}.jpg")
    for failure in shown(capsys, measured, world, "scenes-retrieval")["failures"]:
        assert [thing["text"] for thing in failure["right"]] == truth[failure["item"]]["captions"]
        owner = failure["put_first"]["id"].split("#")[0]
        assert failure["put_first"]["text"] in truth[owner]["captions"]
    for failure in shown(capsys, measured, world, "scenes-attributes")["failures"]:
        pair = {"kind": "attribute", "positive": failure["right"][0]["text"], "negative": failure["put_first"]["text"]}
        assert pair in truth[failure["asked"]["id"]]["pairs"] and failure["rank"] is None


def test_the_terminal_says_what_was_put_first(capsys, measured, world):
    code, out, _ = show(capsys, "tiny-p1/scenes-zero", "--leaderboards", measured, "--data", world, "--failures", 3)
    assert code == 0 and "acc@1" in out and " ± " in out
    assert re.search(r"^3 of \d+ failures, of 48 items; drawn by the hash", out, re.MULTILINE)
    assert len(re.findall(r"^ +\d\. image +\S+00000.tar:\d+.jpg$", out, re.MULTILINE)) == 3
    assert len(re.findall(r"^ +right +\w+ \w+$", out, re.MULTILINE)) == 3
    assert len(re.findall(r"^ +put first +\w+ \w+$", out, re.MULTILINE)) == 3
    assert len(re.findall(r"^ +rank +[\d.]+ of 64$", out, re.MULTILINE)) == 3


def test_other_data_is_refused_and_absent_data_leaves_the_ids(capsys, measured, world, tmp_path):
    from recap_eval.data.scenes.write import World, write_world

    write_world(tmp_path / "other", World(n=4, n_eval=48, seed=5), workers=1)
    where = ["tiny-p1/scenes-retr", "--leaderboards", measured, "--metric", "t2i_r1"]
    code, out, err = show(capsys, *where, "--data", tmp_path / "other")
    assert code == 1 and not out and "is not what" in err and "fingerprint" in err and "--data DIR" in err
    code, out, _ = show(capsys, *where, "--data", tmp_path)
    assert code == 0 and "no scenes/scenes.json" in out and "recap-eval scenes" in out
    assert re.search(r"item +\d{9}#\d+\n +put first +\d{9}\n +rank +\d", out)
    code, _, err = show(capsys, *where, "--data", tmp_path, "--html", tmp_path / "page.html")
    assert code == 1 and err.startswith("error: A page shows images.") and not (tmp_path / "page.html").exists()


def test_the_data_is_known_by_the_runners_own_fingerprint(capsys, world, tmp_path):
    data = get_task("scenes-zeroshot").load(world)
    source = identify(Embedder(Oracle([]), progress=False), data)
    keys = [image.key for image in data.images]
    scores = ItemScores(keys, keys, np.array([0.0] + [1.0] * 47), ["red ring"] + [None] * 47, np.ones(48) * 2)
    result = by_hand(tmp_path, {"acc1": scores}, source=source)
    code, out, _ = show(capsys, result.path, "--data", world)
    assert code == 0 and "1 of 1 failures, of 48 items" in out and "red ring" in out


@pytest.mark.parametrize("limit", [None, 3])
def test_caption_numbers_run_over_the_images_measured(limit, tmp_path):
    """The second image is unreadable and left out: numbers after it move up, and the texts must move with them."""
    cards = [Card(f"i{n}", n, b"broken" if n == 1 else None) for n in range(4)]
    captions = [[f"text {n}.{k}" for k in range(n + 1)] for n in range(4)]
    data = CaptionedImages(SOURCE, cards, captions)
    embedder = Embedder(Oracle(["never", "said", "by", "anyone"]), skip_bad=True, progress=False)
    scores = score_retrieval(embedder, data if limit is None else data.first(limit))
    result = by_hand(tmp_path, scores.metrics, "scenes-long", limit=limit)
    kept = [0, 2, 3][: 2 if limit else 3]
    names = {}
    for n in kept:
        names |= {f"i{n}#{len(names) + k}": text for k, text in enumerate(captions[n])}
    to_image = list_failures(result, "t2i_r1", data, most=99)
    assert to_image.shown and all(failure.asked.text == names[failure.item] for failure in to_image.shown)
    assert to_image.among == len(kept)
    for failure in list_failures(result, "i2t_r1", data, most=99).shown:
        assert failure.given.text == names[failure.given.id] and failure.given.image.key == failure.given.id.split("#")[0]
        assert [thing.text for thing in failure.right] == captions[int(failure.item[1:])]


def test_pairs_after_a_limit_and_labels_with_several_right_classes(tmp_path):
    cards = [Card(f"i{n}", n) for n in range(3)]
    pairs = CaptionPairs(SOURCE, cards, [(2, "t0", "f0"), (0, "t1", "f1"), (1, "t2", "f2")])
    scores = ItemScores(["i0#0", "i1#1"], ["i0", "i1"], np.array([0.5, 0.0]), ["f1", "f2"])
    found = list_failures(by_hand(tmp_path, {"acc": scores}, "scenes-attributes", limit=2), "acc", pairs, order="first")
    assert [(f.asked.id, f.right[0].text, f.given.text) for f in found.shown] == [("i0", "t1", "f1"), ("i1", "t2", "f2")]
    assert found.n_ties == 1 and "tie" in listing_text(found, "acc", [], 80)
    labelled = LabelledImages(SOURCE, cards, [(0, 1), (2,), (1,)], ["cat", "dog", "owl"])
    found = list_failures(by_hand(tmp_path, {"acc1": images_scored([0, 1, 1], ["owl", None, None])}), "acc1", labelled)
    assert [thing.text for thing in found.shown[0].right] == ["cat", "dog"] and found.among == 3


def test_cases_of_two_images_show_both_with_their_captions(tmp_path):
    quads = CaptionQuads(SOURCE, [Card(f"i{n}", n) for n in range(4)], [("a", "b"), ("c", "d")])
    scores = ItemScores(["i0#0", "i2#1"], ["i0", "i2"], np.array([1.0, 0.0]), [None, "i2: d"])
    found = list_failures(by_hand(tmp_path, {"acc": scores}, "scenes-attributes"), "acc", quads)
    assert [(thing.text, thing.image.key) for thing in found.shown[0].right] == [("c", "i2"), ("d", "i3")]
    text, (page, _) = listing_text(found, "acc", [], 80), failures_page(found, "acc", [])
    assert "i2#1" in text and "i2: d" in text and page.count("<img") == 2


def test_a_result_that_does_not_fit_the_data_is_an_error_and_no_traceback(tmp_path):
    data = LabelledImages(SOURCE, [Card("other", 0)], [0], ["cat"])
    with pytest.raises(DataError, match="'i0' of the result is not in the data"):
        list_failures(by_hand(tmp_path, {"acc1": images_scored([0], ["dog"])}), "acc1", data)
    captions = CaptionedImages(SOURCE, [Card("i0", 0)], [["a"]])
    for wrong in ("i0#7", "i0#x", "i1#0"):
        scores = images_scored([0], [wrong])
        with pytest.raises(DataError, match="not in the data"):
            list_failures(by_hand(tmp_path, {"i2t_r1": scores}, "scenes-long"), "i2t_r1", captions)


def test_orders(tmp_path):
    n = 200
    one = by_hand(tmp_path, {"acc1": images_scored([0] * n, ["x"] * n, range(2, n + 2))}, model="one")
    few = by_hand(tmp_path, {"acc1": images_scored([0, 1] * (n // 2), ["x", None] * (n // 2), range(2, n + 2))}, model="two")

    def ids(result, most, order):
        return [failure.item for failure in list_failures(result, "acc1", None, most, order).shown]

    drawn = ids(one, n, "random")
    assert ids(one, 20, "random") == drawn[:20] and sorted(drawn) == sorted(ids(one, n, "first")) != drawn
    assert ids(few, 20, "random") == [item for item in drawn if int(item[1:]) % 2 == 0][:20], "another model, the same draw"
    assert 60 < np.mean([int(item[1:]) for item in drawn[:50]]) < 140, "spread over the data"
    assert ids(one, 3, "first") == ["i0", "i1", "i2"] and ids(one, 3, "worst") == ["i199", "i198", "i197"]
    with pytest.raises(UserError, match="no ranks"):
        list_failures(by_hand(tmp_path, {"acc1": images_scored([0], ["x"])}), "acc1", None, 20, "worst")


def test_metrics_that_keep_what_was_put_first_with_another(tmp_path):
    acc1 = images_scored([0, 1, 0], ["owl", None, "cat"], [9, 1, 2])
    metrics = {"acc1": acc1, "acc5": images_scored([0, 1, 1]), "mpcr": images_scored([-0.7, 1.9, 0.1])}
    result = by_hand(tmp_path, metrics)
    (failure,) = list_failures(result, "acc5", None).shown
    assert (failure.item, failure.given.id, failure.rank) == ("i0", "owl", 9)
    found = list_failures(result, "mpcr", None)
    assert {failure.item for failure in found.shown} == {"i0", "i2"} and "average" in listing_text(found, "mpcr", [], 80)
    odd = by_hand(tmp_path, {"acc": images_scored([-0.7, 1.9])}, "scenes-attributes")
    with pytest.raises(UserError, match="without right and wrong"):
        list_failures(odd, "acc", None)


def test_against_counts_the_four_cells_and_shows_what_only_the_other_gets_right(capsys, tmp_path):
    ours = by_hand(tmp_path, {"acc1": images_scored([1, 1, 1, 0, 0, 0.5, 0], [None] * 3 + ["x"] * 4)}, model="ours")
    by_hand(tmp_path, {"acc1": images_scored([1, 1, 0, 1, 1, 1, 0], [None] * 2 + ["x"] + [None] * 3 + ["x"])}, model="theirs")
    words = ["ours/scenes-zero", "--against", "theirs/scenes-zero", "--leaderboards", tmp_path, "--data", tmp_path]
    code, out, _ = show(capsys, *words, "--json")
    told = json.loads(out)
    assert code == 0 and {failure["item"] for failure in told["failures"]} == {"i3", "i4", "i5"}
    cells = told["cells"]
    assert [cells[name] for name in ("both_right", "only_ours", "only_theirs", "both_wrong")] == [2, 1, 3, 1]
    assert cells["difference"]["value"] == pytest.approx((3.5 - 5) / 7)
    out = show(capsys, *words)[1]
    assert "3 of 3 items that ours gets wrong and theirs right, of 7 items" in out
    assert "both right 2, only ours 1, only theirs 3, both wrong 1" in out and "ours minus theirs: -21.4 [" in out
    assert "gets no item wrong that ours" in show(capsys, ours.path, "--against", ours.path, "--data", tmp_path)[1]


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"precision": "bf16"}, "settings.precision is fp32 in one and bf16 in the other"),
        ({"source": DataId("cards", "val", "e" * 64, "cards")}, "data is fff"),
        ({"limit": 2}, "settings.limit"),
        ({"task": "scenes-attributes"}, "task is scenes-zeroshot"),
        ({"n": 1}, "the same items"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_field(other, field, tmp_path):
    ours = by_hand(tmp_path / "a", {"acc1": images_scored([0, 1], ["x", None])})
    other = {"task": "scenes-zeroshot"} | other
    scores = {"acc1" if other["task"] == "scenes-zeroshot" else "acc": images_scored([1, 1][: other.pop("n", 2)])}
    with pytest.raises(DataError, match=re.escape(field)):
        list_failures(ours, "acc1", None, against=by_hand(tmp_path / "b", scores, **other))


def test_results_from_before_what_was_put_first_was_kept(capsys, tmp_path):
    result = by_hand(tmp_path, {"acc1": images_scored([0, 1], ["x", None], [2, 1])})
    items = result.path.with_suffix(".parquet")
    pq.write_table(pq.read_table(items).drop_columns(["given", "rank"]), items)
    record = json.loads(result.path.read_text())
    record["items"]["sha256"] = digest_file(items)
    result.path.write_text(json.dumps(record))
    code, out, _ = show(capsys, result.path, "--data", tmp_path)
    assert code == 0 and "1 of 1 failures" in out and "put first  " not in out
    assert "recap-eval clip --model … --tasks scenes-zeroshot --force" in " ".join(out.split())
    items.write_bytes(b"damaged")
    code, _, err = show(capsys, result.path, "--data", tmp_path)
    assert code == 1 and "was changed" in err


def test_results_are_found_by_clear_beginnings(tmp_path):
    for model in ("tiny-p0", "tiny-p0.5", "ViT-B-32/openai"):
        by_hand(tmp_path, {"acc1": images_scored([0], ["x"])}, model=model)
    by_hand(tmp_path, {"acc": images_scored([0], ["x"])}, "scenes-attributes", "tiny-p0.5")

    def name(words):
        found = find_result(words, tmp_path)
        return found.model, found.task

    assert name("tiny-p0/scenes-zeroshot") == ("tiny-p0", "scenes-zeroshot"), "a full name comes before a beginning"
    assert name("tiny-p0.5/scenes-a") == ("tiny-p0.5", "scenes-attributes")
    assert (
        name("ViT-B-32/openai/scenes")
        == name("ViT-B-32-op/s")
        == name("ViT-B-32/openai")
        == ("ViT-B-32/openai", "scenes-zeroshot")
    )
    folder = next(path for path in tmp_path.glob("results/tiny-p0-*/*.json"))
    assert (
        find_result(f"{folder.parent.name}/{folder.stem}", tmp_path).path == find_result(str(folder), tmp_path).path == folder
    )


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["tiny/scenes"], 2, ["names 2 results", "tiny-a-", "tiny-b-", "/scenes-zeroshot-"]),
        (["tinny-a/scenes-zeroshot"], 2, ["Did you mean 'tiny-a/scenes-zeroshot'"]),
        (["absent.json"], 1, ["absent.json does not exist"]),
        (["tiny-a/s", "--metric", "acc2"], 2, ["Unknown metric", "Did you mean 'acc"]),
        (["tiny-a/s", "--against", "x/y"], 2, ["'x/y' is no file"]),
        (["x/y", "--leaderboards", "nowhere"], 2, ["no results under nowhere/results", "--leaderboards"]),
    ],
)
def test_wrong_words_are_told_in_two_lines(words, code, fragments, capsys, tmp_path):
    for model in ("tiny-a", "tiny-b"):
        by_hand(tmp_path, {"acc1": images_scored([0], ["x"])}, model=model)
    done, out, err = show(capsys, "--leaderboards", tmp_path, "--data", tmp_path, *words)
    assert done == code and not out and len(err.splitlines()) == 2 and err.startswith("error: ")
    assert all(fragment in err for fragment in fragments), err


def test_no_failures(capsys, tmp_path):
    result = by_hand(tmp_path, {"acc1": images_scored([1, 1], [None, None])})
    assert "hand gets no item wrong, of 2 items." in show(capsys, result.path, "--data", tmp_path)[1]


def hostile_listing(tmp_path, metric="i2t_r1", model=HOSTILE):
    """Three images with boxes, one of them unreadable, under hostile texts and keys."""
    keys, files = ["a<b>", 'k"onload="x', "c"], [tmp_path / f"{n}.png" for n in range(3)]
    for file, colour in zip(files, ("red", "blue", "lime"), strict=True):
        image = Image.new("RGB", (600, 300), "white")
        image.paste(colour, (0, 0, 100, 300))
        image.save(file)
    files[2].write_bytes(b"no image")
    images = [FileImage(key, file, (10, -5, 60, 9999)) for key, file in zip(keys, files, strict=True)]
    data = CaptionedImages(SOURCE, images, [[HOSTILE], ["x" * 300], ["plain"]])
    names = [f"{key}#{n}" for n, key in enumerate(keys)]
    first = {"i2t_r1": ItemScores(keys, keys, np.zeros(3), names[1:] + names[:1], np.array([2.0, 3, 1234567.5]))}
    first["t2i_r1"] = ItemScores(names, keys, np.zeros(3), keys[1:] + keys[:1], np.array([2.0, 3, 4]))
    return list_failures(by_hand(tmp_path, first, "scenes-long", model), metric, data)


def test_hostile_text_is_harmless_in_a_terminal(tmp_path):
    text = listing_text(hostile_listing(tmp_path), "R@1", [], 60)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert r"\x1b[31mred\x1b]0;title\x07" in " ".join(text.split()) and r"\u202eevil\nline" in text
    assert max(map(len, text.splitlines())) <= 60 and "1,234,567.5 of 3" in text
    assert visible("\ud800 ok \u200d é 漢\n", keep="\n") == "\\ud800 ok \u200d é 漢\n"


class Page(HTMLParser):
    """Collects a page's tags and images."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize(("metric", "pictures"), [("i2t_r1", 4), ("t2i_r1", 4)])
def test_the_page_is_whole_harmless_and_says_nothing_of_places(metric, pictures, tmp_path):
    """Three cards with two pictures each; a third of the pictures cannot be read."""
    page, unread = failures_page(hostile_listing(tmp_path, metric), "R@1", [])
    found = Page(page)
    assert unread == 1 and "1 of 3 images cannot be read" in page and page.count('class="lost"') == 2
    assert not [tag for tag, _ in found.tags if tag in ("script", "link", "iframe")]
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    policy = next(attrs["content"] for tag, attrs in found.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src 'self' data:")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page) and str(tmp_path) not in page
    assert "<script>alert(1)</script>" in "".join(found.words), "shown as text"
    assert len(found.images) == pictures and all(image["alt"] for image in found.images)
    for image in found.images:
        small = Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/jpeg;base64,"))))
        assert small.format == "JPEG" and max(small.size) == 256 and small.size == (int(image["width"]), int(image["height"]))
        assert small.getpixel((small.width - 3, 5))[1] < 60, "cut to the box: no white"


def test_a_thumbnail_of_a_box_outside_its_image_is_a_placeholder(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert thumbnail(FileImage("a", tmp_path / "a.png", (30, 0, 40, 10))).uri is None
    small = thumbnail(FileImage("a", tmp_path / "a.png"))
    assert (small.width, small.height, small.coarse) == (20, 10, True), "never enlarged"
    assert thumbnail(FileImage("a", tmp_path / "absent.png")).uri is None


def test_the_page_of_a_measured_model(capsys, measured, world, tmp_path):
    words = ["--leaderboards", measured, "--data", world, "--failures", 4, "--html", tmp_path / "sub" / "page.html"]
    code, out, _ = show(capsys, "tiny-p1/scenes-retr", "--metric", "t2i_r1", *words)
    text = (tmp_path / "sub" / "page.html").read_text()
    assert code == 0 and f"Page: {tmp_path}" in out
    assert text.count('<li class="card') == 4 and len(Page(text).images) == 8
    assert "T→I R@1" in text and " ± " in text and "tie_rule expectation" in text and "fingerprint" in text and "of 48" in text
    code, out, _ = show(capsys, "tiny-p1/scenes-attr", *words, "--against", "tiny-p0/scenes-attr", "--json")
    assert code == 0 and json.loads(out)["unreadable_images"] == 0
    text = (tmp_path / "sub" / "page.html").read_text()
    assert "tiny-p0-s0 right" in text and (json.loads(out)["n_failures"] == 0 or "<mark>" in text)


def test_a_page_lies_where_reports_lead_to_it(capsys, measured, world, tmp_path):
    words = ["--leaderboards", measured, "--data", world, "--reports", tmp_path]
    code, out, _ = show(capsys, "tiny-p1/scenes-zero", *words, "--json")
    page = Path(json.loads(out)["html"])
    assert code == 0 and page.is_file() and page.parents[1] == tmp_path / "failures"
    render_board("clip", measured, tmp_path)
    assert f"({page.relative_to(tmp_path).as_posix()})" in (tmp_path / "clip.md").read_text()
    code, _, err = show(capsys, "tiny-p1/scenes-zero", *words, "--metric", "acc5")
    assert code == 2 and "--html FILE" in err
