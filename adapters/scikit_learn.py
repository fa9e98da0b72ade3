"""scikit-learn: a StandardScaler and an estimator in one Pipeline, saved with skops."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from adapters.base import HIDDEN, Adapter, Resources
from adapters.errors import ForeignModel, NoSpecies
from adapters.minibatch import schedule
from datasets import store
from datasets.streaming import InMemory, OnDisk, fill, load

Table = InMemory | OnDisk
LARGEST_FULL_BATCH = 1 << 22
"""Rows up to which `logistic` is fitted to all of them at once, which takes several times their memory."""


class ScikitLearn(Adapter):
    """`default`: the estimators as they come, without regularisation. `tuned`: a solver for few columns, and networks
    that learn in larger batches, by partial_fit, from a table that need not fit in memory.
    """

    def start(self, resources: Resources) -> None:
        self._threads = resources.threads
        self._memory_bytes = resources.memory_bytes
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
        return load(path, self._memory_bytes) if self.track == "tuned" else InMemory(*store.read(path))

    def train(self, table: Table, model: str, seed: int) -> Pipeline:
        if not table.has_species:
            raise NoSpecies
        recipe = dict(self.instead or self.recipe(model, len(table), isinstance(table, OnDisk)))
        if "epochs" in recipe:
            return self._train_by_blocks(table, model, seed, **recipe)
        assert isinstance(table, InMemory)
        if "sample_rows" in recipe:
            return self._train_from_a_sample(table, **recipe)
        if model == "logistic":
            estimator = LogisticRegression(C=np.inf, **recipe)
        else:
            estimator = MLPClassifier(HIDDEN[model], alpha=0.0, random_state=seed, **recipe)
        return make_pipeline(StandardScaler(), estimator).fit(table.features, table.species)

    def recipe(self, model: str, rows: int, streamed: bool = False) -> dict[str, Any]:
        if self.track == "default":
            return {}
        if model == "logistic" and rows <= LARGEST_FULL_BATCH and not streamed:
            return {"solver": "newton-cholesky", "tol": 1e-2}
        # The rate does not decay here, so the same accuracy takes smaller batches.
        plan = schedule(rows, largest_batch=1024, least_steps=900)
        rate = {"logistic": 0.01, "mlp": 0.01, "deep": 0.001}[model]
        return {"epochs": plan.epochs, "batch_size": plan.batch, "learning_rate_init": rate}

    def candidates(self, model: str, rows: int) -> list[dict[str, Any]]:
        rates = {"logistic": (0.01, 0.03), "mlp": (0.003, 0.01, 0.03), "deep": (0.0003, 0.001, 0.003)}[model]
        in_batches: list[dict[str, Any]] = [
            {"epochs": epochs, "batch_size": batch, "learning_rate_init": rate}
            for epochs in (1, 2)
            for batch in (512, 1024, 2048)
            for rate in rates
        ]
        if model != "logistic":
            return in_batches
        full: list[dict[str, Any]] = [
            {"solver": solver, "tol": tolerance}
            for solver in ("lbfgs", "newton-cholesky")
            for tolerance in (1e-2, 1e-3, 1e-4)
        ]
        return full + [recipe | {"sample_rows": 100_000} for recipe in full] + in_batches

    def _train_from_a_sample(self, table: InMemory, sample_rows: int, **recipe: Any) -> Pipeline:
        """Goes on with all rows from where the optimum of some of them is."""
        scaler = StandardScaler()
        scaled = scaler.fit_transform(table.features)
        step = max(1, len(scaled) // sample_rows)
        estimator = LogisticRegression(C=np.inf, warm_start=True, **recipe)
        estimator.fit(scaled[::step], table.species[::step])
        if step > 1:
            estimator.fit(scaled, table.species)
        return make_pipeline(scaler, estimator)

    def _train_by_blocks(
        self, table: Table, model: str, seed: int, epochs: int, batch_size: int, learning_rate_init: float
    ) -> Pipeline:
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
        return make_pipeline(scaler, network)

    def predict(self, model: Pipeline, table: Table) -> NDArray[np.int8]:
        return fill(np.empty(len(table), np.int8), (model.predict(x) for x, _ in table.in_order()))

    def predict_proba(self, model: Pipeline, table: Table) -> NDArray[np.float32]:
        return fill(np.empty((len(table), 3), np.float32), (model.predict_proba(x) for x, _ in table.in_order()))

    def predict_one(self, model: Pipeline, flower: NDArray[np.float32]) -> int:
        return int(model.predict(flower.reshape(1, -1))[0])

    def save(self, model: Pipeline, folder: Path) -> None:
        skops.io.dump(model, folder / "model.skops")

    def restore(self, folder: Path) -> Pipeline:
        # A class of scikit-learn itself, which skops has not yet listed among those it trusts.
        adam = "sklearn.neural_network._stochastic_optimizers.AdamOptimizer"
        model = skops.io.load(folder / "model.skops", trusted=[adam])
        if not isinstance(model, Pipeline) or not isinstance(model[-1], LogisticRegression | MLPClassifier):
            raise ForeignModel(f"a {type(model).__name__} that no training here made")
        return model

    def describe(self, model: Pipeline) -> dict[str, Any]:
        estimator = model[-1]
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


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))
