"""How many captions are made at once."""

from types import SimpleNamespace

import pytest

from recap_caption.engines.capacity import MOST, ON_CPU, batch_size


@pytest.mark.parametrize(("weights", "size"), [(756_000, MOST), (5_000_000, 20), (50_000_000, ON_CPU), (8_000_000_000, ON_CPU)])
def test_on_a_cpu_small_models_take_more_at_once(weights, size):
    assert batch_size(SimpleNamespace(num_parameters=lambda: weights), "cpu") == size
