"""The contract that every framework fulfils, and the words that it uses.

with Adapter() as adapter:
    adapter.start(resources)
    table = adapter.load(path)
    model = adapter.train(table, adapter.recipe("mlp", rows), seed=0)
    codes = adapter.predict(model, table)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:  # the harness, which stays small, reads this file too
    import numpy as np
    from numpy.typing import NDArray

MODELS = ("logistic", "mlp", "deep")
TRACKS = ("default", "tuned")
HIDDEN = {"mlp": (16,), "deep": (512, 512, 512)}
"""Widths of the hidden layers of the models that are neural networks."""


def model_with(hidden: Iterable[int]) -> str:
    """Return the name of the model with these hidden layers. ValueError if there is none."""
    names = {widths: name for name, widths in HIDDEN.items()} | {(): "logistic"}
    if (name := names.get(tuple(hidden))) is None:
        raise ValueError(f"no model has hidden layers of {list(hidden)}")
    return name


@dataclass(frozen=True)
class Resources:
    """What an engine may use. `folder` is for its log and its working files; who made it removes it."""

    threads: int
    memory_bytes: int
    folder: Path
    device: str = "cpu"
    cluster: str | None = None
    constant_memory: bool = False
    """Whether memory must not grow with the number of tables that are loaded, one after another."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: an algorithm that the adapter offers, and its settings.

    A setting that is None is left to the framework. `sample_rows`: rows that an algorithm fits first, so that few
    iterations over all rows remain. `options` are parameters of the framework, under its own names.
    """

    model: str
    algorithm: str
    batch_size: int | None = None
    epochs: float | None = None
    learning_rate: float | None = None
    tolerance: float | None = None
    max_iterations: int | None = None
    sample_rows: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return the algorithm and the settings that are not left to the framework, as JSON values."""
        values = asdict(self)
        del values["model"], values["options"]
        return {name: value for name, value in values.items() if value is not None} | dict(self.options)


TableT = TypeVar("TableT")
ModelT = TypeVar("ModelT")


class Adapter(ABC, Generic[TableT, ModelT]):
    """One framework. Tables and models are the framework's own: callers hand them back and never look inside.

    A method returns when its work is done: lazy engines materialise, GPUs synchronise. Tables have the columns of
    `datasets.flowers`. A table that `load` read from a file without species serves for predictions only.
    """

    log: Path | None = None
    """Where the engine writes its log, once started, if it writes one."""

    serving: str
    """How `predict_one` asks for its flower, in words."""

    def __init__(self, track: str = "tuned") -> None:
        self.track = track

    def unsupported(self, model: str) -> str | None:
        """Return the reason why this framework cannot train `model`, or None if it can."""
        return None

    @abstractmethod
    def start(self, resources: Resources) -> None:
        """Start the engine. Unavailable if a part is missing that only the framework itself can see."""

    def build(self) -> dict[str, Any]:
        """Return what the running engine says of its own build: BLAS, instruction sets, CUDA. JSON values."""
        return {}

    @abstractmethod
    def load(self, path: Path) -> TableT:
        """Read a Parquet file, or a folder of part files, into the framework's own table. BadInput if it is none."""

    def release(self, table: TableT) -> None:
        """Free what a table holds outside this process. The table is not used again."""

    @abstractmethod
    def recipe(self, model: str, rows: int) -> Recipe:
        """Return how the track trains `model` on so many rows."""

    def candidates(self, model: str, rows: int) -> list[Recipe]:
        """Return other recipes that could be faster, for ./nox -s tune."""
        return []

    @abstractmethod
    def train(self, table: TableT, recipe: Recipe, seed: int) -> ModelT:
        """Train by a recipe, scaling of the features included, and return the framework's own model."""

    @abstractmethod
    def predict(self, model: ModelT, table: TableT) -> NDArray[np.int8]:
        """Return class codes on the host, shape (n_rows,)."""

    @abstractmethod
    def predict_proba(self, model: ModelT, table: TableT) -> NDArray[np.float32]:
        """Return class probabilities on the host, shape (n_rows, 3), classes in code order."""

    @abstractmethod
    def predict_one(self, model: ModelT, flower: NDArray[np.float32]) -> int:
        """Return the class code of one flower, four measurements in cm, asked as a web service would ask."""

    @abstractmethod
    def save(self, model: ModelT, folder: Path) -> None:
        """Write the model into `folder`, which exists and is empty, in the framework's own format."""

    @abstractmethod
    def restore(self, folder: Path) -> ModelT:
        """Return the model that `save` wrote."""

    def name_of(self, model: ModelT) -> str | None:
        """Return which of MODELS a restored model is, or None where the framework's models do not show it."""
        return None

    @abstractmethod
    def describe(self, model: ModelT) -> dict[str, Any]:
        """Return the recipe as it ran: its settings, and what came out of them, such as iterations. JSON values."""

    def close(self) -> None:
        """End the engine. May be called twice, and before `start`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
