"""How long the tuned neural networks learn, the same rule for every framework that learns in mini-batches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

LARGEST_BATCH = 8192


@dataclass(frozen=True)
class Schedule:
    """Rows a batch, and passes over the data. A last batch that is not full is left out."""

    batch: int
    epochs: int


def schedule(model: str, rows: int, largest_batch: int = 2048, least_steps: int = 400) -> Schedule:
    """At least so many steps, of which two passes make as many as they can; large batches cost little more than small.

    Below 100,000 rows, where the target of networks is lower, they make a quarter of the steps. Above 2 million, larger
    batches.
    """
    if rows < 100_000 and model != "logistic":
        least_steps //= 4
    batch = min(max(2 * rows // least_steps, 16), max(largest_batch, rows // 1000), LARGEST_BATCH, rows)
    return Schedule(batch, -(-least_steps // (rows // batch)))


def candidates(rows: int) -> list[tuple[int, int]]:
    """Batches and epochs that are worth a try."""
    if rows <= 10_000:
        return list(product((64, 128, 256), (2, 5, 10)))
    if rows <= 100_000:
        return list(product((256, 512, 1024), (1, 2)))
    return list(product((512, 1024, 2048, 4096), (1, 2)))
