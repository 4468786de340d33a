"""A server of captions that fails and goes away, how it is asked, and what rows must hold all the same."""

import base64
import io
import random
import time

from endpoints import digest
from PIL import Image
from small_inputs import keys_of, painted

SHARDS, EACH = 8, 60
BAD, ABSENT = 10, 15  # every so manieth image is none, or not there
AT_ONCE = 4  # requests under way
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


def engine(url):
    """Return the words that name the engine which asks the server."""
    words = f"--engine openai --model m --base-url {url} --image-size 16 --concurrency {AT_ONCE} --attempts 4"
    return [*words.split(), "--request-timeout", "10"]


def told(payload):
    """Return what the server says of an image: the colour of its left half."""
    with Image.open(io.BytesIO(payload)) as picture:
        red, green, blue = picture.convert("RGB").getpixel((2, 8))
    return f"There is a field of {red}, {green} and {blue}."


def parts_of(body):
    """Return text and image of a question."""
    parts = {part["type"]: part for part in body["messages"][-1]["content"]}
    return parts["text"]["text"], parts["image_url"]["image_url"]["url"]


def say(body):
    return told(base64.b64decode(parts_of(body)[1].partition(",")[2]))


def paid(server):
    """Return how many captions the server has delivered; greetings are none."""
    asked = {digest(body): body for body in server.bodies}
    return sum(count for key, count in server.answered.items() if parts_of(asked[key])[0] == PROMPT)


def count(rows):
    return {status: sum(row["status"] == status for row in rows) for status in ("ok", "bad_image", "engine_error", "timeout")}


def check_rows(rows):
    assert [row["key"] for row in rows] == keys_of(SHARDS, EACH)
    for row in rows:
        number = int(row["key"][5:])
        if number % BAD == 1 or number % ABSENT == 2:
            assert row["status"] == "bad_image"
        elif row["status"] == "ok":
            assert row["re_caption"] == told(painted(row["key"]))
        else:
            assert row["status"] == "engine_error" and row["error_type"] and row["error"]
