"""Requests for engines, and what comes of them."""

import io

import numpy as np
from PIL import Image

from recap_caption.engines.base import Request
from recap_caption.prompts import Sampling
from recap_eval.errors import DataError

SHORT = Sampling(12)


def png(seed, size=None):
    """Return an image of its own for each seed, as a file, of a size of its own unless one is given."""
    rng = np.random.default_rng(seed)
    width, height = size or (int(rng.integers(20, 70)), int(rng.integers(20, 70)))
    coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def gone():
    raise DataError("k.png is not there.", "Restore it.")


def request(place, text="Describe this image.", sampling=SHORT, image=True, **other):
    """Return a request; `image` is its bytes, a function, None for no image, or True for one of its own."""
    payload = png(place) if image is True else image
    read = payload if callable(payload) or payload is None else lambda: payload
    facts = {"system": None, "where": f"{place}.png", "seed": None if sampling.is_greedy else 1000 + place} | other
    return Request(place, text, read_image=read, sampling=sampling, **facts)


def answers(engine, requests):
    """Return an engine's replies by place; each request must be answered once, whatever the order."""
    found, given = {}, list(requests)

    def keep(one, reply):
        assert one.place not in found and one in given
        found[one.place] = reply

    engine.caption(iter(given), keep)
    assert sorted(found) == sorted(one.place for one in given)
    return found
