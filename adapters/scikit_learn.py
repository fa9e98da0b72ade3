"""scikit-learn: an estimator that learns scaled features, saved with skops."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from adapters import skops_file
from adapters.base import HIDDEN, Adapter, Resources, model_with
from adapters.errors import NoSpecies
from adapters.minibatch import candidates, schedule
from adapters.skops_file import Model
from datasets import store
from datasets.streaming import InMemory, OnDisk, fill, load

Table = InMemory | OnDisk
LARGEST_FULL_BATCH = 1 << 22
"""Rows up to which `logistic` is fitted to all of them at once, which takes several times their memory."""


class ScikitLearn(Adapter):
    """`default`: the estimators as they come, in a Pipeline, without regularisation. `tuned`: from a sample on, and
    networks that learn in larger batches, by partial_fit, from a table that need not fit in memory; the scaling is
    taken into the coefficients, so that a prediction has one step less.
    """

    serving = "the estimator, on an array of one row"

    def start(self, resources: Resources) -> None:
        self._threads = resources.threads
        self._memory_bytes = resources.memory_bytes
        self._limits = threadpool_limits(resources.threads)
        if self.track == "tuned":
            # A prediction of one flower is mostly validation. Tables have been checked, and the code here is tested.
            sklearn.set_config(assume_finite=True, skip_parameter_validation=True)

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
        return load(path, self._memory_bytes) if self.track == "tuned" else InMemory(*store.read(path))

    def train(self, table: Table, model: str, seed: int) -> Model:
        if not table.has_species:
            raise NoSpecies
        recipe = dict(self.instead or self.recipe(model, len(table), isinstance(table, OnDisk)))
        if "epochs" in recipe:
            return self._train_by_blocks(table, model, seed, **recipe)
        assert isinstance(table, InMemory)
        if model == "logistic" and recipe:
            return self._train_from_a_sample(table, **recipe)
        if model == "logistic":
            estimator = LogisticRegression(C=np.inf)
        else:
            estimator = MLPClassifier(HIDDEN[model], alpha=0.0, random_state=seed)
        return make_pipeline(StandardScaler(), estimator).fit(table.features, table.species)

    def recipe(self, model: str, rows: int, streamed: bool = False) -> dict[str, Any]:
        if self.track == "default":
            return {}
        if model == "logistic" and rows <= LARGEST_FULL_BATCH and not streamed:
            return {"solver": "lbfgs", "tol": 1e-3, "sample_rows": 20_000}
        # The rate does not decay here, so the same accuracy takes smaller batches.
        plan = schedule(model, rows, 256, 380) if model == "deep" else schedule(model, rows, 1024, 800)
        rate = {"logistic": 0.2, "mlp": 0.03, "deep": 0.001}[model]
        return {"epochs": plan.epochs, "batch_size": plan.batch, "learning_rate_init": rate}

    def candidates(self, model: str, rows: int) -> list[dict[str, Any]]:
        rates = {"logistic": (0.1, 0.2), "mlp": (0.01, 0.03), "deep": (0.001, 0.003)}[model]
        in_batches: list[dict[str, Any]] = [
            {"epochs": epochs, "batch_size": batch, "learning_rate_init": rate}
            for batch, epochs in candidates(rows)
            for rate in rates
        ]
        if model != "logistic":
            return in_batches
        return in_batches + [
            {"solver": solver, "tol": tolerance, "sample_rows": sample}
            for solver in ("lbfgs", "newton-cholesky")
            for tolerance in (1e-2, 1e-3, 1e-4)
            for sample in sorted({min(most, rows) for most in (20_000, 100_000, rows)})
        ]

    def _train_from_a_sample(self, table: InMemory, sample_rows: int, **recipe: Any) -> LogisticRegression:
        """Goes on with all rows from where the optimum of some of them is."""
        scaler = StandardScaler()
        scaled = scaler.fit_transform(table.features)
        step = max(1, len(scaled) // sample_rows)
        estimator = LogisticRegression(C=np.inf, warm_start=True, **recipe)
        estimator.fit(scaled[::step], table.species[::step])
        if step > 1:
            estimator.fit(scaled, table.species)
        estimator.coef_ /= scaler.scale_
        estimator.intercept_ -= estimator.coef_ @ scaler.mean_
        return estimator

    def _train_by_blocks(
        self, table: Table, model: str, seed: int, epochs: int, batch_size: int, learning_rate_init: float
    ) -> MLPClassifier:
        # Without a hidden layer, the network is a multinomial logistic regression.
        network = MLPClassifier(
            HIDDEN.get(model, ()),
            alpha=0.0,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            shuffle=False,  # the blocks are
            random_state=seed,
        )
        scaler = StandardScaler()
        for epoch in range(epochs):
            for number, (features, species) in enumerate(table.shuffled(seed + epoch)):
                if epoch == number == 0:
                    scaler.fit(features)  # rows at random, and as good as all
                network.partial_fit(scaler.transform(features), species, classes=range(3))
        network.recipe_ = {"epochs": epochs, "streamed": isinstance(table, OnDisk)}
        network.coefs_[0] /= scaler.scale_[:, None]
        network.intercepts_[0] -= scaler.mean_ @ network.coefs_[0]
        return network

    def predict(self, model: Model, table: Table) -> NDArray[np.int8]:
        return fill(np.empty(len(table), np.int8), (_codes(model, x) for x, _ in table.in_order()))

    def predict_proba(self, model: Model, table: Table) -> NDArray[np.float32]:
        return fill(np.empty((len(table), 3), np.float32), (model.predict_proba(x) for x, _ in table.in_order()))

    def predict_one(self, model: Model, flower: NDArray[np.float32]) -> int:
        return int(_codes(model, flower.reshape(1, -1))[0])

    def save(self, model: Model, folder: Path) -> None:
        skops.io.dump(model, folder / "model.skops")

    def restore(self, folder: Path) -> Model:
        return skops_file.load(folder / "model.skops")

    def name_of(self, model: Model) -> str:
        estimator = _estimator(model)
        hidden = estimator.hidden_layer_sizes if isinstance(estimator, MLPClassifier) else ()
        return model_with(hidden)

    def describe(self, model: Model) -> dict[str, Any]:
        estimator = _estimator(model)
        recipe: dict[str, Any] = {"solver": estimator.solver}
        if isinstance(estimator, MLPClassifier):
            recipe |= {
                "hidden": list(estimator.hidden_layer_sizes),
                "batch": estimator.batch_size,
                "learning_rate": estimator.learning_rate_init,
                **getattr(estimator, "recipe_", {"epochs": estimator.n_iter_}),
            }
        else:
            iterations = int(np.max(estimator.n_iter_))
            recipe |= {"iterations": iterations, "tolerance": estimator.tol, "regularisation": 0.0}
        return recipe | {"threads": self._threads}

    def close(self) -> None:
        if limits := getattr(self, "_limits", None):
            limits.restore_original_limits()


def _codes(model: Model, features: NDArray[np.float32]) -> NDArray[Any]:
    """Class codes, shape (n,). The estimators' own `predict` looks up classes too, which takes longer."""
    if isinstance(model, MLPClassifier):
        return model.predict_proba(features).argmax(axis=1)
    if isinstance(model, LogisticRegression):
        return model.decision_function(features).argmax(axis=1)
    return model.predict(features)


def _estimator(model: Model) -> LogisticRegression | MLPClassifier:
    return model[-1] if isinstance(model, Pipeline) else model


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))
