"""Synthetic flowers: per species a Gaussian fitted to the real ones, so that the truth about them is known.

Rows come in chunks. A chunk is a pure function of (seed, stream, chunk number): Philox is a counter-based generator
(Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), so chunk k needs none of those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from datasets.flowers import SPECIES, real_flowers

CHUNK_ROWS = 1 << 16
TILE_ROWS = 1 << 13
"""Rows worked on at a time, few enough for the processor's cache."""


class Stream(IntEnum):
    """Rows that never overlap, whatever their seed: what is learned from, tested on, warmed up with."""

    TRAIN = 0
    TEST = 1
    WARMUP = 2


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian a species: means (3, 4) in cm, lower Cholesky factors of the covariances (3, 4, 4) in cm."""

    means: NDArray[np.float64]
    factors: NDArray[np.float64]


@cache
def fitted() -> Gaussians:
    """The sample mean and the unbiased sample covariance of the 50 real flowers of each species."""
    features, species = real_flowers()
    by_species = [features[species == code].astype(np.float64) for code in range(len(SPECIES))]
    return Gaussians(
        means=np.stack([flowers.mean(axis=0) for flowers in by_species]),
        factors=np.stack([np.linalg.cholesky(np.cov(flowers, rowvar=False)) for flowers in by_species]),
    )


def chunk(seed: int, stream: Stream, number: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Chunk `number`: features in cm, shape (CHUNK_ROWS, 4), and species codes, shape (CHUNK_ROWS,)."""
    generator = np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, number]))
    species = generator.integers(0, len(SPECIES), CHUNK_ROWS, dtype=np.int8)
    normal = generator.standard_normal((4, CHUNK_ROWS))
    truth = fitted()
    features = np.empty((4, CHUNK_ROWS), dtype=np.float32)
    for start in range(0, CHUNK_ROWS, TILE_ROWS):
        rows = slice(start, start + TILE_ROWS)
        codes = species[rows].astype(np.intp)
        for column in range(4):
            # Element by element and not by a matrix product: BLAS may round differently on another machine.
            values = truth.means[:, column].take(codes)
            for other in range(column + 1):
                values += truth.factors[:, column, other].take(codes) * normal[other, rows]
            features[column, rows] = values
    return features.T, species


def posterior(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """The exact probability of each species given the measurements, shape (n_rows, 3), by Bayes' rule.

    With equally likely species, p(k|x) is proportional to exp(-|L_k^-1 (x - m_k)|^2 / 2) / det L_k.
    """
    truth = fitted()
    log_density = np.empty((len(features), len(SPECIES)))
    for code in range(len(SPECIES)):
        whitened = np.linalg.solve(truth.factors[code], (features - truth.means[code]).T)
        log_density[:, code] = -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(truth.factors[code])).sum()
    log_density -= log_density.max(axis=1, keepdims=True)
    density = np.exp(log_density)
    return density / density.sum(axis=1, keepdims=True)
