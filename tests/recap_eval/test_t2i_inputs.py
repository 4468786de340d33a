"""What `recap-eval t2i` says of images and references that are not as they should be: an error, or what is documented."""

import json
from pathlib import Path

import numpy as np
import pytest
from painters import paint
from PIL import Image

from recap_eval.cli import main
from recap_eval.results import read_results

EYES = Path(__file__).parents[1] / "eyes.py"
N = 8


def metrics(*words, model="Eyes"):
    """Return metrics by family: "fd" is fd:clip:EYES, "clip" is clip:EYES."""
    return ",".join(f"{word}:{EYES}:{model}" if word == "clip" else f"{word}:clip:{EYES}:{model}" for word in words)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with images p0 … p7 of as many prompts, and real ones."""
    for folder in ("images", "real"):
        (tmp_path / folder).mkdir()
        for n in range(N):
            paint(folder, n).save(tmp_path / folder / f"p{n}.png")
    prompts(tmp_path / "prompts.csv", N)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prompts(path, n):
    path.write_text("id,prompt\n" + "".join(f"p{i},a cat {i}\n" for i in range(n)))


def t2i(capsys, *words, code=0, given=("--images", "images", "--prompts", "prompts.csv")):
    """Run the command in this process; returns what it said, and its results by task."""
    assert main(["t2i", *given, "--out", "lb", "--no-cache", *map(str, words)]) == code, capsys.readouterr().err
    return capsys.readouterr().err, {found.task: found.record for found in read_results(Path("lb"))}


def test_an_empty_folder(capsys, place):
    (place / "empty").mkdir()
    said, _ = t2i(capsys, given=("--images", "empty", "--prompts", "prompts.csv"), code=1)
    assert "Of 8 images of empty: 8 are missing (p0, p1, p2, …)." in said
    said, _ = t2i(capsys, given=("--images", "empty"), code=2)
    assert "nothing says which prompt an image is of" in said
    (place / "list.csv").write_text("file,prompt\n")
    said, _ = t2i(capsys, given=("--images", "empty", "--list", "list.csv"), code=1)
    assert "list holds no prompt" in said
    said, _ = t2i(capsys, "--metrics", metrics("fd"), "--reference", "empty", code=1)
    assert "empty holds no image" in said


def test_one_image(capsys, place):
    """A score of pairs is there, without an error; what compares sets says how many it needs, and leaves the others running."""
    (place / "one").mkdir()
    paint("one", 0).save(place / "one" / "p0.png")
    prompts(place / "one.csv", 1)
    given = ("--images", "one", "--prompts", "one.csv")
    said, found = t2i(capsys, "--metrics", metrics("fd", "kid", "prdc", "clip"), "--reference", "real", given=given, code=1)
    assert "t2i-fd: 1 images, where at least 2 are needed" in said
    assert "t2i-kid: 1 features, where at least 2 are needed" in said
    assert "t2i-prdc: 1 features, where at least 6 are needed" in said
    assert set(found) == {"t2i-clip"} and found["t2i-clip"]["metrics"]["clip_score"]["ci95"] is None


def test_fewer_images_than_nearest_neighbours(capsys, place):
    for n in range(5, N):
        (place / "images" / f"p{n}.png").unlink()
    prompts(place / "prompts.csv", 5)
    said, found = t2i(capsys, "--metrics", metrics("prdc", "kid", "fd"), "--reference", "real", code=1)
    assert "t2i-prdc: 5 features, where at least 6 are needed" in said and set(found) == {"t2i-kid", "t2i-fd"}
    assert "5 images scored for 12 features" in said and found["t2i-fd"]["metrics"]["fd"]["se"] is None
    said, _ = t2i(capsys, "--metrics", metrics("cmmd_like"), "--reference", "real", code=2)
    assert "Unknown metric" in said


def test_a_reference_of_one_image(capsys, place):
    for n in range(1, N):
        (place / "real" / f"p{n}.png").unlink()
    said, found = t2i(capsys, "--metrics", metrics("fd", "kid", "prdc", "clip"), "--reference", "real", code=1)
    assert said.count("error: t2i-") == said.count("The reference real has one image, and a distance needs two.\n       ") == 3
    assert set(found) == {"t2i-clip"}


def test_unequal_numbers_of_prompts_and_images(capsys, place):
    (place / "images" / "p3.png").unlink()
    said, _ = t2i(capsys, "--metrics", metrics("clip"), code=1)
    assert "Of 8 images of images: 1 are missing (p3)." in said
    prompts(place / "prompts.csv", 3)
    said, _ = t2i(capsys, "--metrics", metrics("clip"), code=1)
    assert "Of 3 images of images: 4 are not listed (p4.png, p5.png, p6.png, …)." in said
    _, found = t2i(capsys, "--metrics", metrics("clip"), "--skip-bad")
    assert found["t2i-clip"]["partial"] and found["t2i-clip"]["metrics"]["clip_score"]["n"] == 3


@pytest.mark.parametrize(
    ("model", "told", "left"),
    [
        ("NaNImages", ["features that are not finite, first of images/p0.png", "embeddings that are not finite"], set()),
        ("NaNTexts", ["t2i-clip: NaNTexts gives embeddings that are not finite"], {"t2i-fd", "t2i-kid"}),
        ("Constant", ["t2i-clip: Constant embeds all 8 images alike"], {"t2i-fd", "t2i-kid"}),
    ],
)
def test_networks_that_are_broken(capfd, place, model, told, left):
    said, found = t2i(capfd, "--metrics", metrics("fd", "kid", "clip", model=model), "--reference", "real", code=1)
    assert all(fragment in said for fragment in told) and set(found) == left
    assert "illegal value" not in said  # of BLAS, for features that are all equal
    if model == "Constant":
        assert found["t2i-fd"]["metrics"]["fd"]["value"] == 0 == found["t2i-kid"]["metrics"]["kid"]["value"]


def strange(place, name, image, **saving):
    """Put an image in the place of another; returns its file."""
    number = name[:2]
    (place / "images" / f"{number}.png").unlink()
    image.save(place / "images" / name, **saving)
    return place / "images" / name


def noise(mode="RGB", size=(12, 10)):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)).convert(mode)


def turned():
    """Say by EXIF that an image is to be turned by a quarter."""
    found = Image.Exif()
    found[0x112] = 6
    return found


def plain(path):
    """Return an image as it is documented to be read."""
    return Image.open(path).convert("RGB")


@pytest.mark.parametrize(
    ("name", "image", "saving"),
    [
        ("p0.png", noise("L"), {}),
        ("p0.jpg", noise("CMYK"), {}),
        ("p0.png", noise("RGBA"), {}),
        ("p0.png", noise("P"), {}),
        ("p0.png", noise("1"), {}),
        ("p0.gif", noise(), {}),
        ("p0.jpg", noise(), {"exif": turned()}),
        ("p0.png", noise(size=(40, 3)), {}),
    ],
    ids=["grey", "cmyk", "alpha", "palette", "bits", "gif", "turned by exif", "other size"],
)  # fmt: skip
@pytest.mark.parametrize("frame", [(), ("--frame", "crop:4")], ids=["whole", "framed"])
def test_kinds_of_images_are_read_as_documented(capsys, place, name, image, saving, frame):
    """The figures are those of the same pixels in a plain file."""
    path = strange(place, name, image, **saving)
    words = ["--metrics", metrics("fd", "clip"), "--reference", "real", *frame, "--force"]
    _, found = t2i(capsys, *words)
    pixels = plain(path)
    path.unlink()
    pixels.save(place / "images" / "p0.png")
    _, again = t2i(capsys, *words)
    for task, metric in (("t2i-fd", "fd"), ("t2i-clip", "clip_score")):
        assert found[task]["metrics"][metric]["value"] == pytest.approx(again[task]["metrics"][metric]["value"], rel=1e-6)


def test_more_than_8_bits_are_refused_where_they_are_framed(capsys, place):
    strange(place, "p0.png", Image.fromarray(np.full((9, 9), 40_000, np.uint16)))
    said, _ = t2i(capsys, "--metrics", metrics("fd"), "--reference", "real", "--frame", "crop:4", code=1)
    assert "images/p0.png has more than 8 bits a channel" in said


@pytest.mark.parametrize("cut", [0, 60], ids=["no byte", "half"])
def test_a_broken_file_is_named_or_counted(capsys, place, cut):
    path = place / "images" / "p5.png"
    path.write_bytes(path.read_bytes()[:cut])
    words = ["--metrics", metrics("fd", "clip"), "--reference", "real"]
    said, _ = t2i(capsys, *words, code=1)
    assert said.count("images/p5.png is not a readable image") == 4  # as they fail, and in the end, for both
    _, found = t2i(capsys, *words, "--skip-bad")
    assert all(one["partial"] and one["skipped"][0]["item"] == "images/p5.png" for one in found.values()) and len(found) == 2


def npz(path, **arrays):
    np.savez(path, **arrays)


DAMAGE = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:500]),
    "no npz": lambda path: path.write_text("no"),
    "empty": lambda path: path.write_bytes(b""),
    "without mu": lambda path: npz(path, sigma=np.eye(12)),
    "not finite": lambda path: npz(path, mu=np.full(12, np.nan), sigma=np.eye(12)),
    "of other shapes": lambda path: npz(path, mu=np.zeros(12), sigma=np.eye(11)),
    "not symmetric": lambda path: npz(path, mu=np.zeros(12), sigma=np.triu(np.ones((12, 12)))),
    "of objects": lambda path: npz(path, mu=np.array([{}], dtype=object), sigma=np.eye(12)),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_statistics_are_told_before_anything_is_made(capsys, place, damage):
    npz(place / "real.npz", mu=np.zeros(12), sigma=np.eye(12))
    DAMAGE[damage](place / "real.npz")
    model = f"{Path(__file__).parents[1] / 'painters.py'}:Painter"
    words = ["--metrics", metrics("fd"), "--reference", "real.npz", "--model", model, "--prompts", "prompts.csv"]
    said, _ = t2i(capsys, *words, given=("--images", "made"), code=1)
    assert said.startswith("error: real.npz ") and said.count("\n") == 2 and not (place / "made").exists()


@pytest.mark.parametrize(("n", "width"), [(N, 12), (30, 12)], ids=["fewer images than features", "more"])
def test_statistics_of_another_kind_are_refused_and_the_field_named(capsys, place, n, width):
    for i in range(n):
        paint("images", i).save(place / "images" / f"p{i}.png")
    prompts(place / "prompts.csv", n)
    words = ["--metrics", metrics("fd"), "--reference"]
    t2i(capsys, *words, "real", "--save-stats", "real.npz")
    t2i(capsys, *words, "real.npz")
    said, _ = t2i(capsys, *words, "real.npz", "--frame", "crop:4", code=1)
    assert "Statistics differ in frame: 'crop:4:bicubic', in the reference" in said
    raw = metrics("fd").replace("fd:clip:", "fd:clip-raw:")
    said, _ = t2i(capsys, "--metrics", raw, "--reference", "real.npz", code=1)
    assert "Statistics differ in norm" in said
    with np.load("real.npz") as found:
        key = json.loads(str(found["key"])) | {"precision": "bf16"}
        npz(place / "bf16.npz", mu=found["mu"], sigma=found["sigma"], n=found["n"], key=np.array(json.dumps(key)))
    said, _ = t2i(capsys, *words, "bf16.npz", code=1)
    assert "Statistics differ in precision" in said
    npz(place / "narrow.npz", mu=np.zeros(3), sigma=np.eye(3))
    said, _ = t2i(capsys, *words, "narrow.npz", code=1)
    assert f"Features of width {width} cannot be compared with a reference of width 3" in said


def test_statistics_of_others_are_taken_with_a_warning(capsys, place):
    npz(place / "theirs.npz", mu=np.zeros(12), sigma=np.eye(12))
    said, found = t2i(capsys, "--metrics", metrics("fd"), "--reference", "theirs.npz")
    assert "The number of images of the reference is unknown" in said and found["t2i-fd"]["warnings"]
    said, _ = t2i(capsys, "--metrics", metrics("kid", "prdc"), "--reference", "theirs.npz", code=1)
    assert said.count("error: ") == said.count("this metric compares features.\n       ") == 2


def test_a_name_is_the_data_set_and_not_a_folder_of_that_name(capsys, place):
    (place / "real").rename(place / "scenes")
    said, _ = t2i(capsys, "--metrics", metrics("fd"), "--reference", "scenes", "--data", place / "nowhere", code=1)
    assert "nowhere" in said
    t2i(capsys, "--metrics", metrics("fd"), "--reference", "./scenes")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--frame", "crop"], 2, "'crop' says no framing"),
        (["--resize", "clear", "--metrics", "fid", "--reference", "real"], 2, "Did you mean 'clean'?"),
        (["--reference", "prompts.csv"], 2, "The reference prompts.csv is no folder"),
        (["--images", "prompts.csv"], 1, "prompts.csv is no folder"),
        (["--prompts", "cooc-30k"], 2, "'coco-30k'"),
        (["--prompts", "coco-30k", "--column", "recap"], 2, "coco-30k has no column 'recap'"),
        (["--prompts", "coco-30k", "--data", "empty"], 1, "captions_val2014.json does not exist"),
    ],
)
def test_wrong_words(capsys, words, code, told):
    said, _ = t2i(capsys, *words, code=code)
    assert told in said and "Traceback" not in said
