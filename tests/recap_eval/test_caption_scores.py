"""Figures of caption sets beyond counts: diversity, references, truth of scenes; against libraries and closed forms."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from caption_texts import part_of

from recap_eval.captions.diversity import blocks, distinct_n, mtld
from recap_eval.captions.survey import Survey
from recap_eval.data.scenes import language
from recap_eval.data.scenes.world import draw_scenes
from recap_eval.errors import DataError, UserError
from recap_eval.hashrand import Draws
from recap_eval.tasks.captions import FAMILIES, Given, find_families, states_of
from recap_eval.tasks.captions_references import tokenized
from recap_eval.tasks.captions_truth import read_truth


def given(texts, originals=None, **other):
    survey = Survey.of(["length", "vocabulary", "flags", "all"], [])
    survey.add(part_of(texts, originals))
    return Given(survey, **other)


def test_blocks_are_cut_to_size_and_the_rest_is_left_out():
    texts = [list("abc"), list("defg"), [], list("hi")]
    assert list(blocks(texts, 4)) == [[["a", "b", "c"], ["d"]], [["e", "f", "g"], ["h"]]]
    assert list(blocks([list("ab")], 3)) == list(blocks([], 3)) == []


def test_distinct_n_crosses_no_caption():
    assert distinct_n([["a", "b"], ["a", "b"]], 2) == 0.5
    assert distinct_n([["a"], ["b"]], 2) == 0.0
    assert distinct_n([["a", "b", "a"]], 1) == pytest.approx(2 / 3)


def test_distinct_n_of_blocks_does_not_fall_with_the_number_of_captions():
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(3000)]
    texts = [" ".join(words[i] for i in rng.zipf(1.5, 25) % 3000) for _ in range(4000)]
    few, many = (FAMILIES["diversity"].measure(given(texts[:n])).folded["distinct_2"] for n in (400, 4000))
    assert many.n == 10 * few.n and abs(few.value - many.value) < 4 * few.se


# Values of lexicalrichness 0.5.1, LexicalRichness(…, preprocessor=None, tokenizer=str.split).mtld(threshold=0.72)
FOX = (
    "the quick brown fox jumps over the lazy dog and the cat sat on the mat while the dog ran to the house of the man who "
    "had the red hat"
)


def test_mtld_against_lexicalrichness():
    assert mtld(FOX.split() * 3) == pytest.approx(31.0)
    assert mtld(list("abcd")) == 4.0
    assert mtld(["dog"] * 10) == pytest.approx(2.0)
    lexical = pytest.importorskip("lexicalrichness")
    rng = random.Random(0)
    for _ in range(20):
        words = [f"w{int(rng.paretovariate(0.7)) % 60}" for _ in range(400)]
        found = lexical.LexicalRichness(" ".join(words), preprocessor=None, tokenizer=str.split).mtld(threshold=0.72)
        assert mtld(words) == pytest.approx(found)


def test_too_few_words_for_a_block_are_an_error():
    with pytest.raises(DataError, match="fewer than 1,000 words"):
        FAMILIES["diversity"].measure(given(["a dog"] * 20))


def test_nouns_by_textblob_or_what_to_install():
    scene = given(["A red bicycle leans against a brick wall near the house."] * 150)
    try:
        import textblob  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match="textblob") as caught:
            FAMILIES["nouns"].measure(scene)
        assert "recap[pos]" in caught.value.hint
        return
    found = FAMILIES["nouns"].measure(scene).folded
    assert 3 <= found["nouns"].value <= 5 and 0.2 < found["noun_share"].value < 0.5


REFERENCES = {"k0": ["a dog runs over the grass", "the dog is running"], "k1": ["two cats sleep"], "k9": ["nothing"]}


def test_references_by_pycocoevalcap_itself():
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider

    texts = ["A dog runs over the grass.", "Two dogs, and a cat!", "no reference"]
    scores = FAMILIES["references"].measure(given(texts, references=REFERENCES, reference_tokens="words"))
    ours = {"k0": ["a dog runs over the grass"], "k1": ["two dogs and a cat"]}
    theirs = {key: REFERENCES[key] for key in ours}
    cider, each = Cider().compute_score(theirs, ours)
    assert scores.metrics["cider"].values.tolist() == pytest.approx(list(each)) and scores.metrics[
        "cider"
    ].values.mean() == pytest.approx(cider)
    assert scores.corpus["bleu_1"] == pytest.approx(Bleu(4).compute_score(theirs, ours, verbose=0)[0][0])
    assert scores.extra["without_reference"] == 1


def test_the_other_column_is_the_reference_where_none_is_given():
    scores = FAMILIES["references"].measure(given(["a dog runs", "x"], ["a dog runs", None], reference_tokens="words"))
    assert scores.metrics["rouge_l"].items == ["k0"] and scores.metrics["rouge_l"].values.tolist() == pytest.approx([1.0])
    with pytest.raises(UserError, match="nothing to hold"):
        FAMILIES["references"].measure(given(["x"], [None], reference_tokens="words"))
    with pytest.raises(DataError, match="No caption has a reference"):
        FAMILIES["references"].measure(given(["x"], references={"z": ["y"]}, reference_tokens="words"))
    with pytest.raises(UserError, match="spaces"):
        FAMILIES["references"].measure(given(["x"], ["x"], reference_tokens="spaces"))


def test_without_java_the_error_says_so(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs Java"):
        tokenized("ptb", REFERENCES)


@pytest.mark.skipif(shutil.which("java") is None, reason="the PTB tokenizer needs Java")
def test_words_are_those_of_the_ptb_tokenizer_on_captions():
    texts = {"0": ["A man's dog isn't black-and-white; it's 3.5 feet tall."], "1": ['Two cats, sleeping on a "red" mat!']}
    assert tokenized("words", texts) == tokenized("ptb", texts)


def test_faithful_captions_of_scenes_are_true(world):
    scenes = draw_scenes("test", 0, 48, 0)
    truth = read_truth(world / "test.parquet")
    assert [truth[key] for key in sorted(truth)] == scenes
    texts = [language.long_caption(scene, Draws(0, number)) for number, scene in enumerate(scenes)]
    keys = dict(zip([f"k{number}" for number in range(48)], sorted(truth), strict=True))
    found = given(texts, truth=world / "test.parquet")
    state = found.survey.states["all"]
    state.found = [(keys[key], text, original) for key, text, original in state.found]
    scores = FAMILIES["truth"].measure(found)
    assert scores.metrics["truth"].values.min() == 1 and scores.metrics["hallucination"].values.max() == 0
    assert scores.metrics["recall"].values.mean() > 0.95
    state.found = [(key, texts[(number + 1) % 48], None) for number, (key, _, _) in enumerate(state.found)]
    wrong = FAMILIES["truth"].measure(found)
    assert wrong.metrics["truth"].values.mean() < 0.6 and wrong.metrics["hallucination"].values.mean() > 0.3
    state.found = [*state.found, *state.found]
    twice = FAMILIES["truth"].measure(found).metrics["truth"]
    assert len(set(twice.items)) == 96 and len(set(twice.clusters)) == 48


def test_truth_needs_the_right_file(world, tmp_path):
    with pytest.raises(UserError, match="Nothing tells the truth"):
        FAMILIES["truth"].measure(given(["a red circle"]))
    with pytest.raises(DataError, match="No caption has a key"):
        FAMILIES["truth"].measure(given(["a red circle"], truth=world / "test.parquet"))
    with pytest.raises(DataError):
        read_truth(Path(tmp_path / "none.parquet"))


def test_names_of_families():
    assert list(find_families("flags, length,flags")) == ["flags", "length"]
    assert states_of(list(find_families("references,truth,length").values())) == ("all", "length")
    with pytest.raises(UserError, match="flag"):
        find_families("flagz")
    with pytest.raises(UserError, match="names no metric"):
        find_families(" , ")
