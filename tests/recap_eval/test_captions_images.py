"""`recap-eval captions` with images, as a user runs it: joins, models, parts, a judge; comparison; wrong requests."""

from __future__ import annotations

import json

import pytest
from endpoints import Endpoint, caption_of
from pictured import as_files, as_parquet, as_shards, text, views_of, write_captions
from scipy import stats
from support import assert_two_line_error, recap

from recap_eval.captions.scan import Question
from recap_eval.data.scenes.claims import claims
from recap_eval.data.scenes.verdict import held_against
from recap_eval.results import read_results
from recap_eval.tasks.captions_truth import read_truth


def run(where, *words, code=0):
    done = recap("recap-eval", "captions", *map(str, words), cwd=where)
    assert done.returncode == code, done.stderr
    return done


def compared(where, *names):
    done = recap("recap-eval", "compare", *names, "--metrics", "all", "--json", "--leaderboards", "lb", cwd=where)
    return {(one["task"], one["metric"]): one["against"][0] for one in json.loads(done.stdout)["questions"]}


def records(out):
    return {(found.record["model"]["name"], found.task): found.record for found in read_results(out)}


PAIR = ("--column", "re_caption", "--against", "org_caption")


def test_two_captioners_compare_on_the_images_of_both(tmp_path, model, capsys):
    place = as_files(tmp_path / "images", range(60))
    first = [text(n) for n in range(80)]
    for name, texts in (("a", first), ("b", [said if n % 3 else None for n, said in enumerate(first)])):
        write_captions(tmp_path / f"{name}.parquet", range(80), re_caption=texts)
        words = ("--captions", f"{name}.parquet", *PAIR, "--images", place, "--metrics", "clip", "--clip-model", model)
        said = run(tmp_path, *words, "--out", "lb", "--cache", "cache", "--sample", 50).stderr
        assert "images: 60 of 80 rows have theirs at hand, joined by sha256; 20 have not; sample of 50" in said
        assert "20 of 80 rows have no image at hand" in said
    found = records(tmp_path / "lb")
    task = "captions-clip@tiny-p1-s0"
    ours, theirs = (found[f"{name}:re_caption", task] for name in "ab")
    assert ours["data"]["fingerprint"] == theirs["data"]["fingerprint"] and ours["settings"] == theirs["settings"]
    assert ours["settings"]["scorer"] == "tiny-p1-s0" and ours["settings"]["sample"] == 50 and not ours["partial"]
    assert ours["data"]["reference"] == "50 images of 80 rows, joined by sha256"
    assert ours["extra"]["rows_without_image"] == 20 and theirs["extra"]["without_caption"] == len(theirs["unrated"]) > 5
    line = compared(tmp_path, "a:re_caption", "b:re_caption")[task, "clip_cosine"]
    assert line["difference"]["n"] == theirs["metrics"]["clip_cosine"]["n"] < 50 and line["difference"]["value"] == 0


def test_two_columns_compare_and_shares_sum_to_one(tmp_path, model):
    place = as_shards(tmp_path / "shards", list(range(30)))
    run(tmp_path, "--captions", place, "--column", "json:re_caption", "--against", "json:org_caption", "--metrics", "clip",
        "--clip-model", model, "--out", "lb", "--cache", "cache")  # fmt: skip
    found = records(tmp_path / "lb")
    ours, theirs = (found[f"shards:{name}", "captions-clip-shares@tiny-p1-s0"] for name in ("re_caption", "org_caption"))
    for metric in ("clip_share_softmax", "clip_win_rate"):
        assert ours["metrics"][metric]["value"] + theirs["metrics"][metric]["value"] == pytest.approx(1)
    assert ours["settings"] == theirs["settings"] and ours["settings"]["logit_scale"] == 100
    tasks = {task for task, _ in compared(tmp_path, "shards:org", "shards:re")}
    assert tasks == {"captions-clip@tiny-p1-s0", "captions-clip-shares@tiny-p1-s0"}


def test_models_have_tasks_of_their_own_and_what_is_measured_is_not_measured_again(tmp_path, models):
    as_parquet(tmp_path / "a.parquet", range(20), re_caption=[text(n) for n in range(20)])
    words = [
        "--captions",
        "a.parquet",
        "--column",
        "re_caption",
        "--metrics",
        "clip,longclip",
        "--out",
        "lb",
        "--cache",
        "cache",
    ]
    words += ["--clip-model", models[1.0, 0], "--clip-model", models[0.0, 0], "--longclip-model", models[1.0, 0]]
    said = run(tmp_path, *words).stderr
    assert "joined by key" in said
    tasks = {task for _, task in records(tmp_path / "lb")}
    assert tasks == {"captions-clip@tiny-p1-s0", "captions-clip@tiny-p0-s0", "captions-longclip@tiny-p1-s0"}
    assert run(tmp_path, *words).stderr.count("measured before") == 3


def test_parts_embed_into_the_cache_and_the_whole_finds_them(tmp_path, model, monkeypatch):
    place = as_shards(tmp_path / "shards", list(range(30)))
    words = ["--captions", place, "--column", "txt", "--metrics", "clip", "--clip-model", model]
    run(tmp_path, *words, "--out", "one", "--no-cache")
    for part in ("1/3", "2/3", "3/3"):
        assert "This part is done" in run(tmp_path, *words, "--cache", "cache", "--out", "parts", "--shard", part).stderr
    assert not (tmp_path / "parts").exists()
    monkeypatch.setattr("recap_eval.models.open_clip.OpenClipModel.encode_images", None)
    monkeypatch.setattr("recap_eval.models.open_clip.OpenClipModel.encode_texts", None)
    run(tmp_path, *words, "--cache", "cache", "--out", "parts")
    one, parts = records(tmp_path / "one"), records(tmp_path / "parts")
    assert one.keys() == parts.keys()
    for key in one:
        assert one[key]["metrics"]["clip_cosine"]["value"] == pytest.approx(
            parts[key]["metrics"]["clip_cosine"]["value"], abs=1e-6
        )


def test_a_damaged_image_stops_or_makes_the_result_partial(tmp_path, model):
    place = as_files(tmp_path / "images", range(10))
    (place / "k3.png").write_bytes(b"no image")
    write_captions(tmp_path / "a.parquet", range(10))
    words = (
        "--captions",
        "a.parquet",
        *PAIR,
        "--images",
        place,
        "--join-on",
        "key",
        "--metrics",
        "clip",
        "--clip-model",
        model,
    )
    assert "k3.png" in run(tmp_path, *words, "--out", "lb", "--no-cache", code=1).stderr
    said = run(tmp_path, *words, "--out", "lb", "--no-cache", "--skip-bad").stderr
    assert "PARTIAL" in said and "1 of 10 images have another sha256" in said
    assert all(record["partial"] and record["skipped"] for record in records(tmp_path / "lb").values())


def test_scenes_say_that_they_are_and_how_the_cosine_ranks_by_truth(world, tmp_path, model):
    words = ("--captions", world / "test", "--caption-preset", "scenes", "--truth", world / "test.parquet")
    said = run(tmp_path, *words, "--metrics", "length,clip,truth", "--clip-model", model, "--out", "lb", "--no-cache").stderr
    found = records(tmp_path / "lb")
    assert all("drawn scenes, not web data" in record["data"]["reference"] for record in found.values())
    extra = found["test:re_caption", "captions-clip@tiny-p1-s0"]["extra"]
    assert extra["truth_n"] == 48 and extra["truth_spearman_low"] <= extra["truth_spearman"] <= extra["truth_spearman_high"]
    assert "rank correlation with the truth" in said


def test_what_was_measured_without_the_truth_is_held_against_it_when_it_is_named(world, tmp_path, model):
    words = ("--captions", world / "test", "--caption-preset", "scenes", "--metrics", "clip", "--clip-model", model)
    words += ("--out", "lb", "--cache", "cache")
    said = run(tmp_path, *words).stderr
    assert "rank correlation" not in said
    first = records(tmp_path / "lb")["test:re_caption", "captions-clip@tiny-p1-s0"]
    said = run(tmp_path, *words, "--truth", world / "test.parquet").stderr
    second = records(tmp_path / "lb")["test:re_caption", "captions-clip@tiny-p1-s0"]
    assert (
        second["extra"]["truth_n"] == 48 and second["metrics"] == first["metrics"] and second["settings"] == first["settings"]
    )
    assert said.count("measured before") == 2  # the shares, which have no truth to be held against
    assert run(tmp_path, *words, "--truth", world / "test.parquet").stderr.count("measured before") == 4


# The judge.


def judged(place, url, *more, code=0):
    words = ("--metrics", "judge", "--base-url", url, "--judge-model", "judge-1", "--out", "lb", "--cache", "cache")
    return run(place, *words, *more, code=code)


def rate(body):
    kind, number, *_ = caption_of(body).split()
    return "Rating: 4" if kind == "text" else f"Rating: {1 + int(number) % 3}"


@pytest.mark.serial
def test_both_columns_are_rated_on_the_same_rows_and_compare(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    as_shards(tmp_path / "shards", list(range(30)))
    words = ("--captions", "shards", "--column", "json:re_caption", "--against", "json:org_caption", "--judge-n", 20)
    with Endpoint(rate) as server:
        judged(tmp_path, server.url, *words, "--price-in", 1, "--price-out", 1)
        assert len(server.bodies) == 40
        said = judged(tmp_path, server.url, *words, "--price-in", 1, "--price-out", 1).stderr
        assert len(server.bodies) == 40 and said.count("measured before") == 2
        captions = {caption_of(body) for body in server.bodies}
    views = views_of([tmp_path / "shards" / f"000{n}0.tar" for n in range(3)], tmp_path / "shards", size=20,
                     question=Question("json:re_caption", "json:org_caption"))  # fmt: skip
    assert captions == {*views.column("json:re_caption"), *views.column("json:org_caption")}
    found = records(tmp_path / "lb")
    ours, theirs = (found[f"shards:{name}", "captions-judge@judge-1"] for name in ("re_caption", "org_caption"))
    assert ours["metrics"]["rating"]["value"] == 4 and ours["metrics"]["rating"]["n"] == 20
    assert (
        ours["settings"] == theirs["settings"]
        and ours["settings"]["judge.template"] == "paper"
        and ours["settings"]["sample"] == 20
    )
    assert theirs["run"]["judge"]["asked_now"] == 20 and ours["extra"]["cost_usd"] > 0
    found = compared(tmp_path, "shards:org", "shards:re")["captions-judge@judge-1", "rating"]["difference"]
    assert found["n"] == 20 and found["value"] == pytest.approx(4 - theirs["metrics"]["rating"]["value"])


@pytest.mark.serial
def test_ratings_rank_by_the_scenes_truth(world, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    words = ("--captions", world / "test", "--caption-preset", "scenes", "--truth", world / "test.parquet", "--judge-n", "all")
    with Endpoint(lambda body: f"Rating: {1 + len(caption_of(body)) % 5}") as server:
        said = judged(tmp_path, server.url, *words).stderr
    assert "rank correlation with the truth" in said
    scenes, record = read_truth(world / "test.parquet"), records(tmp_path / "lb")["test:re_caption", "captions-judge@judge-1"]
    shards = views_of([world / "test" / "00000.tar"], world / "test", question=Question("json:re_caption"))
    pairs = [(1 + len(text) % 5, held_against(claims(text), scenes[key]).truth)
             for key, text in zip(shards.keys, shards.column("json:re_caption"), strict=True)]  # fmt: skip
    pairs = [(rating, truth) for rating, truth in pairs if truth is not None]
    assert record["extra"]["truth_n"] == len(pairs)
    assert record["extra"]["truth_spearman"] == pytest.approx(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
    assert record["extra"]["truth_kendall"] == pytest.approx(stats.kendalltau(*zip(*pairs, strict=True)).statistic)


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (("--metrics", "clip", "--images", "nowhere"), 1, ("nowhere holds no image", "shards")),
        (("--metrics", "clip"), 1, ("a.parquet holds no images: its columns are key, sha256", "img2dataset")),
        (("--metrics", "clip", "--images", "images", "--clip-model", "nothing/here"), 2, ("Unknown model",)),
        (("--metrics", "clip", "--images", "a.csv"), 1, ("a.csv holds no image", "--images PLACE")),
        (("--metrics", "length", "--images", "images"), 2, ("--images is given", "--metrics clip")),
        (("--metrics", "clip", "--images", "images", "--longclip-model", "m"), 2, ("--longclip-model is given", "longclip")),
        (("--metrics", "longclip", "--images", "images"), 1, ("longclip-L.pt", "--longclip-model")),
        (("--metrics", "judge", "--images", "images", "--base-url", "http://127.0.0.1:9/v1"), 2, ("judges is not said",)),
        (("--metrics", "judge", "--images", "images", "--judge-n", "few"), 2, ("neither a number nor all",)),
        (("--metrics", "judge", "--images", "images", "--judge-template", "pairwise"), 2, ("compares two", "judge check")),
    ],
)  # fmt: skip
def test_wrong_requests_are_told_before_anything_is_counted(tmp_path, words, code, fragments):
    as_files(tmp_path / "images", range(3))
    write_captions(tmp_path / "a.parquet", range(3))
    (tmp_path / "a.csv").write_text("key,caption\n1,x\n")
    done = recap("recap-eval", "captions", "--captions", "a.parquet", *PAIR, *words, "--out", "lb", "--no-cache", cwd=tmp_path)
    assert_two_line_error(done, code, *fragments)
    assert " rows in " not in done.stderr and not (tmp_path / "lb").exists()


def test_nothing_joined_says_what_both_sides_look_like(tmp_path, model):
    as_files(tmp_path / "images", range(3), "other{}.png")
    write_captions(tmp_path / "a.parquet", range(3), sha256=None)
    words = ("--captions", "a.parquet", *PAIR, "--images", "images", "--metrics", "clip", "--clip-model", model, "--no-cache")
    done = recap("recap-eval", "captions", *map(str, words), cwd=tmp_path)
    assert_two_line_error(done, 1, "No row of a.parquet", "such as k0, images' other0")
