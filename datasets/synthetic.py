"""Synthetic flowers, drawn from one Gaussian per species that is fitted to the real flowers.

The exact posterior of the classes is therefore known. Rows are generated in chunks. A chunk is a pure function of
(seed, stream, chunk number), because Philox is a counter-based generator (Salmon et al. 2011, "Parallel random numbers:
as easy as 1, 2, 3"). Chunk k does not depend on the chunks before it.
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
"""Rows that are computed at a time, few enough for the cache of the processor."""


class Stream(IntEnum):
    """Disjoint sets of rows for training, testing and warming up. They do not overlap for any seed."""

    TRAIN = 0
    TEST = 1
    WARMUP = 2


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian per species: means, shape (3, 4), and lower Cholesky factors, shape (3, 4, 4), both in cm."""

    means: NDArray[np.float64]
    factors: NDArray[np.float64]


@cache
def fitted() -> Gaussians:
    """Return the Gaussians with the sample mean and the unbiased sample covariance of the real flowers."""
    features, species = real_flowers()
    by_species = [features[species == label].astype(np.float64) for label in range(len(SPECIES))]
    return Gaussians(
        means=np.stack([flowers.mean(axis=0) for flowers in by_species]),
        factors=np.stack([np.linalg.cholesky(np.cov(flowers, rowvar=False)) for flowers in by_species]),
    )


def chunk(seed: int, stream: Stream, number: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return chunk `number`: features in cm, shape (CHUNK_ROWS, 4), and class labels, shape (CHUNK_ROWS,)."""
    generator = np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, number]))
    species = generator.integers(0, len(SPECIES), CHUNK_ROWS, dtype=np.int8)
    normal = generator.standard_normal((4, CHUNK_ROWS))
    gaussians = fitted()
    features = np.empty((4, CHUNK_ROWS), dtype=np.float32)
    for start in range(0, CHUNK_ROWS, TILE_ROWS):
        rows = slice(start, start + TILE_ROWS)
        labels = species[rows].astype(np.intp)
        for column in range(4):
            # Element by element instead of a matrix product, because BLAS may round differently on another machine.
            values = gaussians.means[:, column].take(labels)
            for other in range(column + 1):
                values += gaussians.factors[:, column, other].take(labels) * normal[other, rows]
            features[column, rows] = values
    return features.T, species


def posterior(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the exact probability of each class given the features in cm, shape (n_rows, 3), by Bayes' rule.

    The classes are equally likely, so p(k|x) is proportional to exp(-|L_k^-1 (x - m_k)|^2 / 2) / det L_k.
    """
    gaussians = fitted()
    log_density = np.empty((len(features), len(SPECIES)))
    for label in range(len(SPECIES)):
        whitened = np.linalg.solve(gaussians.factors[label], (features - gaussians.means[label]).T)
        log_density[:, label] = -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(gaussians.factors[label])).sum()
    log_density -= log_density.max(axis=1, keepdims=True)
    density: NDArray[np.float64] = np.exp(log_density)
    density /= density.sum(axis=1, keepdims=True)
    return density
