"""Captions by a model in this process: any image-text-to-text model of transformers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_caption.canon import BadImage
from recap_caption.engine_options import EngineOptions
from recap_caption.engines.base import Keep, Reply, Request
from recap_caption.engines.batching import batches
from recap_caption.engines.chat import Chat
from recap_caption.engines.generating import Generating, Told
from recap_caption.engines.inputs import Inputs, Question, takes
from recap_caption.rows import BAD_IMAGE, ENGINE_ERROR, OK
from recap_eval.console import warn
from recap_eval.errors import DataError
from recap_eval.files import digest_json

if TYPE_CHECKING:
    from recap_caption.engines.loading import Loaded
    from recap_caption.prompts import Sampling

ENDLESS = 1 << 30  # tokens that a model holds which does not say


@dataclass(frozen=True)
class Asked:
    """A request and its question in the model's form."""

    request: Request
    question: Question

    @property
    def kind(self) -> tuple[Sampling, bool]:
        """What all of a batch have in common."""
        return self.request.sampling, self.question.with_image

    @property
    def length(self) -> int:
        """Its tokens."""
        return len(self.question.ids)


@dataclass(frozen=True)
class Picture:
    """An image ready for the model.

    Args:
        values: What `Inputs.batch` takes; None for a question without image.
        width: Of the image as it came.
        height: Likewise.
    """

    values: Any = None
    width: int | None = None
    height: int | None = None


class LocalEngine:
    """Captions with one model on one device; see `base.Engine`.

    Args:
        loaded: The model.
        options: How it is run.

    Attributes:
        batch_size: Images at once; becomes smaller where memory ends.
    """

    name = "transformers"

    def __init__(self, loaded: Loaded, options: EngineOptions) -> None:
        from recap_caption.engines.capacity import batch_size
        from recap_eval.provenance import device_name

        chat = Chat(loaded.processor, loaded.template)
        chat.check()
        self._device = loaded.device
        self._inputs = Inputs(loaded.processor, chat, options.side(takes(loaded.processor)), loaded.device, loaded.model.dtype)
        self._generating = Generating(loaded.model, chat, self._inputs, options.compile)
        self._context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or ENDLESS
        self.batch_size = options.batch_size or batch_size(loaded.model, loaded.device)
        self.model_id = loaded.model_id
        self.identity: dict[str, Any] = {
            "model": loaded.revision, "chat_template": digest_json(loaded.template), "images": self._inputs.canon.record(),
            "precision": loaded.precision, "generation": self._generating.record(),
        }  # fmt: skip
        self.about: dict[str, Any] = {
            "device": device_name(), "devices": int(loaded.device != "cpu"), "batch_size": self.batch_size,
            "compiled": options.compile, "pixels": "ours" if self._inputs.is_plain else "the processor's",
        }  # fmt: skip

    def caption(self, requests: Iterable[Request], keep: Keep) -> None:
        """Answer requests; see `base.Engine.caption`."""
        from recap_eval.decoding import prepared

        asked = batches(self._asked(requests, keep), lambda: self.batch_size, lambda one: one.length, lambda one: one.kind)
        for batch, found in prepared(asked, self._load, self._device):
            good = []
            for one, picture in zip(batch, found, strict=True):
                if isinstance(picture, Reply):
                    keep(one.request, picture)
                else:
                    good.append((one, picture))
            for (one, picture), told in zip(good, self._answers(good), strict=True):
                keep(one.request, _reply(told, picture))

    def close(self) -> None:
        """Free the model's memory."""
        import torch

        del self._generating
        if self._device != "cpu":
            torch.cuda.empty_cache()

    def _asked(self, requests: Iterable[Request], keep: Keep) -> Iterator[Asked]:
        """Yield requests in the model's form; one too long for the model is answered at once."""
        for request in requests:
            question = self._inputs.question(request.text, request.system, request.read_image is not None)
            if len(question.ids) + request.sampling.max_new_tokens > self._context:
                error = f"the question has {len(question.ids)} tokens, and the model holds {self._context} with its answer"
                keep(request, Reply(ENGINE_ERROR, error_type="TooLong", error=error))
                continue
            yield Asked(request, question)

    def _load(self, one: Asked) -> Picture | Reply:
        """Return a request's image, or what is wrong with it; called from several threads at once."""
        request = one.request
        if request.read_image is None:
            return Picture()
        try:
            made = self._inputs.canon.make(request.read_image(), request.where)
        except BadImage as error:
            return Reply(BAD_IMAGE, error_type=error.kind, error=error.what)
        except DataError as error:
            return Reply(BAD_IMAGE, error_type="unreadable", error=error.what)
        return Picture(self._inputs.picture(made), made.width, made.height)

    def _answers(self, batch: list[tuple[Asked, Picture]]) -> list[Told]:
        """Return the answers to a batch; one that does not fit into memory is done in halves, and so are those to come."""
        import torch

        if not batch:
            return []
        pictures = [picture.values for _, picture in batch if picture.values is not None]
        try:
            return self._generating.answer(
                [one.question for one, _ in batch], pictures, batch[0][0].request.sampling,
                [one.request.seed or 0 for one, _ in batch],
            )  # fmt: skip
        except torch.OutOfMemoryError:
            pass  # the halves come when the traceback, which holds the memory, is gone
        half = len(batch) // 2
        if half == 0:
            raise DataError(f"{self._device} has no memory for a single caption.", "Free some, or try --precision bf16.")
        self.batch_size = min(self.batch_size, half)
        warn(f"{len(batch)} captions at once do not fit into memory; {self.batch_size} from here on")
        torch.cuda.empty_cache()
        return self._answers(batch[:half]) + self._answers(batch[half:])


def _reply(told: Told, picture: Picture) -> Reply:
    return Reply(
        OK, told.text, finish_reason=told.finish_reason, n_prompt_tokens=told.n_prompt_tokens,
        n_output_tokens=told.n_output_tokens, mean_logprob=told.mean_logprob, width=picture.width, height=picture.height,
    )  # fmt: skip


def make(options: EngineOptions) -> LocalEngine:
    """Load a model and return the engine.

    Raises:
        UserError, DataError: The model cannot be loaded, or cannot be asked about images.
    """
    from recap_caption.engines.loading import load
    from recap_eval.memory import keep_freed_memory

    keep_freed_memory()
    return LocalEngine(load(options), options)
