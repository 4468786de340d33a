"""An engine that asks a server over HTTP by recap_eval's client; `--model URL` is the server."""

import asyncio
import base64

from fake_engine import caption_of
from small_inputs import JPEG

from recap_caption.engines.base import Reply
from recap_caption.rows import BAD_IMAGE, ENGINE_ERROR, OK
from recap_eval.endpoint.address import find_address
from recap_eval.endpoint.client import Client, Limits
from recap_eval.endpoint.drive import drive
from recap_eval.endpoint.failures import EndpointFailure
from recap_eval.errors import DataError

AT_ONCE = 4


def say(body):
    """Return a server's caption of a question."""
    text, url = (part.get("text") or part["image_url"]["url"] for part in body["messages"][0]["content"])
    return caption_of(base64.b64decode(url.partition(",")[2]), text)


class AskingEngine:
    name, model_id, identity = "asking", "served", {"weights": "served"}

    def __init__(self, url):
        self.url, self.about = url, {}

    def caption(self, requests, keep):
        asyncio.run(self._caption(requests, keep))

    async def _caption(self, requests, keep):
        limits = Limits(concurrency=AT_ONCE, attempts=4, first_pause=0.01, breaker_pause=0.05, timeout=10.0)
        client = Client(find_address(self.url), limits, tell=lambda text: None)

        async def ask(request):
            keep(request, await self._answer(client, request))

        try:
            await drive(requests, ask, AT_ONCE, client.stopping, tell=lambda text: None)
        finally:
            await client.close()

    async def _answer(self, client, request):
        try:
            payload = request.read_image()
        except DataError as error:
            return Reply(BAD_IMAGE, error_type="unreadable", error=error.what)
        if not payload.startswith(JPEG):
            return Reply(BAD_IMAGE, error_type="corrupt", error="no image")
        image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(payload).decode()}"}}
        content = [{"type": "text", "text": request.text}, image]
        try:
            reply = await client.chat({"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": 64})
        except EndpointFailure as failure:
            return Reply(ENGINE_ERROR, error_type=failure.kind, error=failure.detail)
        return Reply(OK, reply.text, finish_reason="stop", n_prompt_tokens=reply.tokens_in, n_output_tokens=reply.tokens_out)

    def close(self):
        pass


def make(options):
    return AskingEngine(options.model)
