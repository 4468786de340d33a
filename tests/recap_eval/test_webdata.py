import json

import pytest
from fakes import Card
from support import write_tar

from recap_eval.data.items import NAMELESS
from recap_eval.data.webdata import classification, retrieval
from recap_eval.errors import DataError
from recap_eval.files import digest_json
from recap_eval.registry import choose_tasks
from recap_eval.tasks.catalog import load_catalog

CLASSES = ["cat", "dog {x}", "snow owl"]
TEMPLATES = ["a photo of a {c}.", 'the "{c}"']
LABELS = [2, 0, 1, 1, 0]
CAPTIONS = [["one", " two\u2028still two "], ["three"], ["four", "five\\n"], ["six"], ["seven"]]


def payload(number):
    return Card("", number).read_image()


def write_wds(folder, texts, ending, split="test", per_shard=2):
    """Write the layout with the webdataset library, as CLIP_benchmark's exporter does."""
    import webdataset

    (folder / split).mkdir(parents=True)
    with webdataset.ShardWriter(str(folder / split / "%d.tar"), maxcount=per_shard, verbose=0) as sink:
        for number, text in enumerate(texts):
            sink.write({"__key__": f"s{number:07d}", "webp" if number % 2 else "png": payload(number), ending: text})
        (folder / split / "nshards.txt").write_text(f"{sink.shard}\n")
    return folder


@pytest.fixture
def cards(tmp_path):
    """Five images of three classes in three shards, as the place of wds-cifar10."""
    folder = write_wds(tmp_path / "wds/vtab-cifar10", LABELS, "cls")
    (folder / "classnames.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "zeroshot_classification_templates.txt").write_text("\n".join(TEMPLATES) + "\n")
    return folder


@pytest.fixture
def captions(tmp_path):
    folder = write_wds(tmp_path / "captions", ["\n".join(lines) for lines in CAPTIONS], "txt")
    (folder / "dataset_type.txt").write_text("retrieval\n")
    return folder


def by_peer(folder):
    from clip_benchmark.datasets.builder import build_wds_dataset

    return build_wds_dataset("x", transform=lambda image: image.getpixel((0, 0)), split="test", data_dir=str(folder))


@pytest.mark.filterwarnings("ignore:WebDataset")
def test_classes_are_read_as_clip_benchmark_reads_them(cards):
    data, theirs = classification(cards.parent, cards.name), by_peer(cards)
    assert data.source == NAMELESS and data.classes == theirs.classes == CLASSES
    assert [template.format("X") for template in data.templates] == [t.format(c="X") for t in theirs.templates]
    samples = list(theirs)
    assert data.labels == [label for _, label in samples] == LABELS
    assert [image.read_image() for image in data.images] == [payload(number) for number in range(5)]
    assert [pixel for pixel, _ in samples] == [(8 * number, 0, 0) for number in range(5)]
    assert data.images[1].where.endswith("0.tar:s0000001.webp")
    templates = [template.replace("{c}", "{}") for template in TEMPLATES]
    assert data.settings == {"classes": digest_json(CLASSES)[:8], "templates": f"own:{digest_json(templates)[:8]}"}


@pytest.mark.filterwarnings("ignore:WebDataset")
def test_captions_are_read_as_clip_benchmark_reads_them(captions):
    """But for a line separator within a caption, at which it makes two of one."""
    data = retrieval(captions.parent, captions.name)
    assert data.source == NAMELESS and data.captions == CAPTIONS
    assert [texts for _, texts in by_peer(captions)][1:] == CAPTIONS[1:]


def test_shards_are_taken_in_the_order_of_their_numbers(tmp_path):
    folder = write_wds(tmp_path / "many", list(range(11)), "cls", per_shard=1)
    (folder / "classnames.txt").write_text("\n".join(f"c{n}" for n in range(11)))
    assert classification(tmp_path, "many").labels == list(range(11))


def test_a_row_takes_the_templates_of_the_data_unless_others_are_asked_for(cards):
    root = cards.parents[1]
    (own,), (other,) = choose_tasks("wds-cifar10", root), choose_tasks("wds-cifar10", root, "class-name")
    assert own.missing(root) == [] and own.settings == {"tie_rule": "expectation"}
    assert own.load(root).source.name == "CIFAR-10" and own.load(root).settings["templates"].startswith("own:")
    assert other.load(root).templates == ("{}",) and "templates" not in other.load(root).settings
    assert other.settings["templates"] == "class-name"


def test_data_without_templates_needs_some(cards):
    root = cards.parents[1]
    (cards / "zeroshot_classification_templates.txt").unlink()
    with pytest.raises(DataError, match="CIFAR-10 brings no templates"):
        choose_tasks("wds-cifar10", root)[0].load(root)
    assert choose_tasks("wds-cifar10", root, "class-name")[0].load(root).templates == ("{}",)


def test_another_split_and_another_list_of_classes(cards):
    write_wds(cards, [1, 1], "cls", split="train")
    (cards / "dataset_type.txt").write_text("Classification\n")
    before = classification(cards.parent, cards.name).settings["classes"]
    (cards / "classnames.txt").write_text("cat\ndog\nowl")
    data = classification(cards.parent, cards.name, split="train")
    assert data.labels == [1, 1] and data.settings["classes"] != before


def rewrite(members):
    return lambda folder: write_tar(folder / "test" / "1.tar", members)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "test/1.tar").unlink(), r"1\.tar is missing: nshards.txt promises 3 shards, 1 are not there"),
        (lambda folder: write_tar(folder / "test/3.tar", {}), r"3\.tar is not one of the 3 shards"),
        (lambda folder: (folder / "test/nshards.txt").unlink(), r"Cannot read .*nshards\.txt"),
        (lambda folder: (folder / "test/nshards.txt").write_text("many"), "holds 'many', not a number of shards"),
        (lambda folder: (folder / "test/nshards.txt").write_text("0"), "holds '0', not a number of shards"),
        (lambda folder: (folder / "test").rename(folder / "val"), "test is not a folder"),
        (lambda folder: (folder / "classnames.txt").unlink(), r"Cannot read .*classnames\.txt"),
        (lambda folder: (folder / "classnames.txt").write_text("cat\n\nowl"), r"classnames.txt has an empty line \(2\)"),
        (
            lambda folder: (folder / "classnames.txt").write_text("cat\ndog"),
            r"s0000000\.png has label 2, but .* has 2 names",
        ),
        (lambda folder: (folder / "classnames.txt").write_bytes(b"\xff\xfe"), r"Cannot read .*classnames\.txt"),
        (lambda folder: (folder / "zeroshot_classification_templates.txt").write_text("a photo"), "a template without one"),
        (
            lambda folder: (folder / "dataset_type.txt").write_text("retrieval"),
            "data set for retrieval, not for class",
        ),
        (lambda folder: (folder / "dataset_type.txt").write_text("multilabel"), "type 'multilabel' is not read"),
        (rewrite({"s9.png": b"x"}), r"1\.tar:s9\.png has no label: no s9\.cls"),
        (rewrite({"s9.png": b"x", "s9.cls": b"cat"}), r"1\.tar:s9 has an unreadable text member"),
        (rewrite({"s9.png": b"x", "s9.cls": b"-1"}), "has label -1"),
        (rewrite({"s8.png": b"x", "s8.cls": b"1", "s9.bmp": b"x", "s9.cls": b"1"}), r"1\.tar:s9 has no image"),
        (rewrite({"s0000000.png": b"x", "s0000000.cls": b"1"}), r"Key s0000000 occurs in .*0\.tar and in .*1\.tar"),
        (
            lambda folder: (folder / "test/1.tar").write_text("version https://git-lfs.github.com/spec/v1\noid x"),
            r"1\.tar is a git-lfs pointer",
        ),
        (lambda folder: (folder / "test/1.tar").write_bytes(b""), r"1\.tar is not a readable tar"),
    ],
)
def test_wrong_data_of_classes(cards, change, words):
    change(cards)
    with pytest.raises(DataError, match=words):
        classification(cards.parent, cards.name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "dataset_type.txt").unlink(), "a data set for classification, not for retrieval"),
        (rewrite({"s9.png": b"x"}), r"1\.tar:s9\.png has no caption"),
        (rewrite({"s9.png": b"x", "s9.txt": b"\n"}), r"1\.tar:s9\.png has no caption"),
        (rewrite({"s9.png": b"x", "s9.txt": b"one\n\nthree"}), "has no caption, or an empty one"),
        (rewrite({"s9.png": b"x", "s9.txt": b"\xff"}), r"1\.tar:s9 has an unreadable text member"),
    ],
)
def test_wrong_data_of_captions(captions, change, words):
    change(captions)
    with pytest.raises(DataError, match=words):
        retrieval(captions.parent, captions.name)


def test_rows_of_the_collection_say_where_their_data_comes_from_and_goes():
    rows = {name: row for name, row in load_catalog().items() if name.startswith("wds-")}
    assert len(rows) == 24
    for name, row in rows.items():
        place = row.options["place"].removeprefix("wds/")
        assert row.needs == [f"wds/{place}/test/nshards.txt"] and not row.templates, name
        assert f"clip-benchmark/wds_{place} " in row.get and row.get.endswith(f"wds/{place}"), name
        assert row.suites == ["classification"] and row.texts > 1 and row.split == "test", name


def test_class_counts_are_those_of_clip_benchmark():
    """Where its package has the list of classes: a wrong count in a row would make every result partial."""
    from importlib.resources import files

    lists = json.loads((files("clip_benchmark") / "datasets" / "en_classnames.json").read_text(encoding="utf-8"))
    lists |= {"caltech101": lists["caltech101_vtab"]}
    checked = 0
    for name, row in load_catalog().items():
        key = row.options.get("place", "").removeprefix("wds/").removeprefix("vtab-")
        if name.startswith("wds-") and key in lists:
            assert row.texts == len(lists[key]), name
            checked += 1
    assert checked >= 12
