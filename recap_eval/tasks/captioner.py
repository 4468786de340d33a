"""The table of what captioners are measured on: a row a task, its data and its score named and imported when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from recap_eval.data.questions import Question, Questions
from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.models.captioner import Said
from recap_eval.tasks.answered import Graded, Means
from recap_eval.tasks.base import Metric

KIND = "captioner"
SEE = "recap-eval captioner --help"
# The paper's prompt of its captioner: "What If We Recaption Billions of Web Images with LLaMA-3?" (arXiv 2406.08478), greedy,
# at most 128 tokens.
CAPTION_PROMPT = "Please generate a detailed caption of this image. Please be as descriptive as possible."
CAPTION_TOKENS = 128
DETAIL = "detail-caption"


@dataclass(frozen=True)
class CaptionerTask:
    """Something a captioner can be measured on.

    Args:
        name: Its name on the command line and in results.
        summary: One line for lists.
        module: Module of its score, `METRICS`, and `ready` if something must be there before anything is asked.
        most: The most tokens of an answer.
        reader: "module:attr" of what reads its questions from a data root; `options` and the means named in `asks` are added.
        lacks: "module:attr" of what says what a data root lacks of them.
        get: How to get the data, for people.
        version: Raised whenever the same model and data would give another figure.
        options: What `reader` and `lacks` are told.
        prompt: What `reader` is told to ask of every image, or "".
        asks: Fields of `Means` that `reader` is told, by its argument.
    """

    name: str
    summary: str
    module: str
    most: int
    reader: str
    lacks: str
    get: str
    version: int = 1
    options: dict[str, str] = field(default_factory=dict)
    prompt: str = ""
    asks: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Its family."""
        return KIND

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it measures, the primary one first."""
        found: tuple[Metric, ...] = import_module(self.module).METRICS
        return found

    @property
    def primary(self) -> Metric:
        """The metric that stands for it."""
        return self.metrics[0]

    def missing(self, root: Path) -> list[str]:
        """Return what a data root lacks of its data.

        Raises:
            UserError: It is of a data set that does not exist.
        """
        absent: list[str] = _resolve(self.lacks)(root, **self.options)
        return absent

    def how_to_get(self, root: Path) -> str:
        """Say in one line how people get its data."""
        return self.get.replace("DATA_ROOT", str(root))

    def load(self, root: Path, means: Means) -> Questions:
        """Read its questions.

        Raises:
            UserError, DataError: See its reader.
        """
        told: dict[str, Any] = dict(self.options) | ({"prompt": self.prompt} if self.prompt else {})
        told |= {name: getattr(means, own) for name, own in self.asks.items()}
        found: Questions = _resolve(self.reader)(root, **told)
        return found

    def ready(self, means: Means) -> None:
        """Check that answers can be graded, before anything is asked.

        Raises:
            UserError, DataError: They cannot.
        """
        check = getattr(import_module(self.module), "ready", None)
        if check is not None:
            check(means)

    def score(self, questions: Sequence[Question], said: Sequence[Said], means: Means) -> Graded:
        """Grade answers.

        Raises:
            UserError, DataError: They cannot be graded.
        """
        found: Graded = import_module(self.module).score(questions, said, means)
        return found


def _resolve(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


SCENES = {"lacks": "recap_eval.data.scenes.locate:missing", "get": "recap-eval scenes DATA_ROOT/scenes --preset v1"}
MMMU_FILES = "MMMU/MMMU --repo-type dataset --include '*/validation-*'"
ROWS: dict[str, dict[str, Any]] = {
    "mmmu": {
        "summary": "MMMU, validation split, exam questions with images",
        "module": "recap_eval.tasks.mmmu",
        "most": 128,
        "reader": "recap_eval.data.mmmu:read",
        "lacks": "recap_eval.data.mmmu:missing",
        "get": f"hf download {MMMU_FILES} --local-dir DATA_ROOT/mmmu (Apache 2.0)",
        "asks": {"shown": "images"},
    },
    "mm-vet": {
        "summary": "MM-Vet, questions that ask for several skills, graded by a judge",
        "module": "recap_eval.tasks.mm_vet",
        "most": 1024,
        "reader": "recap_eval.data.mm_vet:read",
        "lacks": "recap_eval.data.mm_vet:missing",
        "get": "github.com/yuweihao/MM-Vet, release v1: unzip mm-vet.zip -d DATA_ROOT (CC BY-NC 4.0)",
    },
    "scenes-qa": SCENES
    | {
        "summary": "scenes, test split, four questions each",
        "module": "recap_eval.tasks.scene_questions",
        "most": 16,
        "reader": "recap_eval.data.scenes.asked:questions",
    },
    "scenes-caption": SCENES
    | {
        "summary": "scenes, test split, captions held against what is there",
        "module": "recap_eval.tasks.scene_captions",
        "most": CAPTION_TOKENS,
        "reader": "recap_eval.data.scenes.asked:to_caption",
        "prompt": CAPTION_PROMPT,
    },
    DETAIL: {
        "summary": "captions of photographs (DOCCI) held against people's",
        "module": "recap_eval.tasks.detail_captions",
        "most": CAPTION_TOKENS,
        "reader": "recap_eval.tasks.detail_captions:read",
        "lacks": "recap_eval.tasks.detail_captions:missing",
        "get": "recap-eval fetch docci --data DATA_ROOT (CC BY 4.0)",
        "options": {"data": "docci"},
        "prompt": CAPTION_PROMPT,
    },
}
TASKS = {name: CaptionerTask(name, **row) for name, row in ROWS.items()}


def _judged(means: Means) -> dict[str, Any]:
    if means.judge is None:
        return {}
    judge = {f"judge.{name}": value for name, value in means.judge.judge.settings().items()}
    return judge | {"judge.repeats": means.judge.repeats}


OWN_SETTINGS: dict[str, Callable[[Means], dict[str, Any]]] = {  # what of the user's means a task's figures depend on
    "mm-vet": _judged,
    DETAIL: lambda means: {"reference_tokens": means.tokens},
}


def settings_of(task: CaptionerTask, means: Means) -> dict[str, Any]:
    """Return every choice that can change a task's figures, besides model and data."""
    prompt = {"prompt": task.prompt} if task.prompt else {}
    own = OWN_SETTINGS.get(task.name.partition(":")[0])
    return prompt | {"max_new_tokens": task.most} | (own(means) if own else {})


def choose(words: str | None, root: Path) -> tuple[list[CaptionerTask], dict[str, DataError]]:
    """Return the tasks that a user names and can be run, and the error of each whose data is missing; or all that can be run.

    Raises:
        UserError: An unknown name, or none.
    """
    asked = list(TASKS) if words is None else [word.strip() for word in words.split(",") if word.strip()]
    if not asked:
        raise UserError("--tasks names no task.", f"Choose some of {', '.join(TASKS)}.")
    found = [named(word) for word in dict.fromkeys(asked)]
    lack = {place: task.missing(root) for place, task in enumerate(found)}
    absent = {task.name: _absent(task, lack[place], root) for place, task in enumerate(found) if lack[place]}
    present = [task for place, task in enumerate(found) if not lack[place]]
    return present, absent if words is not None or not present else {}


def named(word: str) -> CaptionerTask:
    """Return a task by name; "detail-caption:DATA" is captioning of another data set of tasks/catalog.toml.

    Raises:
        UserError: No such task.
    """
    name, colon, data = word.partition(":")
    if name not in TASKS or (colon and name != DETAIL):
        raise unknown_name("task", word, [*TASKS, f"{DETAIL}:DATA"], SEE)
    if data in ("", *TASKS[name].options.values()):
        return TASKS[name]
    return replace(TASKS[name], name=word, options={"data": data})


def _absent(task: CaptionerTask, lack: list[str], root: Path) -> DataError:
    return DataError(
        f"The data of {task.name} is not under {root}: no {', '.join(lack)}.", f"Get it: {task.how_to_get(root)}"
    )  # fmt: skip
