"""What a run asks of an engine, whatever is behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from recap_caption.prompts import Sampling


@dataclass(frozen=True)
class Request:
    """One caption asked for.

    Args:
        place: Its place among the rows of its shard; engines hand it back and read nothing from it.
        text: What the model is told, already filled in.
        system: A system message, or None.
        read_image: Returns the encoded image as it came; None if the prompt sees no image. It may raise DataError.
        where: The image's file, for messages.
        sampling: How tokens are chosen.
        seed: Of the sampling; None for greedy decoding.
    """

    place: int
    text: str
    system: str | None
    read_image: Callable[[], bytes] | None
    where: str
    sampling: Sampling
    seed: int | None


@dataclass(frozen=True)
class Reply:
    """What came of a request.

    Args:
        status: One of `rows.STATUSES`.
        caption: The model's text, untouched; None unless the status is "ok".
        error_type: The kind of failure, such as the exception's or the server's name for it.
        error: What went wrong, in one line.
        attempts: How often it was tried.
        finish_reason: "stop", "length", or a server's own word.
        n_prompt_tokens: Tokens in, those of the image included; None if unknown.
        n_output_tokens: Tokens out, the one that ends the text included; None if unknown.
        mean_logprob: Mean natural logarithm of the output tokens' probabilities; None if unknown.
        width: Of the image as it came, in pixels.
        height: Likewise.
    """

    status: str
    caption: str | None = None
    error_type: str | None = None
    error: str | None = None
    attempts: int = 1
    finish_reason: str | None = None
    n_prompt_tokens: int | None = None
    n_output_tokens: int | None = None
    mean_logprob: float | None = None
    width: int | None = None
    height: int | None = None


Keep = Callable[[Request, Reply], None]


class Engine(Protocol):
    """Makes captions.

    Attributes:
        name: "transformers", "openai", ….
        model_id: The model's name for rows: hub id, or the folder's name and the head of its revision.
        identity: What decides the captions, for the run's fingerprint: revision of the weights, tokenizer, chat template,
            preprocessing, precision. Two engines with the same identity may share a run.
        about: What is recorded only: versions of libraries, device, addresses of servers (never keys).
    """

    name: str
    model_id: str
    identity: dict[str, Any]
    about: dict[str, Any]

    def caption(self, requests: Iterable[Request], keep: Keep) -> None:
        """Answer requests, each once, in any order, with a bounded number of them read ahead.

        Args:
            requests: The requests; taken as there is room.
            keep: Called in one thread at a time, with every request's reply, failures included.

        Raises:
            UserError, DataError: No request can succeed (server gone, wrong key, no memory); replies kept so far count.
            KeyboardInterrupt: Ctrl-C; what was under way and is paid for is kept first.
        """

    def close(self) -> None:
        """Free what it holds."""
