"""Captioners whose answers are known, and the bench that asks them."""

from recap_eval.answering import Bench, measure_captioner
from recap_eval.models.base import ModelId
from recap_eval.models.captioner import Missed, Said
from recap_eval.runner import Options
from recap_eval.tasks.answered import Means
from recap_eval.tasks.captioner import named


class Answerer:
    """Says what `say` makes of the key of a question; dies once it has said `until` answers."""

    context = 0

    def __init__(self, say, name="answerer", until=None):
        self.say, self.until, self.asked = say, until, []
        self.id = ModelId(name, f"rev-{name}", {}, {"precision": "fp32"})

    def answer(self, asks, keep, skip_bad, progress):
        for ask in asks:
            if self.until is not None and len(self.asked) >= self.until:
                raise KeyboardInterrupt
            self.asked.append(ask)
            keep([(ask, Said(self.say(ask.where), "stop", 10, 3))])
        return Missed()


def bench(captioner, data, root, **facts):
    """Return a bench that writes below `root`; `means` and the other facts as they are named there."""
    means = facts.pop("means", Means(tokens="words"))
    options = Options(root / "lb", data, progress=False, cache=root / "cache", **facts)
    return Bench(captioner, means, root / "cache" / "captioner.sqlite", options)


def measure(captioner, task, data, root, **facts):
    """Measure one task; returns its record."""
    outcome = measure_captioner(bench(captioner, data, root, **facts), [named(task)])
    for error in outcome.failed.values():
        raise error
    return outcome.results[0]


def value(result, metric):
    return result.record["metrics"][metric]["value"]
