"""Newton's method for `logistic`, for frameworks that do not have it. They compute the sums over the rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Likelihood = Callable[[Weights], tuple[float, NDArray[np.float64], NDArray[np.float64]]]
"""Function of the weights, shape (5, 2): four scaled features and an intercept, for classes 1 and 2.

The logit of class 0 is 0. The function returns the mean log-loss, its gradient, shape (5, 2), and its second
derivatives, shape (5, 2, 5, 2).
"""

MOST_ITERATIONS = 50


def minimise(likelihood: Likelihood, weights: Weights, tolerance: float) -> tuple[Weights, int]:
    """Return the weights that minimise the mean log-loss, and the number of passes over the rows.

    See Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 4.4.1. The last step is the first that is
    expected to lower the loss by less than `tolerance`. A step that raises the loss by more than that is halved.
    """
    best, least = weights, np.inf
    for iteration in range(1, MOST_ITERATIONS + 1):
        loss, gradient, hessian = likelihood(weights)
        if loss > least + tolerance:
            weights = (weights + best) / 2
            continue
        best, least = weights, loss
        # The curvature vanishes where a plane separates the classes without error.
        curvature = hessian.reshape(10, 10) + 1e-7 * np.eye(10)
        step = np.linalg.solve(curvature, gradient.ravel()).reshape(5, 2)
        weights = weights - step
        if (gradient * step).sum() / 2 < tolerance:
            return weights, iteration
    return best, MOST_ITERATIONS
