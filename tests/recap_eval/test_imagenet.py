import ast
import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import lay_out

from recap_eval.data import imagenet
from recap_eval.data.digests import Digests, fingerprint
from recap_eval.errors import DataError
from recap_eval.registry import choose_tasks

PEER = Path(find_spec("clip_benchmark").submodule_search_locations[0]) / "datasets"
VAL = [f"n01440764/ILSVRC2012_val_{n:08d}.JPEG" for n in (293, 2138, 3014, 6697)]
VAL += [f"n04254120/ILSVRC2012_val_{n:08d}.JPEG" for n in (9, 1000, 4000)]
ROWS = [f"{name[10:-5]},{name[:9]} 85 1 499 272 {name[:9]} 1 1 2 2" for name in reversed(VAL)]
TABLE = "\n".join(["ImageId,PredictionString", *ROWS, "ILSVRC2012_val_00000001,n01751748 111 108 432 342", ""])


def peer_lists():
    """The lists of wnids in CLIP_benchmark's source, read without running it."""
    tree = ast.parse((PEER / "builder.py").read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").endswith(("_wnids", "wordnet_ids")):
            found[node.targets[0].id] = sorted(ast.literal_eval(node.value))
    return found


def test_wnids_and_class_names_are_those_of_clip_benchmark():
    theirs, names = peer_lists(), imagenet.class_names()
    assert imagenet.synsets() == theirs["all_imagenet_wordnet_ids"]
    assert imagenet.synsets("a") == theirs["imagenet_a_wnids"] and imagenet.synsets("r") == theirs["imagenet_r_wnids"]
    assert names == json.loads((PEER / "en_classnames.json").read_text())["imagenet1k"]
    assert {name for name, count in Counter(names).items() if count > 1} == {"missile", "sunglasses"}


def test_class_names_that_changed_are_refused(monkeypatch):
    import open_clip

    monkeypatch.setattr(open_clip, "IMAGENET_CLASSNAMES", [*open_clip.IMAGENET_CLASSNAMES[:-1], "toilet roll"])
    with pytest.raises(DataError, match="not OpenAI's 1,000"):
        imagenet.class_names()


def load(name, root):
    (task,) = choose_tasks(name, root)
    assert task.missing(root) == []
    return task.load(root)


@pytest.mark.parametrize("val", ["val", "ILSVRC/Data/CLS-LOC/val"])
def test_both_layouts_of_the_validation_set_are_the_same_data(tmp_path, val):
    lay_out(tmp_path / "sorted/imagenet/val", VAL)
    lay_out(tmp_path / "flat/imagenet" / val, [name.partition("/")[2] for name in VAL])
    (tmp_path / "flat/imagenet" / imagenet.SOLUTION).write_text(TABLE)
    found = [load("imagenet1k", tmp_path / place) for place in ("sorted", "flat")]
    for data in found:
        assert [image.key for image in data.images] == VAL and data.labels == [0] * 4 + [804] * 3
        assert data.classes[0] == "tench" and data.classes[804] == "soap dispenser" and len(data.classes) == 1000
        assert data.source.name == "ImageNet-1K" and len(data.templates) == 80 and data.settings == {}
    prints = [fingerprint([i.key for i in d.images], Digests().of(d.images), d.contents()) for d in found]
    assert prints[0] == prints[1]


def test_order_and_labels_are_torchvisions(tmp_path):
    from torchvision.datasets import ImageFolder

    lay_out(tmp_path / "imagenet/val", [f"{wnid}/{n}.JPEG" for wnid in imagenet.synsets()[:1000:111] for n in (10, 9)])
    data, theirs = load("imagenet1k", tmp_path), ImageFolder(str(tmp_path / "imagenet/val"))
    assert [str(image.path) for image in data.images] == [path for path, _ in theirs.samples]
    assert [imagenet.synsets()[label] for label in data.labels] == [theirs.classes[n] for _, n in theirs.samples]


def test_a_part_of_imagenet_is_a_partial_result(tmp_path):
    from recap_eval.tasks.catalog import incomplete

    lay_out(tmp_path / "imagenet/val", VAL)
    (task,) = choose_tasks("imagenet1k", tmp_path)
    assert incomplete(task.row, task.load(tmp_path)) == "7 images instead of 50,000"


@pytest.mark.parametrize(
    ("files", "table", "words"),
    [
        ([], None, "has no folder val"),
        (["val/notes.txt"], None, "holds no class folder"),
        (["val/tench/1.JPEG"], None, "tench is none of the 1000 wnids"),
        (["val/n99999999/1.JPEG"], None, "n99999999 is none of the 1000 wnids"),
        (["val/n01440764/1.JPEG", "val/2.JPEG"], None, r"folders and loose images, such as 2\.JPEG"),
        (["val/ILSVRC2012_val_00000009.JPEG"], None, "no .*LOC_val_solution.csv"),
        (["val/ILSVRC2012_val_00000002.JPEG"], TABLE, r"no answer for ILSVRC2012_val_00000002.JPEG \(1 such"),
        (["val/ILSVRC2012_val_00000009.JPEG"], TABLE.replace("n04254120", "n00000009"), "'n00000009' is no wnid"),
        (["val/ILSVRC2012_val_00000009.JPEG"], TABLE.replace("ImageId", "image"), "not a table of ImageId.*KeyError"),
        (
            ["val/ILSVRC2012_val_00000009.JPEG"],
            TABLE.replace("n04254120", "").replace(" 85 1 499 272  1 1 2 2", ""),
            "not a table of ImageId",
        ),
        (["val/ILSVRC2012_val_00000009.JPEG"], "ImageId,PredictionString\nILSVRC2012_val_00000009\n", "not a table of ImageId"),
    ],
)
def test_wrong_layouts_of_the_validation_set(tmp_path, files, table, words):
    lay_out(tmp_path / "imagenet", files)
    if table:
        (tmp_path / "imagenet" / imagenet.SOLUTION).write_text(table)
    with pytest.raises(DataError, match=words):
        imagenet.validation(tmp_path)


def test_folders_of_v2_are_numbers_and_not_words(tmp_path):
    """Sorted as words, 10 comes before 2: the readers of many peers have been wrong here."""
    lay_out(tmp_path / "imagenetv2-matched-frequency-format-val", ["10/a.jpeg", "2/b.jpeg", "999/c.jpeg", "0/d.jpeg"])
    data = load("imagenet-v2", tmp_path)
    assert [image.key for image in data.images] == ["0/d.jpeg", "2/b.jpeg", "10/a.jpeg", "999/c.jpeg"]
    assert data.labels == [0, 2, 10, 999] and data.classes[2] == "great white shark" and len(data.classes) == 1000


@pytest.mark.parametrize("strange", ["1000", "n01440764", "-1"])
def test_wrong_folders_of_v2(tmp_path, strange):
    lay_out(tmp_path / "v2", ["0/a.jpeg", f"{strange}/b.jpeg"])
    with pytest.raises(DataError, match=f"{strange} is no class index"):
        imagenet.by_index(tmp_path, "v2")


@pytest.mark.parametrize(
    ("task", "first", "name"), [("imagenet-a", "n01498041", "stingray"), ("imagenet-r", "n01443537", "goldfish")]
)
def test_a_and_r_choose_among_their_own_200_classes(tmp_path, task, first, name):
    """Also where only two of the 200 have a folder; n09835506 is the ballplayer, in both lists."""
    lay_out(tmp_path / task, [f"{first}/art_0.jpg", "n09835506/0.000116_ball player _ x_0.86.jpg", "README.txt"])
    data = load(task, tmp_path)
    assert len(data.classes) == 200 and data.classes[0] == name
    assert [data.classes[label] for label in data.labels] == [name, "baseball player"]
    assert data.labels == [0, imagenet.synsets(task[-1]).index("n09835506")]


def test_a_class_of_imagenet_that_is_not_among_the_200_is_an_error(tmp_path):
    lay_out(tmp_path / "imagenet-a", ["n01498041/1.jpg", "n01440764/2.jpg"])
    with pytest.raises(DataError, match="n01440764 is none of the 200 wnids"):
        load("imagenet-a", tmp_path)


def test_sketch(tmp_path):
    lay_out(tmp_path / "imagenet-sketch", ["n01440764/sketch_10.JPEG", "n15075141/sketch_0.JPEG"])
    data = load("imagenet-sketch", tmp_path)
    assert data.labels == [0, 999] and len(data.classes) == 1000


MAPPINGS = {
    "folder_to_objectnet_label.json": {"t-shirt": "T-shirt", "bench": "Bench", "jam": "Jam", "chair": "Chair", "box": "Box"},
    "objectnet_to_imagenet_1k.json": {
        "T-shirt": "jersey, T-shirt, tee shirt",
        "Bench": "park bench",
        "Chair": "barber chair; folding chair",
    },
}
IMAGENET_LABELS = ["park bench", "jersey, T-shirt, tee shirt", "folding chair", "barber chair"]


@pytest.fixture
def objects(tmp_path):
    place = tmp_path / "objectnet-1.0"
    lay_out(place / "images", ["bench/b.png", "chair/c.png", "t-shirt/a.png", "jam/d.png", "t-shirt/0.png"])
    (place / "mappings").mkdir()
    for name, content in MAPPINGS.items():
        (place / "mappings" / name).write_text(json.dumps(content))
    return tmp_path


def test_objectnet_is_read_as_clip_benchmark_reads_it(objects):
    from clip_benchmark.datasets.objectnet import ObjectNetDataset

    peer = objects / "peer"  # it wants the mappings one folder up
    peer.mkdir()
    (peer / "objectnet-1.0").symlink_to(objects / "objectnet-1.0")
    for name, content in MAPPINGS.items():
        (peer / name).write_text(json.dumps(content))
    (peer / "imagenet_to_label_2012_v2").write_text("\n".join(IMAGENET_LABELS) + "\n")
    (peer / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps({str(n): n for n in range(4)}))
    theirs, data = ObjectNetDataset(str(peer), transform=None), load("objectnet", objects)
    assert data.classes == theirs.classes == ["bench", "chair", "t-shirt"]
    assert [image.key for image in data.images] == ["bench/b.png", "chair/c.png", "t-shirt/0.png", "t-shirt/a.png"]
    assert data.labels == [theirs[n][1] for n in range(len(theirs))] == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda place: (place / "mappings/objectnet_to_imagenet_1k.json").unlink(), "does not exist"),
        (lambda place: (place / "mappings/objectnet_to_imagenet_1k.json").write_text("[]"), "is no mapping"),
        (lambda place: (place / "mappings/objectnet_to_imagenet_1k.json").write_text('{"Emu": "x"}'), "the label 'Emu'"),
        (lambda place: (place / "mappings/objectnet_to_imagenet_1k.json").write_text('{"Box": "x"}'), "none of the 1 classes"),
        (lambda place: lay_out(place / "images", ["emu/1.png"]), "emu is no class of ObjectNet"),
        (lambda place: (place / "images").rename(place / "pictures"), "images is not a folder"),
    ],
)
def test_wrong_layouts_of_objectnet(objects, change, words):
    change(objects / "objectnet-1.0")
    with pytest.raises(DataError, match=words):
        imagenet.objectnet(objects, "objectnet-1.0")
