"""The exact logistic regression that the frameworks' own are held against. Apart, since SciPy takes a while to import."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from datasets.flowers import SPECIES


def predict_by_logistic(
    features: NDArray[np.floating], species: NDArray[np.integer], test_features: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Class codes for the test rows by the maximum-likelihood multinomial logistic regression, in float64.

    The loss is the mean negative log-likelihood without regularisation, minimised by L-BFGS (Nocedal 1980) on
    standardised features until its gradient is below 1e-5.
    """
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)

    def design(rows: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.column_stack([(rows - mean) / scale, np.ones(len(rows))])

    inputs = design(features)
    truth = np.eye(len(SPECIES))[species]
    weights = np.zeros((inputs.shape[1], len(SPECIES)))
    # The optimum of fewer rows is near that of all: most of the iterations are then cheap ones.
    for n_rows in (10_000, 100_000, len(inputs)):
        x, y = inputs[:n_rows], truth[:n_rows]

        def loss_and_gradient(flat: NDArray[np.float64], x=x, y=y) -> tuple[float, NDArray[np.float64]]:
            log_probability = log_softmax(x @ flat.reshape(weights.shape), axis=1)
            gradient = x.T @ (np.exp(log_probability) - y) / len(x)
            return -float((log_probability * y).sum()) / len(x), gradient.ravel()

        fit = minimize(loss_and_gradient, weights.ravel(), jac=True, method="L-BFGS-B", options={"gtol": 1e-5})
        weights = fit.x.reshape(weights.shape)
    return np.argmax(design(test_features) @ weights, axis=1)
