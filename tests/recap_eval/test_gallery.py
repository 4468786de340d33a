"""Galleries: rows paired by prompt, scores matched by revision, only what is shown is opened, and prompts are text."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from fakes import Card, Oracle
from painters import Painter
from PIL import Image
from records import put_drawn, scores
from support import assert_two_line_error, recap
from test_generate import complete, painter
from test_t2i import MODEL

from recap_eval.cli import main
from recap_eval.embed import Embedder, read_characters
from recap_eval.errors import DataError, UserError
from recap_eval.gallery.pairing import pairing_notes
from recap_eval.gallery.scores import choose_score, find_scores
from recap_eval.gallery.sections import sections
from recap_eval.gallery.whole import Gallery
from recap_eval.generate.manifest import read_manifest, write_manifest
from recap_eval.generate.prompts import Prompt, PromptSet
from recap_eval.generate.run import Job
from recap_eval.generate.sheet import Sheet, Shot, read_sheet
from recap_eval.models.base import ModelId
from recap_eval.report import gallery_page
from recap_eval.tasks.base import Scores
from recap_eval.tasks.generation import PROMPT_READ, clip_scores

HOSTILE = "<script>alert(1)</script>\"' onerror=x \x1b[31mred\x07 \u202eevil " + "long " * 400


def prompts(n=12, shift=0):
    rows = (Prompt(f"id/{k + shift}", f"prompt {k + shift}", reference=f"real/{k + shift}") for k in range(n))
    return PromptSet("numbers", tuple(rows))


def sheet(n=10, name="a", seed=0, shift=0):
    shots = {(f"p{k + shift}", 0): Shot(f"prompt {k + shift}", None, "x", seed + k, f"r{k + shift}") for k in range(n)}
    return Sheet(name, f"rev-{name}", shots)


def put(root, word, one, values, keys=None, **other):
    """Write a result of a sheet's images."""
    keys = [f"p{k}" for k in range(len(values))] if keys is None else keys
    found = Scores(named(word, scores(values, items=keys)))
    return put_drawn(root, word, ModelId(one.name, one.revision), found, **other)


def named(word, items):
    from recap_eval.tasks.generation import TABLE

    return {metric.name: items for metric in TABLE[word].metrics}


class Dim(Painter):
    revision = "dim"

    def generate(self, prompts, seeds):
        return [image.point(lambda level: level // 2) for image in super().generate(prompts, seeds)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Folders of two models' images of the same prompts, and the first model's with another seed."""
    root = tmp_path_factory.mktemp("drawn")
    complete(Job(root / "a", prompts()))
    complete(Job(root / "b", prompts()), painter(Dim))
    complete(Job(root / "c", prompts(8, 4), seed=1))
    for k in range(20):
        (root / "real").mkdir(exist_ok=True)
        Image.new("RGB", (9, 7), (k * 10, 0, 0)).save(root / "real" / f"{k}.png")
    return root


def run(*words):
    return main(["gallery", *map(str, words)])


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.ids, self.tags = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.tags.append(tag)
        self.images += [facts] if tag == "img" else []
        self.links += [facts["href"]] if tag == "a" else []
        self.ids |= {facts["id"]} if "id" in facts else set()
        assert not any(name.startswith("on") for name in facts), facts


# ---- which rows


def test_a_sample_is_stable_and_the_beginning_of_a_larger_one():
    keys = {n: sections([sheet(40)], [], None, n)[0].keys for n in (3, 7, 100)}
    assert keys[7] == keys[100][:7] and keys[3] == keys[7][:3] and len(keys[100]) == 40
    turned = Sheet("b", "r", dict(reversed(sheet(40).shots.items())))
    assert sections([turned], [], None, 7)[0].keys == keys[7]
    assert list(keys[7]) != sorted(keys[7])


def test_sections_are_what_a_search_of_all_rows_gives(tmp_path):
    rng = np.random.default_rng(0)
    a, b = sheet(30), sheet(30, "b")
    values = {name: rng.random(30) for name in "ab"}
    cost = {name: rng.normal(30, 5, 30) for name in "ab"}
    for one in (a, b):
        put(tmp_path, "clip", one, values[one.name])
        put(tmp_path, "fid", one, cost[one.name])
    found, _ = found_scores([a, b], tmp_path)
    shown = {section.anchor: section for section in sections([a, b], found, choose_score(found, None), 4)}
    assert list(shown) == ["sample", "best", "worst", "differences", "cost"]
    mean, gap = values["a"] + values["b"], np.abs(values["a"] - values["b"])
    assert [key[0] for key in shown["best"].keys] == [f"p{k}" for k in np.argsort(-mean)[:4]]
    assert [key[0] for key in shown["worst"].keys] == [f"p{k}" for k in np.argsort(mean)[:4]]
    assert [key[0] for key in shown["differences"].keys] == [f"p{k}" for k in np.argsort(-gap)[:4]]
    above = [(value - cost[name].mean(), model, k) for model, name in enumerate("ab") for k, value in enumerate(cost[name])]
    worst = {(f"p{k}", model) for _, model, k in sorted(above, reverse=True)[:4]}
    assert {(key[0], model) for key, models in shown["cost"].marked.items() for model in models} == worst
    assert shown["cost"].keys[0] == (f"p{max(above)[2]}", 0) and set(shown["cost"].keys) == set(shown["cost"].marked)
    fid = next(score for score in found if score.task == "t2i-fid")
    assert fid.of(0, ("p3", 0)) == pytest.approx(cost["a"][3] - cost["a"].mean()) and fid.label == "FID"


def test_best_and_worst_never_share_a_row_and_equal_images_do_not_differ(tmp_path):
    one = sheet(5)
    put(tmp_path, "clip", one, [0.1, 0.5, 0.3, 0.2, 0.4])
    found, _ = found_scores([one], tmp_path)
    shown = {section.anchor: section.keys for section in sections([one], found, found[0], 8)}
    assert len(shown["best"]) == 3 and len(shown["worst"]) == 2 and not set(shown["best"]) & set(shown["worst"])
    two = sheet(5, "b")
    put(tmp_path, "clip", two, [0.1, 0.5, 0.3, 0.2, 0.4])
    found, _ = found_scores([one, two], tmp_path)
    assert "differences" not in {section.anchor for section in sections([one, two], found, found[0], 8)}


def test_one_image_and_none_with_a_score(tmp_path):
    one = sheet(1)
    assert [section.anchor for section in sections([one], [], None, 8)] == ["sample"]
    put(tmp_path, "clip", one, [0.3])
    found, _ = found_scores([one], tmp_path)
    assert [section.anchor for section in sections([one], found, found[0], 8)] == ["sample", "best"]


# ---- scores


def found_scores(sheets, root):
    from recap_eval.results import read_results

    return find_scores(sheets, read_results(root))


def test_scores_go_by_revision_and_never_by_name(tmp_path):
    put(tmp_path, "clip", replace(sheet(3), revision="another"), [0.1, 0.2, 0.3])
    assert found_scores([sheet(3)], tmp_path) == ([], {})
    put(tmp_path, "clip", replace(sheet(3), name="called otherwise"), [0.4, 0.5, 0.6])
    found, _ = found_scores([sheet(3)], tmp_path)
    assert [found[0].of(0, (f"p{k}", 0)) for k in range(3)] == [0.4, 0.5, 0.6] and found[0].of(0, ("p9", 0)) is None


def test_samples_of_one_prompt_have_scores_of_their_own(tmp_path):
    one = Sheet("a", "rev-a", {("p", k): Shot("x", None) for k in range(3)})
    put(tmp_path, "clip", one, [0.1, 0.2, 0.3], keys=["p", "p#1", "p#2"])
    found, _ = found_scores([one], tmp_path)
    assert [found[0].of(0, ("p", k)) for k in range(3)] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("word", "settings", "told"),
    [
        ("clip", {"n": 7}, ["n 40", "n 7"]),
        ("fid", {"extractor.resize": "tf1"}, ["extractor.resize clean", "extractor.resize tf1"]),
        ("fid", {"reference": "train"}, ["reference recap-coco-30k", "reference train"]),
    ],
)
def test_unlike_figures_stand_in_columns_of_their_own_and_are_not_held_against_each_other(tmp_path, word, settings, told):
    a, b = sheet(4), sheet(4, "b")
    put(tmp_path, word, a, [0.1, 0.2, 0.3, 0.4])
    put(tmp_path, word, b, [0.4, 0.3, 0.2, 0.1], settings=settings)
    found, _ = found_scores([a, b], tmp_path)
    mine = [score for score in found if score.metric == found[0].metric]
    assert len(mine) == 2 and len({score.label for score in mine}) == 2
    assert sorted(word for score in mine for word in told if f"{word})" in score.label) == sorted(told)
    assert "differences" not in {section.anchor for section in sections([a, b], found, choose_score(found, None), 4)}


def test_two_scorers_are_told_apart_by_name(tmp_path):
    put(tmp_path, "clip", sheet(2), [0.1, 0.2])
    put(tmp_path, "recap-clip", sheet(2), [0.1, 0.2], settings={"scorer": "recap"})
    found, _ = found_scores([sheet(2)], tmp_path)
    labels = [score.label for score in found if score.metric == "clip_score"]
    assert labels == ["CLIP score (ViT-B-32/openai)", "CLIP score (recap)"]


def test_a_score_is_chosen_by_name(tmp_path):
    put(tmp_path, "clip", sheet(2), [0.1, 0.2])
    put_drawn(tmp_path, "fid", ModelId("a", "rev-a"), Scores({}, corpus={"fd": 30.0}))
    found, _ = found_scores([sheet(2)], tmp_path)
    assert (
        choose_score(found, None).metric == "clip_score" and choose_score(found, "t2i-clip/r_precision").metric == "r_precision"
    )
    with pytest.raises(UserError, match="Unknown metric of these images"):
        choose_score(found, "clip_scor")
    with pytest.raises(UserError, match="a figure of the whole set"):
        choose_score(found, "fd")
    assert choose_score([], None) is None
    with pytest.raises(UserError):
        choose_score([], "fd")
    assert not [section for section in sections([sheet(2)], found, found[0], 4) if section.anchor == "cost"]


# ---- pairing


def test_what_does_not_pair_is_said():
    a, b = sheet(10), sheet(8, "b", seed=5, shift=4)
    notes = pairing_notes([a, b])
    assert "a: 2 of 12 prompts are missing." in notes and "b: 4 of 12 prompts are missing." in notes
    assert "b to a: 6 of 6 images were drawn with another seed, so that chance differs too." in notes
    assert pairing_notes([sheet(3), sheet(3, "b")]) == []
    assert "b and a have no prompt in common." in pairing_notes([sheet(3), sheet(3, "b", shift=50)])
    other = Sheet("c", "r", {key: replace(shot, prompt="x", seed=None) for key, shot in a.shots.items()})
    told = pairing_notes([a, other])
    assert "c to a: 10 of 10 images have another prompt under the same id." in told
    assert "c to a: 10 of 10 images have no known seed on one side." in told


# ---- what a scorer read


@pytest.mark.parametrize("seed", range(4))
def test_what_a_scorer_reads_is_the_longest_beginning_that_fits(seed):
    rng = np.random.default_rng(seed)
    texts = [
        " ".join("w" * rng.integers(1, 9) for _ in range(rng.integers(1, 40))) + " " * rng.integers(0, 3) for _ in range(20)
    ]

    def lengths(given):
        return [2 + sum(-(-len(word) // 3) for word in text.split()) for text in given]

    for text, end in zip(texts, read_characters(texts, lengths, 12), strict=True):
        ends = [0, *(match.end() for match in re.finditer(r"\S+", text))]
        assert end == max(place for place in ends if lengths([text[:place]])[0] <= 12 or place == 0)
    assert read_characters([], lengths, 12) == [] and read_characters(["w" * 99], lengths, 12) == [0]


def test_a_scorer_tells_which_prompts_it_cut_and_where():
    texts = ["a b c", "one two three four five six seven eight nine ten", "x y"]
    cards = [Card(f"c{k}", k) for k in range(3)]
    found = clip_scores(Embedder(Oracle(texts), progress=False), cards, texts, ["p0", "p1", "p2"])
    read = found.metrics[PROMPT_READ]
    assert (
        read.items == ["c1"]
        and read.clusters == ["p1"]
        and texts[1][: int(read.values[0])] == "one two three four five six seven eight"
    )
    short = clip_scores(Embedder(Oracle(texts), progress=False), cards[::2], texts[::2], ["p0", "p2"])
    assert PROMPT_READ not in short.metrics


def test_the_page_shows_what_was_cut(tmp_path):
    one = Sheet("a", "rev-a", {("p0", 0): Shot("read this <b>not this", None), ("p1", 0): Shot("whole", None)})
    items = scores([0.1, 0.2], items=["p0", "p1"])
    metrics = {"clip_score": items, "r_precision": items, PROMPT_READ: scores([9], items=["p0"])}
    put_drawn(tmp_path, "clip", ModelId("a", "rev-a"), Scores(metrics))
    found, read = found_scores([one], tmp_path)
    assert read == {0: {"p0": (9, "ViT-B-32/openai")}} and {score.metric for score in found} == {"clip_score", "r_precision"}
    page = page_of(tmp_path, one, found, read)
    assert '<bdi>read this<span class="cut"> &lt;b&gt;not this</span></bdi>' in page and "<bdi>whole</bdi>" in page
    assert page.count("Underlined: what ViT-B-32/openai did not read") == 2  # in the sample and the worst


def page_of(tmp_path, one, found=(), read=None, **more):
    shown = sections([one], found, found[0] if found else None, 8)
    gallery = Gallery((one,), tuple(found), tuple(shown), read or {}, more.get("real", {}), ())
    return gallery_page.write_gallery(tmp_path / "page.html", gallery).path.read_text()


# ---- folders and the page


def test_only_what_is_shown_is_opened(drawn, tmp_path, monkeypatch, capsys):
    opened = []
    read = Shot.read_image
    monkeypatch.setattr(Shot, "read_image", lambda shot: opened.append(shot.path) or read(shot))
    monkeypatch.setattr("recap_eval.generate.images.digest_file", lambda path: pytest.fail(f"{path} was read"))
    assert run(drawn / "a", drawn / "b", "--n", 3, "--out", tmp_path / "g.html", "--leaderboards", tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert len(opened) == len(set(opened)) == told["shown"] == 6 and told["sections"] == {"sample": told["sections"]["sample"]}
    page = Page((tmp_path / "g.html").read_text())
    assert len(page.images) == 6 and all(facts["src"].startswith("data:image/jpeg;base64,") for facts in page.images)
    assert {facts["alt"].split(": ")[0] for facts in page.images} == {"Painter/numbers", "Dim/numbers"}
    assert [link[1:] for link in page.links] == ["sample"] and "sample" in page.ids


def test_thumbnails_that_are_many_lie_beside_the_page(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery_page, "EMBEDDED", 100)
    words = (drawn / "a", "--out", tmp_path / "g.html", "--leaderboards", tmp_path)
    assert run(*words, "--n", 8) == 0 and "thumbnails in" in capsys.readouterr().out
    folder = tmp_path / "g_files"
    (folder / "mine.jpg").write_bytes(b"a stranger's")
    assert len(list(folder.iterdir())) == 9
    assert run(*words, "--n", 3) == 0
    sources = [facts["src"] for facts in Page((tmp_path / "g.html").read_text()).images]
    assert len(sources) == 3 and all((tmp_path / source).is_file() for source in sources)
    assert {path.name for path in folder.iterdir()} == {source.removeprefix("g_files/") for source in sources} | {"mine.jpg"}


def test_failed_blanked_changed_and_missing_images_are_shown_as_such(drawn, tmp_path, capsys):
    folder = shutil.copytree(drawn / "a", tmp_path / "a")
    rows = read_manifest(folder / "manifest.jsonl")
    rows[0] = replace(rows[0], file="", image_sha256="", error="ValueError: <b>no")
    rows[1] = replace(rows[1], blanked=True)
    rows[4] = replace(rows[4], cut_by=["tokenizer:77"])
    write_manifest(folder / "manifest.jsonl", rows)
    record = json.loads((folder / "artifact.json").read_text())
    from recap_eval.files import digest_file

    record["files"]["manifest.jsonl"] = digest_file(folder / "manifest.jsonl")
    (folder / "artifact.json").write_text(json.dumps(record))
    (folder / rows[2].file).unlink()
    (folder / rows[3].file).write_bytes((folder / rows[5].file).read_bytes())
    assert run(folder, "--n", 12, "--out", tmp_path / "g.html", "--leaderboards", tmp_path, "--json") == 0
    told, page = json.loads(capsys.readouterr().out), (tmp_path / "g.html").read_text()
    assert told["shown"] == 8 and told["unread"] == 2 and len(Page(page).images) == 8
    for text in (
        "failed: ValueError: &lt;b&gt;no",
        "blanked by the safety checker",
        "the file is missing",
        "the file was changed",
    ):
        assert page.count(f">{text}</div>") == 1, text
    assert "1 of 12 images failed." in page and "1 of 12 images were blanked by a safety checker." in page
    assert "prompt cut by the model&#39;s tokenizer at 77 tokens" in page and "2 images cannot be shown" in page


def test_other_seeds_and_missing_prompts_are_said_where_they_are(drawn, tmp_path, capsys):
    assert run(drawn / "a", drawn / "c", "--n", 12, "--out", tmp_path / "g.html", "--leaderboards", tmp_path) == 0
    page = (tmp_path / "g.html").read_text()
    assert page.count("another seed: ") == 8 and page.count("no image of this prompt") >= 4
    assert "8 of 8 images were drawn with another seed" in page and "note: " in capsys.readouterr().err
    assert re.search(r"Painter/numbers \([0-9a-f]{8}\)", page)


def test_the_mix_that_a_model_was_trained_on_stands_under_its_images(tmp_path):
    sheets = tuple(replace(sheet(3, f"dit-{p}"), facts={"p_original": p}) for p in (0.0, 0.5, 1.0))
    gallery = Gallery(sheets, (), tuple(sections(sheets, [], None, 3)), {}, {}, ())
    page = gallery_page.write_gallery(tmp_path / "page.html", gallery).path.read_text()
    told = re.findall(r"<figcaption><strong>([^<]+)", page)
    assert told == ["dit-0.0 (p = 0)", "dit-0.5 (p = 0.5)", "dit-1.0 (p = 1)"] * 3


def test_hostile_text_is_text_and_nothing_is_asked_of_a_network(tmp_path):
    hostile = PromptSet(HOSTILE[:60], (Prompt("<img src=x>", HOSTILE), Prompt("b", "fine")))
    complete(Job(tmp_path / "a", hostile))
    assert run(tmp_path / "a", "--out", tmp_path / "g.html", "--leaderboards", tmp_path) == 0
    page = (tmp_path / "g.html").read_text()
    assert "<script" not in page and "<img src=x" not in page and "\x1b" not in page and "\u202e" not in page
    assert "default-src 'none'" in page and not re.search(r"(src|href)=\"(https?:)?//", page)
    assert str(tmp_path) not in page and "script" not in Page(page).tags
    assert 'class="prompt long" tabindex="0"' in page
    assert max(len(facts["alt"]) for facts in Page(page).images) < 400


def test_real_images_come_from_the_data_or_a_folder(drawn, world, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECAP_DATA", raising=False)
    from recap_eval.generate.prompt_sources import find_prompts

    complete(Job(tmp_path / "s", find_prompts("scenes", world).first(6)))
    words = ("--out", tmp_path / "g.html", "--leaderboards", tmp_path)
    assert run(tmp_path / "s", "--data", world, *words) == 0
    page = Page((tmp_path / "g.html").read_text())
    assert len(page.images) == 12 and sum(facts["alt"].startswith("real image: ") for facts in page.images) == 6
    assert_two_line_error(recap("recap-eval", "gallery", tmp_path / "s", "--data", drawn, *words), 1, "scenes")
    capsys.readouterr()
    assert main(["gallery", str(tmp_path / "s"), *map(str, words)]) == 0 and "warning: " in capsys.readouterr().err
    page = (tmp_path / "g.html").read_text()
    assert "Real images of scenes are not shown" in page and str(tmp_path) not in page
    shutil.copytree(drawn / "real", tmp_path / "lot" / "real")
    assert run(drawn / "a", "--reference", tmp_path / "lot", *words) == 0
    assert "real image" in (tmp_path / "g.html").read_text()
    capsys.readouterr()
    assert run(drawn / "a", "--reference", drawn / "real", *words) == 0 and "is named by the id" in capsys.readouterr().err


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Folders without a manifest, with a list, measured by a model that sees colours."""
    root = tmp_path_factory.mktemp("theirs")
    (root / "mine.py").write_text(MODEL)
    rng, lines = np.random.default_rng(0), ["file,prompt,id"]
    for k in range(9):
        word = ("red", "green", "blue")[k % 3]
        lines.append(f"{k}.png,a {word} wall,p{k}")
        for name in ("x", "y"):
            (root / name).mkdir(exist_ok=True)
            base = np.array(Image.new("RGB", (9, 7), word)) * (0.8 if name == "x" else 0.2)
            Image.fromarray((base + rng.integers(0, 50, base.shape)).astype(np.uint8)).save(root / name / f"{k}.png")
    (root / "list.csv").write_text("\n".join(lines))
    return root


def test_the_command_that_t2i_prints_shows_what_it_measured(theirs, monkeypatch):
    monkeypatch.chdir(theirs)
    said = []
    for name in ("x", "y"):
        words = [
            "--images",
            name,
            "--list",
            "list.csv",
            "--metrics",
            "clip:mine.py:Model",
            "--out",
            "lead erboards",
            "--no-cache",
        ]
        done = recap("recap-eval", "t2i", *words, cwd=theirs)
        assert done.returncode == 0, done.stderr
        said += [line.removeprefix("See them: ") for line in done.stderr.splitlines() if line.startswith("See them: ")]
    assert said[0] == "recap-eval gallery x --out x.html --list list.csv --leaderboards 'lead erboards'"
    for command in said:
        assert main(shlex.split(command)[1:]) == 0
    page = (theirs / "x.html").read_text()
    assert "CLIP score" in page and "Best by CLIP score" in page and "R-precision" in page
    assert main(["gallery", "x", "y", "--list", "list.csv", "--leaderboards", "lead erboards", "--out", "xy.html"]) == 0
    assert "Largest differences between the models" in (theirs / "xy.html").read_text()
    record = json.loads(next((theirs / "lead erboards").rglob("t2i-clip-*.json")).read_text())
    assert record["metrics"]["clip_score"]["unit"] == "cosine"


def test_files_named_by_prompt_ids_are_shown_with_the_prompts_they_lack(theirs, tmp_path, monkeypatch, capsys):
    from argparse import Namespace
    from pathlib import Path

    from recap_eval.commands.gallery import gallery_command

    rows = [{"key": str(k), "text": f"text {k}", "real": f"{k}"} for k in range(10)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    given = {"prompts": "p.jsonl", "prompt_column": "text", "id_column": "key", "reference_column": "real", "limit": 10}
    args = Namespace(out=Path("leaderboards"), list=None, data=None, column=None, **given)
    assert (
        main([*shlex.split(gallery_command(args, theirs / "x"))[1:], "--reference", str(theirs / "y"), "--n", "10", "--json"])
        == 0
    )
    told, page = json.loads(capsys.readouterr().out), (tmp_path / "x.html").read_text()
    assert told["shown"] == 18 and page.count(">the file is missing</div>") == 1 and page.count(">no real image</div>") == 1
    assert "text 9" in page


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["nowhere"], 1, ["nowhere is no folder"]),
        (["x"], 2, ["has no manifest.jsonl", "list"]),
        (["x", "y", "--list", "list.csv", "--list", "list.csv", "--list", "list.csv"], 2, ["3 lists for 2 folders"]),
        (["x", "x", "--list", "list.csv"], 2, ["holds the very images of x"]),
        (["x", "--list", "nolist.csv"], 1, ["nolist.csv"]),
        (["x", "--list", "list.csv", "--metric", "nothing"], 2, ["'nothing'"]),
        (["x", "--list", "list.csv", "--reference", "nowhere"], 2, ["nowhere is no folder"]),
        (["x", "--list", "list.csv", "--out", "g.png"], 2, ["no name of a page"]),
        (["empty", "--list", "list.csv"], 1, ["holds no image"]),
    ],
)
def test_wrong_words(theirs, words, code, fragments):
    (theirs / "empty").mkdir(exist_ok=True)
    out = [] if "--out" in words else ["--out", "g.html"]
    assert_two_line_error(recap("recap-eval", "gallery", *words, *out, cwd=theirs), code, *fragments)
    assert not (theirs / "g.html").exists()


def test_folders_that_are_no_finished_images_are_refused(drawn, tmp_path):
    folder = shutil.copytree(drawn / "a", tmp_path / "a")
    (folder / "artifact.json").unlink()
    with pytest.raises(DataError, match="unfinished generation"):
        read_sheet(folder)
    shutil.copy(drawn / "a" / "artifact.json", folder)
    (folder / "manifest.jsonl").write_text((folder / "manifest.jsonl").read_text().replace("prompt 3", "prompt x"))
    with pytest.raises(DataError, match="is not the file that"):
        read_sheet(folder)
    record = json.loads((folder / "artifact.json").read_text()) | {"kind": "clip"}
    (folder / "artifact.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="of kind 'clip'"):
        read_sheet(folder)


def test_help_imports_nothing_heavy():
    import subprocess
    import sys

    from support import ROOT

    code = (
        "import sys; sys.argv = ['x', 'gallery', '--help']\nfrom recap_eval.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not [n for n in ('torch', 'numpy', 'PIL', 'pyarrow', 'jinja2') if n in sys.modules]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "--reference" in done.stdout, done.stderr
