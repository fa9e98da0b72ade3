"""scikit-learn: a StandardScaler and an estimator in one Pipeline, saved with skops."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from adapters.base import HIDDEN, Adapter, Resources
from adapters.errors import NoSpecies
from adapters.minibatch import schedule
from datasets import store


class Table(NamedTuple):
    features: NDArray[np.float32]
    species: NDArray[np.int8] | None


class ScikitLearn(Adapter):
    """`default`: the estimators as they come, without regularisation. `tuned`: larger batches, looser tolerance."""

    def start(self, resources: Resources) -> None:
        self._threads = resources.threads
        self._limits = threadpool_limits(resources.threads)

    def build(self) -> dict[str, Any]:
        # NumPy and SciPy each bring a BLAS, as a rule the same.
        pools = threadpool_info()
        blas = [pool for pool in pools if pool["user_api"] == "blas"]
        return {
            "blas": _listed(f"{pool['internal_api']} {pool['version']}" for pool in blas),
            "instructions": _listed(pool["architecture"] for pool in blas if "architecture" in pool) or None,
            "openmp": _listed(pool["prefix"] for pool in pools if pool["user_api"] == "openmp"),
        }

    def load(self, path: Path) -> Table:
        return Table(*store.read(path))

    def train(self, table: Table, model: str, seed: int) -> Pipeline:
        if table.species is None:
            raise NoSpecies
        pipeline = make_pipeline(StandardScaler(), self._estimator(model, len(table.features), seed))
        with warnings.catch_warnings():
            # The number of epochs is the recipe's, so its being reached is no news.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return pipeline.fit(table.features, table.species)

    def _estimator(self, model: str, rows: int, seed: int) -> LogisticRegression | MLPClassifier:
        if model == "logistic":
            tuned = {"tol": 1e-3, "max_iter": 1000} if self.track == "tuned" else {}
            return LogisticRegression(C=np.inf, **tuned)
        if self.track == "default":
            return MLPClassifier(HIDDEN[model], alpha=0.0, random_state=seed)
        # The rate does not decay here, so the same accuracy takes smaller batches, and more of them.
        plan = schedule(rows, largest_batch=1024, least_steps=1900)
        return MLPClassifier(
            HIDDEN[model],
            alpha=0.0,
            batch_size=plan.batch,
            learning_rate_init=0.01 if model == "mlp" else 0.001,
            max_iter=plan.epochs,
            n_iter_no_change=plan.epochs,
            random_state=seed,
        )

    def predict(self, model: Pipeline, table: Table) -> NDArray[np.int8]:
        return model.predict(table.features)

    def predict_proba(self, model: Pipeline, table: Table) -> NDArray[np.float32]:
        return model.predict_proba(table.features).astype(np.float32, copy=False)

    def predict_one(self, model: Pipeline, flower: NDArray[np.float32]) -> int:
        return int(model.predict(flower.reshape(1, -1))[0])

    def save(self, model: Pipeline, folder: Path) -> None:
        skops.io.dump(model, folder / "model.skops")

    def restore(self, folder: Path) -> Pipeline:
        # A class of scikit-learn itself, which skops has not yet listed among those it trusts.
        adam = "sklearn.neural_network._stochastic_optimizers.AdamOptimizer"
        return skops.io.load(folder / "model.skops", trusted=[adam])

    def describe(self, model: Pipeline) -> dict[str, Any]:
        estimator = model[-1]
        recipe = {"solver": estimator.solver, "iterations": int(np.max(estimator.n_iter_)), "threads": self._threads}
        if isinstance(estimator, MLPClassifier):
            recipe |= {
                "hidden": list(estimator.hidden_layer_sizes),
                "batch": estimator.batch_size,
                "learning_rate": estimator.learning_rate_init,
            }
        else:
            recipe |= {"tolerance": estimator.tol, "regularisation": 0.0}
        return recipe

    def close(self) -> None:
        if limits := getattr(self, "_limits", None):
            limits.restore_original_limits()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))
