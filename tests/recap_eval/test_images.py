"""Folders of images read back: paired by id and digest, and every file that is missing, changed or a stranger is named."""

import json
import shutil

import pytest
from painters import Painter
from PIL import Image
from test_generate import complete, painter, prompt_set

from recap_eval.errors import DataError, UserError
from recap_eval.generate.images import read_images
from recap_eval.generate.prompts import Prompt, PromptSet
from recap_eval.generate.run import Job


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("made") / "out", prompt_set(12), samples=2)
    complete(job)
    return job


@pytest.fixture
def fresh(made, tmp_path):
    return shutil.copytree(made.out, tmp_path / "out")


def paint_files(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / name)
    return folder


def test_a_manifest_tells_everything(made):
    found = read_images(made.out)
    assert found.paired_by == "manifest" and found.is_whole and len(found.images) == 24 and found.artifact.kind == "images"
    assert [(image.id, image.sample, image.prompt, image.seed) for image in found.images] == [
        (item.prompt.id, item.sample, item.prompt.text, item.seed) for item in made.items()
    ]
    assert [image.item.key for image in found.images[:3]] == ["id/0", "id/0#1", "id/1"]
    assert found.images[0].item.read_image()[:4] == b"\x89PNG"
    assert read_images(made.out, prompts=made.prompts).images == found.images
    with pytest.raises(DataError, match="made of other prompts"):
        read_images(made.out, prompts=prompt_set(3))


def test_files_that_are_missing_changed_or_strangers_are_named(fresh):
    files = sorted((fresh / "images").rglob("*.png"))
    files[3].unlink()
    shutil.copy(files[5], files[4])
    shutil.copy(files[5], files[5].with_name("zzz.png"))
    with pytest.raises(DataError) as caught:
        read_images(fresh)
    for name in (
        files[3].name,
        files[4].name,
        "zzz.png",
        "Of 24 images",
        "1 are missing",
        "1 were changed",
        "1 are not listed",
    ):
        assert name in caught.value.what
    found = read_images(fresh, tolerate=True)
    assert len(found.images) == 22 and not found.is_whole
    assert [found.missing, found.changed, found.unlisted] == [
        [str(path.relative_to(fresh))] for path in (files[3], files[4], files[5].with_name("zzz.png"))
    ]


def test_two_images_that_changed_places_are_noticed(fresh):
    one, two = sorted((fresh / "images").rglob("*.png"))[:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(DataError, match="2 were changed"):
        read_images(fresh)


def test_a_changed_manifest_and_an_unfinished_run_are_refused(fresh, made, tmp_path):
    with pytest.raises(UserError, match="contradict"):
        read_images(fresh, listing=tmp_path / "list.csv")
    path = fresh / "manifest.jsonl"
    path.write_text(path.read_text().replace("prompt 3", "prompt 4"))
    with pytest.raises(DataError, match=r"manifest\.jsonl is not the file"):
        read_images(fresh)
    job = Job(tmp_path / "half", made.prompts)
    complete(job, shard=(0, 2))
    with pytest.raises(DataError, match="unfinished"):
        read_images(job.out)


def test_failed_prompts_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PAINTER", "hate:t 5")
    job = Job(tmp_path / "out", prompt_set(8))
    complete(job, painter(Painter))
    found = read_images(job.out)
    assert found.failed == ["id/5"] and len(found.images) == 7 and not found.is_whole


def test_a_list_pairs_files_whatever_their_order(tmp_path):
    folder = paint_files(tmp_path / "theirs", ["b.png", "sub/a.jpg", "c.webp"])
    (folder / "list.csv").write_text("file,prompt\nc.webp,third\nsub/a.jpg,first\nb.png,second\n")
    found = read_images(folder, folder / "list.csv")
    assert [(image.id, image.prompt) for image in found.images] == [("c", "third"), ("sub/a", "first"), ("b", "second")]
    assert found.paired_by == "list" and found.is_whole and len({image.sha256 for image in found.images}) == 3
    rows = [{"file": "b.png", "prompt": "second", "id": 2}, {"file": "c.webp", "prompt": "third", "id": "x"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"1 are not listed \(sub/a\.jpg\)"):
        read_images(folder, tmp_path / "list.jsonl")
    found = read_images(folder, tmp_path / "list.jsonl", tolerate=True)
    assert [image.id for image in found.images] == ["2", "x"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file,prompt\na.png,x\nnone.png,y\n", r"1 are missing \(none\.png\); 1 are not listed \(b\.png\)"),
        ("file,prompt\na.png,x\na.png,y\n", "occurs twice"),
        ("file,prompt,id\na.png,x,1\nb.png,y,1\n", "names 1 twice"),
        ("file,prompt\na.png,x\n../secret.png,y\n", "lies outside"),
        ("file,prompt\na.png,x\nb.png,\n", "line 3 has an empty prompt"),
        ("name,prompt\na.png,x\n", "no column 'file'"),
    ],
)
def test_wrong_lists(tmp_path, text, told):
    folder = paint_files(tmp_path / "theirs", ["a.png", "b.png"])
    paint_files(tmp_path, ["secret.png"])
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        read_images(folder, tmp_path / "list.csv")


def test_names_pair_with_ids_and_never_by_order(tmp_path):
    folder = paint_files(tmp_path / "theirs", ["10.png", "9.png", "sub/x.1.png"])
    prompts = PromptSet("p", (Prompt("9", "nine"), Prompt("10", "ten"), Prompt("sub/x.1", "x")))
    found = read_images(folder, prompts=prompts)
    assert [(image.id, image.path.name, image.prompt) for image in found.images] == [
        ("9", "9.png", "nine"), ("10", "10.png", "ten"), ("sub/x.1", "x.1.png", "x"),
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"1 are not listed \(10\.png\)"):
        read_images(folder, prompts=PromptSet("p", (prompts.prompts[0], prompts.prompts[2])))
    with pytest.raises(DataError, match=r"1 are missing \(11\)"):
        read_images(folder, prompts=PromptSet("p", (*prompts.prompts, Prompt("11", "eleven"))))
    with pytest.raises(DataError, match="named by an id"):
        read_images(folder, prompts=PromptSet("p", (Prompt("a", "x"),)))
    paint_files(folder, ["9.jpg"])
    with pytest.raises(DataError, match="several images 9"):
        read_images(folder, prompts=prompts)


def test_nothing_says_what_an_image_is_of(tmp_path):
    with pytest.raises(UserError, match="nothing says which prompt"):
        read_images(paint_files(tmp_path / "theirs", ["a.png"]))
    with pytest.raises(DataError, match="is no folder"):
        read_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="1 are missing"):
        read_images(tmp_path / "empty", prompts=PromptSet("p", (Prompt("a", "x"),)))
    with pytest.raises(DataError, match="no image that could be scored"):
        read_images(tmp_path / "empty", prompts=PromptSet("p", (Prompt("a", "x"),)), tolerate=True)
