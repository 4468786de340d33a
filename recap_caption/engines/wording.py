"""A caption's question as an OpenAI-compatible server takes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from recap_caption.engines.base import Request
from recap_caption.engines.neutral import neutralised
from recap_caption.prompts import Sampling
from recap_eval.endpoint.address import LIMIT_NAMES
from recap_eval.errors import UserError


def _openai(sampling: Sampling) -> dict[str, Any]:
    if sampling.top_k is not None:
        raise UserError(
            "OpenAI's servers know no top-k.", "Choose a prompt without: --prompt paper; or top-p: --temperature 1 --top-p 0.9"
        )
    return {"temperature": sampling.temperature} | ({} if sampling.top_p is None else {"top_p": sampling.top_p})


def _vllm(sampling: Sampling) -> dict[str, Any]:
    if sampling.is_greedy:
        return {"temperature": 0.0}
    every = {"temperature": sampling.temperature, "top_p": 1.0 if sampling.top_p is None else sampling.top_p}
    return every | {"top_k": sampling.top_k or -1}  # said in any case: a server may have its model's own


def _transformers(sampling: Sampling) -> dict[str, Any]:
    if sampling.is_greedy:
        return {"temperature": 0.0}
    drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k or 0}
    drawn |= {"top_p": 1.0 if sampling.top_p is None else sampling.top_p}
    return {"generation_config": json.dumps(drawn)}


DIALECTS: dict[str, Callable[[Sampling], dict[str, Any]]] = {"openai": _openai, "vllm": _vllm, "transformers": _transformers}
DEFAULTS = {"openai": "openai", "compatible": "vllm"}  # dialects by `Address.provider`


class Wording:
    """Words requests for one model.

    Args:
        model: The model, as its servers call it.
        provider: Whose servers they are, as `Address.provider` has it.
        dialect: A name of `DIALECTS`; None for the provider's.
        extra: What every request holds besides.
    """

    def __init__(self, model: str, provider: str, dialect: str | None = None, extra: dict[str, Any] | None = None) -> None:
        self.model, self.dialect, self.extra = model, dialect or DEFAULTS[provider], extra or {}
        self._limit = LIMIT_NAMES[provider]
        self.tells_logprobs = True

    def body(self, request: Request, uri: str | None) -> dict[str, Any]:
        """Return what is sent.

        Args:
            request: What is asked; special tokens of models are taken apart in its texts.
            uri: Its image as a data URI, or None.

        Raises:
            UserError: The dialect has no words for its sampling.
        """
        look = [] if uri is None else [{"type": "image_url", "image_url": {"url": uri}}]
        text = {"type": "text", "text": neutralised(request.text, ())}
        system = [] if request.system is None else [{"role": "system", "content": neutralised(request.system, ())}]
        body: dict[str, Any] = {"model": self.model, "messages": [*system, {"role": "user", "content": [*look, text]}]}
        body |= {self._limit: request.sampling.max_new_tokens} | DIALECTS[self.dialect](request.sampling)
        body |= {} if request.seed is None else {"seed": request.seed}
        return body | ({"logprobs": True} if self.tells_logprobs else {}) | self.extra

    def record(self) -> dict[str, Any]:
        """Return what of it decides captions, for a run's fingerprint."""
        return {"dialect": self.dialect} | ({"extra_body": self.extra} if self.extra else {})
