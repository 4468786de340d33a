"""Readers of pairs and quads, and their scores against the definitions of ARO, SugarCrepe and Winoground, derived again."""

import io
import json
from itertools import permutations, product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fakes import Card, Oracle
from PIL import Image

from recap_eval.data.digests import Digests, fingerprint
from recap_eval.data.items import CaptionPairs, CaptionQuads, DataId
from recap_eval.data.paired import CREPES, in_turn, sugar_crepe, vg_attribution, vg_relation, winoground
from recap_eval.embed import Embedder, ImageEmbeddings, TextEmbeddings
from recap_eval.errors import DataError
from recap_eval.metrics.quads import GROUP_CHANCE, IMAGE_CHANCE, TEXT_CHANCE, has_tie, quad_scores
from recap_eval.registry import choose_tasks, get_task
from recap_eval.runner import Options, measure
from recap_eval.tasks.catalog import load_catalog
from recap_eval.tasks.pairs import score_pairs
from recap_eval.tasks.quads import score_quads

SOURCE = DataId("cards", "test", "", "cards")


def picture(number=0, form="JPEG") -> bytes:
    """A small real picture that the Oracle reads as text `number`."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), ((number % 32) * 8, (number // 32) * 8, 0)).save(buffer, form, quality=95)
    return buffer.getvalue()


def put(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ARO


def case(image, box, true, false, **named):
    x, y, w, h = box
    facts = {"image_path": image, "bbox_x": x, "bbox_y": y, "bbox_w": w, "bbox_h": h}
    return facts | {"true_caption": true, "false_caption": false} | named


ATTRIBUTION = [
    case("7.jpg", (2, 1, 4, 5), "the red cat and the old dog", "the old cat and the red dog", attributes=["red", "old"]),
    case("3.jpg", (0, 0, 8, 8), "x", "y", attributes=["red", "old"], image_id="3"),
    case("7.jpg", (2, 1, 4, 5), "u", "v", attributes=["old", "red"]),
    case("7.jpg", (0, 1, 4, 5), "u", "v", attributes=["old", "red"]),
]


@pytest.fixture
def aro(tmp_path):
    put(tmp_path / "aro/visual_genome_attribution.json", json.dumps(ATTRIBUTION))
    relations = [
        dict(entry, relation_name=name) for entry, name in zip(ATTRIBUTION, ["on", "near", "on", "under"], strict=True)
    ]
    relations = [{name: value for name, value in entry.items() if name != "attributes"} for entry in relations]
    put(tmp_path / "aro/visual_genome_relation.json", json.dumps(relations))
    for n in (3, 7):
        put(tmp_path / f"aro/images/{n}.jpg", picture(n))
    return tmp_path


def test_attribution_shares_what_has_the_same_image_and_box(aro):
    task = get_task("vg-attribution", aro)
    data = task.load(aro)
    assert task.missing(aro) == [] and task.missing(aro / "x") == ["aro/visual_genome_attribution.json", "aro/images"]
    assert [image.key for image in data.images] == ["7.jpg@2,1,6,6", "3.jpg@0,0,8,8", "7.jpg@0,1,4,6"]
    assert [image.box for image in data.images] == [(2, 1, 6, 6), (0, 0, 8, 8), (0, 1, 4, 6)]
    assert [image for image, _, _ in data.rows] == [0, 1, 0, 2] and data.rows[0][1:] == (
        "the red cat and the old dog",
        "the old cat and the red dog",
    )
    assert data.groups == ["red_old", "red_old", "old_red", "old_red"]
    assert len(set(Digests(progress=False).of(data.images))) == 3


def test_relation_is_grouped_by_relation(aro):
    assert get_task("vg-relation", aro).load(aro).groups == ["on", "near", "on", "under"]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"images": []}, "no list of cases"),
        ([], "no list of cases"),
        ([ATTRIBUTION[0], "x"], "case 1 is of another form: no JSON object, but a text"),
        ([{**ATTRIBUTION[0], "bbox_w": None}], "its 'bbox_w' is null"),
        ([{**ATTRIBUTION[0], "bbox_w": 0}], "case 0 has an empty box, 0 x 5"),
        ([{**ATTRIBUTION[0], "bbox_h": float("nan")}], "case 0 has an empty box"),
        ([{**ATTRIBUTION[0], "attributes": "red"}], "its 'attributes' is a text"),
    ],
)
def test_attribution_of_another_form(aro, entries, words):
    put(aro / "aro/visual_genome_attribution.json", json.dumps(entries))
    with pytest.raises(DataError, match=words):
        vg_attribution(aro, "aro/visual_genome_attribution.json", "aro/images")


def test_aro_files_mixed_up_or_absent(aro):
    with pytest.raises(DataError, match="case 0 is of another form: it has no 'attributes'"):
        vg_attribution(aro, "aro/visual_genome_relation.json", "aro/images")
    with pytest.raises(DataError, match="it has no 'relation_name'"):
        vg_relation(aro, "aro/visual_genome_attribution.json", "aro/images")
    (aro / "aro/images/7.jpg").unlink()
    with pytest.raises(DataError, match=r"2 of 3 images of .*attribution\.json are not there; the first: 7\.jpg"):
        vg_attribution(aro, "aro/visual_genome_attribution.json", "aro/images")


def test_the_relations_left_out_are_aros():
    row = load_catalog()["vg-relation"]
    assert len(set(row.macro_without)) == len(row.macro_without) == 157
    assert {"near", "next to", "with", "of", "around"} <= set(row.macro_without)
    assert not {"on", "in", "under", "behind", "to the left of", "wearing", "eating", "holding"} & set(row.macro_without)


# SugarCrepe


@pytest.fixture
def crepe(tmp_path):
    """Case i of kind k shows image (i + k) % 4; seven kinds of 3, 1, 1, … cases, ids with a gap."""
    for place, kind in enumerate(CREPES):
        cases = {
            str(2 * i): {
                "filename": f"{(i + place) % 4:012}.jpg",
                "caption": f"{kind} true {i} ",
                "negative_caption": f"{kind} false {i}",
            }
            for i in range(3 if place == 0 else 1)
        }
        put(tmp_path / f"sugarcrepe/data/{kind}.json", json.dumps(cases))
    for n in range(4):
        put(tmp_path / f"coco/val2017/{n:012}.jpg", picture(n))
    return tmp_path


def test_sugarcrepe_takes_each_kind_in_turn_and_each_image_once(crepe):
    task = get_task("sugarcrepe", crepe)
    data = task.load(crepe)
    assert data.groups == [*CREPES, "replace_obj", "replace_obj"]
    assert [image.key for image in data.images] == [f"{n:012}.jpg" for n in range(4)]
    assert [image for image, _, _ in data.rows] == [0, 1, 2, 3, 0, 1, 2, 1, 2]
    assert data.rows[7] == (1, "replace_obj true 1", "replace_obj false 1")
    assert [metric.name for metric in task.metrics] == ["acc", "macro", *(f"acc:{kind}" for kind in CREPES)]
    assert [metric.name for metric in get_task("vg-attribution").metrics] == ["macro", "acc"]


def test_sugarcrepe_of_another_form(crepe):
    path = crepe / "sugarcrepe/data/swap_att.json"
    put(path, "[]")
    with pytest.raises(DataError, match=r"swap_att\.json is of another form: no object of cases"):
        sugar_crepe(crepe, "sugarcrepe/data", "coco/val2017")
    put(path, '{"4": {"filename": "x.jpg", "caption": "a"}}')
    with pytest.raises(DataError, match=r"swap_att\.json: case 4 is of another form: it has no 'negative_caption'"):
        sugar_crepe(crepe, "sugarcrepe/data", "coco/val2017")
    path.unlink()
    with pytest.raises(DataError, match=r"swap_att\.json does not exist"):
        sugar_crepe(crepe, "sugarcrepe/data", "coco/val2017")


def test_sugarcrepe_names_absent_images(crepe):
    (crepe / "coco/val2017/000000000002.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 4 images of .*sugarcrepe/data are not there; the first: 000000000002\.jpg"):
        sugar_crepe(crepe, "sugarcrepe/data", "coco/val2017")


def test_sugarcrepe_measured_whole_and_in_part(crepe, tmp_path):
    """The oracle prefers the true caption of image 0 and 1, and the false one of images 2 and 3."""
    tasks = choose_tasks("sugarcrepe", crepe)
    cases = [tasks[0].load(crepe).rows[i][1:] for i in (0, 1, 2, 3)]
    texts = [cases[0][0], cases[1][0], cases[2][1], cases[3][1]]
    outcome = measure(Oracle(texts), tasks, Options(tmp_path / "out", crepe, progress=False))
    assert not outcome.failed
    record = outcome.results[0].record
    assert record["task"]["primary"] == "acc" and list(record["metrics"])[:2] == ["acc", "macro"]
    shown = [record["metrics"][f"acc:{kind}"]["value"] for kind in CREPES[1:4]]
    assert shown == [1, 0, 0]
    each = [record["metrics"][f"acc:{kind}"]["value"] for kind in CREPES]
    assert record["metrics"]["macro"]["value"] == pytest.approx(np.mean(each))
    assert record["metrics"]["acc"]["n"] == 9 and record["partial"] and "4 images instead of 1,560" in record["incomplete"]
    part = measure(Oracle(texts), tasks, Options(tmp_path / "out", crepe, limit=4, progress=False))
    assert not part.failed and part.results[0].record["settings"]["limit"] == 4


def test_in_turn():
    assert in_turn([[1, 2, 3], [4], [], [5, 6]]) == [1, 4, 5, 2, 6, 3] and in_turn([]) == []


# Winoground

QUADS = [
    {
        "id": 0,
        "caption_0": "an old one kisses a young one",
        "caption_1": "a young one kisses an old one ",
        "collapsed_tag": "Object",
    },
    {"id": 1, "caption_0": "c", "caption_1": "d", "collapsed_tag": "Object"},
    {"id": 2, "caption_0": "e", "caption_1": "f", "collapsed_tag": "Relation"},
    {"id": 7, "caption_0": "g", "caption_1": "h", "collapsed_tag": "Both"},
]
MORE = {"tag": "Noun", "secondary_tag": "", "num_main_preds": 1}


@pytest.fixture
def wino(tmp_path):
    """The form of lines and image files; image k of case r shows text 2r + k."""
    lines = []
    for number, quad in enumerate(QUADS):
        names = {f"image_{k}": f"ex_{quad['id']}_img_{k}" for k in (0, 1)}
        lines.append(json.dumps(quad | names | MORE))
        for k, name in enumerate(names.values()):
            put(tmp_path / f"winoground/images/{name}.png", picture(2 * number + k, "PNG"))
    put(tmp_path / "winoground/examples.jsonl", "\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def wino_parquet(tmp_path):
    rows = [quad | MORE for quad in QUADS]
    for number, row in enumerate(rows):
        row |= {f"image_{k}": {"bytes": picture(2 * number + k, "PNG"), "path": None} for k in (0, 1)}
    path = tmp_path / "parquet/winoground/data/test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    return tmp_path / "parquet"


def print_of(data):
    return fingerprint([image.key for image in data.images], Digests(progress=False).of(data.images), data.contents())


def test_winoground_takes_each_kind_in_turn(wino):
    task = get_task("winoground", wino)
    data = task.load(wino)
    assert data.groups == ["Object", "Relation", "Both", "Object"]
    assert [image.key for image in data.images] == [f"ex_{n}_img_{k}" for n in (0, 2, 7, 1) for k in (0, 1)]
    assert data.captions[0] == ("an old one kisses a young one", "a young one kisses an old one")
    assert data.images[3].read_image() == picture(5, "PNG")
    assert task.missing(wino) == [] and task.missing(wino / "none") == ["winoground/examples.jsonl"]
    assert [metric.name for metric in task.metrics][:4] == ["group", "text", "image", "group:Object"]


def test_both_forms_of_winoground_are_the_same_data(wino, wino_parquet):
    task = get_task("winoground", wino_parquet)
    assert task.missing(wino_parquet) == []
    assert print_of(task.load(wino_parquet)) == print_of(task.load(wino))


def test_winoground_of_another_form(wino, wino_parquet):
    path = wino / "winoground/examples.jsonl"
    (wino / "winoground/images/ex_7_img_1.png").unlink()
    with pytest.raises(DataError, match=r"1 of 8 images of .*examples\.jsonl are not there; the first: ex_7_img_1\.png"):
        winoground(wino, "winoground")
    put(path, path.read_text().splitlines()[0] + "\n" + path.read_text().splitlines()[0])
    with pytest.raises(DataError, match="names image ex_0_img_0 twice"):
        winoground(wino, "winoground")
    put(path, '{"id": 0, "image_0": "x"}')
    with pytest.raises(DataError, match="line 1 is of another form: it has no 'image_1'"):
        winoground(wino, "winoground")
    put(path, "")
    with pytest.raises(DataError, match="holds no case"):
        winoground(wino, "winoground")
    path.unlink()
    with pytest.raises(DataError, match=r"holds no \*\.parquet file"):
        winoground(wino, "winoground/images")
    bare = pa.Table.from_pylist(
        [{"id": 1, "caption_0": "a", "caption_1": None, "collapsed_tag": "Object", "image_0": b"x", "image_1": b"y"}]
    )
    pq.write_table(bare, wino_parquet / "winoground/data/test-00000-of-00001.parquet")
    with pytest.raises(DataError, match="row 0 lacks a caption or its kind"):
        winoground(wino_parquet, "winoground")


def test_winoground_measured_by_an_oracle(wino, tmp_path):
    """Image k of case r is read as text 2r + k in file order; those texts are the captions, save for case 7 (crossed)."""
    texts = [quad[f"caption_{k}"].strip() for quad in QUADS for k in (0, 1)]
    texts[6:8] = texts[7], texts[6]
    outcome = measure(Oracle(texts), choose_tasks("winoground", wino), Options(tmp_path / "out", wino, progress=False))
    assert not outcome.failed
    record = outcome.results[0].record
    values = {name: cell["value"] for name, cell in record["metrics"].items()}
    assert values["group"] == values["text"] == values["image"] == 0.75
    assert values["group:Both"] == 0 and values["group:Object"] == 1 and values["text:Relation"] == 1
    assert record["metrics"]["group"]["chance"] == pytest.approx(1 / 6) and record["extra"]["tie_share"] == 0
    given = outcome.results[0].items("group").given
    assert given[:2] == [None, None] and given[2] == "ex_7_img_0: h; ex_7_img_1: g; g: ex_7_img_1; h: ex_7_img_0"


# Scores against definitions derived again


class Random:
    """Stands for an embedder: a random unit vector for each image key and each text."""

    def __init__(self, seed=0, dim=8):
        self.generator, self.dim, self.known = torch.Generator().manual_seed(seed), dim, {}

    def vector(self, name):
        if name not in self.known:
            drawn = torch.randn(self.dim, generator=self.generator)
            self.known[name] = drawn / drawn.norm()
        return self.known[name]

    def images(self, items):
        return ImageEmbeddings(torch.stack([self.vector(("image", item.key)) for item in items]), list(range(len(items))))

    def texts(self, texts):
        distinct = list(dict.fromkeys(texts))
        row = torch.tensor([distinct.index(text) for text in texts])
        return TextEmbeddings(torch.stack([self.vector(("text", text)) for text in distinct]), row)

    def truncation(self, texts):
        return {}

    def score(self, image, text):
        return float(
            np.dot(self.vector(("image", image)).numpy().astype("f8"), self.vector(("text", text)).numpy().astype("f8"))
        )


def some_pairs(n=400, seed=0):
    drawn = np.random.default_rng(seed)
    cards = [Card(f"i{number}", number % 9) for number in range(60)]
    rows = [(int(drawn.integers(60)), f"true {i % 150}", f"false {i}") for i in range(n)]
    sizes = np.array([30, 25, 24, 100, 1, 220])
    groups = np.repeat([f"g{k}" for k in range(len(sizes))], sizes)[:n]
    return CaptionPairs(SOURCE, cards, rows, drawn.permutation(groups).tolist())


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_sugarcrepes_and_aros_figures(seed):
    """SugarCrepe: pos > neg a row; ARO: a mean a kind with 25 cases or more, VG-R's without the named ones, then their mean."""
    data, model = some_pairs(seed=seed), Random(seed)
    right = np.array(
        [model.score(data.images[i].key, true) > model.score(data.images[i].key, false) for i, true, false in data.rows]
    )
    per_kind = {}
    for value, kind in zip(right, data.groups, strict=True):
        per_kind.setdefault(kind, []).append(value)
    attribution = np.mean([np.mean(values) for values in per_kind.values() if len(values) >= 25])
    relation = np.mean([np.mean(values) for kind, values in per_kind.items() if kind not in ("g1", "g3")])
    scores = score_pairs(model, data, macro_from=25, kinds=["g0", "g4"])
    assert scores.metrics["acc"].values.tolist() == right.tolist()
    assert scores.metrics["acc:g0"].values.mean() == pytest.approx(np.mean(per_kind["g0"]))
    assert scores.metrics["macro"].values.mean() == pytest.approx(attribution, abs=1e-12)
    assert len(scores.metrics["macro"].values) == 375 and scores.extra["macro_kinds"] == 4
    scores = score_pairs(model, data, macro_from=1, macro_without=["g1", "g3", "not there"])
    assert scores.metrics["macro"].values.mean() == pytest.approx(relation, abs=1e-12)
    assert len(scores.metrics["macro"].values) == 275 and scores.extra["macro_kinds"] == 4
    assert scores.metrics["acc"].values.tolist() == right.tolist()


def test_a_macro_average_of_nothing_is_an_error():
    with pytest.raises(DataError, match="No kind of pair has 25 cases"):
        score_pairs(Random(), some_pairs(), macro_from=25, macro_without=["g0", "g1", "g3", "g5"])


def test_a_primary_metric_that_is_not_there_is_an_error(tmp_path):
    put(
        tmp_path / "tasks.toml",
        "[mine]\nkind = 'pairs'\nsummary = ''\nreader = 'recap_eval.data.own:pairs'\nprimary = 'macro'\n",
    )
    with pytest.raises(DataError, match="Task mine has no metric 'macro' to stand for it"):
        get_task("mine", tmp_path)


def thrush(model, keys, captions):
    """Text, image and group score as Thrush et al. 2022 write them: s(caption, image), strictly greater."""
    s = {(c, i): model.score(keys[i], captions[c]) for c in (0, 1) for i in (0, 1)}
    text = s[0, 0] > s[1, 0] and s[1, 1] > s[0, 1]
    image = s[0, 0] > s[0, 1] and s[1, 1] > s[1, 0]
    return text, image, text and image


@pytest.mark.parametrize("seed", range(3))
def test_quads_are_winogrounds_figures(seed):
    cards = [Card(f"i{number}", number) for number in range(600)]
    data = CaptionQuads(SOURCE, cards, [(f"a {r}", f"b {r}") for r in range(300)], ["x", "y", "y"] * 100)
    model = Random(seed)
    expected = [thrush(model, [f"i{2 * r}", f"i{2 * r + 1}"], captions) for r, captions in enumerate(data.captions)]
    scores = score_quads(model, data, kinds=["y"])
    for place, way in enumerate(("text", "image", "group")):
        values = [row[place] for row in expected]
        assert scores.metrics[way].values.tolist() == values
        assert scores.metrics[f"{way}:y"].values.tolist() == [v for r, v in enumerate(values) if r % 3]
        assert [given is None for given in scores.metrics[way].given] == values
    assert scores.extra["tie_share"] == 0


def test_ties_count_as_broken_at_random():
    """Every pattern of ties among four similarities, against all 24 ways to break them."""
    for values in product((0.0, 1.0, 2.0), repeat=4):
        s = np.array(values).reshape(1, 2, 2)
        wins = np.zeros(3)
        for order in permutations(range(4)):
            (a, b), (c, d) = [[(values[2 * i + j], order[2 * i + j]) for j in (0, 1)] for i in (0, 1)]
            text, image = a > b and d > c, a > c and d > b
            wins += [text, image, text and image]
        found = quad_scores(s)
        assert [found[way][0] for way in ("text", "image", "group")] == pytest.approx(list(wins / 24)), values
        a, b, c, d = values
        assert has_tie(s)[0] == (a in (b, c) or d in (b, c))


def test_seeing_no_difference_scores_what_random_scores_give():
    same = quad_scores(np.zeros((1, 2, 2)))
    drawn = quad_scores(np.random.default_rng(0).random((200_000, 2, 2)))
    for way, chance in (("text", TEXT_CHANCE), ("image", IMAGE_CHANCE), ("group", GROUP_CHANCE)):
        assert same[way][0] == pytest.approx(chance) == pytest.approx(drawn[way].mean(), abs=0.005)


def test_captions_of_the_same_embedding_tie():
    model = Random()
    model.known["text", "b"] = model.vector(("text", "a"))
    scores = score_quads(model, CaptionQuads(SOURCE, [Card("x", 0), Card("y", 1)], [("a", "b")]))
    assert [scores.metrics[way].values[0] for way in ("text", "image", "group")] == [0.25, 0, 0]
    assert scores.extra["tie_share"] == 1 and scores.metrics["text"].given == ["x: b; y: a"]


def test_a_case_with_a_bad_image_is_left_out():
    texts = ["a", "b", "c", "d"]
    cards = [Card("0", 0), Card("1", 1), Card("2", 2), Card("3", 3, b"nonsense")]
    data = CaptionQuads(SOURCE, cards, [("a", "b"), ("c", "d")], ["x", "y"])
    with pytest.raises(DataError, match="not a readable image"):
        score_quads(Embedder(Oracle(list(texts)), progress=False), data)
    lenient = Embedder(Oracle(list(texts)), skip_bad=True, progress=False)
    scores = score_quads(lenient, data)
    assert scores.metrics["group"].items == ["0#0"] and scores.metrics["group"].values.tolist() == [1]
    with pytest.raises(DataError, match="No case is of kind 'y'"):
        score_quads(lenient, data, kinds=["y"])
    with pytest.raises(DataError, match="No case has both its images"):
        score_quads(lenient, CaptionQuads(SOURCE, cards[2:], [("c", "d")]))


def test_suites():
    rows = load_catalog()
    suites = {suite: {name for name, row in rows.items() if suite in row.suites} for suite in ("pairs", "paper")}
    assert suites["pairs"] == {"vg-attribution", "vg-relation", "sugarcrepe", "winoground"}
    assert {"coco-retrieval", "flickr30k-retrieval", "urban1k", "vg-attribution"} <= suites["paper"]
