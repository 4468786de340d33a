import tracemalloc

import numpy as np
import pytest

from recap_eval.errors import DataError
from recap_eval.metrics.moments import Moments, Statistics, read_statistics, write_statistics


def draw(n, d=7, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + offset


def in_batches(features, size, rows=16):
    moments = Moments(rows)
    for start in range(0, len(features), size):
        moments.update(features[start : start + size])
    return moments


def assert_same(ours, features, tolerance=1e-12):
    exact = features.astype(np.longdouble)
    mean = exact.mean(axis=0)
    covariance = (exact - mean).T @ (exact - mean) / (len(exact) - 1)
    assert ours.n == len(features)
    assert np.abs(ours.mean() - mean).max() <= tolerance * max(1, float(np.abs(mean).max()))
    assert np.abs(ours.covariance() - covariance).max() <= tolerance * max(1, float(np.abs(covariance).max()))
    assert (ours.covariance() == ours.covariance().T).all()


@pytest.mark.parametrize("n", [2, 15, 16, 17, 100, 1500])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_all_rows_at_once(n, offset):
    features = draw(n, offset=offset)
    assert_same(Moments.of(features), features)
    assert_same(in_batches(features, 5), features)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_low_precision_features_are_summed_in_float64(dtype):
    features = draw(3000, offset=20).astype(dtype)
    assert_same(Moments.of(features), features)


def test_batch_size_changes_no_bit():
    features = draw(203)
    first, second = in_batches(features, 1), in_batches(features, 64)
    assert (first.mean() == second.mean()).all() and (first.covariance() == second.covariance()).all()


def test_order_and_split_do_not_matter():
    features, rng = draw(1111, offset=1e6), np.random.default_rng(1)
    for cuts in ([1, 2, 500], [700], [0, 1111], [16, 17, 18]):
        parts = [in_batches(part, 9) for part in np.split(rng.permutation(features), cuts)]
        assert_same(Moments.merged(parts), features)
        assert_same(Moments.merged(reversed(parts)), features)


def test_far_apart_parts_merge():
    """Where the mean moves by a million between shards, its difference is what counts."""
    features = np.concatenate([draw(400), draw(300, seed=1, offset=1e6), draw(5, seed=2, offset=-1e6)])
    assert_same(
        Moments.merged([Moments.of(features[:400]), Moments.of(features[400:700]), Moments.of(features[700:])]), features
    )
    assert_same(in_batches(features, 100), features)


def test_going_on_after_a_look_or_a_file(tmp_path):
    features = draw(120)
    moments = Moments.of(features[:50])
    moments.covariance()
    moments.update(features[50:])
    assert_same(moments, features)
    write_statistics(tmp_path / "half.npz", Moments.of(features[:50]).statistics())
    resumed = Moments.resume(read_statistics(tmp_path / "half.npz"))
    resumed.merge(Moments.of(features[50:]))
    assert_same(resumed, features)


def test_too_few_rows_are_refused_where_a_covariance_is_needed():
    moments = Moments()
    with pytest.raises(DataError, match="no features"):
        moments.mean()
    moments.update(draw(1))
    assert moments.mean() == pytest.approx(draw(1)[0])
    with pytest.raises(DataError, match="at least 2 images, and here are 1"):
        moments.statistics()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named_and_nothing_is_added(bad):
    moments, features = Moments.of(draw(2000)), draw(1500)
    features[1234, 3] = bad
    with pytest.raises(DataError, match="Row 3234 of the features is not finite"):
        moments.update(features)
    assert_same(moments, draw(2000))


def test_features_of_another_width_or_shape_are_refused():
    moments = Moments.of(draw(5))
    with pytest.raises(ValueError, match="width 3"):
        moments.update(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="width 3"):
        moments.merge(Moments.of(np.zeros((2, 3))))
    with pytest.raises(ValueError, match="matrix"):
        moments.update(np.zeros(3))


def test_a_file_is_what_peers_read_and_comes_back_whole(tmp_path):
    own = Moments.of(draw(40)).statistics({"network": "inception", "resize": "clean", "ø": [1, None]})
    write_statistics(tmp_path / "a.npz", own)
    with np.load(tmp_path / "a.npz") as theirs:  # as pytorch-fid and clean-fid do
        assert (theirs["mu"][:] == own.mean).all() and (theirs["sigma"][:] == own.covariance).all()
    again = read_statistics(tmp_path / "a.npz")
    assert (again.mean == own.mean).all() and (again.covariance == own.covariance).all()
    assert (again.n, again.key) == (40, own.key)


def test_files_of_others_are_read_with_n_unknown(tmp_path):
    own = Moments.of(draw(40))
    np.savez_compressed(
        tmp_path / "a.npz", mu=own.mean().astype(np.float32), sigma=own.covariance().astype(np.float32), other=1
    )
    found = read_statistics(tmp_path / "a.npz")
    assert (found.n, found.key, found.mean.dtype) == (None, None, np.float64)
    with pytest.raises(DataError, match="unknown N"):
        Moments.resume(found)


def damaged(path, kind):
    mean, covariance = np.zeros(3), np.eye(3)
    arrays = {
        "no sigma": {"mu": mean},
        "shapes": {"mu": mean, "sigma": np.eye(4)},
        "nan": {"mu": mean, "sigma": covariance * np.nan},
        "asymmetric": {"mu": mean, "sigma": covariance + np.tri(3)},
        "negative": {"mu": mean, "sigma": -covariance},
        "text": {"mu": mean, "sigma": covariance, "key": np.array("{")},
        "n": {"mu": mean, "sigma": covariance, "n": 1},
        "pickle": {"mu": np.array([mean, {}], dtype=object), "sigma": covariance},
    }
    if kind in arrays:
        np.savez(path, **arrays[kind])
    elif kind == "missing":
        return
    elif kind == "array":
        with path.open("wb") as stream:
            np.save(stream, covariance)
    else:
        np.savez_compressed(path, mu=mean, sigma=draw(3, 3) @ draw(3, 3).T)
        whole = path.read_bytes()
        if kind == "byte":
            middle = len(whole) // 2
            whole = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "noise": b"\x80\x04K\x01." * 9, "byte": whole}[kind])


KINDS = ["no sigma", "shapes", "nan", "asymmetric", "negative", "text", "n", "pickle", "missing", "array"]


@pytest.mark.parametrize("kind", [*KINDS, "cut", "empty", "noise", "byte"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, kind):
    path = tmp_path / "stats.npz"
    damaged(path, kind)
    with pytest.raises(DataError, match=r"stats\.npz"):
        read_statistics(path)


def test_any_flipped_byte_is_read_alike_or_refused(tmp_path):
    path, rng = tmp_path / "stats.npz", np.random.default_rng(3)
    write_statistics(path, Statistics(np.arange(3.0), np.eye(3), 9, {"a": 1}))
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
        try:
            found = read_statistics(path)
        except DataError:
            continue
        assert (found.mean == np.arange(3.0)).all() and (found.covariance == np.eye(3)).all()


def test_memory_does_not_grow_with_n():
    """Beside one buffer there is one scatter matrix, added to in place, and the covariance that is asked for."""
    features, peaks = draw(1000, 300).astype(np.float32), []
    Moments.of(features).statistics()  # what is imported at first use is no memory of the moments
    for times in (3, 30):
        tracemalloc.start()
        moments = Moments(256)
        for _ in range(times):
            moments.update(features)
        moments.statistics()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.02 * peaks[0] < 8 * 300 * (256 + 5 * 300)
