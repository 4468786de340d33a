"""Readers of captioned images: each right layout, each wrong one, made with real small files."""

import io
import json
import random
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import Card, Oracle
from PIL import Image

import recap_eval.data.annotations as annotations
from recap_eval.data.captioned import coco_annotations, image_lines, karpathy
from recap_eval.data.digests import Digests
from recap_eval.data.long_captions import docci, recap_coco, sharegpt4v, urban1k
from recap_eval.data.own import parquet, shards
from recap_eval.data.parquet import RowGroups, images_in
from recap_eval.embed import Embedder
from recap_eval.errors import DataError
from recap_eval.registry import choose_tasks, get_task
from recap_eval.tasks.catalog import incomplete, load_catalog


def jpeg(number=0) -> bytes:
    """A small real JPEG that the Oracle reads as text `number`."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), ((number % 32) * 8, (number // 32) * 8, 0)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def put(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def put_json(path, value):
    return put(path, json.dumps(value))


# Karpathy's splits


def entry(number, split, raws, below="val2014"):
    image = {"filename": f"COCO_{below}_{number:012}.jpg", "filepath": below, "split": split, "cocoid": number}
    return image | {"sentences": [{"raw": raw, "tokens": raw.lower().split()} for raw in raws], "imgid": number}


COCO = [
    entry(9, "test", [f" Caption {i} of NINE.\n" for i in range(6)]),
    entry(4, "restval", ["left out"]),
    entry(2, "test", ["a  b", "c"], "train2014"),
    entry(7, "val", ["seven"]),
]


@pytest.fixture
def coco(tmp_path):
    put_json(tmp_path / "coco/dataset_coco.json", {"dataset": "coco", "images": COCO})
    for number, image in enumerate(COCO):
        put(tmp_path / "coco" / image["filepath"] / image["filename"], jpeg(number))
    return tmp_path


def read_coco(root, split="test"):
    return karpathy(root, "coco/dataset_coco.json", "coco", split)


def test_karpathy_keeps_all_captions_as_they_stand(coco):
    data = read_coco(coco)
    assert [image.key for image in data.images] == ["COCO_val2014_000000000009.jpg", "COCO_train2014_000000000002.jpg"]
    assert data.captions == [[f"Caption {i} of NINE." for i in range(6)], ["a  b", "c"]]
    assert data.images[1].path == coco / "coco/train2014/COCO_train2014_000000000002.jpg"
    assert data.images[0].read_image() == jpeg(0)


def test_karpathy_images_may_lie_flat(coco):
    nested = read_coco(coco)
    for image in nested.images:
        image.path.rename(coco / "coco" / image.path.name)
    flat = read_coco(coco)
    assert flat.captions == nested.captions and [i.key for i in flat.images] == [i.key for i in nested.images]
    assert flat.images[0].path.parent == coco / "coco" and flat.images[0].read_image() == jpeg(0)


def test_karpathy_of_flickr_has_no_folders(tmp_path):
    images = [{"filename": f"{n}.jpg", "split": "test", "sentences": [{"raw": "x"}] * 5} for n in (3, 1)]
    put_json(tmp_path / "flickr30k/dataset_flickr30k.json", {"images": images})
    for n in (1, 3):
        put(tmp_path / f"flickr30k/flickr30k-images/{n}.jpg", jpeg(n))
    task = get_task("flickr30k-retrieval", tmp_path)
    assert task.missing(tmp_path) == []
    data = task.load(tmp_path)
    assert [image.key for image in data.images] == ["3.jpg", "1.jpg"] and list(map(len, data.captions)) == [5, 5]
    assert (data.source.name, data.source.split) == ("flickr30k-karpathy", "test")


def without(image, field):
    return {name: value for name, value in image.items() if name != field}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([{"image": "val2014/x.jpg", "caption": ["blip's form"]}], "no JSON object, but a list"),
        ({"annotations": []}, "has no 'images'"),
        ({"images": [without(COCO[0], "split")]}, r"image 0 is of another form: it has no 'split'"),
        ({"images": [without(COCO[0], "sentences")]}, r"image 0 is of another form: it has no 'sentences'"),
        ({"images": [COCO[0] | {"sentences": ["raw"]}]}, r"sentence 0 is of another form"),
        ({"images": [COCO[0] | {"sentences": [{"raw": None}]}]}, r"its 'raw' is null"),
        ({"images": [COCO[0] | {"sentences": []}]}, r"000009\.jpg has no caption \(1 of 1\)"),
        ({"images": [COCO[0], COCO[0]]}, r"names image COCO_val2014_000000000009\.jpg twice"),
        ({"images": []}, r"has no split 'test'"),
    ],
)
def test_karpathy_of_another_form(coco, document, words):
    path = put_json(coco / "coco/dataset_coco.json", document)
    with pytest.raises(DataError, match=words) as caught:
        read_coco(coco)
    assert str(path) in caught.value.what


def test_karpathy_names_the_splits_there_are(coco):
    with pytest.raises(DataError, match="no split 'tset'") as caught:
        read_coco(coco, "tset")
    assert caught.value.hint == "It has: restval, test, val."


def test_absent_images_are_counted_and_named(coco):
    (coco / "coco/val2014/COCO_val2014_000000000009.jpg").unlink()
    with pytest.raises(DataError) as caught:
        read_coco(coco)
    assert "1 of 2 images of" in caught.value.what and "the first: COCO_val2014_000000000009.jpg" in caught.value.what
    assert f"Looked in {coco / 'coco/val2014'} and {coco / 'coco'}." in caught.value.hint


def test_broken_and_missing_annotations(coco):
    path = coco / "coco/dataset_coco.json"
    put(path, path.read_bytes()[:-9])
    with pytest.raises(DataError, match="not readable JSON"):
        read_coco(coco)
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_coco(coco)


def test_a_folder_is_listed_once_and_no_image_opened(coco, monkeypatch):
    put_json(coco / "coco/dataset_coco.json", {"images": [COCO[0], COCO[2], COCO[3] | {"split": "test"}]})
    listed = []
    real = annotations.os.scandir
    monkeypatch.setattr(annotations.os, "scandir", lambda folder: listed.append(folder) or real(folder))
    monkeypatch.setattr(Image, "open", None)
    read_coco(coco)
    assert sorted(listed) == sorted([str(coco / "coco/train2014"), str(coco / "coco/val2014")])


def test_coco_row_from_the_list_to_the_score(coco):
    task = get_task("coco-retrieval", coco)
    assert task.missing(coco) == [] and task.missing(coco / "none") == ["coco/dataset_coco.json", "coco/val2014"]
    data = task.load(coco)
    assert incomplete(task.row, data) == "2 images instead of 5,000 and 8 texts instead of 25,010"
    texts = [data.captions[0][0], "never shown", data.captions[1][1]]  # what images 0 and 2 show
    scores = task.score(Embedder(Oracle(texts), progress=False), data)
    assert scores.metrics["i2t_r1"].values.tolist() == [1, 1]
    right = scores.metrics["t2i_r1"].values
    assert len(right) == 8 and right[0] == 1 and right[7] == 1


# COCO's own annotations, and lines


def annotate(root, captions, ids=(30, 5)):
    images = [{"id": i, "file_name": f"{i:012}.jpg", "height": 12} for i in ids]
    notes = [{"id": n, "image_id": i, "caption": text} for n, (i, text) in enumerate(captions)]
    put_json(root / "coco/annotations/captions_val2017.json", {"info": {}, "images": images, "annotations": notes})
    for i in ids:
        put(root / f"coco/val2017/{i:012}.jpg", jpeg())
    return get_task("coco2017-retrieval", root)


def test_coco2017_by_pycocotools_in_silence(tmp_path, capsys):
    task = annotate(tmp_path, [(30, "one "), (5, "Two"), (30, "three"), *[(30, str(i)) for i in range(5)]])
    data = task.load(tmp_path)
    assert [image.key for image in data.images] == ["000000000005.jpg", "000000000030.jpg"]
    assert data.captions == [["Two"], ["one", "three", "0", "1", "2", "3", "4"]]  # all of them, not Long-CLIP's first five
    assert capsys.readouterr().out == ""


def test_coco2017_of_another_form(tmp_path):
    task = annotate(tmp_path, [(30, "x")])
    with pytest.raises(DataError, match=r"000000000005\.jpg has no caption"):
        task.load(tmp_path)
    annotate(tmp_path, [(30, "x"), (5, "y"), (99, "z")])
    with pytest.raises(DataError, match="captions of image 99, which it does not list"):
        task.load(tmp_path)
    boxes = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 1, 1]}]}
    put_json(tmp_path / "coco/annotations/instances_val2017.json", boxes)
    with pytest.raises(DataError, match="annotation 0 is of another form: it has no 'caption'"):
        coco_annotations(tmp_path, "coco/annotations/instances_val2017.json", "coco/val2017")


def test_lines_of_image_and_caption(tmp_path):
    put(tmp_path / "f.txt", 'image,caption\n1.jpg,A man , a dog .\n2.JPG,"Quoted" words\n\n1.jpg,Second, with comma\n')
    for name in ("1.jpg", "2.JPG"):
        put(tmp_path / "images" / name, jpeg())
    data = image_lines(tmp_path, "f.txt", "images")
    assert [image.key for image in data.images] == ["1.jpg", "2.JPG"]
    assert data.captions == [["A man , a dog .", "Second, with comma"], ['"Quoted" words']]
    put(tmp_path / "f.txt", "image,caption\n1.jpg,x\nno image here\n")
    with pytest.raises(DataError, match="line 3 is of another form"):
        image_lines(tmp_path, "f.txt", "images")
    put(tmp_path / "f.txt", "image,caption\n")
    with pytest.raises(DataError, match="holds no caption"):
        image_lines(tmp_path, "f.txt", "images")


# Long captions


@pytest.fixture
def urban(tmp_path):
    for n in (1, 2, 10):
        put(tmp_path / f"Urban1k/image/{n}.jpg", jpeg(n))
        put(tmp_path / f"Urban1k/caption/{n}.txt", f"First line of {n}. \r\nA second, which Long-CLIP does not read.\n")
    return tmp_path


def test_urban1k_takes_the_first_line_in_natural_order(urban):
    task = get_task("urban1k", urban)
    data = task.load(urban)
    assert [image.key for image in data.images] == ["1.jpg", "2.jpg", "10.jpg"]
    assert data.captions == [["First line of 1."], ["First line of 2."], ["First line of 10."]]
    assert task.missing(urban) == [] and task.missing(urban / "none") == ["Urban1k/image", "Urban1k/caption"]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda root: (root / "Urban1k/caption/2.txt").unlink(), r"1 images of .*image have no caption; the first: 2\.jpg"),
        (lambda root: (root / "Urban1k/image/2.jpg").unlink(), r"1 of 3 images of .*caption are not there; the first: 2\.jpg"),
        (lambda root: put(root / "Urban1k/caption/2.txt"), r"2\.txt is empty"),
        (lambda root: put(root / "Urban1k/caption/2.txt", b"\xff\xfe"), r"2\.txt is not readable text"),
        (lambda root: [(root / f"Urban1k/caption/{n}.txt").unlink() for n in (1, 2, 10)], r"holds no caption N\.txt"),
    ],
)
def test_urban1k_of_another_form(urban, break_it, words):
    break_it(urban)
    with pytest.raises(DataError, match=words):
        urban1k(urban, "Urban1k/image", "Urban1k/caption")


def test_docci(tmp_path):
    rows = [("test_00000", "test", "Long.\u2028 Still one line. "), ("train_00000", "train", "no"), ("test_00001", "test", "B")]
    lines = [{"example_id": key, "split": split, "image_file": f"{key}.jpg", "description": text} for key, split, text in rows]
    path = put(tmp_path / "docci/docci_descriptions.jsonlines", "\n".join(json.dumps(r, ensure_ascii=False) for r in lines))
    for n in range(2):
        put(tmp_path / f"docci/images/test_0000{n}.jpg", jpeg(n))
    task = get_task("docci", tmp_path)
    data = task.load(tmp_path)
    assert [image.key for image in data.images] == ["test_00000.jpg", "test_00001.jpg"]
    assert data.captions == [["Long.\u2028 Still one line."], ["B"]]
    with pytest.raises(DataError, match="no split 'dev'") as caught:
        docci(tmp_path, "docci/docci_descriptions.jsonlines", "docci/images", "dev")
    assert caught.value.hint == "It has: test, train."
    put(path, path.read_text() + '\n{"split": "test"}\n')
    with pytest.raises(DataError, match="line 4 is of another form: it has no 'image_file'"):
        task.load(tmp_path)
    put(path, path.read_text()[:-4])
    with pytest.raises(DataError, match="line 4 is not JSON"):
        task.load(tmp_path)


def share(root, n=5, rest=""):
    """ShareGPT4V's list of `n` entries, the last images missing, then `rest`."""
    entries = []
    for i in range(n):
        name = f"sam/images/sa_{i}.jpg" if i % 2 else f"coco/train2017/{i:012}.jpg"
        turns = [{"from": "human", "value": "Describe.\n<image>"}, {"from": "gpt", "value": f"It shows {i}.\n\nAnd, [more]. "}]
        entries.append({"id": str(i), "image": name, "conversations": turns})
        put(root / "data" / name, jpeg(i))
    put(root / "data/captions.json", json.dumps(entries, indent=1)[:-2] + (rest or "\n]"))
    return lambda first: sharegpt4v(root, "data/captions.json", "data", first)


@pytest.mark.parametrize("block", [7, 64, 1 << 20])
def test_sharegpt4v_reads_the_first_entries_only(tmp_path, monkeypatch, block):
    monkeypatch.setattr(annotations, "BLOCK", block)
    data = share(tmp_path, rest=",\n not JSON at all")(5)
    assert [image.key for image in data.images][:2] == ["coco/train2017/000000000000.jpg", "sam/images/sa_1.jpg"]
    assert data.captions == [[f"It shows {i}.  And, [more]."] for i in range(5)]


def test_sharegpt4v_of_another_form(tmp_path):
    read = share(tmp_path)
    with pytest.raises(DataError, match="no JSON list of 6 entries: only 5"):
        read(6)
    for n in (1, 3):
        (tmp_path / f"data/sam/images/sa_{n}.jpg").unlink()
    with pytest.raises(DataError, match=r"2 of 5 images of .* are not there; the first: sa_1\.jpg") as caught:
        read(5)
    assert "data/sam/images" in caught.value.hint
    put(tmp_path / "data/captions.json", '[{"image": "x.jpg", "conversations": [{"value": "only a question"}]}]')
    with pytest.raises(DataError, match="entry 0, its answer is of another form"):
        read(1)
    put(tmp_path / "data/captions.json", '{"image": "x.jpg"}')
    with pytest.raises(DataError, match="no JSON list"):
        read(1)


# Parquet


def write_parquet(path, rows, group=4, **types):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: pa.array(values, types.get(name)) for name, values in rows.items()})
    pq.write_table(table, path, row_group_size=group)
    return path


def recap(root, low, high, name, group=4):
    numbers = list(range(low, high))
    return write_parquet(
        root / "recap-coco-30k" / name,
        {
            "image_id": numbers,
            "coco_url": [f"http://images.cocodataset.org/val2014/{n}.jpg" for n in numbers],
            "image": [{"bytes": jpeg(n), "path": f"{n}.jpg"} for n in numbers],
            "caption": [f"short {n} " for n in numbers],
            "recaption": [f"A long recaption of {n}." for n in numbers],
        },
        group,
    )


def test_recap_coco_by_either_column(tmp_path):
    recap(tmp_path, 0, 10, "data/train-00000-of-00002.parquet")
    recap(tmp_path, 10, 14, "data/train-00001-of-00002.parquet")
    task = get_task("recap-coco-30k", tmp_path)
    data = task.load(tmp_path)
    assert [image.key for image in data.images] == list(map(str, range(14)))
    assert data.captions[11] == ["A long recaption of 11."]
    assert [image.read_image() for image in data.images] == [jpeg(n) for n in range(14)]
    assert get_task("recap-coco-30k-original", tmp_path).load(tmp_path).captions[3] == ["short 3"]
    scores = task.score(Embedder(Oracle([own[0] for own in data.captions]), progress=False), data)
    assert scores.metrics["i2t_r1"].values.tolist() == [1] * 14 == scores.metrics["t2i_r1"].values.tolist()


def test_recap_coco_of_another_form(tmp_path):
    (tmp_path / "recap-coco-30k").mkdir()
    with pytest.raises(DataError, match=r"holds no \*\.parquet file"):
        recap_coco(tmp_path, "recap-coco-30k", "recaption")
    path = recap(tmp_path, 0, 3, "new_data.parquet")
    with pytest.raises(DataError, match="no column 're_caption'") as caught:
        recap_coco(tmp_path, "recap-coco-30k", "re_caption")
    assert caught.value.hint == "It has: image_id, coco_url, image, caption, recaption."
    recap(tmp_path, 2, 4, "more.parquet")
    with pytest.raises(DataError, match="names image 2 twice"):
        recap_coco(tmp_path, "recap-coco-30k", "recaption")
    put(tmp_path / "recap-coco-30k/more.parquet", path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"more\.parquet is not a readable parquet file"):
        recap_coco(tmp_path, "recap-coco-30k", "recaption")


def test_row_groups_are_read_once_by_many_threads_in_any_order(tmp_path):
    path = recap(tmp_path, 0, 60, "x.parquet", group=7)
    groups = RowGroups()
    images = images_in(path, "image", [str(n) for n in range(60)], groups)
    order = random.Random(0).sample(range(60), 60)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: images[n].read_image(), order))
    assert found == [jpeg(n) for n in order] and groups.reads == 9


def test_memory_holds_what_it_may_and_at_least_one_row_group(tmp_path):
    path = recap(tmp_path, 0, 12, "x.parquet", group=4)
    for held, reads in ((0, 6), (1 << 30, 3)):
        groups = RowGroups(held)
        images = images_in(path, "image", [str(n) for n in range(12)], groups)
        for _ in range(2):
            assert [image.read_image() for image in images] == [jpeg(n) for n in range(12)]
        assert groups.reads == reads  # twice through three groups: with room for one, each pass reads all again


def test_large_row_groups_are_decoded_in_batches(tmp_path):
    path = recap(tmp_path, 0, 200, "x.parquet", group=1000)
    images = images_in(path, "image", [str(n) for n in range(200)], RowGroups())
    assert [images[n].read_image() for n in (199, 0, 64, 63, 128)] == [jpeg(n) for n in (199, 0, 64, 63, 128)]


def test_a_cell_has_its_own_stamp_and_digests_are_those_of_files(tmp_path):
    path = recap(tmp_path, 0, 6, "x.parquet", group=4)
    images = images_in(path, "image", list("abcdef"), RowGroups())
    assert len({image.stamp() for image in images}) == 6 and images[0].where == f"{path}:a"
    assert Digests(progress=False).of(images) == Digests(progress=False).of([Card(str(n), 0, jpeg(n)) for n in range(6)])
    late = images_in(path, "image", list("abcdef"), RowGroups())
    path.unlink()
    assert images[0].stamp() is None and images[0].read_image() == jpeg(0)
    with pytest.raises(DataError, match="not a readable parquet file"):
        late[0].read_image()


# One's own data


def own(root, **row):
    lines = ["[mine]", "kind = 'retrieval'", "summary = 'mine'", "data = 'mine'", "split = 'all'"]
    lines += [
        f"reader = 'recap_eval.data.own:{row['of']}'",
        "[mine.options]",
        *(f"{name} = {json.dumps(value)}" for name, value in row.items() if name != "of"),
    ]
    put(root / "tasks.toml", "\n".join(lines))
    (task,) = choose_tasks("mine", root)
    return task


@pytest.mark.parametrize("form", ["bytes", "struct", "path"])
@pytest.mark.parametrize("many", [False, True])
def test_own_parquet(tmp_path, form, many):
    for n in range(3):
        put(tmp_path / f"my/pictures/{n}.jpg", jpeg(n))
    forms = {
        "bytes": [jpeg(n) for n in range(3)],
        "struct": [{"bytes": jpeg(n), "path": None} for n in range(3)],
        "path": [f"pictures/{n}.jpg" for n in range(3)],
    }
    texts = [[f"a {n}", f"b {n} "] if many else f"a {n}" for n in range(3)]
    write_parquet(tmp_path / "my/data.parquet", {"picture": forms[form], "words": texts, "id": ["x", "y", "z"]}, group=2)
    task = own(tmp_path, of="parquet", files="my", image="picture", text="words", key="id")
    data = task.load(tmp_path)
    assert [image.key for image in data.images] == ["x", "y", "z"]
    assert data.captions == [[f"a {n}", f"b {n}"] if many else [f"a {n}"] for n in range(3)]
    assert [image.read_image() for image in data.images] == [jpeg(n) for n in range(3)]
    assert data.source.name == "mine" and incomplete(task.row, data) is None
    unnamed = own(tmp_path, of="parquet", files="my/data.parquet", image="picture", text="words").load(tmp_path)
    assert [image.key for image in unnamed.images] == ["data-0", "data-1", "data-2"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"image": [b"x", b"y"], "text": ["a", ""]}, "1 of 2 images in .* have no caption or an empty one; the first: d-1"),
        ({"image": [b"x", b"y"], "text": ["a", None]}, "1 of 2 images in .* no caption"),
        ({"image": [b"x", b"y"], "text": [["a", None], ["b"]]}, "1 of 2 images in .* the first: d-0"),
        ({"image": [b"x", b"y"], "text": [["a"], []]}, "1 of 2 images in .* the first: d-1"),
        ({"image": [1, 2], "text": ["a", "b"]}, "column 'image' holds no images but int64"),
        ({"image": ["1.jpg", "2.jpg"], "text": ["a", "b"]}, r"2 of 2 images of .*d\.parquet are not there; the first: 1\.jpg"),
        ({"picture": [b"x"], "text": ["a"]}, "no column 'image'"),
        ({"image": [b"x"], "txt": ["a"]}, "no column 'text'"),
    ],
)
def test_own_parquet_of_another_form(tmp_path, rows, words):
    write_parquet(tmp_path / "d.parquet", rows)
    with pytest.raises(DataError, match=words):
        parquet(tmp_path, "d.parquet")


def test_an_empty_cell_is_no_image(tmp_path):
    path = write_parquet(tmp_path / "d.parquet", {"image": [b"x", None], "text": ["a", "b"]})
    data = parquet(tmp_path, "d.parquet")
    with pytest.raises(DataError, match=r"d\.parquet:d-1 holds no image"):
        data.images[1].read_image()
    assert data.images[0].read_image() == b"x" and data.images[1].path == path


def tar(path, samples):
    import tarfile

    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as out:
        for name, payload in samples.items():
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            out.addfile(info, io.BytesIO(payload))


def test_own_shards_by_the_role_that_is_named(tmp_path):
    meta = [{"org_caption": "alt 0", "captions": ["one ", "two"]}, {"org_caption": "alt 1", "captions": ["three"]}]
    samples = {}
    for n in range(2):
        samples |= {f"{n}.jpg": jpeg(n), f"{n}.txt": f"recaption {n}\n".encode(), f"{n}.json": json.dumps(meta[n]).encode()}
    tar(tmp_path / "my/00000.tar", samples)
    expected = {"txt": [["recaption 0"], ["recaption 1"]], "json:org_caption": [["alt 0"], ["alt 1"]]}
    for role, captions in (expected | {"json:captions": [["one", "two"], ["three"]]}).items():
        data = own(tmp_path, of="shards", folder="my", text=role).load(tmp_path)
        assert data.captions == captions and [image.key for image in data.images] == ["0", "1"]
    assert own(tmp_path, of="shards", folder="my").load(tmp_path).captions == expected["txt"]
    with pytest.raises(DataError, match="neither 'txt' nor 'json:FIELD'"):
        shards(tmp_path, "my", "caption")
    with pytest.raises(DataError, match=r"2 of 2 images in .*; the first: 0"):
        shards(tmp_path, "my", "json:re_caption")
    with pytest.raises(DataError, match="is not a folder"):
        shards(tmp_path, "yours")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"of": "parquet", "folder": "x"}, "own:parquet' cannot be called with options .*'folder'"),
        ({"of": "parquett", "files": "x"}, "parquett"),
    ],
)
def test_a_row_with_a_wrong_reader_or_option_says_so(tmp_path, row, words):
    task = own(tmp_path, **row)
    with pytest.raises(DataError, match=words):
        task.load(tmp_path)


def test_suites_and_official_sizes():
    rows = load_catalog()
    assert {name for name, row in rows.items() if "long" in row.suites} == {
        "urban1k",
        "recap-coco-30k",
        "docci",
        "sharegpt4v-1k",
    }
    sizes = {name: (row.images, row.texts) for name, row in rows.items()}
    assert sizes["coco-retrieval"] == (5000, 25010) == sizes["coco-retrieval-val"]
    assert sizes["flickr30k-retrieval"] == (1000, 5000) and sizes["coco2017-retrieval"] == (5000, 25014)
    assert "Karpathy" in rows["coco2017-retrieval"].summary and "Long-CLIP" in rows["coco2017-retrieval"].summary
