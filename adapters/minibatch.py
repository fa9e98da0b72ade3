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


def schedule(rows: int, largest_batch: int = 2048, least_steps: int = 900, most_epochs: int = 40) -> Schedule:
    """Batches grow with the rows, up to where a step costs little more than its overhead.

    Few rows are seen often, for `least_steps` steps, but not for more than `most_epochs`: 150 flowers are soon known by
    heart.
    """
    batch = min(max(16, rows // 32), largest_batch, rows)
    steps_per_epoch = rows // batch
    return Schedule(batch, min(-(-least_steps // steps_per_epoch), most_epochs), steps_per_epoch)
