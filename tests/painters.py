"""A text-to-image model of nothing: an image is noise from its seed and its prompt.

`$PAINTER` steers it: `slow` waits at every batch, `die:N` kills the process in its N-th batch, `hate:WORD` fails at
prompts that hold the word.
"""

import os
import signal
import time

import numpy as np
from PIL import Image

from recap_eval.hashrand import combine, text_key


class Painter:
    revision = "1"

    def __init__(self):
        self.batches = []

    def generate(self, prompts, seeds):
        verb, _, what = os.environ.get("PAINTER", "").partition(":")
        self.batches.append(len(prompts))
        if verb == "slow":
            time.sleep(1.0)
        if verb == "die" and len(self.batches) == int(what):
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "hate" and any(what in prompt for prompt in prompts):
            raise ValueError(f"I hate {what}")
        return [paint(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]


def paint(prompt, seed):
    noise = np.random.default_rng(combine(text_key(prompt), seed)).integers(0, 256, (8, 8, 3))
    return Image.fromarray(noise.astype(np.uint8))


class Other(Painter):
    revision = "2"


class Mute:
    pass


class Few(Painter):
    def generate(self, prompts, seeds):
        return super().generate(prompts, seeds)[1:]
