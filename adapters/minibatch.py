"""How long the tuned neural networks learn, the same rule for every framework that learns in mini-batches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Rows a batch, passes over the data, and batches in all of them. A last batch that is not full is left out."""

    batch: int
    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


def schedule(rows: int, largest_batch: int = 2048, least_steps: int = 900) -> Schedule:
    """Batches grow with the rows, up to where a step costs little more than its overhead; small data is seen often."""
    batch = min(max(16, rows // 32), largest_batch, rows)
    steps_per_epoch = rows // batch
    return Schedule(batch, -(-least_steps // steps_per_epoch), steps_per_epoch)
