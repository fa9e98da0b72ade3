"""The contract that every framework fulfils, and the words that it uses.

with Adapter() as adapter:
    adapter.start(resources)
    table = adapter.load(path)
    model = adapter.train(table, "mlp", seed=0)
    codes = adapter.predict(model, table)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


class Adapter(ABC):
    """One framework. Tables and models are the framework's own: callers hand them back and never look inside.

    A method returns when its work is done: lazy engines materialise, GPUs synchronise. Tables have the columns of
    `datasets.flowers`; where `load` reads a file without species, the table serves for predictions only.
    """

    log: Path | None = None
    """Where the engine writes its log, once started, if it writes one."""

    serving: str
    """How `predict_one` asks for its flower, in words."""

    def __init__(self, track: str = "tuned", instead: dict[str, Any] | None = None) -> None:
        """`instead`: what takes the place of the track's recipe, when a better one is looked for."""
        self.track = track
        self.instead = instead

    def supports(self, model: str) -> str | None:
        """None, or the reason why this framework cannot train `model`."""
        return None

    @abstractmethod
    def start(self, resources: Resources) -> None:
        """Brings the engine up. Unavailable when a part is missing that only the framework itself can see."""

    def build(self) -> dict[str, Any]:
        """What the running engine says of its own build: BLAS, instruction sets, CUDA. JSON values; after `start`."""
        return {}

    @abstractmethod
    def load(self, path: Path) -> Any:
        """Reads a Parquet file, or a folder of part files, into the framework's own table. BadInput if it is none."""

    def release(self, table: Any) -> None:  # noqa: B027 (most tables live in this process, and go when nobody holds them)
        """Gives back what a table holds outside this process; the table is not used again."""

    @abstractmethod
    def train(self, table: Any, model: str, seed: int) -> Any:
        """Fits `model`, scaling of the features included, and returns the framework's own model."""

    @abstractmethod
    def recipe(self, model: str, rows: int, streamed: bool = False) -> dict[str, Any]:
        """How `rows` rows are learned on the track, by rule: what `train` hands to the framework.

        `streamed`: from the disk, since they would not fit in memory.
        """

    def candidates(self, model: str, rows: int) -> list[dict[str, Any]]:
        """Other recipes that an expert might hold to be faster: what ./nox -s tune tries."""
        return []

    @abstractmethod
    def predict(self, model: Any, table: Any) -> NDArray[np.int8]:
        """Class codes on the host, shape (n_rows,)."""

    @abstractmethod
    def predict_proba(self, model: Any, table: Any) -> NDArray[np.float32]:
        """Class probabilities on the host, shape (n_rows, 3), classes in code order."""

    @abstractmethod
    def predict_one(self, model: Any, flower: NDArray[np.float32]) -> int:
        """The class code of one flower, four measurements in cm, asked as a web service would ask."""

    @abstractmethod
    def save(self, model: Any, folder: Path) -> None:
        """Writes the model into `folder`, which exists and is empty, in the framework's own format."""

    @abstractmethod
    def restore(self, folder: Path) -> Any:
        """The model that `save` wrote."""

    def name_of(self, model: Any) -> str | None:
        """Return which of MODELS a restored model is, or None where the framework's models do not show it."""
        return None

    @abstractmethod
    def describe(self, model: Any) -> dict[str, Any]:
        """The recipe as it ran: solver, iterations, hyperparameters, threads. JSON values only."""

    def close(self) -> None:  # noqa: B027 (most engines end with this process)
        """Ends the engine. May be called twice, and before `start`."""

    def __enter__(self) -> Adapter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
