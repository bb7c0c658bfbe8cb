"""Distances between features of real and of generated samples.

Features are arrays ``(N, D)`` of any numbers, one row per sample, from any network. The values depend on the
network and on the number of samples: compare only values with equal ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import _arrays, _native

__all__ = ["Cover", "Estimate", "cover", "frechet", "inception_score", "kernel"]


@dataclass(frozen=True)
class Estimate:
    """A mean over parts of the samples.

    Attributes
    ----------
    mean, std : float
        Mean and standard deviation over the parts.
    """

    mean: float
    std: float


@dataclass(frozen=True)
class Cover:
    """How two sets cover each other.

    Attributes
    ----------
    precision : float
        The share of generated samples in the real manifold.
    recall : float
        The share of real samples in the generated manifold.
    density : float
        The mean number of real balls around a generated sample, divided by `k`; 1 for equal distributions.
    coverage : float
        The share of real samples whose ball contains a generated one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def frechet(real: Any, generated: Any) -> float:
    """Return the Fréchet distance of two Gaussians with the moments of the features (Heusel et al. 2017).

    With features of Inception-v3 this is the FID.

    Parameters
    ----------
    real, generated : array
        Features ``(N, D)`` and ``(M, D)``, with at least two rows each.

    Returns
    -------
    float
        ``|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``, with covariances that are divided by N - 1.

    Raises
    ------
    DataError
        If the widths differ, a value is not finite, or there are too few rows.
    """
    return _native.frechet(_arrays.npy(real, "real"), _arrays.npy(generated, "generated"))


def kernel(real: Any, generated: Any, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> Estimate:
    """Return the unbiased squared maximum mean discrepancy with a cubic kernel (Bińkowski et al. 2018).

    With features of Inception-v3 this is the KID.

    Parameters
    ----------
    real, generated : array
        Features ``(N, D)`` and ``(M, D)``, with at least two rows each.
    subsets, size : int
        The number of random subsets, and the number of samples in each.
    seed : int
        The seed of the subsets.

    Returns
    -------
    Estimate
        Mean and standard deviation over the subsets; the mean may be slightly negative.

    Raises
    ------
    DataError
        As :func:`frechet`.
    """
    features = _arrays.npy(real, "real"), _arrays.npy(generated, "generated")
    return Estimate(*_native.kernel(*features, subsets, size, seed))


def cover(real: Any, generated: Any, *, k: int = 5) -> Cover:
    """Return precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Parameters
    ----------
    real, generated : array
        Features ``(N, D)`` and ``(M, D)``, with more than `k` rows each.
    k : int
        The number of neighbours; the papers use 3 for precision and recall, and 5 for density and coverage.

    Returns
    -------
    Cover
        All four.

    Raises
    ------
    DataError
        As :func:`frechet`.
    """
    return Cover(*_native.cover(_arrays.npy(real, "real"), _arrays.npy(generated, "generated"), k))


def inception_score(probabilities: Any) -> Estimate:
    """Return the Inception Score of class probabilities (Salimans et al. 2016) over ten parts.

    Parameters
    ----------
    probabilities : array
        ``(N, classes)``, the probabilities that a classifier gives to each sample, with at least ten rows.

    Returns
    -------
    Estimate
        Mean and standard deviation of ``exp(E KL(p(y | x) || p(y)))`` over ten consecutive parts.

    Raises
    ------
    DataError
        If a value is not finite, or there are too few rows.
    """
    return Estimate(*_native.score(_arrays.npy(probabilities, "generated")))
