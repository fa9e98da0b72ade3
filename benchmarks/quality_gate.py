"""The quality gate: the accuracy and log-loss that a trained model needs to count, and why a model failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.results.records import Condition, Quality
from datasets import flowers


@dataclass(frozen=True)
class Reference:
    """Accuracy and log-loss on the test rows that a model is compared with: maximum likelihood or Bayes."""

    accuracy: float
    log_loss: float


@dataclass(frozen=True)
class Gate:
    """Limits for one model, number of rows and seed. `log_loss_limit` is None where only the accuracy is limited.

    `reference` is None for the real flowers, whose distribution is unknown.
    """

    least_accuracy: float
    log_loss_limit: float | None = None
    reference: Reference | None = None

    def failed(self, accuracy: float, log_loss: float) -> tuple[Condition, ...]:
        """Return the names of the conditions that a model fails, or an empty tuple if it passes the gate."""
        failed: list[Condition] = []
        if accuracy < self.least_accuracy:
            failed.append("accuracy")
        if self.log_loss_limit is not None and log_loss > self.log_loss_limit:
            failed.append("log-loss")
        return tuple(failed)

    def __str__(self) -> str:
        text = f"accuracy at least {self.least_accuracy:.4f}"
        return text if self.log_loss_limit is None else f"{text}, log-loss at most {self.log_loss_limit:.4f}"


def gate(model: str, rows: int, reference: Reference | None) -> Gate:
    """Return the gate for a model name and a number of training rows.

    `reference` is the maximum-likelihood fit to the training rows for `logistic`, and Bayes for the networks. The 150
    real flowers need none.
    """
    if rows == flowers.ROWS:
        return Gate(0.93)
    assert reference
    if model == "logistic":
        accuracy_loss, log_loss_limit = 0.002, 1.02 * reference.log_loss
    elif rows >= 100_000:
        accuracy_loss, log_loss_limit = 0.002, reference.log_loss + 0.002
    elif rows >= 10_000:
        accuracy_loss, log_loss_limit = 0.01, reference.log_loss + 0.015
    else:
        accuracy_loss, log_loss_limit = 0.02, None
    return Gate(reference.accuracy - accuracy_loss, log_loss_limit, reference)


def shortfall(qualities: Iterable[Quality]) -> str:
    """Return which conditions failed and by how much, or an empty text if none failed.

    For several launches of a case, the text names the worst value of each condition.
    """
    failed = [quality for quality in qualities if not quality.reached_target]
    shortfalls = []
    if poor := [quality for quality in failed if "accuracy" in quality.failed_conditions]:
        worst = min(poor, key=lambda quality: quality.accuracy - quality.target_accuracy)
        shortfalls.append("accuracy {}, at least {}".format(*_distinct(worst.accuracy, worst.target_accuracy)))
    if poor := [quality for quality in failed if "log-loss" in quality.failed_conditions]:
        worst = max(poor, key=lambda quality: quality.log_loss)
        shortfalls.append("log-loss {}, at most {}".format(*_distinct(worst.log_loss, worst.log_loss_limit or 0.0)))
    return "; ".join(shortfalls)


def _distinct(value: float, limit: float) -> tuple[str, str]:
    """Return both numbers with four decimals, or with as many more as distinguish them."""
    decimals = next((count for count in range(4, 16) if f"{value:.{count}f}" != f"{limit:.{count}f}"), 16)
    return f"{value:.{decimals}f}", f"{limit:.{decimals}f}"
