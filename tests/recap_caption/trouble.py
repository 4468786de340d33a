"""A server that fails and goes away, and what rows must hold all the same."""

import random
import time

from fake_engine import caption_of
from small_inputs import image, keys_of

SHARDS, EACH = 8, 60
BAD, ABSENT = 10, 15  # every so manieth image is none, or not there
SLOW = 0.1  # seconds an answer takes
PROMPT = "Please generate a detailed caption of this image. Please be as descriptive as possible."


class Trouble:
    """Fails nearly a third of the requests by chance, and all of them while it is away."""

    def __init__(self):
        self.draw, self.back = random.Random(0), 0.0

    def go_away(self, seconds):
        self.back = time.monotonic() + seconds

    def __call__(self, number, body):
        if time.monotonic() < self.back:
            return "reset"
        return self.draw.choice([500, 503, 429, "reset", "cut"]) if self.draw.random() < 0.3 else SLOW


def count(rows):
    return {status: sum(row["status"] == status for row in rows) for status in ("ok", "bad_image", "engine_error", "timeout")}


def check_rows(rows):
    assert [row["key"] for row in rows] == keys_of(SHARDS, EACH)
    for row in rows:
        number = int(row["key"][5:])
        if number % BAD == 1 or number % ABSENT == 2:
            assert row["status"] == "bad_image"
        elif row["status"] == "ok":
            assert row["re_caption"] == caption_of(image(row["key"]), PROMPT)
        else:
            assert row["status"] == "engine_error" and row["error_type"] and row["error"]
