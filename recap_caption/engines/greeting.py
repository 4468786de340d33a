"""The first question to a server, about an image that is known: whether it answers, sees images, and says how sure it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

from recap_caption.canon import Canon, data_uri
from recap_caption.engines.base import Request
from recap_caption.engines.wording import Wording
from recap_caption.prompts import Sampling
from recap_eval.console import warn
from recap_eval.endpoint.address import Address
from recap_eval.endpoint.client import GREETINGS, Client, Limits
from recap_eval.endpoint.failures import REFUSED, EndpointDown, EndpointFailure, clean
from recap_eval.endpoint.reply import Reply

TEXT, TOKENS, ATTEMPTS = "Describe this image.", 16, GREETINGS


@dataclass(frozen=True)
class Greeting:
    """What a server made of the first question.

    Args:
        answered_as: The model, as the server names it.
        said: Its answer.
        sees: Whether it takes images.
        tells_logprobs: Whether it takes the question for log-probabilities.
        why: What it said of the image, if it takes none.
    """

    answered_as: str
    said: str
    sees: bool = True
    tells_logprobs: bool = True
    why: str = ""


def greet(address: Address, wording: Wording, canon: Canon, limits: Limits) -> Greeting:
    """Ask each server about a known image.

    Returns:
        What they all can do; a warning if they answer differently, for they should be alike.

    Raises:
        EndpointDown: One does not answer, or refuses even a plain question.
    """
    calm = replace(limits, concurrency=1, attempts=ATTEMPTS)
    found = [
        asyncio.run(_greet(Address((url,), address.key, address.variable), wording, canon, calm)) for url in address.urls
    ]  # fmt: skip
    if len({one.said for one in found}) > 1:
        warn(f"the servers answer the same question differently: {found[0].said[:40]!r}, {found[1].said[:40]!r}, …")
    blind = next((one for one in found if not one.sees), found[0])
    return replace(blind, tells_logprobs=all(one.tells_logprobs for one in found))


async def _greet(address: Address, wording: Wording, canon: Canon, limits: Limits) -> Greeting:
    from recap_eval.data.scenes.preview import drawn

    made = canon.make(drawn(1)[0][0], "a drawn scene")
    uri = data_uri(made.encoded(), "PNG")
    client, refusals = Client(address, limits), []
    try:
        for sees, tells in _ways():
            try:
                reply = await _ask(client, wording, uri if sees else None, tells)
            except EndpointFailure as failure:
                if failure.kind != REFUSED:
                    hint = "See its log; or name another: --base-url http://HOST:PORT/v1"
                    raise EndpointDown(f"{address.urls[0]} does not answer: {failure.detail}.", hint) from failure
                refusals.append(failure.detail)
                continue
            return Greeting(reply.model, clean(reply.text), sees, tells, "" if sees else refusals[1])
    finally:
        await client.close()
    raise EndpointDown(f"{address.urls[0]} refuses a plain question: {refusals[-1]}.", "Check --model and --extra-body.")


def _ways() -> Iterator[tuple[bool, bool]]:
    """Yield whether an image is shown and log-probabilities are asked for, what is wanted most first."""
    yield from ((True, True), (True, False), (False, True), (False, False))


async def _ask(client: Client, wording: Wording, uri: str | None, tells: bool) -> Reply:
    request = Request(0, TEXT, None, None, "a drawn scene", Sampling(TOKENS), None)
    body = wording.body(request, uri)
    return await client.chat(body if tells else {name: value for name, value in body.items() if name != "logprobs"})
