"""The same model and files through CLIP_benchmark, the field's harness: the same figures to the last digit."""

import io

import open_clip
import pytest
import torch
from PIL import Image
from sklearn.metrics import top_k_accuracy_score

from recap_eval.embed import Embedder
from recap_eval.models.base import Loading
from recap_eval.models.loading import load
from recap_eval.registry import get_task

scenes_zeroshot, scenes_retrieval, scenes_long = map(get_task, ("scenes-zeroshot", "scenes-retrieval", "scenes-long"))


@pytest.fixture(scope="module")
def ours(model):
    found = load(str(model))
    assert found.trims
    found.folder = model
    return found


def batches(ours, images, labels, size=16):
    """A loader as CLIP_benchmark takes it: (pixels, labels or lists of captions)."""
    transform = open_clip.create_model_and_transforms(f"local-dir:{ours.folder}", require_pretrained=True)[2]
    pixels = [transform(Image.open(io.BytesIO(item.read_image())).convert("RGB")) for item in images]
    return [(torch.stack(pixels[i : i + size]), labels[i : i + size]) for i in range(0, len(pixels), size)]


def test_zero_shot(ours, world):
    """Its classifier and logits, scored by scikit-learn: its own `accuracy` (1.6.2) raises a TypeError under numpy 2.4."""
    from clip_benchmark.metrics import zeroshot_classification as theirs

    data = scenes_zeroshot.load(world)
    scores = scenes_zeroshot.score(Embedder(ours, progress=False), data)
    templates = [template.replace("{}", "{c}") for template in data.templates]
    weights = theirs.zero_shot_classifier(ours.model, ours.tokenizer, data.classes, templates, "cpu", amp=False)
    loader = batches(ours, data.images, torch.tensor(data.labels))
    logits, target = theirs.run_classification(ours.model, weights, loader, "cpu", amp=False)
    for k in (1, 5):
        expected = top_k_accuracy_score(target, logits, k=k, labels=range(64))
        assert scores.metrics[f"acc{k}"].values.mean() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", [scenes_retrieval, scenes_long], ids=lambda task: task.name)
def test_retrieval(ours, world, task):
    """Captions that occur once: where texts repeat, CLIP_benchmark takes whatever topk returns (docs/protocols.md)."""
    from clip_benchmark.metrics import zeroshot_retrieval as theirs

    from recap_eval.data.items import CaptionedImages

    data = task.load(world)
    seen: set[str] = set()
    once = [[text for text in texts if not (text in seen or seen.add(text))] for texts in data.captions]
    kept = [i for i, texts in enumerate(once) if texts]
    data = CaptionedImages(data.source, [data.images[i] for i in kept], [once[i] for i in kept])
    scores = task.score(Embedder(ours, progress=False), data)
    loader = batches(ours, data.images, data.captions)
    found = theirs.evaluate(ours.model, loader, ours.tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10])
    for k in (1, 5, 10):
        assert scores.metrics[f"i2t_r{k}"].values.mean() == pytest.approx(found[f"text_retrieval_recall@{k}"], abs=1e-7)
        assert scores.metrics[f"t2i_r{k}"].values.mean() == pytest.approx(found[f"image_retrieval_recall@{k}"], abs=1e-7)


def test_webdataset_reads_our_shards(world):
    import webdataset

    samples = list(webdataset.WebDataset(str(world / "val" / "00000.tar"), shardshuffle=False).decode("pil"))
    assert len(samples) == 48 and samples[0]["jpg"].size == (32, 32)
    assert samples[3]["txt"] == samples[3]["json"]["org_caption"]


def test_bf16_towers_stay_close(model, world):
    data = scenes_zeroshot.load(world)
    models = [load(str(model), Loading(precision)) for precision in ("fp32", "bf16")]
    full, half = (Embedder(found, progress=False).images(data.images) for found in models)
    assert (full.vectors * half.vectors).sum(dim=1).min() > 0.999
    assert not torch.equal(full.vectors, half.vectors)
