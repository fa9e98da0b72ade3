"""The contract that the adapter of every framework fulfils.

with Adapter() as adapter:
    adapter.start(resources)
    table = adapter.load(path)
    model = adapter.train(table, adapter.recipe("mlp", rows), seed=0)
    labels = adapter.predict(model, table)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:  # the supervisor imports this file, and must stay small
    import numpy as np
    from numpy.typing import NDArray

MODELS = ("logistic", "mlp", "deep")
TRACKS = ("default", "tuned")
HIDDEN = {"mlp": (16,), "deep": (512, 512, 512)}
"""Widths of the hidden layers of each neural network."""


def model_with(hidden: Iterable[int]) -> str:
    """Return the name of the model with these hidden layers. Raise ValueError if there is none."""
    names = {widths: name for name, widths in HIDDEN.items()} | {(): "logistic"}
    if (name := names.get(tuple(hidden))) is None:
        raise ValueError(f"no model has hidden layers of {list(hidden)}")
    return name


@dataclass(frozen=True)
class Resources:
    """Limits of an engine. `folder` is for its log and its working files; the caller removes it."""

    threads: int
    memory_bytes: int
    folder: Path
    device: str = "cpu"
    cluster: str | None = None
    constant_memory: bool = False
    """Whether memory must not grow with the number of tables that are loaded one after another."""


@dataclass(frozen=True)
class Recipe:
    """How to train a model: an algorithm of the adapter, and its settings.

    Settings that are None keep the default of the framework. `sample_rows` is the size of a sample that the algorithm
    fits first, so that it needs few iterations over all rows. `options` are parameters of the framework under its own
    names.
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
        """Return the algorithm and all settings that are not None, as JSON values."""
        values = asdict(self)
        del values["model"], values["options"]
        return {name: value for name, value in values.items() if value is not None} | dict(self.options)


SettingT = TypeVar("SettingT")


def given(setting: SettingT | None) -> SettingT:
    """Return a setting of a recipe that the algorithm needs. Raise ValueError if the recipe does not have it."""
    if setting is None:
        raise ValueError("the recipe lacks a setting that its algorithm needs; set it in `recipe`")
    return setting


TableT = TypeVar("TableT")
ModelT = TypeVar("ModelT")


class Adapter(ABC, Generic[TableT, ModelT]):
    """A framework behind the contract. Tables and models belong to the framework; callers only pass them on.

    A method returns when its work is done: lazy engines materialise, GPUs synchronise. Tables have the columns of
    `datasets.flowers`. A table without species can be used for predictions only.
    """

    log: Path | None = None
    """Path of the log of the engine, set by `start`, or None if it writes no log."""

    serving: str
    """How `predict_one` predicts its flower, as text for the report."""

    def __init__(self, track: str = "tuned") -> None:
        self.track = track

    def unsupported(self, model: str) -> str | None:
        """Return the reason why this framework cannot train `model`, or None if it can."""
        return None

    @abstractmethod
    def start(self, resources: Resources) -> None:
        """Start the engine. Raise Unavailable if it needs something that is missing."""

    def build(self) -> dict[str, Any]:
        """Return facts about the build of the running engine as JSON values: BLAS, instruction sets, CUDA."""
        return {}

    @abstractmethod
    def load(self, path: Path) -> TableT:
        """Read a Parquet file, or a folder of part files, into a table. Raise BadInput for other content."""

    def release(self, table: TableT) -> None:
        """Free the memory of a table outside this process. The table is not used again."""

    @abstractmethod
    def recipe(self, model: str, rows: int) -> Recipe:
        """Return the recipe of the track for `model` on this number of rows."""

    def candidates(self, model: str, rows: int) -> list[Recipe]:
        """Return alternative recipes for ./nox -s tune."""
        return []

    @abstractmethod
    def train(self, table: TableT, recipe: Recipe, seed: int) -> ModelT:
        """Train a model by a recipe, including the scaling of the features."""

    @abstractmethod
    def predict(self, model: ModelT, table: TableT) -> NDArray[np.int8]:
        """Return class labels on the host, shape (n_rows,)."""

    @abstractmethod
    def predict_proba(self, model: ModelT, table: TableT) -> NDArray[np.float32]:
        """Return class probabilities on the host, shape (n_rows, 3), in the order of the class labels."""

    @abstractmethod
    def predict_one(self, model: ModelT, flower: NDArray[np.float32]) -> int:
        """Return the class label of one flower, four features in cm, in the way a web service would predict it."""

    @abstractmethod
    def save(self, model: ModelT, folder: Path) -> None:
        """Write the model into the empty folder `folder` in the format of the framework."""

    @abstractmethod
    def restore(self, folder: Path) -> ModelT:
        """Return the model that `save` wrote. Raise ForeignModel if the files contain anything else."""

    def name_of(self, model: ModelT) -> str | None:
        """Return the name of a restored model, one of MODELS, or None if its files do not determine it."""
        return None

    @abstractmethod
    def describe(self, model: ModelT) -> dict[str, Any]:
        """Return the recipe as it ran as JSON values: its settings, and results such as the number of iterations."""

    def close(self) -> None:
        """End the engine. May be called twice, or before `start`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
