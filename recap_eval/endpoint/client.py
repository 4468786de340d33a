"""One question to one of several servers, asked until it is answered or cannot be."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from recap_eval.console import warn
from recap_eval.endpoint.address import Address
from recap_eval.endpoint.breaker import PAUSE, Breaker
from recap_eval.endpoint.failures import TIMED_OUT, UNAVAILABLE, EndpointDown, EndpointFailure, clean, of_status
from recap_eval.endpoint.rate import Rate
from recap_eval.endpoint.reply import Reply, read_reply
from recap_eval.endpoint.retry import FIRST, backoff, retry_after

PATH = "/chat/completions"
POOL = 16  # requests under way that share a pool of connections
GREETINGS = 3  # connections a server may refuse before it has ever answered
LONGEST_WAIT = 3600.0  # seconds that a server may ask us to wait


@dataclass(frozen=True)
class Limits:
    """How hard servers are asked.

    Args:
        concurrency: Requests under way at once.
        requests_per_minute: Of all servers together, or None.
        tokens_per_minute: Of all servers together, in and out, or None.
        timeout: Seconds a request may take, all in all.
        attempts: How often a question is asked before it counts as failed.
        first_pause: Seconds before the second attempt.
        breaker_pause: Seconds of the first pause when nearly everything fails.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 120.0
    attempts: int = 8
    first_pause: float = FIRST
    breaker_pause: float = PAUSE


class Server:
    """One server and how it fares.

    Args:
        url: Its base URL.
        sdks: Clients of the library, taken in turns: what a pool of connections costs a request grows with its connections.
        breaker: Watches its outcomes.
    """

    def __init__(self, url: str, sdks: list[Any], breaker: Breaker) -> None:
        self.url, self.sdks, self.breaker = url, sdks, breaker
        self._turns = cycle(sdks)
        self.under_way, self.refused, self.not_before, self.answered = 0, 0, 0.0, False

    async def ask(self, question: dict[str, Any]) -> bytes:
        """Ask for a chat completion; returns the body of the answer and raises what the library raises.

        The library's own method for it would first walk through the question to hold it against its types.
        """
        from openai import HttpxBinaryResponseContent

        found = await next(self._turns).post(PATH, cast_to=HttpxBinaryResponseContent, body=question)
        body: bytes = found.content
        return body

    async def close(self) -> None:
        """Close its connections."""
        for sdk in self.sdks:
            await sdk.close()

    def delay(self) -> float:
        """Return the seconds until it may be asked."""
        return max(self.breaker.delay(), self.not_before - time.monotonic())


class Client:
    """Asks servers; made and closed within one event loop.

    Args:
        address: The servers and their key.
        limits: How hard they are asked.
        tell: Says what the user should know, in a line.
    """

    def __init__(self, address: Address, limits: Limits, tell: Callable[[str], None] = warn) -> None:
        from openai import AsyncOpenAI

        self.address, self.limits, self._tell = address, limits, tell
        self.stopping = asyncio.Event()  # set: nothing is asked again, waits end
        self.failures: Counter[str] = Counter()
        self._rate = Rate(limits.requests_per_minute, limits.tokens_per_minute)
        facts: dict[str, Any] = {"api_key": address.key.reveal(), "max_retries": 0, "timeout": limits.timeout}
        pools = range(-(-limits.concurrency // POOL))
        self.servers = [
            Server(url, [AsyncOpenAI(base_url=url, **facts) for _ in pools], Breaker(pause=limits.breaker_pause))
            for url in address.urls
        ]

    async def close(self) -> None:
        """Close all connections."""
        for server in self.servers:
            await server.close()

    async def chat(self, question: dict[str, Any], tokens: int = 0) -> Reply:
        """Ask for a chat completion.

        Args:
            question: The request's JSON: model, messages, settings, a server's own ones among them.
            tokens: What it may need, in and out, for the rate limit.

        Raises:
            EndpointFailure: It was refused, malformed, or failed at every attempt.
            EndpointDown: No request can succeed.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return replace(await self._attempt(question, tokens), attempts=attempt)
            except EndpointFailure as failure:
                failure.attempts = attempt
                self.failures[failure.kind] += 1
                if failure.for_all:
                    raise self._hopeless(failure) from failure
                if not failure.is_retryable or attempt >= self.limits.attempts or self.stopping.is_set():
                    raise
                if failure.wait is None:
                    await self._pause(backoff(attempt, self.limits.first_pause))

    async def _attempt(self, question: dict[str, Any], tokens: int) -> Reply:
        await self._rate.take(tokens)
        server = await self._server()
        probe = server.breaker.begin()
        server.under_way += 1
        try:
            reply = await self._send(server, question)
        except EndpointFailure as failure:
            self._note(server, failure, probe)
            raise
        except BaseException:  # cancelled, most likely: a probe that nobody waits for must not keep the breaker half open
            server.breaker.abandon()
            raise
        finally:
            server.under_way -= 1
        self._well(server)
        if reply.tokens_in:
            self._rate.correct(tokens - reply.tokens_in - reply.tokens_out)
        return reply

    async def _send(self, server: Server, question: dict[str, Any]) -> Reply:
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        hide = self.address.key.hide
        try:
            async with asyncio.timeout(self.limits.timeout):
                body = await server.ask(question)
        except (APITimeoutError, TimeoutError) as error:
            raise EndpointFailure(TIMED_OUT, f"no answer within {self.limits.timeout:g} s") from error
        except APIConnectionError as error:
            raise EndpointFailure(UNAVAILABLE, clean(hide(f"{server.url}: {error.__cause__ or error}"))) from None
        except APIStatusError as error:
            # The error holds the request, and with it the key: it is not chained.
            raise of_status(
                error.status_code, error.code, clean(hide(_words(error))), retry_after(error.response.headers)
            ) from None
        return read_reply(body, hide)

    async def _server(self) -> Server:
        """Return the least busy server that may be asked, waiting for one if need be."""
        while True:
            free = [server for server in self.servers if server.delay() <= 0]
            if free:
                return min(free, key=lambda server: server.under_way)
            if self.stopping.is_set():
                raise EndpointFailure(UNAVAILABLE, "stopped while no server could be asked")
            soonest = min(server.delay() for server in self.servers)
            await self._pause(min(soonest, 0.5))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return

    def _well(self, server: Server) -> None:
        server.answered = True
        if server.breaker.succeed():
            self._tell(f"{server.url} answers again")

    def _note(self, server: Server, failure: EndpointFailure, probe: bool) -> None:
        """Take a failure into account: wait where the server asks for it, hold back where it seems ill."""
        if failure.status is not None and not failure.is_outage:
            self._well(server)  # it is at home, whatever it thinks of the question
        if failure.wait is not None:
            self._wait(server, failure.wait)
        if failure.is_outage:
            self._outage(server, failure, probe)
        elif failure.status is None and probe:
            server.breaker.abandon()

    def _wait(self, server: Server, seconds: float) -> None:
        if seconds > LONGEST_WAIT:
            raise EndpointDown(
                f"{server.url} asks to come back in {seconds:,.0f} s.", "What was answered is kept; the same command goes on."
            )
        if seconds > 30 and time.monotonic() + seconds > server.not_before + 30:
            self._tell(f"{server.url} asks to wait {seconds:,.0f} s")
        server.not_before = max(server.not_before, time.monotonic() + seconds)

    def _outage(self, server: Server, failure: EndpointFailure, probe: bool) -> None:
        server.refused += 1
        at_home = any(one.answered or one.refused < GREETINGS for one in self.servers)
        if not at_home and failure.status is None and failure.kind == UNAVAILABLE:
            raise EndpointDown(
                f"Nobody answers: {failure.detail}", "Start the server, or name another: --base-url http://HOST:PORT/v1"
            )
        if server.breaker.fail(probe):
            if all(one.breaker.is_hopeless for one in self.servers):
                raise EndpointDown(
                    f"{server.url} has failed for long ({failure.detail}).",
                    "What was answered is kept; the same command goes on when the server is well.",
                )
            self._tell(f"{server.url} fails ({failure.detail}); nothing is asked there for {server.breaker.pause:.0f} s")

    def _hopeless(self, failure: EndpointFailure) -> EndpointDown:
        what, hint = WHOLE.get(failure.status or 0, WHOLE[0])
        return EndpointDown(f"{what} ({failure.detail}).", hint.format(variable=self.address.variable))


WHOLE = {
    0: ("The server will not answer", "See what it says; what was answered is kept."),
    401: ("The server does not accept the key", "Set the right one: export {variable}=…, or --api-key-env NAME"),
    402: ("The account has no money left", "Top it up; what was answered is kept, and the same command goes on."),
    403: ("The server does not allow this", "Check what the key in {variable} may do, and the model's name."),
    404: ("The server knows no such model or path", "Check the model's name, and --base-url: it usually ends in /v1"),
    429: ("The account's quota is used up", "Raise it; what was answered is kept, and the same command goes on."),
}


def _words(error: Any) -> str:
    """Return what a server says of an error."""
    body = error.body
    return str(body.get("message", body) if isinstance(body, dict) else body or error.message)
