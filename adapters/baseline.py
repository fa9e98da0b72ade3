"""The baseline: predict the most frequent class. Its times show the overhead of the benchmark itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Adapter, Recipe, Resources
from adapters.errors import ForeignModel, NoSpecies
from datasets.files import read_json
from datasets.streaming import InMemory, OnDisk, load

Table = InMemory[NDArray[Any]] | OnDisk


class Baseline(Adapter[Table, NDArray[np.float32]]):
    """Predict the most frequent class. A model is the share of each class in the training rows, shape (3,)."""

    serving = "the stored class"

    def start(self, resources: Resources) -> None:
        self._memory_bytes = resources.memory_bytes

    def build(self) -> dict[str, Any]:
        numpy: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
        blas, simd = numpy["Build Dependencies"]["blas"], numpy["SIMD Extensions"]
        instructions = [*simd.get("baseline", []), *simd.get("found", [])]
        return {"blas": f"{blas['name']} {blas.get('version', '')}".strip(), "instructions": instructions[-1]}

    def load(self, path: Path) -> Table:
        return load(path, self._memory_bytes)

    def recipe(self, model: str, rows: int) -> Recipe:
        return Recipe(model, "most frequent class")

    def train(self, table: Table, recipe: Recipe, seed: int) -> NDArray[np.float32]:
        if not table.has_species:
            raise NoSpecies
        counts = np.sum([np.bincount(species, minlength=3) for _, species in table.in_order()], axis=0)
        shares: NDArray[np.float32] = (counts / counts.sum()).astype(np.float32)
        return shares

    def predict(self, model: NDArray[np.float32], table: Table) -> NDArray[np.int8]:
        return np.full(len(table), model.argmax(), dtype=np.int8)

    def predict_proba(self, model: NDArray[np.float32], table: Table) -> NDArray[np.float32]:
        return np.tile(model, (len(table), 1))

    def predict_one(self, model: NDArray[np.float32], flower: NDArray[np.float32]) -> int:
        return int(model.argmax())

    def save(self, model: NDArray[np.float32], folder: Path) -> None:
        (folder / "shares.json").write_text(json.dumps(model.tolist()))

    def restore(self, folder: Path) -> NDArray[np.float32]:
        shares = np.array(read_json(folder / "shares.json", list[float]), dtype=np.float32)
        if shares.shape != (3,) or not np.all((shares >= 0) & (shares <= 1)) or abs(shares.sum() - 1) > 1e-3:
            raise ForeignModel(f"its shares of the species must be 0 to 1 and sum to 1, and are {shares.tolist()}")
        return shares

    def describe(self, model: NDArray[np.float32]) -> dict[str, Any]:
        return {"algorithm": "most frequent class"}
