"""Captioners behind any server that speaks OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from recap_eval.console import progress_bar
from recap_eval.data.items import ImageItem
from recap_eval.data.pictures import picture_of
from recap_eval.endpoint.address import LIMIT_NAMES, Address, demand_key
from recap_eval.endpoint.client import Client, Limits
from recap_eval.endpoint.drive import drive
from recap_eval.endpoint.failures import EndpointDown, EndpointFailure
from recap_eval.errors import DataError
from recap_eval.models.base import ModelId
from recap_eval.models.captioner import Ask, Keep, Missed, Said

GIVE_UP = 8  # questions that fail for good before any is answered, unless those are to be left out

OPTIONS = {"--base-url": "--model-url", "--api-key-env": "--model-key-env", "--judge-model": "--model"}  # the judge's, and ours


@dataclass(frozen=True)
class Serving:
    """Where a captioner is served.

    Args:
        address: The servers.
        limits: How hard they are asked.
        revision: What the user says its weights are; "" where the name says it.
    """

    address: Address = field(default_factory=Address)
    limits: Limits = field(default_factory=Limits)
    revision: str = ""


class ServedCaptioner:
    """A model behind servers, behind the `Captioner` protocol: images go as they are stored, in their places.

    Args:
        name: What the servers call it.
        serving: Where it is served.
    """

    context = 0

    def __init__(self, name: str, serving: Serving) -> None:
        self._name, self._serving = name, serving
        revision = f"{serving.address.provider}:{serving.revision or name}"
        protocol = {"precision": "served", "decoding": "temperature 0", "images": "as stored"}
        self.id = ModelId(name, revision, {}, protocol)

    def answer(self, asks: Sequence[Ask], keep: Keep, skip_bad: bool, progress: bool) -> Missed:
        """Ask, many at once; single questions that fail leave the others running. See `Captioner.answer`.

        Raises:
            EndpointDown: No question can be answered.
            DataError: There is no key, an image is unreadable, or answers cannot be kept.
            KeyboardInterrupt: Ctrl-C; what was answered is kept.
        """
        try:
            demand_key(self._serving.address)
            with progress_bar(len(asks), "  answering", "answers", disable=not progress) as bar:
                return asyncio.run(self._answer(asks, keep, skip_bad, bar))
        except DataError as error:  # of a client that calls its server as the judge's
            raise type(error)(error.what, _own_options(error.hint)) from error

    async def _answer(self, asks: Sequence[Ask], keep: Keep, skip_bad: bool, bar: Any) -> Missed:
        def tell(line: str) -> None:
            bar.write(f"  {line}", file=sys.stderr)

        client = Client(self._serving.address, self._serving.limits, tell)
        one = _One(client, self._body, keep, skip_bad, bar)
        try:
            await drive(asks, one.ask, self._serving.limits.concurrency, client.stopping, tell)
        finally:
            await client.close()
        return one.missed

    def _body(self, ask: Ask) -> dict[str, Any]:
        content = [_content(part) for part in ask.parts]
        body: dict[str, Any] = {"model": self._name, "messages": [{"role": "user", "content": content}], "temperature": 0}
        return body | {LIMIT_NAMES[self._serving.address.provider]: ask.most}


def _own_options(hint: str) -> str:
    for judges, ours in OPTIONS.items():
        hint = hint.replace(judges, ours)
    return hint


class _One:
    """Asks one question after the other, and says what became of them."""

    def __init__(self, client: Client, body: Any, keep: Keep, skip_bad: bool, bar: Any) -> None:
        self._client, self._body, self._keep, self._skip_bad, self._bar = client, body, keep, skip_bad, bar
        self.missed, self._answered = Missed(), 0

    async def ask(self, ask: Ask) -> None:
        """Ask a question; its answer is kept before it counts."""
        try:
            body = await asyncio.to_thread(self._body, ask)
        except DataError as error:
            if not self._skip_bad:
                raise
            self.missed.bad[ask.key] = error.what
            return
        try:
            reply = await self._client.chat(body, ask.most)
        except EndpointFailure as failure:
            self._fail(ask, failure)
            return
        text = (reply.text if reply.refusal is None else reply.refusal).encode("utf-8", "replace").decode()
        said = Said(text, reply.finish_reason, reply.tokens_in, reply.tokens_out)
        await asyncio.to_thread(self._keep, [(ask, said)])
        self._answered += 1
        self._bar.update(1)

    def _fail(self, ask: Ask, failure: EndpointFailure) -> None:
        self.missed.failed[ask.key] = f"{failure.kind}: {failure.detail}"
        if not self._skip_bad and not self._answered and len(self.missed.failed) >= GIVE_UP:
            raise EndpointDown(
                f"{GIVE_UP} questions failed and none was answered: {failure.detail}.",
                "Check the model's name and --model-url.",
            )


def _content(part: str | ImageItem) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part.encode("utf-8", "replace").decode()}
    return {"type": "image_url", "image_url": {"url": picture_of(part).uri}}
