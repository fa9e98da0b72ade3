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
from adapters.base import HIDDEN, Adapter, Recipe, Resources, model_with
from adapters.errors import NoSpecies
from adapters.minibatch import candidates, schedule
from adapters.skops_file import Model
from datasets import store
from datasets.store import Rows
from datasets.streaming import InMemory, OnDisk, fill, load

Table = InMemory | OnDisk
LARGEST_FULL_BATCH = 1 << 24
"""Rows up to which `logistic` is fitted to all of them at once, which takes several times their memory."""


class ScikitLearn(Adapter[Table, Model]):
    """`default`: the estimators as they come, in a Pipeline with a StandardScaler, as in
    https://scikit-learn.org/stable/getting_started.html. So `logistic` has its L2 penalty, C=1.

    `tuned`: Newton's method from the optimum of a sample on; networks in larger batches, by partial_fit, from a table
    that need not fit in memory. The coefficients include the scaling, so that a prediction has one step less.
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

    def recipe(self, model: str, rows: int) -> Recipe:
        if self.track == "default":
            return Recipe(model, "fit")
        if model == "logistic" and rows <= LARGEST_FULL_BATCH:
            return Recipe(model, "newton-cholesky", tolerance=1e-4, sample_rows=20_000)
        # The rate does not decay here, so the same quality takes smaller batches.
        plan = schedule(model, rows, 256, 380) if model == "deep" else schedule(model, rows, 1024, 800)
        rate = {"logistic": 0.01, "mlp": 0.03, "deep": 0.001}[model]
        return Recipe(model, "partial_fit", batch_size=plan.batch_size, epochs=plan.epochs, learning_rate=rate)

    def candidates(self, model: str, rows: int) -> list[Recipe]:
        rates = {"logistic": (0.003, 0.01, 0.03), "mlp": (0.003, 0.01, 0.03), "deep": (0.0003, 0.001)}[model]
        in_batches = [
            Recipe(model, "partial_fit", batch_size=batch_size, epochs=epochs, learning_rate=rate)
            for batch_size, epochs in candidates(rows)
            for rate in rates
        ]
        if model != "logistic":
            return in_batches
        return in_batches + [
            Recipe(model, solver, tolerance=tolerance, sample_rows=sample)
            for solver in ("lbfgs", "newton-cholesky")
            for tolerance in (1e-3, 1e-4, 1e-5)
            for sample in sorted({min(most, rows) for most in (20_000, 100_000, rows)})
        ]

    def train(self, table: Table, recipe: Recipe, seed: int) -> Model:
        if not table.has_species:
            raise NoSpecies
        match recipe.algorithm:
            case "fit":
                model = self._fit(table, recipe, seed)
            case "partial_fit":
                model = self._partial_fit(table, recipe, seed)
            case solver:
                model = self._fit_sample_first(table, recipe, solver)
        return model

    def _fit(self, table: Table, recipe: Recipe, seed: int) -> Pipeline:
        assert isinstance(table, InMemory)
        if recipe.model == "logistic":
            estimator = LogisticRegression()
        else:
            estimator = MLPClassifier(HIDDEN[recipe.model], random_state=seed)
        pipeline = make_pipeline(StandardScaler(), estimator).fit(table.features, table.species)
        name = "epochs" if recipe.model in HIDDEN else "iterations"
        estimator.recipe_ = recipe.settings() | {name: int(np.max(estimator.n_iter_))}
        return pipeline

    def _fit_sample_first(self, table: Table, recipe: Recipe, solver: str) -> LogisticRegression:
        features, species = _all_rows(table)
        scaler = StandardScaler()
        scaled = scaler.fit_transform(features)
        estimator = LogisticRegression(C=np.inf, solver=solver, tol=recipe.tolerance, warm_start=True)
        step = max(1, len(scaled) // recipe.sample_rows)
        iterations_on_sample = 0
        if step > 1:
            estimator.fit(scaled[::step], species[::step])
            iterations_on_sample = int(np.max(estimator.n_iter_))
        estimator.fit(scaled, species)
        estimator.coef_ /= scaler.scale_
        estimator.intercept_ -= estimator.coef_ @ scaler.mean_
        estimator.recipe_ = recipe.settings() | {
            "iterations": int(np.max(estimator.n_iter_)),
            "iterations_on_sample": iterations_on_sample,
        }
        return estimator

    def _partial_fit(self, table: Table, recipe: Recipe, seed: int) -> MLPClassifier:
        # Without a hidden layer, the network is a multinomial logistic regression.
        network = MLPClassifier(
            HIDDEN.get(recipe.model, ()),
            alpha=0.0,
            batch_size=recipe.batch_size,
            learning_rate_init=recipe.learning_rate,
            shuffle=False,  # the blocks are shuffled already
            random_state=seed,
        )
        scaler = StandardScaler()
        for epoch in range(int(recipe.epochs)):
            for number, (features, species) in enumerate(table.shuffled(seed + epoch)):
                if epoch == number == 0:
                    scaler.fit(features)  # a random block represents all rows
                network.partial_fit(scaler.transform(features), species, classes=range(3))
        network.coefs_[0] /= scaler.scale_[:, None]
        network.intercepts_[0] -= scaler.mean_ @ network.coefs_[0]
        network.recipe_ = recipe.settings() | {"streamed": isinstance(table, OnDisk)}
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
        recipe = {
            "solver": estimator.solver,
            "tolerance": estimator.tol,
            **getattr(estimator, "recipe_", {}),
            "threads": self._threads,
        }
        if isinstance(estimator, MLPClassifier):
            recipe |= {
                "hidden": list(estimator.hidden_layer_sizes),
                "batch_size": estimator.batch_size,
                "learning_rate": estimator.learning_rate_init,
                "l2": estimator.alpha,
            }
        else:
            recipe["l2"] = 0.0 if np.isinf(estimator.C) else 1 / estimator.C
        return recipe

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


def _all_rows(table: Table) -> Rows:
    if isinstance(table, InMemory):
        return table.features, table.species
    features, species = zip(*table.in_order(), strict=True)
    return np.concatenate(features), np.concatenate(species)


def _estimator(model: Model) -> LogisticRegression | MLPClassifier:
    return model[-1] if isinstance(model, Pipeline) else model


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))
