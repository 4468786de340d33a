"""Captions of photographs held against people's: in DOCCI's layout, or any of our sets of images with captions."""

import json

import pytest
from answerers import Answerer, measure, value
from support import lay_out

from recap_eval.errors import DataError, UserError
from recap_eval.tasks.answered import Means
from recap_eval.tasks.captions_references import score_texts

TEXTS = [f"A small dog number {n} runs over a green lawn near house {n}. It is sunny." for n in range(6)]


@pytest.fixture
def docci(tmp_path):
    root = tmp_path / "data"
    names = [f"test_{n:05d}.jpg" for n in range(6)]
    lay_out(root / "docci" / "images", names)
    rows = [
        {"example_id": name[:-4], "split": "test", "image_file": name, "description": text}
        for name, text in zip(names, TEXTS, strict=True)
    ]
    (root / "docci" / "docci_descriptions.jsonlines").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return root


def number(key):
    return int("".join(letter for letter in key if letter.isdigit()))


def test_captions_that_are_the_references_score_what_the_families_of_captions_say(docci, tmp_path):
    result = measure(Answerer(lambda key: TEXTS[number(key)]), "detail-caption", docci, tmp_path)
    texts = {str(n): [text] for n, text in enumerate(TEXTS)}
    known = score_texts(texts, texts, "words", 6)
    assert value(result, "cider") == pytest.approx(known.metrics["cider"].values.mean()) and value(result, "cider") > 5
    assert value(result, "bleu_4") == pytest.approx(1) and value(result, "rouge_l") == pytest.approx(1)
    assert value(result, "words") == 16 and value(result, "unfinished") == value(result, "repetition") == 0
    assert result.record["data"]["name"] == "docci" and result.record["incomplete"] == "6 questions instead of 5,000"
    assert result.record["settings"]["reference_tokens"] == "words" and result.record["metrics"]["cider"]["n"] == 6


def test_empty_and_hostile_captions(docci, tmp_path):
    said = {
        0: "",
        1: "\n\n",
        2: "dog dog dog dog dog dog dog dog dog dog",
        3: "I'm sorry, I cannot see the image.",
        4: "<b>\x00",
        5: "A dog",
    }
    result = measure(Answerer(lambda key: said[number(key)]), "detail-caption", docci, tmp_path)
    cider = result.items("cider")
    assert all(cider.values[at] == 0 for at, key in enumerate(cider.items) if number(key) in (0, 1, 4))
    assert value(result, "refusal") == pytest.approx(1 / 6) and result.record["extra"]["empty"] == pytest.approx(2 / 6)
    assert 0 < value(result, "repetition") < 0.5


def test_another_data_set_is_another_task(docci, tmp_path):
    lay_out(docci / "Urban1k" / "image", ["1.jpg", "2.jpg"])
    (docci / "Urban1k" / "caption").mkdir()
    for n in (1, 2):
        (docci / "Urban1k" / "caption" / f"{n}.txt").write_text(TEXTS[n])
    result = measure(Answerer(lambda key: TEXTS[number(key)]), "detail-caption:urban1k", docci, tmp_path)
    assert result.task == "detail-caption:urban1k" and result.record["data"]["name"] == "urban1k" and result.path.is_file()
    with pytest.raises(UserError, match="no data set of images and captions"):
        measure(Answerer(lambda key: ""), "detail-caption:winoground", docci, tmp_path)


def test_words_that_cannot_be_made_are_told_before_anything_is_asked(docci, tmp_path, monkeypatch):
    captioner = Answerer(lambda key: "x")
    with pytest.raises(UserError, match="unknown"):
        measure(captioner, "detail-caption", docci, tmp_path, means=Means(tokens="letters"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="Java"):
        measure(captioner, "detail-caption", docci, tmp_path, means=Means(tokens="ptb"))
    assert not captioner.asked


def test_captions_that_are_not_there(docci, tmp_path):
    (docci / "docci" / "docci_descriptions.jsonlines").write_text('{"split": "train"}\n')
    with pytest.raises(DataError, match="another form"):
        measure(Answerer(lambda key: "x"), "detail-caption", docci, tmp_path)
