"""Results measured again: what agrees, what was changed, and what cannot be measured again at all."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import Card, Oracle
from records import put, put_captions, put_drawn, scores
from support import assert_two_line_error, recap

from recap_eval.commands.leaderboard_verify import words_of
from recap_eval.data.items import CaptionPairs, CaptionQuads, DataId, LabelledImages
from recap_eval.embed import Embedder
from recap_eval.files import digest_file, write_json
from recap_eval.models.base import ModelId
from recap_eval.registry import get_task
from recap_eval.results import Result, new_record, read_results, settings_of, write_result
from recap_eval.stats import estimate
from recap_eval.tasks.base import Scores
from recap_eval.verifying import compare_again, verify

SOURCE = DataId("cards", "test", "f" * 64, "cards")
TEXTS = [f"a card of number {number}" for number in range(40)]
TASKS = "scenes-zeroshot,scenes-retrieval,scenes-attributes"


@pytest.fixture(scope="module")
def measured(model, world, tmp_path_factory) -> Path:
    """A leaderboards folder with one model measured by the command on three kinds of tasks."""
    root = tmp_path_factory.mktemp("verify") / "lb"
    done = recap("recap-eval", "clip", "--model", model, "--data", world, "--tasks", TASKS, "--out", root, "--no-report")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def copy(measured, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(measured, tmp_path / "lb"))


def verify_by_command(root: Path, *words: object):
    return recap("recap-eval", "leaderboard", "verify", *words, "--leaderboards", root)


def record_of(root: Path, task: str) -> Result:
    (found,) = [one for one in read_results(root) if one.task == task]
    return found


def forge(result: Result, metric: str, item: str, value: float) -> None:
    """Change one score and everything that follows from it, as somebody would who wants it to be believed."""
    place = result.path.with_suffix(".parquet")
    rows = pq.read_table(place)
    values = [
        value if (one, name) == (metric, key) else old
        for one, name, old in zip(rows["metric"].to_pylist(), rows["item"].to_pylist(), rows["value"].to_pylist(), strict=True)
        for key in (item,)
    ]
    pq.write_table(rows.set_column(rows.column_names.index("value"), "value", pa.array(values, pa.float64())), place)
    own = Result(result.path, result.record | {"items": {"file": place.name, "sha256": digest_file(place)}}).items(metric)
    found = estimate(own.values, own.clusters, share=True)
    cell = result.record["metrics"][metric] | {"value": found.value, "se": found.se, "ci95": [found.low, found.high]}
    metrics = result.record["metrics"] | {metric: cell}
    write_json(result.path, result.record | {"metrics": metrics, "items": {"file": place.name, "sha256": digest_file(place)}})


def test_what_was_measured_here_agrees_to_the_last_bit(measured):
    done = verify_by_command(measured, *[one.path for one in read_results(measured)], "--sample", 20, "--json")
    assert done.returncode == 0, done.stderr
    told = {Path(one["record"]).stem.rpartition("-")[0]: one for one in json.loads(done.stdout)["verified"]}
    assert all(one["agrees"] for one in told.values()) and len(told) == 3
    assert told["scenes-zeroshot"]["images"] == 20 and told["scenes-zeroshot"]["not_compared"] == ["mpcr"]
    assert told["scenes-retrieval"]["images"] == told["scenes-retrieval"]["of"] == 48
    assert told["scenes-retrieval"]["metrics"]["t2i_r1"] == {"items": 240, "differ": 0, "largest": 0.0, "first": None}


def test_the_sample_is_the_same_each_time_and_part_of_a_larger_one(measured):
    data = LabelledImages(SOURCE, [Card(f"k{n}", n) for n in range(40)], list(range(40)), TEXTS, ("{}",))
    from recap_eval.verifying import SAMPLED

    cut, _ = SAMPLED[LabelledImages]
    small, again, large = ([image.key for image in cut(data, n).data.images] for n in (5, 5, 12))
    assert small == again and set(small) < set(large) and len(large) == 12
    assert large == sorted(large, key=lambda key: int(key[1:])) and large != [f"k{n}" for n in range(12)]


def test_a_forged_score_is_found_and_its_item_named(copy, capsys):
    result = record_of(copy, "scenes-zeroshot")
    own = result.items("acc1")
    item, value = own.items[7], 1 - round(float(own.values[7]))
    forge(result, "acc1", item, value)
    done = verify_by_command(copy, result.path, "--sample", 48)
    assert done.returncode == 1 and "scenes-zeroshot: DIFFERS" in done.stdout
    assert f"acc1: 47 of 48 items agree; the first that does not: {item}, {value:g} in the record" in done.stdout
    assert "Near ties may fall otherwise" in done.stdout
    assert verify_by_command(copy, result.path, "--sample", 48, "--allow", 0.03).returncode == 0
    assert verify_by_command(copy, result.path, "--sample", 48, "--tolerance", 1).returncode == 0


def test_other_weights_are_not_the_model_of_the_record(copy, models):
    done = verify_by_command(copy, record_of(copy, "scenes-zeroshot").path, "--model", models[0.0, 1])
    assert_two_line_error(done, 1, "is not the model that", "--model M")


def test_other_data_is_not_the_data_of_the_record(copy, fresh_world):
    from recap_eval.data.scenes.write import World, write_world

    shutil.rmtree(fresh_world)
    write_world(fresh_world, World(n=96, n_eval=32), workers=1)
    done = verify_by_command(copy, record_of(copy, "scenes-zeroshot").path, "--data", fresh_world)
    assert_two_line_error(done, 1, "is not what", "--data DIR")


def test_places_that_have_moved_are_asked_for(copy, tmp_path, world, model):
    result = record_of(copy, "scenes-zeroshot")
    run = {"command": f"recap-eval clip --model {tmp_path / 'gone'} --data {tmp_path / 'gone-too'}"}
    write_json(result.path, result.record | {"run": run})
    assert_two_line_error(verify_by_command(copy, result.path, "--data", tmp_path), 1, "its data is not under", "--data DIR")
    assert_two_line_error(verify_by_command(copy, result.path, "--data", world), 2, "gone")
    assert verify_by_command(copy, result.path, "--data", world, "--model", model, "--sample", 8).returncode == 0


@pytest.mark.parametrize("spec", ["evil.py:Model", "evil:Model"])
def test_code_that_a_record_names_is_not_run(copy, tmp_path, monkeypatch, world, spec):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\nclass Model: pass\n")
    result = record_of(copy, "scenes-zeroshot")
    write_json(result.path, result.record | {"run": {"command": f"recap-eval clip --model {spec} --data {world}"}})
    done = verify_by_command(copy, result.path, "--data", world)
    assert_two_line_error(done, 1, "names code as its model", "--model M")
    assert not (tmp_path / "ran").exists()


def test_a_record_without_a_command_asks_for_its_model(copy, world):
    result = record_of(copy, "scenes-zeroshot")
    write_json(result.path, result.record | {"run": {}})
    assert_two_line_error(verify_by_command(copy, result.path, "--data", world), 1, "does not say where its model is")


def test_a_setting_of_then_is_told(copy, world, model):
    result = record_of(copy, "scenes-zeroshot")
    from recap_eval.files import digest_json

    settings = result.record["settings"] | {"templates": "openai-80"}
    write_json(result.path, result.record | {"settings": settings, "settings_hash": digest_json(settings)[:16]})
    done = verify_by_command(copy, result.path, "--data", world, "--model", model)
    assert_two_line_error(done, 1, "cannot be verified: setting templates is scenes-7, not openai-80")


@pytest.mark.parametrize(
    ("name", "record", "told"),
    [
        ("published.json", {"kind": "published"}, "a paper printed"),
        ("imported.json", {"kind": "imported"}, "figures of another program"),
    ],
)
def test_figures_without_items_cannot_be_verified(tmp_path, name, record, told):
    (tmp_path / name).write_text(json.dumps(record))
    assert_two_line_error(verify_by_command(tmp_path, tmp_path / name), 1, "cannot be verified", told)


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        ("t2i", {}, "generated images"),
        ("captions", {}, "caption files"),
        ("captioner", {}, "answers that a captioner generated"),
        ("captions", {"judge.model": "gpt-4v"}, "a judge's ratings"),
        ("own", {}, "its kind is 'own'"),
    ],
)
def test_results_of_other_kinds_say_why_and_how_else(tmp_path, kind, settings, told):
    found = put(tmp_path, "scenes-retrieval", "m", {"i2t_r1": scores([1, 0])}, settings=settings)
    task = found.record["task"] | {"kind": kind}
    write_json(found.path, found.record | {"task": task, "run": {"command": "recap-eval t2i --images a"}})
    done = verify_by_command(tmp_path, found.path)
    assert_two_line_error(done, 1, "cannot be verified: it", told, "recap-eval t2i --images a")


@pytest.mark.parametrize("words", [("--allow", "2"), ("--allow", "-1"), ("--tolerance", "-1"), ("--tolerance", "nan")])
def test_wrong_tolerances_are_refused(measured, words):
    assert_two_line_error(verify_by_command(measured, "x", *words), 2, "--tolerance is a number from 0")


def test_one_that_cannot_be_verified_leaves_the_others(measured, tmp_path):
    (tmp_path / "p.json").write_text('{"kind": "published"}')
    done = verify_by_command(measured, tmp_path / "p.json", record_of(measured, "scenes-attributes").path, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1 and len(told["verified"]) == 1 and len(told["not_verified"]) == 1


def test_the_words_of_a_command_are_read_as_they_were_typed():
    def words(command):
        return words_of(Result(Path("a"), {"run": {"command": command}}))

    told = words("recap-eval clip --model a --model=b --data d --fast")
    assert told["--model"] == ["a", "b"] and told["--data"] == ["d"] and "--fast" in told
    assert words("recap-eval t2i --model a") == words("") == {}
    assert words("recap-eval clip --model it's")["--model"] == ["it's"]


def test_any_kind_compares_with_what_was_measured_again(tmp_path):
    there, again, other = (
        put_captions(tmp_path / name, "files", "alt", "captions-length", {"words": scores(values)})
        for name, values in (("lb", [2, 1]), ("again", [2, 1]), ("other", [2, 3]))
    )
    assert there.path.name == again.path.name == other.path.name
    good = verify_by_command(tmp_path, there.path, "--again", tmp_path / "again")
    assert good.returncode == 0 and f"agrees; against {again.path}" in good.stdout
    bad = verify_by_command(tmp_path, there.path, "--again", tmp_path / "other")
    assert (
        bad.returncode == 1 and "words: 1 of 2 items agree; the first that does not: i1, 1 in the record, 3 now" in bad.stdout
    )
    assert_two_line_error(verify_by_command(tmp_path, there.path, "--again", tmp_path / "lb"), 2, "lies itself")
    missing = verify_by_command(tmp_path, there.path, "--again", tmp_path / "none")
    assert_two_line_error(missing, 1, "is not there", f"--out {tmp_path / 'none'}")


def test_figures_of_the_whole_are_compared_by_value(tmp_path):
    where = ModelId("drawn", "rev-drawn")
    one, same, apart = (
        put_drawn(tmp_path / name, "fid", where, Scores({}, corpus={"fd": value}))
        for name, value in (("a", 31.5), ("b", 31.5 * (1 + 1e-8)), ("c", 31.6))
    )
    assert compare_again(one, same, 1e-6).agrees(0) and not compare_again(one, apart, 1e-6).agrees(0)
    (fd,) = compare_again(one, apart, 1e-6).agreements
    assert fd.first == ("the whole", 31.5, 31.6)


def kept(root: Path, name: str, data, embedder: Embedder) -> Result:
    """Measure a task on cards and keep the result."""
    task, who = get_task(name), ModelId("oracle", "rev-oracle", {}, {"precision": "fp32"})
    found = task.score(embedder, data)
    path = root / "results" / "oracle" / f"{name}.json"
    return write_result(path, new_record(task, who, SOURCE, settings_of(task, who, None), found, {}), found)


def embedder() -> Embedder:
    return Embedder(Oracle(TEXTS), progress=False)


@pytest.mark.parametrize("sample", [1, 7, 20, 1000])
def test_rows_of_a_sample_keep_their_names(tmp_path, sample):
    """Pairs and quads are called by their place in the whole set, which a sample's rows have lost."""
    images = [Card(f"k{n}", n) for n in range(40)]
    rows = [(n % 40, TEXTS[n % 40], TEXTS[(7 * n + 1) % 40]) for n in range(90)]
    pairs = CaptionPairs(SOURCE, images, rows)
    captions = [(TEXTS[2 * n], TEXTS[2 * n + (n % 3 > 0)]) for n in range(20)]
    quads = CaptionQuads(SOURCE, images, captions, ["Object", "Relation", "Both", "Both"] * 5)
    found = {
        name: verify(kept(tmp_path, name, data, embedder()), embedder(), data, sample, 1e-9)
        for name, data in (("scenes-attributes", pairs), ("winoground", quads))
    }
    assert all(verdict.agrees(0) and all(one.items for one in verdict.agreements) for verdict in found.values())
    assert [one.metric for one in found["winoground"].agreements] == ["group", "text", "image"]
    assert found["scenes-attributes"].images == min(40, sample)
    assert found["winoground"].images == min(40, max(2, sample // 2 * 2))
    assert "group:Both" in found["winoground"].follow


def test_images_without_a_row_are_not_drawn(tmp_path):
    images = [Card(f"k{n}", n) for n in range(40)]
    data = CaptionPairs(SOURCE, images, [(n, TEXTS[n], TEXTS[n - 1]) for n in (38, 39)])
    verdict = verify(kept(tmp_path, "scenes-attributes", data, embedder()), embedder(), data, 1, 1e-9)
    assert verdict.agrees(0) and verdict.images == 1 and verdict.agreements[0].items == 1


def test_another_model_differs_in_most_items(tmp_path):
    data = LabelledImages(SOURCE, [Card(f"k{n}", n) for n in range(40)], list(range(40)), TEXTS, ("{}",))
    result = kept(tmp_path, "scenes-zeroshot", data, embedder())
    verdict = verify(result, Embedder(Oracle(TEXTS[::-1]), progress=False), data, 10, 1e-6)
    (acc1, _) = verdict.agreements
    assert (acc1.items, acc1.differ, acc1.largest) == (10, 10, 1.0) and not verdict.agrees(0.9) and verdict.agrees(1)


def test_an_item_that_has_no_score_any_more_is_no_agreement(tmp_path):
    images = [Card(f"k{n}", n) for n in range(40)]
    data = LabelledImages(SOURCE, images, list(range(40)), TEXTS, ("{}",))
    result = kept(tmp_path, "scenes-zeroshot", data, embedder())
    images[3] = Card("k3", 3, b"no image")
    lenient = Embedder(Oracle(TEXTS), skip_bad=True, progress=False)
    (acc1, _) = verify(result, lenient, data, 40, 1e-6).agreements
    assert acc1.differ == 1 and acc1.first is not None and acc1.first[0] == "k3" and acc1.first[2] != acc1.first[2]
