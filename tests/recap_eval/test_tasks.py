import numpy as np
import pytest
from fakes import Card, Constant, NotANumber, Oracle

from recap_eval.data.items import CaptionedImages, CaptionPairs, DataId, LabelledImages
from recap_eval.embed import Embedder
from recap_eval.errors import DataError
from recap_eval.tasks.pairs import score_pairs
from recap_eval.tasks.retrieval import score_retrieval
from recap_eval.tasks.zero_shot import score_zero_shot

SOURCE = DataId("cards", "test", "f" * 64, "cards")
CLASSES = ["cat", "dog", "owl", "eel"]


def embedder(kind=Oracle, **options):
    return Embedder(kind(list(CLASSES), **options), batch_size=3, progress=False)


def test_zero_shot_by_an_oracle_with_known_mistakes():
    """Images show classes 0 1 2 3 0; the last is labelled 1, so the oracle is right on 4 of 5."""
    cards = [Card(str(i), n) for i, n in enumerate([0, 1, 2, 3, 0])]
    scores = score_zero_shot(embedder(), LabelledImages(SOURCE, cards, [0, 1, 2, 3, 1], CLASSES, ("{}",)))
    assert scores.metrics["acc1"].values.tolist() == [1, 1, 1, 1, 0]
    assert scores.metrics["acc5"].values.tolist() == [1, 1, 1, 1, 1]
    assert scores.extra["truncated_share"] == 0


def test_template_ensemble_is_the_normalised_mean_of_unit_prompts():
    import torch

    from recap_eval.tasks.zero_shot import classifier

    found = embedder()
    weights = classifier(found, LabelledImages(SOURCE, [], [], CLASSES, ("{}", "a {}")))
    parts = [torch.nn.functional.normalize(found.model._vector(t), dim=0) for t in ("cat", "a cat")]
    expected = torch.nn.functional.normalize((parts[0] + parts[1]) / 2, dim=0)
    assert torch.allclose(weights[0], expected, atol=1e-6)


def test_retrieval_by_an_oracle():
    """Each image has its own text and a stranger's: any-of makes images found, half the captions are lost."""
    cards = [Card(f"i{n}", n) for n in range(4)]
    captions = [[CLASSES[n], f"noise {n}", f"more noise {n}"][: 2 + n % 2] for n in range(4)]
    scores = score_retrieval(embedder(), CaptionedImages(SOURCE, cards, captions))
    assert scores.metrics["i2t_r1"].values.tolist() == [1, 1, 1, 1]
    own = [index for index, item in enumerate(scores.metrics["t2i_r1"].clusters)]
    assert len(own) == 2 + 3 + 2 + 3
    first = [0, 2, 5, 7]
    assert scores.metrics["t2i_r1"].values[first].tolist() == [1, 1, 1, 1]
    assert scores.metrics["t2i_r1"].clusters[:2] == ["i0", "i0"]
    assert scores.metrics["t2i_r5"].values.tolist() == [1] * 10


def test_duplicate_captions_share_the_credit():
    """Four images, all captioned alike: each is found with probability one in four."""
    cards = [Card(f"i{n}", n) for n in range(4)]
    scores = score_retrieval(embedder(), CaptionedImages(SOURCE, cards, [["same"]] * 4))
    assert scores.metrics["i2t_r1"].values == pytest.approx([0.25] * 4)
    assert scores.extra["i2t_r1_ties_lost"] == 0 and scores.extra["i2t_r1_ties_won"] == 1


def test_pairs_by_an_oracle():
    cards = [Card("a", 0), Card("b", 1)]
    rows = [(0, "cat", "dog"), (1, "dog", "cat"), (1, "cat", "dog"), (0, "owl", "owl")]
    scores = score_pairs(embedder(), CaptionPairs(SOURCE, cards, rows))
    assert scores.metrics["acc"].values.tolist() == [1, 1, 0, 0.5]
    assert scores.metrics["acc"].clusters == ["a", "b", "b", "a"]


@pytest.mark.parametrize(("kind", "words"), [(Constant, "alike"), (NotANumber, "not finite")])
def test_a_broken_model_is_an_error_and_not_100_percent(kind, words):
    cards = [Card("a", 0), Card("b", 1)]
    with pytest.raises(DataError, match=words):
        score_pairs(embedder(kind), CaptionPairs(SOURCE, cards, [(0, "cat", "dog"), (1, "dog", "cat")]))


def test_a_text_tower_that_embeds_all_texts_alike_is_an_error():
    import torch

    found = embedder()
    found.model.encode_texts = lambda tokens: torch.ones(len(tokens), 4)
    with pytest.raises(DataError, match="all 20 texts alike"):
        found.texts([f"text {n}" for n in range(20)])


def test_each_distinct_thing_is_embedded_once():
    found = embedder()
    cards = [Card(str(i), n) for i, n in enumerate([0, 1, 0, 1])]
    data = LabelledImages(SOURCE, cards, [0, 1, 0, 1], CLASSES, ("{}",))
    score_zero_shot(found, data)
    score_zero_shot(found, data)
    assert sum(found.model.image_batches) == 2 and sum(found.model.text_batches) == 4
    texts = found.texts(["cat", "dog", "cat"])
    assert texts.row.tolist() == [0, 1, 0] and len(texts.vectors) == 2


def test_long_texts_are_counted_as_cut():
    found = embedder()
    assert found.truncation(["one two", " ".join("x" * 9), "a b c"]) == {"truncated_share": pytest.approx(1 / 3)}
    found.model.context_length = 0  # a model that does not say
    assert found.truncation(["one two"]) == {}


def test_bad_images_stop_or_are_counted():
    cards = [Card("a", 0), Card("bad", 1, b"nonsense"), Card("c", 2)]
    data = CaptionedImages(SOURCE, cards, [["cat"], ["dog"], ["owl"]])
    with pytest.raises(DataError, match=r"cards/bad\.png is not a readable image"):
        score_retrieval(embedder(), data)
    lenient = Embedder(Oracle(list(CLASSES)), skip_bad=True, progress=False)
    scores = score_retrieval(lenient, data)
    assert scores.metrics["i2t_r1"].items == ["a", "c"] and np.all(scores.metrics["t2i_r1"].values == 1)
    assert list(lenient.bad) == ["cards/bad.png"]
    pairs = score_pairs(lenient, CaptionPairs(SOURCE, cards, [(0, "cat", "dog"), (1, "dog", "cat"), (2, "owl", "cat")]))
    assert pairs.metrics["acc"].clusters == ["a", "c"]


def test_two_bad_images_of_the_same_bytes_are_both_counted():
    cards = [Card("a", 0), Card("bad", 1, b"nonsense"), Card("worse", 1, b"nonsense"), Card("c", 2)]
    lenient = Embedder(Oracle(list(CLASSES)), skip_bad=True, progress=False)
    assert lenient.images(cards).kept == [0, 3] and set(lenient.bad) == {"cards/bad.png", "cards/worse.png"}
    assert lenient.images(cards[:3]).kept == [0]


def test_truncated_image_is_bad():
    whole = Card("x", 3).read_image()
    with pytest.raises(DataError, match="not a readable image"):
        embedder().images([Card("cut", 0, whole[: len(whole) // 2]), Card("b", 1)])


def test_a_box_is_what_counts_of_an_image():
    """ARO's images are cropped before anything else: left and right half of one picture are two images."""
    import io

    from PIL import Image

    picture = Image.new("RGB", (8, 4), (0, 0, 0))
    picture.paste((8, 0, 0), (4, 0, 8, 4))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    left, right = (Card(f"half{i}", 0, buffer.getvalue()) for i in range(2))
    left.box, right.box = (0, 0, 4, 4), (4, 0, 8, 4)
    scores = score_pairs(embedder(), CaptionPairs(SOURCE, [left, right], [(0, "cat", "dog"), (1, "dog", "cat")]))
    assert scores.metrics["acc"].values.tolist() == [1, 1]


def test_mean_per_class_recall_and_any_of_several_right_classes():
    cards = [Card(str(i), n) for i, n in enumerate([0, 0, 0, 1, 2])]
    data = LabelledImages(SOURCE, cards, [(0, 3), (0, 3), (0, 3), (1,), (3,)], CLASSES, ("{}",))
    scores = score_zero_shot(embedder(), data)
    assert scores.metrics["acc1"].values.tolist() == [1, 1, 1, 1, 0]
    assert scores.metrics["acc1"].given == [None, None, None, None, "owl"]
    assert scores.metrics["mpcr"].values.mean() == pytest.approx(2 / 3)
