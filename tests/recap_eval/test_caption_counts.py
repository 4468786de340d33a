"""Counting states: the same figures however rows are split and ordered; equal to independent references."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
from caption_texts import large, part_of, random_texts
from scipy import stats

from recap_eval.captions.distinct import Distinct, union_share
from recap_eval.captions.frequent import Frequent
from recap_eval.captions.packing import pack, unpack
from recap_eval.captions.sample import Sample
from recap_eval.captions.spread import WIDTH, Spread, mean_of, share_of
from recap_eval.captions.survey import Survey
from recap_eval.captions.tokens import load_tokenizer
from recap_eval.captions.words import Lexicon, normal_words
from recap_eval.hashrand import combine_array, text_hashes

NAMES = ["length", "vocabulary", "flags", "all"]


def survey_of(pieces, originals=None, tokenizers=()):
    """Count (start, texts) pieces into one survey each, and merge them."""
    total = Survey.of(NAMES, list(tokenizers))
    for start, texts in pieces:
        own = None if originals is None else originals[start : start + len(texts)]
        found = Survey.of(NAMES, list(tokenizers))
        found.add(part_of(texts, own, start=start))
        total.merge(found)
    return total


def plain(survey, leave=("all",)):
    return {name: state.to_json() for name, state in survey.states.items() if name not in leave}


def test_any_split_of_the_rows_gives_the_same():
    texts = random_texts(800, seed=5)
    texts[3::7] = [None] * len(texts[3::7])
    originals = [texts[(number * 13) % len(texts)] for number in range(len(texts))]
    whole = plain(survey_of([(0, texts)], originals))
    for seed in range(4):
        rng = random.Random(seed)
        cuts = sorted(rng.sample(range(len(texts)), 5))
        pieces = [(start, texts[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(texts)], strict=True)]
        rng.shuffle(pieces)
        assert plain(survey_of(pieces, originals)) == whole


def test_states_come_back_from_json():
    clip = load_tokenizer("clip")
    found = survey_of([(0, random_texts(200))], tokenizers=[clip])
    again = Survey.of(NAMES, [clip])
    again.load(json.loads(json.dumps(found.to_json())))
    assert again.to_json() == found.to_json()
    assert again.content.digest == found.content.digest


def test_nothing_and_one_caption():
    for texts in ([], [None, None], ["", " "]):
        found = survey_of([(0, texts)])
        assert found.content.captions == 0 and found.content.rows == len(texts)
    one = survey_of([(0, ["A dog."])])
    assert one.content.captions == 1
    assert one.states["length"].words.estimate().se is None


def test_what_is_left_out_is_counted_by_why():
    found = survey_of([(0, ["A dog.", None, "", "\n", "x"])])
    assert found.content.counts == Counter(captions=2, missing=1, empty=2, failed=0)


def test_the_digest_knows_captions_and_keys_and_no_order():
    one = survey_of([(0, ["a", "b", "c"])]).content
    assert survey_of([(1, ["b", "c"]), (0, ["a"])]).content.digest == one.digest
    for start, texts in ((0, "abd"), (0, "bac"), (1, "abc"), (0, "ab"), (0, "abcc")):
        assert survey_of([(start, list(texts))]).content.digest != one.digest
    holes = survey_of([(0, ["a", None, "c"])]).content
    assert holes.asked == one.asked and holes.digest != one.digest


def test_lengths_against_numpy_and_scipy():
    texts = [text for text in random_texts(600, seed=6) if text.split()]
    lengths = np.array([len(text.split()) for text in texts])
    spread = survey_of([(0, texts)]).states["length"].words
    found = spread.estimate()
    assert found.value == pytest.approx(lengths.mean())
    assert found.se == pytest.approx(stats.sem(lengths))
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.95, len(lengths) - 1, lengths.mean(), stats.sem(lengths))
    )
    assert spread.sd == pytest.approx(lengths.std(ddof=1))
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert spread.quantile(share) == np.quantile(lengths, share, method="inverted_cdf")
    assert spread.histogram() == np.bincount(lengths).tolist()
    assert spread.share_above(10).value == pytest.approx((lengths > 10).mean())


def test_lengths_beyond_the_bins_count_in_full():
    spread = Spread()
    spread.add(np.array([3, WIDTH + 5, 3_000_000_000]))
    assert spread.estimate().value == pytest.approx((3 + WIDTH + 5 + 3_000_000_000) / 3)
    assert spread.sd == pytest.approx(np.std([3, WIDTH + 5, 3_000_000_000], ddof=1))
    assert spread.quantile(1) == spread.largest == 3_000_000_000
    assert spread.histogram()[WIDTH] == 2


def test_no_value_has_no_mean_and_no_spread_has_wilsons_interval():
    with pytest.raises(ValueError, match="no value"):
        mean_of(0, 0, 0)
    assert share_of(0, 20).high == pytest.approx(0.161, abs=1e-3)  # Wilson 1927
    assert mean_of(1, 5, 25).low is None


def test_vocabulary_against_a_counter():
    texts = random_texts(700, seed=8)
    counts = Counter(word for text in texts for word in normal_words(text))
    state = survey_of([(0, texts)]).states["vocabulary"]
    assert state.frequent.counts == dict(counts) and state.frequent.floor == 0
    assert state.distinct.count == len(counts) and state.distinct.relative_error == 0
    assert state.distinct.singles == pytest.approx(sum(count == 1 for count in counts.values()) / len(counts))
    assert state.frequent.top(3) == sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:3]


def test_one_word_a_million_times():
    found = survey_of([(0, ["dog " * 1_000_000])])
    assert found.states["vocabulary"].frequent.counts == {"dog": 1_000_000}
    assert found.states["length"].words.estimate().value == 1_000_000
    assert found.states["flags"].counts["repetition"] == 1


def test_distinct_counts_are_within_their_error_and_know_no_order():
    rng = np.random.default_rng(0)
    hashes = text_hashes([f"word {number}" for number in range(40_000)])
    errors = []
    for seed in range(30):
        found = Distinct(most=1000)
        own = combine_array(hashes, seed)
        for piece in np.array_split(rng.permutation(own), 7):
            found.add(piece, np.full(len(piece), 2))
        straight = Distinct(most=1000)
        straight.add(own, np.full(len(own), 2))
        assert found.to_json() == straight.to_json() and len(found.hashes) <= 1000 and (found.counts == 2).all()
        errors.append((found.count - 40_000) / 40_000 / found.relative_error)
    assert 0.6 < np.std(errors) < 1.5 and abs(np.mean(errors)) < 0.6


def test_distinct_parts_at_different_thresholds_merge():
    hashes = text_hashes([f"{number}" for number in range(6000)])
    few, many = Distinct(most=500), Distinct(most=500)
    few.add(hashes[:100])
    many.add(hashes)
    one, two = Distinct.from_json(few.to_json()), Distinct.from_json(many.to_json())
    one.merge(many)
    two.merge(few)
    assert few.level == 0 and many.level > 0 and one.to_json() == two.to_json()
    assert one.counts.sum() == len(many.hashes) + np.isin(hashes[:100], many.hashes).sum()


def test_union_share_against_sets():
    rng = random.Random(0)
    ours, theirs = (set(rng.sample(range(30_000), 20_000)) for _ in range(2))
    exact, small = [[Distinct(most) for _ in range(2)] for most in (1 << 16, 2000)]
    for pair in (exact, small):
        for found, words in zip(pair, (ours, theirs), strict=True):
            found.add(text_hashes([f"{word}" for word in sorted(words)]))
    expected = len(ours) / len(ours | theirs)
    assert union_share(*exact)[:2] == (pytest.approx(expected), 0)
    share, se, kept = union_share(*small)
    assert abs(share - expected) < 4 * se and 0 < kept < 4000
    assert union_share(Distinct(), Distinct()) == (0.0, 0.0, 0)


def test_frequent_counts_lie_within_their_bound():
    rng = np.random.default_rng(1)
    words = [f"w{number}" for number in rng.zipf(1.3, 30_000) % 5000]
    true, found = Counter(words), Frequent(most=200)
    for start in range(0, len(words), 1500):
        piece = Frequent(most=200)
        piece.add(*zip(*Counter(words[start : start + 1500]).items(), strict=True))
        found.merge(Frequent.from_json(json.loads(json.dumps(piece.to_json()))))
    record = found.to_json()
    assert found.total == len(words) and len(record["counts"]) <= 200 and found.floor > 0
    for word, count in true.items():
        assert record["counts"].get(word, 0) <= count <= record["counts"].get(word, 0) + found.floor
    assert [word for word, _ in found.top(5)] == [word for word, _ in true.most_common(5)]


def test_the_sample_is_of_the_smallest_hashes_and_pairs():
    texts = [f"caption {number}" for number in range(500)]
    sample = Sample(size=40)
    for start in (0, 100, 350):
        stop = {0: 100, 100: 350, 350: 500}[start]
        sample.add(part_of(texts[start:stop], start=start))
    other = Sample(size=40)
    other.add(part_of([f"other {number}" for number in range(500)]))
    assert [one.key for one in sample.drawn] == [one.key for one in other.drawn]
    assert len(sample.drawn) == 40 and not sample.whole and sample.seen == 500
    places = [int(one.key[1:]) for one in sample.drawn]
    assert 100 < np.mean(places) < 400  # neither the first nor the last rows
    assert [one.text for one in sample.drawn] == [texts[place] for place in places]


def test_clip_tokens_word_by_word_are_those_of_the_whole_text():
    clip = load_tokenizer("clip")
    texts = [*random_texts(400, seed=9), "a &amp; b &lt;x&gt;", "x\x1b[31mred", "<start_of_text> a", "&amp lt; <b>"]
    part = part_of([text for text in texts if text.split()])
    assert clip.count(part).tolist() == clip.count_texts(part.texts.to_pylist())


def test_clip_tokens_are_open_clips():
    from open_clip.tokenizer import SimpleTokenizer

    texts = [
        *random_texts(600, seed=11),
        "naïve café, 10 % off!",
        "It's we're DON'T",
        "a &amp;lt; b",
        "<start_of_text>x<end_of_text>",
    ]
    bpe = SimpleTokenizer()
    assert load_tokenizer("clip").count_texts(texts) == [len(bpe.encode(text)) + 2 for text in texts]


def test_packed_arrays_come_back():
    for array in (np.array([], np.uint64), np.arange(5), np.array([2**64 - 1], np.uint64)):
        assert (unpack(json.loads(json.dumps(pack(array)))) == array).all()


def test_a_lexicon_that_forgets_gives_the_same_counts():
    texts = random_texts(300, seed=10)
    found, lexicon = Survey.of(NAMES, []), Lexicon(most=20)
    for start in range(0, len(texts), 40):
        lexicon.begin()
        found.add(part_of(texts[start : start + 40], lexicon=lexicon, start=start))
    assert plain(found) == plain(survey_of([(0, texts)]))
    assert large(texts).null_count == 0
