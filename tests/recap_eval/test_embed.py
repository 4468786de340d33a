"""The loop around the model: what its threads do, and what they leave behind."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fakes import Card, Oracle

from recap_eval.embed import Embedder


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("fails", [False, True])
def test_decoders_compute_on_one_core_and_the_model_on_all(two_threads, monkeypatch, fails):
    """Teams of decoders' own make the model's barriers sleep; a thread started later must not inherit one core."""
    model, seen = Oracle(["a", "b"]), {"decoder": set(), "model": set()}
    load, encode = model.pixels.load, model.encode_images

    def loading(*args):
        seen["decoder"].add(torch.get_num_threads())
        return load(*args)

    def encoding(batch):
        seen["model"].add(torch.get_num_threads())
        if fails:
            raise RuntimeError("out of memory")
        return encode(batch)

    monkeypatch.setattr(model.pixels, "load", loading)
    monkeypatch.setattr(model, "encode_images", encoding)
    embedder = Embedder(model, progress=False)
    if fails:
        with pytest.raises(RuntimeError, match="out of memory"):
            embedder.images([Card("a", 0), Card("b", 1)])
    else:
        embedder.images([Card("a", 0), Card("b", 1)])
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(torch.get_num_threads).result()
    assert seen == {"decoder": {1}, "model": {2}}
    assert (torch.get_num_threads(), later) == (2, 2)
