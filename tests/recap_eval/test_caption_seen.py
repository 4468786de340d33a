"""Captions against their images by an encoder whose answers are known: cosines, shares and wins by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from caption_texts import HOSTILE
from fakes import Card, Constant, Oracle
from pictured import made_views

from recap_eval.captions.survey import Survey
from recap_eval.embed import Embedder
from recap_eval.errors import DataError
from recap_eval.tasks.captions import FAMILIES, TWO_WAY, Given
from recap_eval.tasks.captions_seen import Sight

OWN = [f"text {n}" for n in range(40)]


def sight_of(views, model=None, **other):
    return Sight(views, Embedder(model or Oracle(OWN), progress=False, **other))


def measured(family, sight, column):
    return family.measure(Given(Survey.of([], []), column=column, views=sight.views, sight=sight))


def random_captions(rng, n):
    """Captions of images 0 … n - 1: their own text, another's, hostile ones, none."""
    others = [*OWN, *HOSTILE, "so many words that no context of eight holds them"]
    found = [OWN[at] if rng.random() < 0.4 else others[int(rng.integers(len(others)))] for at in range(n)]
    return [text if text.strip() and rng.random() > 0.15 else None for text in found]


def brute(model, views, column):
    """Cosines one by one."""
    found = []
    for number, text in enumerate(views.column(column)):
        if text is None:
            found.append(None)
            continue
        one, two = model._vector(OWN[number]), model._vector(text)
        found.append(float(torch.nn.functional.cosine_similarity(one, two, dim=0)))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_cosines_shares_and_wins_are_those_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    views = made_views([Card(f"k{n}", n) for n in range(40)], a=random_captions(rng, 40), b=random_captions(rng, 40))
    model = Oracle(OWN)
    sight = sight_of(views, model, batch_size=7)
    cosines, long = {column: brute(model, views, column) for column in "ab"}, 0
    for column, other in ("ab", "ba"):
        found = measured(FAMILIES["clip"], sight, column)
        there = [n for n in range(40) if cosines[column][n] is not None]
        assert found.metrics["clip_cosine"].items == [f"k{n}" for n in there]
        assert found.metrics["clip_cosine"].values == pytest.approx([cosines[column][n] for n in there], abs=1e-6)
        cut = [float(len(views.column(column)[n].split()) > 8) for n in there]
        assert found.metrics["truncated"].values.tolist() == cut and sum(cut) < len(cut)
        long += sum(cut)
        assert set(found.unrated) == {f"k{n}" for n in range(40)} - set(found.metrics["clip_cosine"].items)
        both = [n for n in there if cosines[other][n] is not None]
        shares = measured(TWO_WAY["clip"], sight, column)
        gaps = np.array([cosines[column][n] - cosines[other][n] for n in both])
        assert shares.metrics["clip_share_softmax"].items == [f"k{n}" for n in both]
        assert shares.metrics["clip_share_softmax"].values == pytest.approx(1 / (1 + np.exp(-100 * gaps)), abs=1e-4)
        same = np.array([views.column("a")[n] == views.column("b")[n] for n in both])
        wins = shares.metrics["clip_win_rate"].values
        assert wins.tolist() == np.where(same, 0.5, gaps > 0).tolist() and same.any()
    assert long > 0


def test_every_image_and_text_is_embedded_once():
    model = Oracle(OWN)
    views = made_views([Card(f"k{n}", n % 10) for n in range(40)], a=OWN, b=[OWN[0]] * 40)
    sight = sight_of(views, model)
    for family in (FAMILIES["clip"], TWO_WAY["clip"]):
        for column in "ab":
            measured(family, sight, column)
    assert sum(model.image_batches) == 10 and sum(model.text_batches) == 40
    assert len({*measured(FAMILIES["clip"], sight, "a").metrics["clip_cosine"].clusters}) == 10


def test_the_same_text_shares_and_ties_exactly():
    views = made_views([Card(f"k{n}", n) for n in range(3)], a=OWN[:3], b=OWN[:3])
    found = measured(TWO_WAY["clip"], sight_of(views), "a").metrics
    assert found["clip_share_softmax"].values.tolist() == found["clip_win_rate"].values.tolist() == [0.5] * 3


def test_without_a_pair_there_is_no_share_and_without_a_caption_no_cosine():
    views = made_views([Card(f"k{n}", n) for n in range(3)], a=[OWN[0], None, None], b=[None, OWN[1], None])
    sight = sight_of(views)
    assert measured(FAMILIES["clip"], sight, "a").metrics["clip_cosine"].values == pytest.approx([1.0])
    with pytest.raises(DataError, match="None of 3 rows"):
        measured(TWO_WAY["clip"], sight, "a")
    empty = made_views([Card("k0", 0)], a=[None], b=[OWN[0]])
    with pytest.raises(DataError, match="None of 1 rows"):
        measured(FAMILIES["clip"], sight_of(empty), "a")


def test_unreadable_images_stop_or_are_left_out_and_told():
    cards = [Card("k0", 0), Card("k1", 1, b"no image"), Card("k2", 2)]
    views = made_views(cards, a=OWN[:3], b=OWN[1:4])
    with pytest.raises(DataError, match="k1"):
        measured(FAMILIES["clip"], sight_of(views), "a")
    found = measured(FAMILIES["clip"], sight_of(views, skip_bad=True), "a")
    assert found.metrics["clip_cosine"].items == ["k0", "k2"] and list(found.bad) == ["cards/k1.png"]


def test_a_model_that_sees_nothing_is_refused():
    views = made_views([Card(f"k{n}", n) for n in range(3)], a=OWN[:3])
    with pytest.raises(DataError, match="alike"):
        measured(FAMILIES["clip"], sight_of(views, Constant(OWN)), "a")


def test_a_model_trained_on_a_mix_says_whom_it_favours():
    model = Oracle(OWN)
    object.__setattr__(model.id, "meta", {"p_original": 0.75})
    views = made_views([Card(f"k{n}", n) for n in range(3)], a=OWN[:3])
    (told,) = measured(FAMILIES["clip"], sight_of(views, model), "a").warnings
    assert "75 % original captions and 25 % recaptions" in told and "favours" in told
