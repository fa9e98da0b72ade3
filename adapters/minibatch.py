"""The batch size and epochs of tuned recipes that train in mini-batches, by one rule for all frameworks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

LARGEST_BATCH = 8192


@dataclass(frozen=True)
class Schedule:
    """Rows per batch, and passes over the data. An incomplete last batch is left out."""

    batch_size: int
    epochs: int


def schedule(model: str, rows: int, steps: int = 1000, epochs: int = 4) -> Schedule:
    """Return a batch size and a number of epochs that make about so many steps.

    Networks make a quarter of the steps below 100,000 rows, where the quality gate is wider. From 500,000 rows on, one
    epoch is enough. The largest batch limits the memory: with more rows, the number of steps grows.
    """
    if rows < 100_000 and model != "logistic":
        steps //= 4
    if rows >= 500_000:
        epochs = 1
    batch_size = min(max(epochs * rows // steps, 16), LARGEST_BATCH, rows)
    return Schedule(batch_size, -(-steps // (rows // batch_size)))


def candidates(model: str, rows: int) -> list[Schedule]:
    """Return schedules for ./nox -s tune."""
    choices = product((500, 1000, 2000), (2, 4, 8) if rows < 500_000 else (1,))
    return list(dict.fromkeys(schedule(model, rows, steps, epochs) for steps, epochs in choices))
