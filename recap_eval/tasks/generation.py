"""What generated images are measured by, against real images or against their own prompts.

A distance between sets has no value per image; its linearised values (`metrics/influence.py`, `metrics/kernel.py`) do, their
mean being the distance and their spread its error. So means, errors, intervals and paired comparisons are made where those of
all other tasks are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recap_eval.data.items import CaptionedImages, DataId, ImageItem
from recap_eval.data.scenes.verdict import KINDS
from recap_eval.errors import DataError, unknown_name
from recap_eval.tasks.base import SHARE, ItemScores, Metric, Scores
from recap_eval.tasks.judged import METRICS

if TYPE_CHECKING:
    import numpy as np

    from recap_eval.embed import Embedder
    from recap_eval.metrics.moments import Statistics

KIND = "t2i"
PROMPT_READ = "prompt_read"  # in a scorer's items: characters read of each prompt that it cut
CLIP, RECAP_CLIP = "ViT-B-32/openai", "hf-hub:UCSC-VLAA/ViT-L-16-HTxt-Recap-CLIP"  # the scorers of the paper, section 6
CMMD_MODEL = "clip:ViT-L-14-336/openai"
FORMS = (
    "fid, kid, fd-dinov2, clip, recap-clip, judge, cmmd, prdc, scenes-truth; "
    "clip:MODEL, fd:EXTRACTOR, kid:EXTRACTOR, prdc:EXTRACTOR"
)


@dataclass(frozen=True)
class Features:
    """Features of one set of images.

    Args:
        keys: (N) ids of the images.
        rows: (N, D) float32 array or memory map.
        clusters: (N) ids of their prompts.
    """

    keys: list[str]
    rows: np.ndarray
    clusters: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Real:
    """The reference.

    Args:
        statistics: Mean and covariance of its features.
        rows: (M, D) its features; None where only statistics are there.
    """

    statistics: Statistics
    rows: np.ndarray | None = None


Measure = Callable[[Features, Real, dict[str, Any]], Scores]


@dataclass(frozen=True)
class SetMetric:
    """One way to measure generated images; what results call a task.

    Args:
        name: Its name in results.
        metrics: What it gives, the primary one first.
        extractor: What makes the features; "" if it compares images with prompts.
        scorer: The model that compares images with prompts; "" otherwise.
        measure: From features to scores, for one that has an extractor.
        verify: Of one that holds images against what their prompts claim, without a model: MODULE:ATTR of what does it.
        judged: Whether a judge is asked about each image and its prompt.
        version: Raised whenever the same images would give another figure.
    """

    name: str
    metrics: tuple[Metric, ...]
    extractor: str = ""
    scorer: str = ""
    measure: Measure | None = None
    verify: str = ""
    judged: bool = False
    version: int = 1
    kind: str = KIND

    @property
    def primary(self) -> Metric:
        """The metric that stands for it."""
        return self.metrics[0]

    @property
    def against(self) -> str:
        """What the images are held against: "reference", "prompts" (by a model), "judge", or "claims" of the prompts."""
        known = {"claims": self.verify, "judge": self.judged, "prompts": self.scorer}
        return next((name for name, given in known.items() if given), "reference")


def frechet(ours: Features, real: Real, key: dict[str, Any]) -> Scores:
    """Return the Fréchet distance at this N, with its error where there are more images than features, and at infinite N."""
    from recap_eval.metrics.frechet import Reference, frechet_distance_of, same_features
    from recap_eval.metrics.influence import influence
    from recap_eval.metrics.moments import Moments

    same_features(ours.rows.shape[1], key, real.statistics)
    reference = Reference(real.statistics)
    if len(ours.rows) <= reference.dim:
        found = frechet_distance_of(ours.rows, reference)
        return Scores({}, {"mean_term": found.mean_term}, corpus={"fd": found.value}, warnings=found.warnings)
    own = Moments.of(ours.rows).statistics(key)
    known = influence(ours.rows, reference, own)
    value = known.distance
    extra = {"mean_term": value.mean_term} | _limit(ours, reference, known.estimate(ours.clusters).se)
    return Scores({"fd": ItemScores(ours.keys, ours.clusters, known.linearised)}, extra, warnings=value.warnings)


def _limit(ours: Features, reference: Any, se: float | None) -> dict[str, float]:
    """Return the distance at infinite N with its error; nothing where there are too few images to tell."""
    from recap_eval.metrics.infinity import frechet_infinity, part_moments

    try:
        found = frechet_infinity(part_moments(ours.rows), reference, se)
    except DataError:
        return {}
    facts = {"fd_infinity": found.value, "bias": found.bias}
    return facts if found.se is None else facts | {"fd_infinity_se": found.se}


def kernel(ours: Features, real: Real, key: dict[str, Any]) -> Scores:
    """Return KID over all pairs with its error, and as it is published, over subsets."""
    from recap_eval.metrics.kernel import discrepancy, kid, polynomial

    rows = _rows(real)
    found, published = discrepancy(ours.rows, rows, polynomial), kid(ours.rows, rows)
    extra = {"kid_subsets": published.value, "kid_subset_sd": published.subset_sd, "kid_subset_size": published.size}
    return Scores({"kid": ItemScores(ours.keys, ours.clusters, found.linearised)}, extra | {"kid_se": found.se})


def mean_discrepancy(ours: Features, real: Real, key: dict[str, Any]) -> Scores:
    """Return CMMD, unbiased with its error; the published, biased figure beside it."""
    from recap_eval.metrics.kernel import cmmd

    found = cmmd(ours.rows, _rows(real))
    extra = {"cmmd_biased": found.biased, "cmmd_se": found.se}
    return Scores({"cmmd": ItemScores(ours.keys, ours.clusters, found.linearised)}, extra)


def neighbours(ours: Features, real: Real, key: dict[str, Any]) -> Scores:
    """Return precision per image; recall, density and coverage of the whole."""
    from recap_eval.metrics.manifold import manifold

    found = manifold(ours.rows, _rows(real))
    corpus = {"recall": found.recall, "density": found.density, "coverage": found.coverage}
    return Scores({"precision": ItemScores(ours.keys, ours.clusters, found.inside.astype(float))}, corpus=corpus)


def _rows(real: Real) -> np.ndarray:
    if real.rows is None:
        raise DataError(
            "The reference is statistics alone, and this metric compares features.", "Name a folder: --reference DIR"
        )
    return real.rows


FD = (Metric("fd", "FD", None, False, 1.0, "distance"),)
KID = (Metric("kid", "KID × 1000", None, False, 1000.0, "distance"),)
RATIOS = {"density": "ratio"}  # which may be above 1
PRDC = tuple(Metric(name, name, unit=RATIOS.get(name, SHARE)) for name in ("precision", "recall", "density", "coverage"))
CLIP_SCORE = (Metric("clip_score", "CLIP score", unit="cosine"), Metric("r_precision", "R-precision"))
TRUTH = tuple(Metric(name, label) for name, label in (("truth", "true claims"), ("all_true", "all true")))
TRUTH += tuple(Metric(kind, kind) for kind in KINDS)
FAMILIES: dict[str, tuple[tuple[Metric, ...], Measure]] = {
    "fd": (FD, frechet),
    "kid": (KID, kernel),
    "prdc": (PRDC, neighbours),
}
TABLE = {
    "fid": SetMetric("t2i-fid", (Metric("fd", "FID", None, False, 1.0, "distance"),), "inception", measure=frechet),
    "kid": SetMetric("t2i-kid", KID, "inception", measure=kernel),
    "fd-dinov2": SetMetric("t2i-fd-dinov2", FD, "dinov2", measure=frechet),
    "cmmd": SetMetric(
        "t2i-cmmd", (Metric("cmmd", "CMMD", None, False, 1.0, "distance"),), CMMD_MODEL, measure=mean_discrepancy
    ),
    "prdc": SetMetric("t2i-prdc", PRDC, "inception", measure=neighbours),
    "clip": SetMetric("t2i-clip", CLIP_SCORE, scorer=CLIP),
    "recap-clip": SetMetric("t2i-recap-clip", CLIP_SCORE, scorer=RECAP_CLIP),
    "scenes-truth": SetMetric("t2i-scenes-truth", TRUTH, verify="recap_eval.tasks.scene_truth:Verifier"),
    "judge": SetMetric("t2i-judge", (METRICS["rating"],), judged=True),
}


def known_metrics() -> dict[str, SetMetric]:
    """Return every way to measure generated images by its name in results; of a family with an extractor of one's own, too."""
    known = {metric.name: metric for metric in TABLE.values()}
    for family, (metrics, measure) in FAMILIES.items():
        known.setdefault(f"t2i-{family}", SetMetric(f"t2i-{family}", metrics, measure=measure))
    return known


def find_metrics(words: str) -> list[SetMetric]:
    """Return the metrics that a user names, commas between them.

    Raises:
        UserError: Unknown name.
    """
    return [_find(word.strip()) for word in words.split(",") if word.strip()]


def _find(word: str) -> SetMetric:
    if word in TABLE:
        return TABLE[word]
    family, _, rest = word.partition(":")
    if rest and family == "clip":
        return SetMetric("t2i-clip", CLIP_SCORE, scorer=rest)
    if rest and family in FAMILIES:
        metrics, measure = FAMILIES[family]
        return SetMetric(f"t2i-{family}", metrics, rest, measure=measure)
    raise unknown_name("metric", word, TABLE, FORMS)


def clip_scores(embedder: Embedder, images: Sequence[ImageItem], prompts: Sequence[str], clusters: list[str]) -> Scores:
    """Return the cosine of each image and its prompt, and whether its own prompt is the nearest of all (R-precision).

    Args:
        embedder: The scorer.
        images: (N) images.
        prompts: (N) prompt of each.
        clusters: (N) ids of the prompts.

    Raises:
        DataError: An image is unreadable, or the model's embeddings are void.
    """
    from recap_eval.tasks.retrieval import score_retrieval

    found, texts = embedder.images(images), embedder.texts(prompts)
    cosine = (found.vectors * texts.each[found.kept]).sum(dim=1)
    keys, own = [images[i].key for i in found.kept], [clusters[i] for i in found.kept]
    data = CaptionedImages(DataId("", "", "", ""), list(images), [[prompt] for prompt in prompts])
    nearest = score_retrieval(embedder, data).metrics["i2t_r1"]
    metrics = {
        "clip_score": ItemScores(keys, own, cosine.double().numpy()),
        "r_precision": ItemScores(keys, own, nearest.values, nearest.given, nearest.rank),
    }
    metrics |= _read(embedder, prompts, found.kept, (keys, own))
    hessel = 2.5 * cosine.clamp(min=0).double().mean()  # CLIPScore's own form (Hessel et al. 2021), without its prefix
    return Scores(metrics, embedder.truncation(list(prompts)) | {"clipscore_w2.5": float(hessel)})


def _read(
    embedder: Embedder, prompts: Sequence[str], kept: Sequence[int], named: tuple[list[str], list[str]]
) -> dict[str, ItemScores]:
    """Return how many characters the scorer read of each prompt that it cut; nothing if it cut none."""
    import numpy as np

    read = embedder.read([prompts[i] for i in kept])
    if not read:
        return {}
    keys, owners = ([names[place] for place in read] for names in named)
    return {PROMPT_READ: ItemScores(keys, owners, np.array(list(read.values()), float))}
