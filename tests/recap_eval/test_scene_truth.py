"""`t2i --metrics scenes-truth`: what it says of true and of wrong pictures, and of folders that are not of scenes."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from support import assert_two_line_error, recap

from recap_eval.data.scenes import language
from recap_eval.data.scenes.render import render
from recap_eval.data.scenes.world import draw_scenes
from recap_eval.errors import DataError
from recap_eval.hashrand import Draws
from recap_eval.results import read_results
from recap_eval.tasks.scene_truth import Verifier

SCENES = draw_scenes("test", 0, 24, 3)
PROMPTS = [language.long_caption(scene, Draws(at)) for at, scene in enumerate(SCENES)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures of their prompts, pictures of the next prompt, and lists."""
    folder = tmp_path_factory.mktemp("truth")
    for name, step in (("right", 0), ("moved", 1)):
        (folder / name).mkdir()
        for at in range(len(SCENES)):
            pixels = render(SCENES[(at + step) % len(SCENES)], 32, 5, at)
            Image.fromarray(pixels).save(folder / name / f"{at:02d}.png")
    lists = {"list": PROMPTS, "mixed": ["a dog", *PROMPTS[1:]], "dogs": ["a dog"] * 24, "reds": ["red"] * 24}
    for name, prompts in lists.items():
        with (folder / f"{name}.csv").open("w") as stream:
            rows = [(f"{at:02d}.png", prompt, f"p{at}") for at, prompt in enumerate(prompts)]
            csv.writer(stream).writerows([("file", "prompt", "id"), *rows])
    return folder


def run(place, images, listing="list", code=0):
    words = ["--images", images, "--list", f"{listing}.csv", "--metrics", "scenes-truth", "--out", "lb", "--json", "--no-cache"]
    done = recap("recap-eval", "t2i", *words, cwd=place)
    assert done.returncode == code, done.stderr
    return done


def test_true_pictures_are_true_and_moved_ones_are_not(place):
    (right,), (moved,) = (json.loads(run(place, name).stdout)["results"] for name in ("right", "moved"))
    assert {name: cell["value"] for name, cell in right["metrics"].items()} == dict.fromkeys(right["metrics"], 1.0)
    assert next(iter(right["metrics"])) == right["task"]["primary"] == "truth" and "relation" not in right["metrics"]
    assert right["metrics"]["truth"]["n"] == 24 and moved["metrics"]["truth"]["value"] < 0.6
    assert moved["metrics"]["all_true"]["value"] == 0
    extra = right["extra"]
    assert extra["looker_checked"] == 300 and extra["looker_wrong_colour"] < 0.01 and extra["words_not_understood"] == 0
    assert {"look.version", "claims.version", "n"} <= right["settings"].keys()
    done = recap("recap-eval", "compare", "right", "moved", "--leaderboards", place / "lb")
    assert "B is worse" in done.stdout


def test_metrics_have_items_where_a_prompt_makes_such_a_claim(place):
    (found,) = json.loads(run(place, "right", "mixed").stdout)["results"]
    assert found["metrics"]["truth"]["n"] == 23 and found["extra"]["images_without_claims"] == 1
    assert "1 of 24 prompts say nothing of a scene" in found["warnings"][0]
    (reds,) = json.loads(run(place, "right", "reds").stdout)["results"]
    assert set(reds["metrics"]) == {"truth", "all_true", "colour"}
    (kept,) = [one for one in read_results(place / "lb") if set(one.record["metrics"]) == set(reds["metrics"])]
    red = {f"p{at}" for at, scene in enumerate(SCENES) if any(thing.colour == 0 for thing in scene.things)}
    items = kept.items("colour")
    assert {key for key, value in zip(items.items, items.values, strict=True) if value} == red


def test_other_prompts_are_refused(place):
    assert "No prompt says anything of a scene" in run(place, "right", "dogs", code=1).stderr


def test_pictures_without_prompts_are_refused(place):
    done = recap("recap-eval", "t2i", "--images", "right", "--metrics", "scenes-truth", "--out", "lb", cwd=place)
    assert_two_line_error(done, 2, "nothing says which prompt")


def test_bad_pictures_are_named_or_counted(tmp_path):
    from recap_eval.data.items import FileImage

    (tmp_path / "bad.png").write_bytes(b"no picture")
    Image.fromarray(np.full((40, 30), 9, dtype=np.uint8)).save(tmp_path / "grey.png")
    items = [FileImage("a", tmp_path / "bad.png"), FileImage("b", tmp_path / "grey.png")]
    with pytest.raises(DataError, match=r"bad\.png is not a readable image"):
        Verifier(["a red circle"] * 2, ["1", "2"]).verify(items)
    scores, bad = Verifier(["a red circle"] * 2, ["1", "2"], skip_bad=True).verify(items)
    assert list(bad) == [str(tmp_path / "bad.png")] and scores.metrics["truth"].values.tolist() == [0]
    with pytest.raises(DataError, match="No image is left"):
        Verifier(["a red circle", "a dog"], ["1", "2"], skip_bad=True).verify(items)
