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


def schedule(model: str, rows: int, largest_batch: int = 2048, min_steps: int = 400) -> Schedule:
    """Return a batch size and a number of epochs with at least `min_steps` steps, in two epochs if possible.

    Networks make a quarter of the steps below 100,000 rows, where the quality gate is wider. Batches grow with the rows
    from 2 million rows on.
    """
    if rows < 100_000 and model != "logistic":
        min_steps //= 4
    batch_size = min(max(2 * rows // min_steps, 16), max(largest_batch, rows // 1000), LARGEST_BATCH, rows)
    return Schedule(batch_size, -(-min_steps // (rows // batch_size)))


def candidates(rows: int) -> list[tuple[int, int]]:
    """Return pairs of a batch size and a number of epochs for ./nox -s tune."""
    if rows <= 10_000:
        return list(product((64, 128, 256), (2, 5, 10)))
    if rows <= 100_000:
        return list(product((256, 512, 1024), (1, 2)))
    return list(product((512, 1024, 2048, 4096), (1, 2)))
