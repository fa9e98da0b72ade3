"""Scores of predictions: accuracy and log-loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def accuracy(labels: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Return the share of rows whose class label was predicted. Both arrays have the shape (n_rows,)."""
    return float(np.mean(labels == predicted))


def log_loss(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Return the mean of -log p(true class), in nats.

    `probabilities` has the shape (n_rows, 3). Values below 1e-15 count as 1e-15.
    """
    of_true_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(of_true_class, 1e-15, 1.0)).mean())
