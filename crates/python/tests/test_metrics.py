"""Metrics of features against closed forms and NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import waxwork as ww


def features(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def test_the_frechet_distance_of_a_shift_is_its_squared_length() -> None:
    a, shift = features(200, 5, 0), np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    assert ww.metrics.frechet(a, a + shift) == pytest.approx(shift @ shift, rel=1e-9)
    assert ww.metrics.frechet(a, a) == pytest.approx(0, abs=1e-9)
    # tr(S + 4 S - 2 · 2 S) = tr S, for twice the features around the same mean.
    centred = a - a.mean(axis=0)
    assert ww.metrics.frechet(centred, 2 * centred) == pytest.approx(np.trace(np.cov(a.T)), rel=1e-9)
    assert ww.metrics.frechet(a.astype(np.float32), a + shift) == pytest.approx(shift @ shift, rel=1e-4)


def test_the_kernel_distance_is_that_of_numpy() -> None:
    x, y = features(40, 3, 0), features(40, 3, 1) + 0.5

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / 3 + 1) ** 3

    within = [(k.sum() - np.trace(k)) / (40 * 39) for k in (kernel(x, x), kernel(y, y))]
    expected = sum(within) - 2 * kernel(x, y).mean()
    found = ww.metrics.kernel(x, y, subsets=3, size=40)
    assert found.mean == pytest.approx(expected, rel=1e-9) and found.std == pytest.approx(0, abs=1e-9)
    few = ww.metrics.kernel(x, y, subsets=5, size=10)
    assert few == ww.metrics.kernel(x, y, subsets=5, size=10) != ww.metrics.kernel(x, y, subsets=5, size=10, seed=1)
    assert few.std > 0


def test_sets_cover_each_other_or_do_not() -> None:
    a = features(60, 4, 0)
    same, far = ww.metrics.cover(a, a, k=3), ww.metrics.cover(a, a + 100, k=3)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert far == ww.metrics.Cover(0, 0, 0, 0)
    collapsed = ww.metrics.cover(a, np.repeat(a[:1], 60, axis=0) + 1e-6 * features(60, 4, 1), k=3)
    assert collapsed.precision == 1 and collapsed.recall < 0.1


def test_the_inception_score_is_the_number_of_classes_at_best() -> None:
    certain = np.tile(np.eye(5), (20, 1))
    assert ww.metrics.inception_score(certain).mean == pytest.approx(5)
    assert ww.metrics.inception_score(np.full((100, 5), 0.2)).mean == pytest.approx(1)


@pytest.mark.parametrize(
    ("real", "generated", "words"),
    [
        (features(9, 3, 0), features(9, 2, 0), "real images have 3 features, but generated images have 2"),
        (features(9, 3, 0), features(1, 3, 0), "at least 2 generated samples are needed"),
        (features(9, 3, 0)[0], features(9, 3, 0), r"real features must be \(N, D\)"),
        (features(9, 3, 0), np.full((9, 3), np.nan), "features of generated image 0 are not finite"),
        ([["a"]], features(9, 3, 0), "not supported"),
    ],
)
def test_features_that_do_not_fit_are_errors(real: object, generated: object, words: str) -> None:
    with pytest.raises(ww.DataError, match=words):
        ww.metrics.frechet(real, generated)
