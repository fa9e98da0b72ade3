"""The batch size and epochs of tuned recipes that train in mini-batches, by one rule for all frameworks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

LARGEST_BATCH = 8192
LARGE_ROWS = 500_000
"""From this number of rows on, one epoch is enough."""
FEW_STEPS = 200
"""Steps on fewer than 1,000 rows. More would overfit them."""


@dataclass(frozen=True)
class Schedule:
    """Rows per batch, and passes over the data. An incomplete last batch is left out."""

    batch_size: int
    epochs: int


def schedule(model: str, rows: int, steps: int = 1600, epochs: int = 8, large_steps: int = 1000) -> Schedule:
    """Return a batch size and a number of epochs that make about so many steps.

    Networks make a quarter of the steps below 100,000 rows, where the quality gate is wider. From LARGE_ROWS rows on,
    they make one epoch of `large_steps`. The largest batch limits the memory, so more rows make more steps.
    """
    if rows < 100_000 and model != "logistic":
        steps = steps // 4 if rows >= 1_000 else FEW_STEPS
    if rows >= LARGE_ROWS:
        steps, epochs = large_steps, 1
    batch_size = min(max(epochs * rows // steps, 16), LARGEST_BATCH, rows)
    return Schedule(batch_size, -(-steps // (rows // batch_size)))


def candidates(model: str, rows: int) -> list[Schedule]:
    """Return schedules for ./nox -s tune."""
    if rows >= LARGE_ROWS:
        return [Schedule(batch_size, epochs) for batch_size, epochs in product((512, 1024, 2048, 4096), (1, 2))]
    choices = product((400, 800, 1600), (2, 4, 8))
    return list(dict.fromkeys(schedule(model, rows, steps, epochs) for steps, epochs in choices))
