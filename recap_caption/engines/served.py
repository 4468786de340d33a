"""Captions by OpenAI-compatible servers: many requests under way, images made ready beside them in threads."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

from recap_caption.canon import LOSSLESS, SIDE, BadImage, Canon, data_uri
from recap_caption.engine_options import EngineOptions
from recap_caption.engines.base import Keep, Reply, Request
from recap_caption.engines.greeting import Greeting, greet
from recap_caption.engines.wording import Wording
from recap_caption.rows import BAD_IMAGE, ENGINE_ERROR, OK, REFUSED, TIMEOUT
from recap_eval.console import warn
from recap_eval.endpoint import failures
from recap_eval.endpoint.address import Address, demand_key, find_address
from recap_eval.endpoint.client import Client, Limits
from recap_eval.endpoint.drive import drive
from recap_eval.endpoint.failures import EndpointDown, EndpointFailure
from recap_eval.endpoint.money import image_tokens, text_tokens
from recap_eval.endpoint.reply import Reply as Answer
from recap_eval.errors import DataError, UserError

STATUSES = {failures.REFUSED: REFUSED, failures.TIMED_OUT: TIMEOUT}  # of rows, by kind of failure; others may go away
FILTERED = "content_filter"  # how a server calls an answer that it holds back
GIVE_UP = 8  # requests refused before any is answered
SPARE = 4  # one request in so many is made ready while the others are under way, at least so many


@dataclass(frozen=True)
class Ready:
    """A request ready to be sent.

    Args:
        request: The request.
        body: What is sent.
        tokens: What it may need, in and out, estimated.
        size: Width and height of its image as it came, or None.
    """

    request: Request
    body: dict[str, Any]
    tokens: int
    size: tuple[int, int] | None


class ServedEngine:
    """Captions by asking servers; see `base.Engine`.

    Args:
        address: The servers.
        wording: How they are asked.
        canon: What images are made into.
        limits: How hard they are asked.
        form: PIL's name of the form in which images are sent.
    """

    name = "openai"

    def __init__(self, address: Address, wording: Wording, canon: Canon, limits: Limits, form: str = "PNG") -> None:
        self.address, self.wording, self.canon, self.limits, self._form = address, wording, canon, limits, form
        self.model_id = wording.model
        self.identity: dict[str, Any] = {
            "model": wording.model, "provider": address.provider, "images": canon.record(), **wording.record()
        }  # fmt: skip
        self.about: dict[str, Any] = {"servers": list(address.urls), "devices": 0, "form": form}
        self.greeting: Greeting | None = None
        self._answered, self._refused = False, 0

    def greet(self) -> None:
        """Ask each server one question about a known image.

        Raises:
            EndpointDown: One does not answer.
        """
        found = self.greeting = greet(self.address, self.wording, self.canon, self.limits)
        self.wording.tells_logprobs = found.tells_logprobs
        self.about |= {"answered_as": found.answered_as, "greeting": found.said, "logprobs": found.tells_logprobs}

    def caption(self, requests: Iterable[Request], keep: Keep) -> None:
        """Answer requests; see `base.Engine.caption`."""
        asyncio.run(self._caption(requests, keep))

    async def _caption(self, requests: Iterable[Request], keep: Keep) -> None:
        client = Client(self.address, self.limits, warn)
        threads = Threads(requests, keep, self.prepare)
        try:
            under_way = asyncio.Semaphore(self.limits.concurrency)

            async def work(_: None) -> None:
                await self._work(client, threads, under_way)

            ahead = max(SPARE, self.limits.concurrency // SPARE)
            await drive(threads.tickets(), work, self.limits.concurrency + ahead, client.stopping)
        finally:
            threads.close()
            await client.close()

    async def _work(self, client: Client, threads: Threads, under_way: asyncio.Semaphore) -> None:
        """Take a request, ask, and keep what comes of it."""
        found = await threads.next()
        if found is None:
            return
        request, ready = found
        if isinstance(ready, Reply):
            await threads.keep(request, ready)
            return
        async with under_way:
            if client.stopping.is_set():  # nothing has been asked yet
                return
            told = await self._ask(client, ready)
        await threads.keep(request, told)

    async def _ask(self, client: Client, ready: Ready) -> Reply:
        width, height = ready.size or (None, None)
        try:
            found = await client.chat(ready.body, ready.tokens)
        except EndpointFailure as failure:
            self._watch(failure)
            kind = failure.kind if failure.status is None else f"HTTP {failure.status}"
            return Reply(
                STATUSES.get(failure.kind, ENGINE_ERROR), error_type=kind, error=failure.detail, attempts=failure.attempts,
                width=width, height=height,
            )  # fmt: skip
        self._answered = True
        return _reply(found, width, height)

    def _watch(self, failure: EndpointFailure) -> None:
        """End the run where every request is refused: its settings are wrong, and rows would only say so a billion times.

        Raises:
            EndpointDown: So many were, and none was answered.
        """
        self._refused += failure.kind == failures.REFUSED
        if self._refused >= GIVE_UP and not self._answered:
            raise EndpointDown(
                f"{self._refused} requests were refused and none answered: {failure.detail}.",
                "Check --model, --dialect and --extra-body.",
            )

    def prepare(self, request: Request) -> Ready | Reply:
        """Return a request ready to be sent, or what is wrong with its image; called from several threads at once.

        Raises:
            UserError: The server cannot be asked so.
        """
        if request.read_image is None:
            return Ready(request, self.wording.body(request, None), self._tokens(request, None), None)
        if self.greeting is not None and not self.greeting.sees:
            raise EndpointDown(
                f"The server takes no images: {self.greeting.why}.", "Serve a model that does, or check --model."
            )
        try:
            made = self.canon.make(request.read_image(), request.where)
        except BadImage as error:
            return Reply(BAD_IMAGE, error_type=error.kind, error=error.what)
        except DataError as error:
            return Reply(BAD_IMAGE, error_type="unreadable", error=error.what)
        body = self.wording.body(request, data_uri(made.encoded(self._form), self._form))
        return Ready(request, body, self._tokens(request, made.image.size), (made.width, made.height))

    def _tokens(self, request: Request, size: tuple[int, int] | None) -> int:
        seen = 0 if size is None else image_tokens(self.wording.model, size, "auto")
        return seen + text_tokens(request.text) + request.sampling.max_new_tokens

    def close(self) -> None:
        """Nothing is held between calls."""


class Threads:
    """What is done beside the event loop: reading and making ready in several threads, keeping in one.

    Args:
        requests: The requests.
        keep: Keeps a reply.
        prepare: Makes a request ready.
    """

    def __init__(self, requests: Iterable[Request], keep: Keep, prepare: Any) -> None:
        self._requests, self._keep, self._prepare, self._lock = iter(requests), keep, prepare, Lock()
        self._is_over = False
        self._makers = ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0))), "prepare")
        self._keeper = ThreadPoolExecutor(1, "keep")

    def tickets(self) -> Iterator[None]:
        """Yield until there are no requests any more."""
        while not self._is_over:
            yield None

    async def next(self) -> tuple[Request, Ready | Reply] | None:
        """Return the next request, made ready; None if there is none."""
        return await asyncio.get_running_loop().run_in_executor(self._makers, self._next)

    def _next(self) -> tuple[Request, Ready | Reply] | None:
        with self._lock:
            request = None if self._is_over else next(self._requests, None)
            self._is_over = request is None
        return None if request is None else (request, self._prepare(request))

    async def keep(self, request: Request, found: Reply) -> None:
        """Keep a reply."""
        await asyncio.get_running_loop().run_in_executor(self._keeper, self._keep, request, found)

    def close(self) -> None:
        """End the threads, when what they do is done."""
        self._is_over = True
        self._makers.shutdown(cancel_futures=True)
        self._keeper.shutdown()


def _reply(found: Answer, width: int | None, height: int | None) -> Reply:
    """Return a server's answer as a reply."""
    facts: dict[str, Any] = {
        "attempts": found.attempts, "finish_reason": found.finish_reason or None, "n_prompt_tokens": found.tokens_in or None,
        "n_output_tokens": found.tokens_out or None, "mean_logprob": found.mean_logprob, "width": width, "height": height,
    }  # fmt: skip
    if found.refusal is not None:
        return Reply(REFUSED, error_type="refusal", error=failures.clean(found.refusal), **facts)
    if found.finish_reason == FILTERED:
        return Reply(REFUSED, error_type=FILTERED, error="the server held its answer back", **facts)
    return Reply(OK, found.text, **facts)


def make(options: EngineOptions) -> ServedEngine:
    """Return the engine, its servers greeted.

    Raises:
        UserError: An address is none.
        DataError: There is no key where one is needed, or a server does not answer.
    """
    if options.send not in LOSSLESS:
        raise UserError(f"--send {options.send} is no form of images.", f"Known: {', '.join(LOSSLESS)}")
    address = find_address(options.base_url, options.api_key_env)
    demand_key(address)
    extra = json.loads(options.extra_body) if options.extra_body else None
    wording = Wording(str(options.model), address.provider, options.dialect, extra)
    limits = Limits(
        options.concurrency, options.requests_per_minute, options.tokens_per_minute, options.request_timeout, options.attempts
    )
    engine = ServedEngine(address, wording, Canon(options.side(SIDE)), limits, options.send)
    engine.greet()
    return engine
