"""Words of captions: the same as str.split() has, whatever the text, and numbered once."""

from __future__ import annotations

import numpy as np
import pytest
from caption_texts import HOSTILE, large, random_texts

from recap_eval.captions.words import LONGEST, Lexicon, normal, normal_words


def words_of(texts, lexicon):
    found = lexicon.split(large(texts))
    return [[lexicon.raw[i] for i in found.ids[found.first[row] : found.first[row + 1]]] for row in range(len(texts))]


def test_words_are_those_of_split_on_random_and_hostile_texts():
    texts = random_texts(3000)
    assert words_of(texts, Lexicon()) == [text.split() for text in texts]


def test_a_slice_of_texts_and_no_text_at_all():
    texts = large([*HOSTILE, "one two", "three"])
    lexicon = Lexicon()
    found = lexicon.split(texts.slice(len(HOSTILE)))
    assert found.lengths.tolist() == [2, 1]
    assert [lexicon.raw[i] for i in found.ids] == ["one", "two", "three"]
    assert len(lexicon.split(large([])).lengths) == 0
    assert lexicon.split(large(["", " "])).lengths.tolist() == [0, 0]


def test_numbers_stay_until_the_lexicon_is_full_and_then_start_anew():
    lexicon = Lexicon(most=3)
    first = lexicon.split(large(["a b c d"]))
    assert (lexicon.split(large(["d a"])).ids == first.ids[[3, 0]]).all()
    lexicon.begin()
    assert lexicon.raw == []
    assert words_of(["d e"], lexicon) == [["d", "e"]]


@pytest.mark.parametrize(
    ("word", "form"),
    [
        ("Dog,", "dog"),
        ("don't", "don't"),
        ("...", ""),
        ("(LED)", "led"),
        ("1:18", "1:18"),
        ("_x_", "x"),
        ("É.", "é"),
        ("😀", ""),
    ],
)
def test_normal_forms(word, form):
    assert normal(word) == form


def test_a_word_without_end_costs_no_more_than_its_beginning():
    assert len(normal("x" * 1_000_000)) == LONGEST
    assert normal("!a" * 500_000) == ("!a" * (LONGEST // 2)).strip("!")


def test_normal_words_of_a_batch_are_those_of_each_text():
    texts, lexicon = random_texts(500, seed=3), Lexicon()
    found = lexicon.normal_words(lexicon.split(large(texts)))
    forms = [[lexicon.normals[i] for i in found.ids[found.first[row] : found.first[row + 1]]] for row in range(len(texts))]
    assert forms == [normal_words(text) for text in texts]


def test_sums_over_words_are_those_of_a_loop():
    rng, lexicon = np.random.default_rng(0), Lexicon()
    texts = random_texts(200, seed=4)
    found = lexicon.split(large(texts))
    values = rng.integers(-5, 9, len(lexicon.raw))
    by_word = dict(zip(lexicon.raw, values.tolist(), strict=True))
    assert found.sums(values).tolist() == [sum(by_word[word] for word in text.split()) for text in texts]
