"""scikit-learn: estimators on scaled features, saved with skops."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import skops.io
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from adapters import skops_file
from adapters.base import HIDDEN, Adapter, Recipe, Resources, given, model_with
from adapters.errors import NoSpecies
from adapters.minibatch import candidates, schedule
from adapters.skops_file import Model
from datasets import store
from datasets.store import Rows
from datasets.streaming import InMemory, OnDisk, fill, load

Table = InMemory[NDArray[Any]] | OnDisk
PART_ROWS = 1 << 15
"""Rows that are trained on with one learning rate, or up to twice as many."""

LARGEST_FULL_BATCH = 1 << 24
"""Largest number of rows for which `logistic` is fitted to all rows at once. This needs several times their memory."""


class ScikitLearn(Adapter[Table, Model]):
    """scikit-learn.

    `default`: the estimators with their defaults, in a Pipeline with a StandardScaler, as in
    https://scikit-learn.org/stable/getting_started.html. `logistic` therefore has an L2 penalty with C=1.

    `tuned`: Newton's method, started from the optimum of a sample. Networks: `fit` on one part of the table after
    another, with a decaying learning rate, so that the table need not fit in memory. The coefficients include the
    scaling, which saves a step of each prediction.
    """

    serving = "the estimator, on an array of one row"

    def start(self, resources: Resources) -> None:
        self._threads = resources.threads
        self._memory_bytes = resources.memory_bytes
        self._limits = threadpool_limits(resources.threads)
        if self.track == "tuned":
            # Validation takes most of the time of a prediction of one flower. `load` has validated the tables.
            sklearn.set_config(assume_finite=True, skip_parameter_validation=True)

    def build(self) -> dict[str, Any]:
        # NumPy and SciPy each contain a BLAS, usually the same one.
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
        plan = schedule(model, rows, 800, 2) if model == "deep" else schedule(model, rows, large_steps=800)
        rate = {"logistic": 0.1, "mlp": 0.1, "deep": 0.003}[model]
        return Recipe(model, "fit by blocks", batch_size=plan.batch_size, epochs=plan.epochs, learning_rate=rate)

    def candidates(self, model: str, rows: int) -> list[Recipe]:
        rates = {"logistic": (0.03, 0.1), "mlp": (0.03, 0.1, 0.2), "deep": (0.001, 0.003)}[model]
        in_batches = [
            Recipe(model, "fit by blocks", batch_size=plan.batch_size, epochs=plan.epochs, learning_rate=rate)
            for plan in ([schedule(model, rows)] if model == "logistic" else candidates(model, rows))
            for rate in rates
        ]
        if model != "logistic":
            return in_batches
        return in_batches + [
            Recipe(model, solver, tolerance=tolerance, sample_rows=sample)
            for solver in ("lbfgs", "newton-cholesky")
            for tolerance in (1e-3, 1e-4, 1e-5)
            for sample in sorted({min(20_000, rows), rows})
        ]

    def train(self, table: Table, recipe: Recipe, seed: int) -> Model:
        if not table.has_species:
            raise NoSpecies
        match recipe.algorithm:
            case "fit":
                return self._fit(table, recipe, seed)
            case "fit by blocks":
                return self._fit_by_blocks(table, recipe, seed)
            case solver:
                return self._fit_sample_first(table, recipe, solver)

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
        step = max(1, len(scaled) // given(recipe.sample_rows))
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

    def _fit_by_blocks(self, table: Table, recipe: Recipe, seed: int) -> MLPClassifier:
        """Train on one part of the shuffled rows after another. The learning rate decays along a cosine."""
        # Without a hidden layer, the network is a multinomial logistic regression.
        network = MLPClassifier(
            HIDDEN.get(recipe.model, ()),
            alpha=0.0,
            batch_size=recipe.batch_size,
            shuffle=False,  # the blocks are already shuffled
            random_state=seed,
            max_iter=1,
            warm_start=True,  # partial_fit would keep the first learning rate
        )
        scaler = StandardScaler()
        epochs = int(given(recipe.epochs))
        visits = 0
        for epoch in range(epochs):
            for features, species in _parts(table.shuffled(seed + epoch)):
                if not visits:
                    scaler.fit(features)  # a random part represents all rows
                decay = (1 + np.cos(np.pi * (visits + len(features) / 2) / (epochs * len(table)))) / 2
                network.set_params(learning_rate_init=given(recipe.learning_rate) * decay)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # an iteration is one pass over a part
                    network.fit(scaler.transform(features), species)
                visits += len(features)
        network.coefs_[0] /= scaler.scale_[:, None]
        network.intercepts_[0] -= scaler.mean_ @ network.coefs_[0]
        network.set_params(learning_rate_init=recipe.learning_rate)
        network.recipe_ = recipe.settings() | {"decay": "cosine", "streamed": isinstance(table, OnDisk)}
        return network

    def predict(self, model: Model, table: Table) -> NDArray[np.int8]:
        return fill(np.empty(len(table), np.int8), (_labels(model, x) for x, _ in table.in_order()))

    def predict_proba(self, model: Model, table: Table) -> NDArray[np.float32]:
        return fill(np.empty((len(table), 3), np.float32), (model.predict_proba(x) for x, _ in table.in_order()))

    def predict_one(self, model: Model, flower: NDArray[np.float32]) -> int:
        return int(_labels(model, flower.reshape(1, -1))[0])

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


def _labels(model: Model, features: NDArray[np.float32]) -> NDArray[Any]:
    """Return class labels, shape (n_rows,). `predict` of an estimator takes longer, because it looks up the classes."""
    labels: NDArray[Any]
    if isinstance(model, MLPClassifier):
        labels = model.predict_proba(features).argmax(axis=1)
    elif isinstance(model, LogisticRegression):
        labels = model.decision_function(features).argmax(axis=1)
    else:
        labels = model.predict(features)
    return labels


def _parts(blocks: Iterable[Rows]) -> Iterator[Rows]:
    for features, species in blocks:
        n_parts = max(1, len(features) // PART_ROWS)
        yield from zip(np.array_split(features, n_parts), np.array_split(species, n_parts), strict=True)


def _all_rows(table: Table) -> Rows:
    if isinstance(table, InMemory):
        return table.features, table.species
    features, species = zip(*table.in_order(), strict=True)
    return np.concatenate(features), np.concatenate(species)


def _estimator(model: Model) -> LogisticRegression | MLPClassifier:
    return model[-1] if isinstance(model, Pipeline) else model


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))
