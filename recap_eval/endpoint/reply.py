"""What a server answered, read strictly: whatever has another shape is malformed, not guessed at."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recap_eval.endpoint.failures import MALFORMED, EndpointFailure, clean

NAME = 100  # characters kept of a model's name, as answered


@dataclass(frozen=True)
class Reply:
    """A chat completion.

    Args:
        text: The answer, as it is.
        finish_reason: Why it ended: "stop", "length", "content_filter", …
        refusal: The model's words where it refuses by the protocol's own field; None otherwise.
        model: The model, as the server names it.
        fingerprint: The server's `system_fingerprint`, or "".
        tokens_in: Tokens of the question, image included; 0 if not told.
        tokens_out: Tokens of the answer, hidden reasoning included; 0 if not told.
        mean_logprob: Mean natural logarithm of the answer's tokens' probabilities; None if not told.
        attempts: How often it was asked.
    """

    text: str
    finish_reason: str
    refusal: str | None = None
    model: str = ""
    fingerprint: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    mean_logprob: float | None = None
    attempts: int = 1


def read_reply(body: bytes, hide: Callable[[str], str] = str) -> Reply:
    """Read the body of an answer.

    Args:
        body: The bytes.
        hide: Removes the key from a text.

    Raises:
        EndpointFailure: Malformed: no JSON (it may have broken off), or JSON of another shape.
    """
    try:
        found = json.loads(body.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        begin = clean(hide(body[:200].decode("utf-8", "replace")), 60)
        raise EndpointFailure(MALFORMED, f"the answer is no JSON: {begin!r}", broken=True) from error
    return reply_of(found, hide)


def reply_of(found: Any, hide: Callable[[str], str] = str) -> Reply:
    """Read a chat completion that is JSON already.

    Raises:
        EndpointFailure: Malformed: it has another shape.
    """
    try:
        choice = found["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        usage = found.get("usage") or {}
        if not isinstance(text, str | None) or not isinstance(refusal, str | None) or (text is None and refusal is None):
            raise TypeError("neither text nor refusal")
        return Reply(
            hide(text or ""), clean(choice.get("finish_reason"), NAME), None if refusal is None else hide(refusal),
            hide(clean(found.get("model"), NAME)), hide(clean(found.get("system_fingerprint"), NAME)),
            _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"), _mean_logprob(choice.get("logprobs")),
        )  # fmt: skip
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        shape = clean(hide(json.dumps(found)[:200]), 60)
        raise EndpointFailure(MALFORMED, f"the answer is no chat completion: {shape}") from error


def _mean_logprob(found: Any) -> float | None:
    """Return the mean over the tokens; None where a server tells none, or something else under that name."""
    tokens = found.get("content") if isinstance(found, dict) else None
    if not isinstance(tokens, list) or not tokens:
        return None
    values: list[Any] = [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return None
    return math.fsum(values) / len(values)


def _count(usage: dict[str, Any], name: str) -> int:
    count = usage.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else 0
