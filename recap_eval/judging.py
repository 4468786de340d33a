"""A check of a judge as a result: the judge stands where a model does, its agreement and bias beside its mean rating."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from recap_eval.data.digests import Digests, fingerprint
from recap_eval.data.items import DataId
from recap_eval.judge.check import Finding, figures_of
from recap_eval.judge.rating import Config, facts
from recap_eval.models.base import ModelId
from recap_eval.provenance import run_record
from recap_eval.results import Result, identity, new_record, result_path, write_result
from recap_eval.tasks.base import Metric
from recap_eval.tasks.judged import METRICS, scores_of


@dataclass(frozen=True)
class Check:
    """What results call the task of a check.

    Args:
        metrics: What the judge gives.
    """

    metrics: tuple[Metric, ...]
    name: str = "judge-check"
    version: int = 1
    kind: str = "judge"

    @property
    def primary(self) -> Metric:
        """The metric that stands for it."""
        return self.metrics[0]


def write_check(out: Path, config: Config, name: str, finding: Finding, seconds: float) -> Result:
    """Write what a check of a judge found.

    Args:
        out: The leaderboards folder.
        config: The judge at work.
        name: What the items are called.
        finding: What was found.
        seconds: How long it took.

    Raises:
        DataError: No answer gives a figure.
    """
    ratings, judge = finding.ratings, config.judge
    task = Check((METRICS[judge.template.parser],))
    settings = {f"judge.{key}": value for key, value in judge.settings().items()}
    settings |= {"repeats": config.repeats, "n": len(ratings.items)}
    model, data = ModelId(judge.model, judge.template.digest), _data(config, name, finding)
    scores = scores_of(ratings, judge.template.parser, {item.key: item.key for item in ratings.items})
    scores = replace(scores, extra=scores.extra | figures_of(finding))
    record = new_record(task, model, data, settings, scores, ratings.bad | ratings.failed)
    record["run"] = run_record(seconds) | {"judge": facts(ratings, config)}
    return write_result(result_path(out, task, model, identity(task, model, data, settings)), record, scores)


def _data(config: Config, name: str, finding: Finding) -> DataId:
    items = finding.ratings.items
    digests = Digests(config.digests).of([item.image for item in items])
    content = fingerprint([item.key for item in items], digests, [list(item.texts) for item in items])
    return DataId(name, "", content, f"{len(items):,} items")
