"""Generated images measured: what distances and scores are, and what the command says of good and wrong folders."""

import csv
import json
import shutil

import numpy as np
import pytest
from fakes import Card, Oracle
from PIL import Image
from scipy import linalg, stats
from support import assert_two_line_error, recap

from recap_eval.embed import Embedder
from recap_eval.errors import DataError, UserError
from recap_eval.metrics.moments import Moments, read_statistics
from recap_eval.tasks.generation import TABLE, Features, Real, clip_scores, find_metrics, frechet, kernel, neighbours

COLOURS = ("red", "green", "blue", "white")
MODEL = '''
import torch
PALETTE = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (0.6, 0.6, 0.6)}
class Model:
    """Sees the mean colour; a text is the mean of the colours it names."""
    revision = "1"
    def encode_images(self, images):
        return torch.tensor([image.resize((1, 1)).getpixel((0, 0)) for image in images]) / 255 + 0.01
    def encode_texts(self, texts):
        found = [[PALETTE[word] for word in text.split() if word in PALETTE] or [(0.5, 0.1, 0.9)] for text in texts]
        return torch.tensor([[sum(part) / len(part) for part in zip(*one)] for one in found]) + 0.01
'''


def features(n, d, seed, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32) + np.float32(shift)


def named(rows):
    keys = [str(i) for i in range(len(rows))]
    return Features(keys, rows, keys)


def real(rows):
    return Real(Moments.of(rows).statistics({}), rows)


def direct(x, y):
    """The formula, by a matrix square root."""
    a, b = (np.cov(rows.astype(np.float64), rowvar=False) for rows in (x, y))
    gap = x.astype(np.float64).mean(0) - y.astype(np.float64).mean(0)
    return gap @ gap + np.trace(a) + np.trace(b) - 2 * np.trace(linalg.sqrtm(a @ b).real)


def test_a_frechet_distance_is_the_mean_of_its_items():
    x, y = features(400, 6, 0, 0.3), features(500, 6, 1)
    found = frechet(named(x), real(y), {})
    assert found.metrics["fd"].values.mean() == pytest.approx(direct(x, y), rel=1e-9)
    assert not found.corpus and not found.warnings
    assert (
        found.extra["fd_infinity"]
        < found.metrics["fd"].values.mean()
        == pytest.approx(found.extra["fd_infinity"] + found.extra["bias"])
    )


def test_with_fewer_images_than_features_a_frechet_distance_has_no_error():
    x, y = features(5, 8, 0), features(50, 8, 1)
    found = frechet(named(x), real(y), {})
    assert not found.metrics and found.corpus["fd"] > 0
    assert "5 images scored for 8 features" in found.warnings[0]


def test_kernel_and_neighbours_go_by_features_only():
    x, y = features(60, 4, 0), features(70, 4, 1, 5.0)
    assert kernel(named(x), real(y), {}).metrics["kid"].values.mean() > 1
    found = neighbours(named(x), real(y), {})
    assert found.metrics["precision"].values.mean() == 0 == found.corpus["coverage"]
    for measure in (kernel, neighbours):
        with pytest.raises(DataError, match="statistics alone"):
            measure(named(x), Real(Moments.of(y).statistics({})), {})


def test_a_clip_score_pairs_each_image_with_its_prompt():
    texts = [f"text {number}" for number in range(12)]
    shown = [*range(11), 0]  # the last image shows another prompt
    cards = [Card(f"c{row}", number) for row, number in enumerate(shown)]
    found = clip_scores(Embedder(Oracle(texts), progress=False), cards, texts, [f"p{row}" for row in range(12)])
    cosine, nearest = found.metrics["clip_score"], found.metrics["r_precision"]
    assert cosine.clusters[3] == "p3" and cosine.values[:11] == pytest.approx(1) and abs(cosine.values[11]) < 0.5
    assert nearest.values.tolist() == [1] * 11 + [0]
    assert found.extra["clipscore_w2.5"] == pytest.approx(2.5 * np.clip(cosine.values, 0, None).mean(), rel=1e-5)


def test_metrics_by_name():
    assert [metric.name for metric in find_metrics("fid, clip,fd:clip:runs/a")] == ["t2i-fid", "t2i-clip", "t2i-fd"]
    assert find_metrics("fd:clip:runs/a")[0].extractor == "clip:runs/a" and find_metrics("clip:runs/a")[0].scorer == "runs/a"
    for word in ("fidd", "fd:", "kid2:inception"):
        with pytest.raises(UserError, match="Unknown metric"):
            find_metrics(word)
    sorts = [(metric.extractor, metric.scorer, metric.verify, metric.judged) for metric in TABLE.values()]
    assert all(sum(map(bool, given)) == 1 for given in sorts)
    assert {metric.against for metric in TABLE.values()} == {"reference", "prompts", "judge", "claims"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two sets of images of colours, the second with its colours mixed up now and then, real ones, a list, a model."""
    folder = tmp_path_factory.mktemp("t2i")
    (folder / "mine.py").write_text(MODEL)
    rng, rows = np.random.default_rng(0), []
    for name in ("right", "wrong", "real"):
        (folder / name).mkdir()
    for number in range(40):
        word = COLOURS[number % 4]
        rows.append((f"{number:03d}.png", f"a {word} wall", f"p{number:03d}"))
        for name in ("right", "wrong", "real"):
            shown = COLOURS[(number + 1) % 4] if name == "wrong" and number % 3 == 0 else word
            base = np.array(Image.new("RGB", (9, 7), shown)).astype(int)
            noisy = (base * 0.8 + rng.integers(0, 50, base.shape) + rng.integers(0, 20, (1, 1, 3))).astype(np.uint8)
            Image.fromarray(noisy).save(folder / name / f"{number:03d}.png")
    with (folder / "list.csv").open("w") as stream:
        csv.writer(stream).writerows([("file", "prompt", "id"), *rows])
    return folder


def run(place, images, *more, code=0):
    words = ["--images", place / images, "--list", place / "list.csv", "--out", place / "lb", "--cache", place / "cache"]
    done = recap("recap-eval", "t2i", *words, *more, cwd=place)
    assert done.returncode == code, done.stderr
    return done


METRICS = "clip:mine.py:Model,fd:clip-raw:mine.py:Model,kid:clip:mine.py:Model"


@pytest.fixture(scope="module")
def measured(place):
    given = ["--reference", place / "real", "--metrics", METRICS, "--json"]
    return {name: json.loads(run(place, name, *given).stdout)["results"] for name in ("right", "wrong")}


def test_the_command_tells_good_images_from_bad(measured):
    figures = {
        name: {r["task"]["name"]: r["metrics"][r["task"]["primary"]] for r in results} for name, results in measured.items()
    }
    assert figures["right"]["t2i-clip"]["value"] > figures["wrong"]["t2i-clip"]["value"]
    # The wrong images are the right ones in another order: a distance between sets cannot see it.
    for one in figures["right"].values():
        assert one["n"] == 40 and one["ci95"][0] < one["value"] < one["ci95"][1]
    settings = measured["right"][1]["settings"]
    assert settings["extractor.weights"] == "own:1" and settings["n"] == settings["n_reference"] == 40


def test_what_is_measured_is_not_measured_again(place, measured):
    again = run(place, "right", "--reference", place / "real", "--metrics", METRICS)
    assert again.stderr.count("measured before, not measured again") == 3


def test_pairs_are_compared_on_the_same_prompts(place, measured):
    done = recap("recap-eval", "compare", "right", "wrong", "--leaderboards", place / "lb", "--json")
    found = {line["task"]: line for line in json.loads(done.stdout)["questions"]}
    assert set(found) == {"t2i-clip", "t2i-fd", "t2i-kid"}
    table = recap("recap-eval", "compare", "right", "wrong", "--leaderboards", place / "lb").stdout
    assert table.count("B is worse") >= 1


def test_by_a_distance_no_image_is_right_or_wrong(place, measured):
    words = ["recap-eval", "show", "right/t2i-fd", "--leaderboards", place / "lb"]
    assert_two_line_error(recap(*words), 2, "fd is a distance", "recap-eval gallery")
    listed = recap("recap-eval", "show", "right/t2i-clip", "--metric", "r_precision", "--leaderboards", place / "lb")
    assert listed.returncode == 0 and "r_precision" in listed.stdout


def test_another_reference_is_another_question(place, measured):
    run(place, "right", "--reference", place / "wrong", "--metrics", "fd:clip-raw:mine.py:Model")
    done = recap("recap-eval", "compare", "right", "wrong", "--tasks", "t2i-fd", "--leaderboards", place / "lb")
    assert "settings.reference is wrong, not real" in done.stdout


def test_statistics_stand_for_the_reference(place, measured):
    metric = "fd:clip-raw:mine.py:Model"
    run(place, "right", "--reference", place / "real", "--metrics", metric, "--save-stats", place / "real.npz")
    assert read_statistics(place / "real.npz").n == 40
    words = ["--reference", place / "real.npz", "--metrics", f"{metric},kid:clip-raw:mine.py:Model", "--json"]
    done = run(place, "right", *words, code=1)
    (found,) = json.loads(done.stdout)["results"]
    assert found["metrics"]["fd"]["value"] == pytest.approx(measured["right"][1]["metrics"]["fd"]["value"], rel=1e-9)
    assert "t2i-kid: The reference is statistics alone" in done.stderr
    other = run(place, "right", "--reference", place / "real.npz", "--metrics", "fd:clip:mine.py:Model", code=1)
    assert "Statistics differ in norm" in other.stderr


def test_extractors_of_one_model_do_not_share_features(place):
    """`clip:` and `clip-raw:` in one run give what each gives alone."""
    words = ["--reference", place / "real", "--json"]
    both = run(place, "right", *words, "--metrics", "fd:clip:mine.py:Model,fd:clip-raw:mine.py:Model", "--force")
    unit, raw = (found["metrics"]["fd"]["value"] for found in json.loads(both.stdout)["results"])
    alone = run(place, "right", *words, "--metrics", "fd:clip-raw:mine.py:Model", "--force")
    assert raw == json.loads(alone.stdout)["results"][0]["metrics"]["fd"]["value"] and abs(raw - unit) > 1e-4


def test_a_broken_reference_is_counted(place, tmp_path):
    broken = shutil.copytree(place / "real", tmp_path / "real")
    (broken / "003.png").write_bytes(b"no image")
    words = ["--reference", broken, "--metrics", "kid:clip:mine.py:Model", "--json"]
    assert "003.png is not a readable image" in run(place, "right", *words, code=1).stderr
    (found,) = json.loads(run(place, "right", *words, "--skip-bad").stdout)["results"]
    assert found["partial"] and [bad["item"].endswith("003.png") for bad in found["skipped"]] == [True]


def test_a_broken_image_is_named_or_counted(place, tmp_path):
    broken = shutil.copytree(place / "right", tmp_path / "broken")
    whole = (broken / "007.png").read_bytes()
    (broken / "007.png").write_bytes(whole[: len(whole) // 2])
    words = ["--metrics", "clip:mine.py:Model", "--json"]
    assert "007.png is not a readable image" in run(place, broken, *words, code=1).stderr
    (found,) = json.loads(run(place, broken, *words, "--skip-bad").stdout)["results"]
    assert found["partial"] and found["metrics"]["clip_score"]["n"] == 39 and len(found["skipped"]) == 1


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["--metrics", "fidd"], 2, ["'fidd'", "'fid'"]),
        (["--metrics", "fid"], 2, ["t2i-fid is a distance", "--reference"]),
        (["--metrics", "fid", "--reference", "real"], 1, ["weights are missing", "recap-eval fetch fid-inception"]),
        (["--metrics", "kid:inception", "--reference", "nowhere"], 2, ["nowhere is no folder"]),
        (["--metrics", "clip:mine.py:Model", "--model", "x"], 2, ["A model needs prompts"]),
    ],
)
def test_wrong_words(place, words, code, fragments):
    done = recap(
        "recap-eval", "t2i", "--images", "right", "--list", "list.csv", "--data", "empty", "--out", "lb2", *words, cwd=place
    )
    if code == 2:
        assert_two_line_error(done, code, *fragments)
    assert done.returncode == code and all(fragment in done.stderr for fragment in fragments)


def test_a_model_is_sampled_and_measured_in_one_go(place):
    (place / "painter.py").write_text(
        "from PIL import Image\nclass Painter:\n    revision = '1'\n    def generate(self, prompts, seeds):\n"
        "        return [Image.new('RGB', (8, 8), (seed % 256, 9, 9)) for seed in seeds]\n"
    )
    words = ["--model", "painter.py:Painter", "--prompts", "list.csv", "--id-column", "id", "--images", "made"]
    done = recap(
        "recap-eval", "t2i", *words, "--metrics", "clip:mine.py:Model", "--out", "lb3", "--no-cache", "--json", cwd=place
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["results"]
    assert found["model"]["name"].startswith("painter.py:Painter") or "Painter" in found["model"]["name"]
    assert found["metrics"]["clip_score"]["n"] == 40 and found["model"]["meta"]["prompts"]["n"] == 40


def test_the_error_of_a_distance_matches_its_spread():
    """Over many draws of the images, the intervals hold the mean of the draws about as often as they say."""
    y, distances, errors = features(300, 4, 99), [], []
    for seed in range(60):
        values = frechet(named(features(200, 4, seed, 0.2)), real(y), {}).metrics["fd"].values
        distances.append(values.mean())
        errors.append(stats.sem(values))
    assert 0.75 < np.mean(errors) / np.std(distances, ddof=1) < 1.35
