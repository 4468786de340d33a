import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recap_eval.hashrand import Draws, combine, combine_array, permute_array, text_key, uniform_array


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), st.integers(0, 2**63), st.integers(0, 2**63))
def test_arrays_and_scalars_draw_the_same(values, a, b):
    array = combine_array(np.array(values, dtype=np.uint64), a, b)
    assert [int(x) for x in array] == [combine(a, b, value) for value in values]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 2**32))
def test_permutation_is_one(n, seed):
    assert sorted(permute_array(np.arange(n), n, seed)) == list(range(n))


def test_permutation_of_a_billion_is_random_access():
    index = np.array([0, 1, 999_999_999, 1_239_999_999])
    walked = permute_array(index, 1_240_000_000, 7)
    assert len(set(walked)) == 4 and walked.max() < 1_240_000_000
    assert permute_array(index[2:3], 1_240_000_000, 7)[0] == walked[2]


def test_uniform_is_uniform_and_streams_are_independent():
    a, b = (uniform_array(np.arange(50_000), text_key(name), 3) for name in ("a", "b"))
    assert stats.kstest(a, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02


def test_draws_are_frozen():
    """What is drawn for a thing may never change: data sets and runs are named by their seeds."""
    draws = Draws(1, 2, 3)
    assert [draws.below(1000) for _ in range(5)] == [Draws(1, 2, 3).below(1000), *[draws_n(n) for n in range(2, 6)]]
    assert combine(0) == 16294208416658607535
    assert text_key("scene") == 9929270432112054263


def draws_n(n: int) -> int:
    draws = Draws(1, 2, 3)
    return [draws.below(1000) for _ in range(n)][-1]


def test_between_includes_both_ends_and_chance_has_its_rate():
    draws = Draws(5)
    assert {draws.between(-2, 2) for _ in range(500)} == {-2, -1, 0, 1, 2}
    assert stats.binomtest(sum(draws.chance(0.3) for _ in range(20_000)), 20_000, 0.3).pvalue > 0.001
