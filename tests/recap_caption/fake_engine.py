"""Engines whose captions are known: a caption is a function of the image's bytes and the question.

`--engine fake_engine:make` is the plain one; --model holds its faults, commas between them:
`slow=S` seconds a caption, `threads=N`, `fail=R` share of images that fail, by their bytes.
"""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from recap_caption.engines.base import Reply
from recap_caption.rows import BAD_IMAGE, ENGINE_ERROR, OK
from recap_eval.errors import DataError

WORDS = ("red", "green", "small", "large", "cat", "dog", "tree", "house", "near", "under", "bright", "old")


def caption_of(payload: bytes, text: str, seed: int | None = None) -> str:
    state = hashlib.sha256(payload + text.encode() + str(seed).encode()).digest()
    return "There is " + " ".join(WORDS[byte % len(WORDS)] for byte in state[:12]) + "."


class FakeEngine:
    """Answers in `threads` threads, `window` questions read ahead."""

    name = "fake"

    def __init__(self, model="fake-1", slow=0.0, threads=1, fail=0.0, say=None, identity=None, devices=1):
        self.model_id, self.identity, self.about = model, identity or {"weights": model}, {"devices": devices}
        self.slow, self.threads, self.fail, self.say = slow, threads, fail, say
        self.asked, self.closed, self._lock = [], False, threading.Lock()

    def caption(self, requests, keep):
        if self.threads == 1:
            for request in requests:
                keep(request, self.answer(request))
            return
        waiting = iter(requests)
        with ThreadPoolExecutor(self.threads) as pool:
            while batch := list(islice(waiting, self.threads)):
                for request, reply in zip(batch, pool.map(self.answer, batch), strict=True):
                    keep(request, reply)

    def answer(self, request):
        with self._lock:
            self.asked.append(request)
        if self.slow:
            time.sleep(self.slow)
        try:
            payload = request.read_image() if request.read_image else b""
        except DataError as error:
            return Reply(BAD_IMAGE, error_type="DataError", error=error.what)
        if request.read_image and not payload.startswith((b"\xff\xd8", b"\x89PNG")):
            return Reply(BAD_IMAGE, error_type="UnidentifiedImageError", error="cannot identify image file")
        if self.fail and hashlib.sha256(payload).digest()[0] < 256 * self.fail:
            return Reply(ENGINE_ERROR, error_type="Faulty", error="it happens", attempts=2)
        said = self.say(request, payload) if self.say else caption_of(payload, request.text, request.seed)
        if isinstance(said, Reply):
            return said
        return Reply(
            OK, said, finish_reason="stop", n_prompt_tokens=10, n_output_tokens=len(said.split()), mean_logprob=-0.5, width=8,
            height=8,
        )  # fmt: skip

    def close(self):
        self.closed = True


def make(options):
    """Make the engine of the command line."""
    name, *faults = (options.model or "fake-1").split(",")
    given = dict(fault.split("=") for fault in faults)
    kinds = {"slow": float, "threads": int, "fail": float}
    return FakeEngine(name, **{key: kinds[key](value) for key, value in given.items()})
