"""An example of an adapter file from outside the repository: the nearest centroid, in plain NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Adapter, Recipe, Resources
from adapters.errors import NoSpecies
from datasets import store, streaming

FRAMEWORK = {
    "name": "nearest-centroid",
    "adapter": "NearestCentroid",  # the class below
    "modules": ["numpy"],  # what it imports; the other frameworks' modules are hidden while it is measured
    "requires": ["numpy"],  # what pip installs; the first is the package whose version is reported
    "format": "JSON",  # what a model is saved as
    "style": {"colour": "#7B4B94", "mark": "triangle-left"},
    "contract": {"models": ["logistic"], "floor": {"logistic": 0.9}, "streams": [], "has_blas": False},
}

Centroids = NDArray[np.float32]
"""An average flower for each species, shape (3, 4), in cm."""


class NearestCentroid(Adapter[streaming.InMemory, Centroids]):
    """Predicts the species whose average flower is nearest."""

    serving = "the averages, on an array of four"

    def start(self, resources: Resources) -> None:
        self._threads = resources.threads

    def build(self) -> dict[str, Any]:
        return {"numpy": np.__version__}

    def unsupported(self, model: str) -> str | None:
        return None if model == "logistic" else "it is no network"

    def load(self, path: Path) -> streaming.InMemory:
        return streaming.InMemory(*store.read(path))

    def recipe(self, model: str, rows: int) -> Recipe:
        return Recipe(model, "averages")

    def train(self, table: streaming.InMemory, recipe: Recipe, seed: int) -> Centroids:
        if not table.has_species:
            raise NoSpecies
        return np.stack([table.features[table.species == code].mean(axis=0) for code in range(3)])

    def predict(self, model: Centroids, table: streaming.InMemory) -> NDArray[np.int8]:
        return self._distances(model, table.features).argmin(axis=1).astype(np.int8)

    def predict_proba(self, model: Centroids, table: streaming.InMemory) -> NDArray[np.float32]:
        distances = self._distances(model, table.features)
        nearness = np.exp(distances.min(axis=1, keepdims=True) - distances)
        return nearness / nearness.sum(axis=1, keepdims=True)

    def predict_one(self, model: Centroids, flower: NDArray[np.float32]) -> int:
        return int(((model - flower) ** 2).sum(axis=1).argmin())

    def save(self, model: Centroids, folder: Path) -> None:
        (folder / "averages.json").write_text(json.dumps(model.tolist()))

    def restore(self, folder: Path) -> Centroids:
        return np.array(json.loads((folder / "averages.json").read_text()), dtype=np.float32)

    def describe(self, model: Centroids) -> dict[str, Any]:
        return {"algorithm": "averages", "threads": self._threads}

    def _distances(self, model: Centroids, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the squared distance of each flower to each average, shape (n, 3)."""
        return ((features[:, None, :] - model) ** 2).sum(axis=2)
