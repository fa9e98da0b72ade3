"""The exact logistic regression that the frameworks' own are held against; apart, since SciPy is slow to import."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from datasets.flowers import SPECIES


def class_probabilities(
    features: NDArray[np.floating], species: NDArray[np.integer], test_features: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the class probabilities of the test rows by the maximum-likelihood multinomial logistic regression.

    The result has shape (n_test_rows, 3). The loss is the mean negative log-likelihood without regularisation. L-BFGS
    (Nocedal 1980) minimises it in float64 on standardised features until the gradient is below 1e-5.
    """
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)

    def design(rows: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.column_stack([(rows - mean) / scale, np.ones(len(rows))])

    inputs = design(features)
    truth = np.eye(len(SPECIES))[species]
    weights = np.zeros(inputs.shape[1] * len(SPECIES))
    # The optimum of fewer rows is near that of all: most of the iterations are then cheap ones.
    for n_rows in (10_000, 100_000, len(inputs)):
        rows = inputs[:n_rows], truth[:n_rows]
        weights = minimize(
            _loss_and_gradient, weights, args=rows, jac=True, method="L-BFGS-B", options={"gtol": 1e-5}
        ).x
    return softmax(design(test_features) @ weights.reshape(inputs.shape[1], -1), axis=1)


def _loss_and_gradient(
    weights: NDArray[np.float64], inputs: NDArray[np.float64], truth: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Mean negative log-likelihood, and its gradient, of flat weights; truth is one-hot, shape (n_rows, 3)."""
    log_probability = log_softmax(inputs @ weights.reshape(inputs.shape[1], -1), axis=1)
    gradient = inputs.T @ (np.exp(log_probability) - truth) / len(inputs)
    return -float((log_probability * truth).sum()) / len(inputs), gradient.ravel()
