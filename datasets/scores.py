"""How good predictions are, and how good they could be at best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def accuracy(species: NDArray[np.integer], codes: NDArray[np.integer]) -> float:
    """The share of flowers whose species was predicted; both of shape (n_rows,)."""
    return float(np.mean(species == codes))


def log_loss(species: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Mean of -log p(true species), in nats; probabilities of shape (n_rows, 3), read as at least 1e-15."""
    of_truth = probabilities[np.arange(len(species)), species].astype(np.float64)
    return float(-np.log(np.clip(of_truth, 1e-15, 1.0)).mean())
