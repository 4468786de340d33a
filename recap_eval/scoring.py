"""The loop over the metrics of a set of generated images: skip what is measured, measure, fold, stamp, write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.data.coco_ids import draw_number
from recap_eval.data.digests import MEMORY, Digests, fingerprint
from recap_eval.data.items import DataId, FileImage, ImageItem
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, digest_json
from recap_eval.generate.images import SUFFIXES, ImageSet
from recap_eval.generate.origin import identify
from recap_eval.metrics.moments import Moments, Statistics, read_statistics, write_statistics
from recap_eval.models.base import Loading, ModelId
from recap_eval.provenance import run_record
from recap_eval.results import Result, identity, new_record, result_path, scale_of, write_result
from recap_eval.runner import Options, Outcome, known_result, make_embedder, measure_each
from recap_eval.tasks.base import Scores
from recap_eval.tasks.generation import Features, Real, SetMetric, clip_scores
from recap_eval.tasks.judged import METRICS

if TYPE_CHECKING:
    import numpy as np

    from recap_eval.extractors.base import Extraction, Extractor
    from recap_eval.judge.rating import Config


Found = tuple[list[str], "np.ndarray", dict[str, str]]  # keys, features, what is wrong with the images left out


@dataclass(frozen=True)
class Reference:
    """What generated images are held against.

    Args:
        name: What tables call it.
        items: Its images; empty where only statistics are there.
        statistics: A file of statistics, or None.
    """

    name: str
    items: tuple[ImageItem, ...] = ()
    statistics: Path | None = None


def find_reference(word: str, root: Path) -> Reference:
    """Return the reference that a user means: a folder of images, an npz of statistics, or a data set by name.

    Raises:
        UserError: Unknown name.
        DataError: The folder holds no image, or the data is missing.
    """
    from recap_eval.generate.presets import PRESETS, preset_name
    from recap_eval.generate.prompt_sources import read_preset

    path, name = Path(word).expanduser(), preset_name(word)
    if name in PRESETS:  # a folder of that name is ./NAME, so that what is asked does not depend on where
        return Reference(name, tuple(read_preset(name, root).images))
    if path.suffix == ".npz":
        read_statistics(path)  # a damaged file is told before anything is generated
        return Reference(path.stem, (), path)
    if not path.is_dir():
        raise UserError(
            f"The reference {word} is no folder.", f"Name a folder, statistics (.npz), or one of {', '.join(PRESETS)}."
        )
    if not (found := _images_below(path)):
        raise DataError(f"{path} holds no image.", f"Images end in {', '.join(SUFFIXES)}.")
    return Reference(path.resolve().name, tuple(FileImage(str(place.relative_to(path)), place) for place in found))


def _images_below(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [place for place in found if place.suffix.lower() in SUFFIXES and not place.name.startswith(".")]


def measure_images(bench: Bench, metrics: Sequence[SetMetric]) -> Outcome:
    """Measure a set of images by every metric and write each result as soon as it is there.

    Args:
        bench: The images and their reference.
        metrics: The metrics.

    Returns:
        Results found or made, and what failed; a `DataError` in one metric leaves the others running.

    Raises:
        UserError: A metric needs a reference, and there is none.
    """
    return measure_each(metrics, bench.measure, line, bench.options)


class Bench:
    """A set of images, its reference, and what has been found out about them so far.

    Args:
        images: The images with their prompts.
        reference: What the distances are to; None if there is none.
        how: How extractors are built and run.
        options: Where results and features go, and how errors are met.
        jury: The judge at work, and how many images it sees; None if there is none.
    """

    def __init__(
        self, images: ImageSet, reference: Reference | None, how: Extraction, options: Options,
        jury: tuple[Config, int | None] | None = None,
    ) -> None:  # fmt: skip
        self.images, self.reference, self.how, self.options, self.jury = images, reference, how, options, jury
        cache = options.cache
        self._digests = Digests(None if cache is None else cache / MEMORY, options.progress)
        self._extractors: dict[str, Extractor] = {}
        self._found: dict[tuple[str, str], Found] = {}
        self._room = tempfile.TemporaryDirectory()  # goes when the bench does
        self.items: list[ImageItem] = [image.item for image in images.images]
        self._prompt_of = dict(zip((item.key for item in self.items), (image.id for image in images.images), strict=True))

    @cached_property
    def model(self) -> ModelId:
        """Whose images they are."""
        return identify(self.images)

    @cached_property
    def source(self) -> DataId:
        """Which prompts they are of."""
        prompts = [[image.id, image.prompt] for image in self.images.images]
        about = self.images.artifact.made["prompts"] if self.images.artifact else {}
        told = f"{len(prompts):,} images, paired by {self.images.paired_by}"
        return DataId(str(about.get("name", self.images.folder.name)), "", digest_json(prompts), told)

    def measure(self, metric: SetMetric) -> tuple[Result, bool]:
        """Return a metric's result, and whether it was made now."""
        sorts = {
            "claims": self._against_claims, "judge": self._by_judge, "prompts": self._against_prompts,
            "reference": self._against_reference,
        }  # fmt: skip
        return sorts[metric.against](metric)

    def _prompted(self) -> tuple[list[str], list[str]]:
        """Return the prompt of each image, and the prompt's id."""
        if any(not image.prompt for image in self.images.images):
            raise DataError("Nothing tells the prompts of these images.", "Give a list of files and prompts: --list FILE")
        return [image.prompt for image in self.images.images], [image.id for image in self.images.images]

    def _against_claims(self, metric: SetMetric) -> tuple[Result, bool]:
        module, _, attribute = metric.verify.partition(":")
        verifier = getattr(import_module(module), attribute)(*self._prompted(), self.options.skip_bad, self.options.progress)
        settings = verifier.settings | {"n": len(self.items)}
        return self._written(metric, settings, lambda: verifier.verify(self.items))

    def _against_prompts(self, metric: SetMetric) -> tuple[Result, bool]:
        from recap_eval.models.loading import load

        prompts, owners = self._prompted()
        model = load(metric.scorer, Loading(self.how.precision, self.how.device))
        scorer = {"scorer": model.id.name, "scorer.revision": model.id.revision} | _flat("scorer", model.id.protocol)
        settings = scorer | {"n": len(self.items)}
        embedder = make_embedder(model, self.options)
        return self._written(
            metric, settings, lambda: (clip_scores(embedder, self.items, prompts, owners), embedder.bad)
        )  # fmt: skip

    def _by_judge(self, metric: SetMetric) -> tuple[Result, bool]:
        from recap_eval.judge.questions import Item, sampled
        from recap_eval.tasks.judged import judge_scores

        assert self.jury is not None
        prompts, _ = self._prompted()
        config, n = self.jury
        chosen = sampled([draw_number(image.id, image.reference) for image in self.images.images], n)
        items = [Item.of(self.items[i].key, self.items[i], prompts[i]) for i in chosen]
        settings = _flat("judge", config.judge.settings()) | {"repeats": config.repeats, "n": len(items)}
        given = replace(metric, metrics=(METRICS[config.judge.template.parser],))
        return self._written(given, settings, lambda: judge_scores(items, config, self._prompt_of))

    def _against_reference(self, metric: SetMetric) -> tuple[Result, bool]:
        if self.reference is None:
            raise no_reference(metric)
        extractor = self.extractor(metric.extractor)
        settings = {"extractor": extractor.name} | _flat("extractor", extractor.key) | {"n": len(self.items)}
        settings |= self._reference_facts(self.reference)
        return self._written(metric, settings, lambda: self._distance(metric, extractor))

    def _reference_facts(self, reference: Reference) -> dict[str, Any]:
        if reference.statistics is not None:
            return {"reference": reference.name, "reference.digest": digest_file(reference.statistics)}
        digests = self._digests.of(reference.items)
        content = fingerprint([""] * len(digests), sorted(digests), [""] * len(digests))  # a set: names and order do not matter
        return {"reference": reference.name, "reference.digest": content, "n_reference": len(digests)}

    def extractor(self, word: str) -> Extractor:
        """Return an extractor, loaded once."""
        from recap_eval.extractors.loading import load_extractor

        if word not in self._extractors:
            self._extractors[word] = load_extractor(word, self.how)
        return self._extractors[word]

    def _distance(self, metric: SetMetric, extractor: Extractor) -> tuple[Scores, dict[str, str]]:
        assert metric.measure is not None
        assert self.reference is not None
        keys, rows, bad = self._features(extractor, "images", self.items)
        ours, real = Features(keys, rows, [self._prompt_of[key] for key in keys]), self._real(extractor, self.reference)
        return metric.measure(ours, real, extractor.key), bad | self._bad_references(extractor)

    def _bad_references(self, extractor: Extractor) -> dict[str, str]:
        """Return the images of the reference that were left out: a distance to fewer of them is another distance."""
        return self._found.get((extractor.name, "reference"), ([], None, {}))[2]

    def _real(self, extractor: Extractor, reference: Reference) -> Real:
        if reference.statistics is not None:
            return Real(read_statistics(reference.statistics))
        _, rows, _bad = self._features(extractor, "reference", reference.items)
        if len(rows) < 2:
            raise DataError(
                f"The reference {reference.name} has one image, and a distance needs two.", "Name another: --reference"
            )
        return Real(Moments.of(rows).statistics(extractor.key), rows)

    def save_statistics(self, word: str, path: Path) -> Statistics:
        """Write mean and covariance of the reference, in the layout of pytorch-fid and clean-fid.

        Raises:
            UserError: There is no reference, or it is statistics already.
        """
        if self.reference is None or not self.reference.items:
            raise UserError("There are no images to make statistics of.", "Name a folder: --reference DIR")
        statistics = self._real(self.extractor(word), self.reference).statistics
        write_statistics(path, statistics)
        return statistics

    def _features(self, extractor: Extractor, what: str, items: Sequence[ImageItem]) -> Found:
        """Return keys and features of images, in a file that is read as a matrix: memory does not grow with their number."""
        known = self._found.get((extractor.name, what))
        if known is None:
            known = self._found[extractor.name, what] = self._read(extractor, what, items)
        return known

    def _read(self, extractor: Extractor, what: str, items: Sequence[ImageItem]) -> Found:
        import numpy as np

        from recap_eval.extractors.drive import FeatureReader
        from recap_eval.extractors.kept import FeatureStore

        options = self.options
        store = None if options.cache is None else FeatureStore(options.cache, extractor)
        reader = FeatureReader(extractor, store, self._digests, options.batch_size, options.skip_bad, options.progress)
        place = Path(self._room.name) / f"{len(self._found)}-{what}.npy"
        whole = np.lib.format.open_memmap(place, "w+", np.float32, (len(items), extractor.dim))
        keys: list[str] = []
        for some, features in reader.read(items):
            whole[len(keys) : len(keys) + len(some)] = features.numpy()
            keys += some
        return keys, whole[: len(keys)], reader.bad

    def _written(self, metric: SetMetric, settings: dict[str, Any], work: Any) -> tuple[Result, bool]:
        if not self.images.is_whole:
            settings |= {"whole": False}
        path = result_path(self.options.out, metric, self.model, identity(metric, self.model, self.source, settings))
        if (known := known_result(path, self.options)) is not None:
            return known, False
        start = time.perf_counter()
        scores, bad = work()
        seconds = time.perf_counter() - start
        record = new_record(metric, self.model, self.source, settings, scores, bad)
        record["partial"] = record["partial"] or not self.images.is_whole or self.images.is_limited
        record["run"] = run_record(seconds) | {"images_per_second": round(settings["n"] / seconds, 1)} | scores.facts
        return write_result(path, record, scores), True


def no_reference(metric: SetMetric) -> UserError:
    """Return the error of a distance to nothing."""
    return UserError(f"{metric.name} is a distance, and to what is not said.", "Name it: --reference DIR|STATS.npz|NAME")


def _flat(prefix: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in facts.items()}


def line(metric: SetMetric, result: Result, fresh: bool) -> str:
    """Return a result in a line, its warnings below."""
    record, extra = result.record, result.record["extra"]
    told = [_figure(known.label, record["metrics"][known.name]) for known in metric.metrics if known.name in record["metrics"]]
    if "fd_infinity" in extra:
        se = f" ± {1.96 * extra['fd_infinity_se']:.2g}" if "fd_infinity_se" in extra else ""
        told.append(f"at infinite N {extra['fd_infinity']:.4g}{se}")
    if extra.get("truncated_share"):
        told.append(f"{extra['truncated_share']:.1%} of the prompts cut")
    if extra.get("unparsable") or extra.get("refused"):
        told.append(f"{extra['unparsable']:,} unparsable, {extra['refused']:,} refused")
    if "cost_usd" in extra:
        told.append(f"${extra['cost_usd']:,.2f}")
    note = f"{record['run']['seconds']:.1f} s" if fresh else "measured before, not measured again"
    warnings = "".join(f"\n    warning: {sentence}" for sentence in record.get("warnings", []))
    return f"  {metric.name}: {', '.join(told)} (n={record['settings']['n']}{result.shortfall}; {note}){warnings}"


def _figure(label: str, cell: dict[str, Any]) -> str:
    scale = scale_of(cell)
    half = f" ± {scale * (cell['ci95'][1] - cell['ci95'][0]) / 2:.2g}" if cell["ci95"] else ""
    return f"{label} {scale * cell['value']:.4g}{half}"
