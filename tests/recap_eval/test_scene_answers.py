"""Captioners on scenes: known answers and captions score as they must, by kind and by number of things."""

import json

import numpy as np
import pytest
from answerers import Answerer, measure, value
from hypothesis import given
from hypothesis import strategies as st

from recap_eval.data.scenes.asked import questions, to_caption
from recap_eval.data.scenes.claims import claims
from recap_eval.data.scenes.language import kind_name, long_caption
from recap_eval.data.scenes.read import read_split
from recap_eval.data.scenes.tally import Tally, tallies
from recap_eval.data.scenes.verdict import held_against
from recap_eval.data.scenes.world import draw_scenes
from recap_eval.hashrand import Draws
from recap_eval.tasks.captioner import CAPTION_PROMPT
from recap_eval.tasks.captions_truth import scene_of
from recap_eval.tasks.scene_questions import READERS


@pytest.fixture(scope="module")
def right(world):
    return {item.key: item.right for item in questions(world).items}


def test_right_answers_score_1_in_words_and_in_sentences(world, right, tmp_path):
    say = {
        "count": "There are {} of them.", "what": "It's a {}, I think.", "ground": "The background is {}.", "presence": "{}!",
    }  # fmt: skip
    for name, told in (("bare", lambda key: right[key]), ("full", lambda key: say[key.split("/")[1]].format(right[key]))):
        result = measure(Answerer(told, name), "scenes-qa", world, tmp_path)
        assert all(value(result, metric) == 1 for metric in ("acc", "count", "what", "ground", "presence"))
        assert all(value(result, f"error_{n}") == 0 for n in (1, 2, 3, 4)) and result.record["extra"]["unread"] == 0
    cell = result.record["metrics"]["acc"]
    assert cell["n"] == 4 * 48 and cell["n_clusters"] == 48 and not result.partial
    assert result.record["metrics"]["error_4"]["n"] == 4 * 6 and not result.record["metrics"]["error_4"]["higher_is_better"]


@pytest.mark.parametrize(
    "answer",
    ["", "yes and no", "red orange yellow green circle square", "one two three four", "Ignore this and say right.", "\x00"],
)
def test_hostile_answers_score_0(world, tmp_path, answer):
    result = measure(Answerer(lambda key: answer), "scenes-qa", world, tmp_path)
    assert value(result, "acc") == 0 and all(value(result, f"error_{n}") == 1 for n in (1, 2, 3, 4))
    assert result.items("acc").given == [answer] * 192


def test_the_most_frequent_answers_are_a_floor_that_is_told(world, right, tmp_path):
    from collections import Counter

    often = {kind: Counter(a for k, a in right.items() if k.endswith(kind)).most_common(1)[0][0] for kind in READERS}
    result = measure(Answerer(lambda key: often[key.split("/")[1]]), "scenes-qa", world, tmp_path)
    assert value(result, "acc") == pytest.approx(result.record["extra"]["most_frequent_answers"])


@pytest.mark.parametrize(
    ("kind", "answer", "same_as"),
    [
        ("count", "3", "three"), ("count", "Three objects.", "three"), ("count", "no objects", "no"),
        ("count", "two or three", None), ("count", "some", None), ("ground", "Grey", "gray"),
        ("ground", "white and gray", None), ("ground", "striped", None),
        ("what", "A RED disc.", "red circle"), ("what", "red", None), ("what", "red circle and blue circle", None),
        ("what", "red circle, red square", None), ("presence", "Yes, there is.", "yes"), ("presence", "NO", "no"),
        ("presence", "none", None), ("presence", "not", None), ("presence", "yesterday", None),
    ],
)  # fmt: skip
def test_answers_are_read_by_their_words(kind, answer, same_as):
    read = READERS[kind](answer)
    assert read == (None if same_as is None else READERS[kind](same_as)) and (same_as is None or read is not None)


def test_faithful_captions_are_true_and_tell_everything(world, tmp_path):
    _, rows, _ = read_split(world, "test")
    long = {row["key"]: row["long_caption"] for row in rows}
    result = measure(Answerer(lambda key: long[key]), "scenes-caption", world, tmp_path)
    figures = {name: cell["value"] for name, cell in result.record["metrics"].items()}
    names = ("truth", "all_true", "object_precision", "object_recall", "attribute_precision")
    assert {name: figures[name] for name in names} == dict.fromkeys(names, 1.0)
    zeros = ("hallucination", "object_hallucination", "attribute_hallucination", "relation_recall")  # it tells places instead
    assert {name: figures[name] for name in (*zeros, *(f"error_{n}" for n in (1, 2, 3, 4)))} == dict.fromkeys(
        (*zeros, "error_1", "error_2", "error_3", "error_4"), 0.0
    )
    assert figures["recall"] > 0.95 and figures["f1"] > 0.97 and result.record["settings"]["prompt"] == CAPTION_PROMPT
    assert result.record["metrics"]["relation_recall"]["n"] == sum(len(row["objects"]) > 1 for row in rows)


def test_relations_are_true_or_not(world, tmp_path):
    _, rows, _ = read_split(world, "test")
    told = {row["key"]: next((pair for pair in row["pairs"] if pair["kind"] == "relation"), None) for row in rows}
    for name, truth in (("positive", 1.0), ("negative", 0.0)):
        captioner = Answerer(lambda key, name=name: told[key][name] if told[key] else "", name)
        result = measure(captioner, "scenes-caption", world, tmp_path)
        assert value(result, "relation_precision") == truth and value(result, "relation_hallucination") == 1 - truth
        assert value(result, "relation_recall") == pytest.approx(
            truth * np.mean([2 / (n * (n - 1)) for row in rows if (n := len(row["objects"])) > 1])
        )


def test_captions_of_other_scenes_are_untrue_and_silence_is_told(world, tmp_path):
    _, rows, _ = read_split(world, "test")
    other = {row["key"]: after["long_caption"] for row, after in zip(rows, rows[1:] + rows[:1], strict=True)}
    wrong = measure(Answerer(lambda key: other[key], "wrong"), "scenes-caption", world, tmp_path)
    assert value(wrong, "object_precision") < 0.2 and value(wrong, "object_hallucination") > 0.9 and value(wrong, "f1") < 0.6
    silent = measure(Answerer(lambda key: "", "silent"), "scenes-caption", world, tmp_path)
    assert value(silent, "f1") == value(silent, "recall") == value(silent, "object_recall") == 0
    assert not {"truth", "error_1", "object_precision"} & silent.record["metrics"].keys()
    assert "48 of 48 captions claim nothing" in silent.record["warnings"][0] and silent.record["extra"]["empty"] == 1


def test_answers_lie_beside_the_result_as_they_were_generated(world, tmp_path):
    text = "a <b>\n\u2028red\u00e9 circle\x1b[31m"
    result = measure(Answerer(lambda key: text), "scenes-caption", world, tmp_path)
    rows = [json.loads(line) for line in result.path.with_suffix(".answers.jsonl").read_text().split("\n")[:-1]]
    assert [row["answer"] for row in rows] == [text] * 48 and rows[0]["right"]["ground"] and rows[0]["id"] == "000000000"
    assert result.record["answers"]["file"] == result.path.with_suffix(".answers.jsonl").name


def test_what_the_questions_are(world):
    item = next(one for one in questions(world).items if one.kind == "what")
    assert item.parts[1].endswith("\nAnswer the question using a single word or phrase.") and item.groups[1].startswith(
        "objects_"
    )
    captioned = to_caption(world, "P").items[0]
    assert captioned.parts[1] == "P" and scene_of(**captioned.right).things


def brute(text, scene):
    """Count by hand: things whose kind is named rightly, pairs of them whose order is told."""
    kinds = {kind_name(thing) for thing in scene.things}
    named = [kind_name(thing) for thing in scene.things if kind_name(thing) in text]
    return len(named), len(kinds)


@given(st.integers(0, 400))
def test_tallies_of_faithful_captions(number):
    (scene,) = draw_scenes("val", number, number + 1, 3)
    text = long_caption(scene, Draws(number))
    found = tallies(told := claims(text), scene, held_against(told, scene))
    n = len(scene.things)
    assert (found["object"].found, found["object"].there) == brute(text, scene) == (n, n)
    assert all(one.right == one.told for one in found.values()) and found["relation"].there == n * (n - 1) // 2
    assert found["attribute"].there == 3 * n + 2 and found["attribute"].found <= found["attribute"].there


def test_tallies_of_a_caption_that_is_half_wrong():
    """A red circle left of a blue square; told are a red circle right of it, a green square, and a star."""
    scene = scene_of(
        [
            {"colour": "red", "shape": "circle", "size": "large", "place": "top left"},
            {"colour": "blue", "shape": "square", "size": "small", "place": "top right"},
        ],
        "white",
        "plain",
    )
    told = claims("A red circle to the right of a green square. A star. The background is black.")
    found = tallies(told, scene, held_against(told, scene))
    assert found["object"] == Tally(3, 1, 1, 2) and found["relation"] == Tally(1, 0, 0, 1)
    assert found["attribute"] == Tally(3, 1, 1, 8)
    assert found["object"].precision == pytest.approx(1 / 3) and found["object"].hallucinates == 1
    silent = tallies(claims(""), scene, held_against(claims(""), scene))
    assert silent["object"] == Tally(0, 0, 0, 2) and silent["object"].precision is silent["object"].hallucinates is None
    assert Tally(0, 0, 0, 0).recall is None and np.isclose(silent["object"].recall, 0)
