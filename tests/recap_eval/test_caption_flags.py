"""Flags of captions: each by example, the batch form equal to the definition, and how often the language flag errs."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
from caption_texts import HOSTILE, large, random_texts
from language_samples import ENGLISH, OTHERS

from recap_eval.captions import flag_arrays, flags
from recap_eval.captions.words import Lexicon, normal_words

GOOD = "A red bicycle leans against a brick wall, and a cat sleeps beside it in the sun."


def found(texts, originals=None, cut=None):
    lexicon = Lexicon()
    array = large(texts)
    captions = flag_arrays.Captions(
        array,
        lexicon.split(array),
        lexicon,
        None if originals is None else large(originals),
        None if cut is None else np.array(cut),
    )
    has = flag_arrays.find(captions)
    return [tuple(name for name in flags.NAMES if name in has and has[name][row]) for row in range(len(texts))]


def test_batches_have_the_flags_of_each_caption():
    rng = random.Random(7)
    texts = random_texts(3000, seed=1)
    originals = [rng.choice([None, "", text, " ".join(text.split()[1:5]), rng.choice(texts)]) for text in texts]
    reasons = [rng.choice([None, "stop", "length"]) for _ in texts]
    expected = [flags.flags(*row) for row in zip(texts, originals, reasons, strict=True)]
    assert found(texts, originals, [reason == "length" for reason in reasons]) == expected
    assert {name for row in expected for name in row} == set(flags.NAMES)


def test_without_originals_and_reasons():
    texts = random_texts(300, seed=2)
    assert found(texts) == [flags.flags(text) for text in texts]
    assert found([]) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a dog and a cat and a dog and a cat and a dog and a cat.", "repetition"),
        ("A very very very tall tower stands here.", "repetition"),
        ("abc " * 30 + ".", "repetition"),
        ("The man is holding a", "unfinished"),
        ("I'm sorry, but I can't help with that image.", "refusal"),
        ("As an AI, I cannot describe people.", "refusal"),
        ("Sorry, no image was provided here.", "refusal"),
        ("Please generate a detailed caption of this image. A dog.", "prompt_echo"),
        ("ASSISTANT: A dog runs over the grass.", "prompt_echo"),
        ("The first image shows a cat. The second image shows a dog.", "multi_image"),
        ("Both images show the same house.", "multi_image"),
        ("Una mujer con un vestido rojo camina por la calle.", "non_english"),
        ("一只猫在沙发上睡觉。", "non_english"),
        ("green star.", "too_short"),
        ("A cafÃ© in Paris at night.", "mojibake"),
        ("Logo\\xc2\\xae of the company on a wall.", "mojibake"),
    ],
)
def test_each_flag_by_example(text, name):
    assert name in flags.flags(text)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "The image features two pictures hanging on a wall, one of them of a ship.",
        "A sign that is not available in other languages hangs above a door.",
        "A woman takes a photo of a second house with her camera.",
        "He said “Stop!”",
        "A cup of coffee and a plate of cake and a glass of water stand on the table.",
    ],
)
def test_ordinary_captions_have_none(text):
    assert flags.flags(text) == ()


def test_copied_is_the_whole_original_in_one_piece():
    copied = lambda caption, original: "copied" in flags.flags(caption, original)  # noqa: E731
    assert copied("Vintage brooch from 1930, on a table.", "vintage brooch from 1930")
    assert copied("green star", "Green star!")
    assert not copied("A green star in the sky.", "green star")
    assert not copied("A vintage, rather old brooch from 1930.", "vintage brooch from 1930")
    assert not copied(GOOD, "") and not copied(GOOD, None) and not copied(GOOD, "…")


def test_a_cut_caption_is_unfinished_whatever_its_end():
    assert flags.flags(GOOD, finish_reason="length") == ("unfinished",)
    assert flags.flags(GOOD, finish_reason="stop") == ()


def test_repetition_against_brute_force():
    rng = random.Random(0)
    for _ in range(300):
        words = [rng.choice("abc") for _ in range(rng.randrange(14))]
        grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
        share = sum(gram in grams[:place] for place, gram in enumerate(grams)) / len(grams) if grams else 0
        assert flags.repeated_share(words) == pytest.approx(share)
        thrice = any(
            words[i : i + p] == words[i + p : i + 2 * p] == words[i + 2 * p : i + 3 * p] and i + 3 * p <= len(words)
            for p in range(1, 17)
            for i in range(len(words))
        )
        assert (flags.in_a_row(words) >= 3) == thrice


def test_the_shortest_text_that_zlib_may_flag():
    least = min(len(zlib.compress(b"a" * n, flags.ZLIB_LEVEL)) for n in range(1, 200))
    assert not any(n > flags.ZLIB_RATIO * least for n in range(flags.SHORTEST_ZLIB))
    assert flags.compresses(b"a" * 100) and not flags.compresses(GOOD.encode())


def test_errors_of_the_language_flag_on_the_fixed_set():
    taken = [text for text in ENGLISH if flags.non_english(text)]
    missed = [text for text in OTHERS if not flags.non_english(text)]
    assert (len(ENGLISH), len(OTHERS)) == (40, 32)
    assert (len(taken), len(missed)) == (3, 1)  # three names of places; as docs/captions.md says


def test_no_letters_are_no_language():
    assert not any(flags.non_english(text) for text in ("", "😀 😀", "123 456", "!!!"))


def test_a_caption_of_a_megabyte_and_half_a_surrogate_pair():
    assert flags.flags("red " * 250_000) == ("repetition", "unfinished")
    assert "unfinished" in flags.flags("\ud800 broken half")
    assert all(isinstance(flags.flags(text), tuple) for text in HOSTILE)
    assert normal_words("\x00 \x00") == []
