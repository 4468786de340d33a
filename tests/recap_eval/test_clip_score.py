"""The CLIP score against torchmetrics', and beyond the 77 tokens at which torchmetrics' is void."""

import io

import numpy as np
import pytest
import torch
from fakes import Card
from pictured import made_views
from PIL import Image
from tiny_clips import WORDS, make_clip
from torchmetrics.functional.multimodal import clip_score

from recap_eval.embed import Embedder
from recap_eval.models.loading import load
from recap_eval.tasks.captions_seen import Sight
from recap_eval.tasks.generation import clip_scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("clip")
    make_clip(place, 77)
    return place


@pytest.fixture(scope="module")
def theirs(folder):
    """Model and processor for torchmetrics, whose own loader expects tensors where transformers 5 returns outputs."""
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(folder).eval()
    image_of, token_of = AutoImageProcessor.from_pretrained(folder, backend="pil"), AutoTokenizer.from_pretrained(folder)

    class Tensors(torch.nn.Module):
        config = model.config

        def get_image_features(self, pixels):
            return model.get_image_features(pixels).pooler_output

        def get_text_features(self, ids, mask):
            return model.get_text_features(ids, mask).pooler_output

    def process(images=None, text=None, **options):
        return token_of(text, **options) if images is None else image_of(images, return_tensors="pt")

    return lambda: (Tensors(), process)


def picture(seed):
    low = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(low).resize((48, 40), Image.Resampling.BICUBIC)


def card(seed):
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return Card(f"c{seed}", 0, buffer.getvalue())


def caption(seed, words):
    return " ".join(np.random.default_rng(seed).choice(WORDS[26:], words))


def ours(folder, captions):
    embedder = Embedder(load(str(folder)), progress=False)
    return clip_scores(embedder, [card(i) for i in range(len(captions))], captions, [str(i) for i in range(len(captions))])


def their_score(theirs, seed, text):
    pixels = torch.from_numpy(np.asarray(picture(seed)).copy()).permute(2, 0, 1)
    with torch.no_grad():
        return float(clip_score(pixels, text, theirs))


def test_up_to_77_tokens_it_is_torchmetrics(folder, theirs):
    captions = [caption(i, words) for i, words in enumerate((1, 5, 12, 30, 60, 74, 75))]
    found = ours(folder, captions)
    expected = [their_score(theirs, i, text) for i, text in enumerate(captions)]
    assert np.ptp(expected) > 1 and found.extra["truncated_share"] == 0
    values = 100 * found.metrics["clip_score"].values
    assert np.maximum(values, 0) == pytest.approx(expected, abs=1e-4)  # theirs is cut off at 0; ours keeps its sign
    assert found.extra["clipscore_w2.5"] == pytest.approx(0.025 * np.mean(expected), rel=1e-5)


def test_beyond_77_tokens_theirs_forgets_the_caption_and_ours_does_not(folder, theirs):
    one, two = caption(1, 90), caption(2, 90)
    with pytest.warns(UserWarning, match="longer than"):
        assert their_score(theirs, 0, one) == their_score(theirs, 0, two)  # two captions, one score: the end token is cut off
    texts = [one, two, one + " ring", " ".join(one.split()[:75])]
    scores = clip_scores(Embedder(load(str(folder)), progress=False), [card(0)] * 4, texts, list("abcd"))
    values = scores.metrics["clip_score"].values
    assert abs(values[0] - values[1]) > 1e-3
    assert (
        values[0] == pytest.approx(values[2], abs=1e-6) == pytest.approx(values[3], abs=1e-6)
    )  # what is read, is read to its end
    assert scores.extra["truncated_share"] == 0.75


def test_cosines_of_caption_sets_are_torchmetrics_too(folder, theirs):
    captions = [caption(i, words) for i, words in enumerate((1, 5, 12, 30, 60, 74, 75))]
    views = made_views([card(i) for i in range(len(captions))], re_caption=captions, org_caption=captions[::-1])
    sight = Sight(views, Embedder(load(str(folder)), progress=False))
    for column, texts in (("re_caption", captions), ("org_caption", captions[::-1])):
        expected = [their_score(theirs, i, text) for i, text in enumerate(texts)]
        cosines = 100 * sight.cosines(column)
        assert np.maximum(cosines, 0) == pytest.approx(expected, abs=1e-4) and not sight.cut(column).any()
