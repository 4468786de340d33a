"""The judge against a real server: `transformers serve` with a tiny LLaVA of random weights. What it says is noise; that it is
asked, understood, kept and read strictly is not."""

import sqlite3
from contextlib import closing

import pytest
from fakes import Card
from PIL import Image
from serving import serving
from tiny_llava import make_llava

from recap_eval.data.pictures import BytesImage
from recap_eval.endpoint.address import Address
from recap_eval.endpoint.client import Limits
from recap_eval.endpoint.failures import EndpointDown
from recap_eval.judge.asking import Setup
from recap_eval.judge.questions import Item, Judge
from recap_eval.judge.rating import Config, judge_items
from recap_eval.judge.templates import find_template

pytestmark = [pytest.mark.serial, pytest.mark.slow]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = make_llava(tmp_path_factory.mktemp("llava") / "tiny")
    with serving(folder) as url:
        yield str(folder), url


def config(served, place, **other):
    model, url = served
    judge = Judge(find_template("paper"), other.pop("model", model), "compatible", max_tokens=12)
    limits = Limits(concurrency=2, timeout=60, attempts=2, first_pause=0.05)
    return Config(judge, Setup(Address((url,)), limits, progress=False), place / "judge.sqlite", **other)


def png(colour):
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return BytesImage(colour, buffer.getvalue())


def test_a_real_server_is_asked_once_and_its_noise_is_no_rating(served, tmp_path):
    asked = [Item.of(colour, png(colour), "a wall in one colour") for colour in ("red", "blue", "lime")]
    found = judge_items(asked, config(served, tmp_path, repeats=2))
    counts = found.counts()
    assert counts["failed"] == 0 and sum(counts.values()) == 6 and found.usage.asked == 6
    assert found.usage.tokens_in > 6 * 4 and 6 <= found.usage.tokens_out <= 6 * 12
    assert counts["rated"] == 0 or all(value is None or 1 <= value <= 5 for value in found.values)
    with closing(sqlite3.connect(config(served, tmp_path).cache)) as file:
        raw = dict(file.execute("SELECT image || repeat, raw FROM answers").fetchall())
    assert len(raw) == 6 and len(set(raw.values())) >= 2  # the image reaches the model
    assert judge_items(asked, config(("gone", "http://127.0.0.1:9/v1"), tmp_path, model=served[0], repeats=2)).usage.asked == 0


def test_a_wrong_model_is_told(served, tmp_path):
    asked = [Item.of(str(number), Card(f"c{number}", number), "a card") for number in range(12)]
    with pytest.raises(EndpointDown, match="HTTP 4"):
        judge_items(asked, config(served, tmp_path, model="no/such-model"))
