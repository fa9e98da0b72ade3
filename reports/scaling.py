"""How a cost grows with the rows: fitted laws, what they predict, and where two of them cross.

A law is cost = start-up + c · rows^k. It is fitted to the medians of the launches, each relative to the law's own
value, so that a second at 10,000,000 rows weighs no more than a millisecond at 1,000. For a given k the law is linear
in the other two, which leaves one unknown to search (variable projection: Golub and Pereyra, SIAM Journal on Numerical
Analysis 10(2), 1973). Intervals are those of a bootstrap of the residuals (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 9), widened from the normal to Student's distribution, since there are few of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEWEST_SIZES = 4
RESAMPLES = 200
SEED = 0
EXPONENTS = np.linspace(0.1, 2.5, 241)
"""What is searched for k."""
LARGEST_MISS = 0.25
"""A law that is farther than this from what was measured at some size is no law of these costs."""
WIDEST_EXPONENT = 1.0
"""Where k is less certain than this, costs have not grown enough over the sizes to tell a law."""
LEAST_GROWTH = 0.25
"""What c · rows^k must come to at the second largest size, in shares of the start-up: one size tells no exponent."""
REACH = 10
"""So many times beyond the largest measured size a law is believed."""
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A number that a law tells: `low` and `high` are the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Law:
    """cost = startup + c · rows^k, from `smallest` to `largest` rows, with a row of `samples` for each resampling.

    The columns of `samples` are startup, c, k, and the factor by which one more measurement would be off.
    """

    startup: float
    c: float
    k: float
    smallest: int
    largest: int
    samples: Array

    def at(self, rows: float) -> Interval | None:
        """What one more measurement would find, seconds or bytes; None where the law is not believed."""
        if not self.smallest <= rows <= REACH * self.largest:
            return None
        found = self._curves(rows) * self.samples[:, 3]
        return _interval(self.startup + self.c * rows**self.k, found)

    def mean(self, rows: Array) -> tuple[Array, Array, Array]:
        """The law at each number of rows, and the ends of the band in which it lies; shape (n,) each."""
        low, high = np.percentile(self._curves(rows[:, None]), _ends(), axis=1)
        return self.startup + self.c * rows**self.k, low, high

    def largest_within(self, budget: float) -> Interval | None:
        """The rows at which the law comes to `budget`, math.inf where that is beyond its reach; None below it."""
        with np.errstate(divide="ignore", invalid="ignore"):
            startup, c, k, _ = self.samples.T
            found = np.where(budget > startup, (np.maximum(budget - startup, 0.0) / c) ** (1 / k), 0.0)
        value = ((budget - self.startup) / self.c) ** (1 / self.k) if budget > self.startup else 0.0
        if value < self.smallest:
            return None
        reach = REACH * self.largest
        value, low, high = (
            math.inf if rows > reach else rows for rows in (value, *np.percentile(found, _ends()).tolist())
        )
        return Interval(value, low, high)

    @property
    def exponent(self) -> Interval:
        return _interval(self.k, self.samples[:, 2])

    def _curves(self, rows: float | Array) -> Array:
        startup, c, k, _ = self.samples.T
        seconds: Array = startup + c * np.asarray(rows, dtype=float) ** k
        return seconds


def fit(costs: Mapping[int, Sequence[float]]) -> Law | str:
    """The law of the costs of each number of rows, one value a launch; or why there is none, in words."""
    sizes = sorted(size for size, values in costs.items() if values and min(values) > 0)
    if len(sizes) < FEWEST_SIZES:
        return f"too few sizes: {len(sizes)}, and a fit wants {FEWEST_SIZES}"
    rows = np.array([size for size in sizes for _ in costs[size]], dtype=float)
    cost = np.array([value for size in sizes for value in costs[size]], dtype=float)
    rough = np.array([np.median(costs[size]) for size in sizes for _ in costs[size]])
    law = rough
    for _ in range(4):  # each weighs by the law that the one before found
        startup, c, k = (float(found[0]) for found in _least_squares(rows, cost[None, :], law))
        law = startup + c * rows**k
    misses = np.array([np.median(cost[rows == size] / law[rows == size]) - 1 for size in sizes])
    worst = int(np.argmax(np.abs(misses)))
    if abs(misses[worst]) > LARGEST_MISS:
        off = f"{abs(misses[worst]):.0%}".replace("%", " %")
        return f"a poor fit: what was measured at {sizes[worst]:,} rows is {off} from the law"
    samples = _resampled(rows, cost, law)
    low, high = np.percentile(samples[:, 2], _ends())
    searched_out = low <= EXPONENTS[1] or high >= EXPONENTS[-2]
    if searched_out or high - low > WIDEST_EXPONENT or c * sizes[-2] ** k < LEAST_GROWTH * startup:
        return f"from {sizes[0]:,} to {sizes[-1]:,} rows it does not grow enough to tell how it grows"
    return Law(startup, c, k, sizes[0], sizes[-1], samples)


def crossing(one: Law, other: Law) -> Interval | None:
    """The rows from which `one` and `other` change places, where both are believed; None if they are not seen to.

    At least 95 of 100 resamplings must cross, and the laws themselves once.
    """
    first = max(one.smallest, other.smallest)
    last = REACH * min(one.largest, other.largest)
    if first >= last:
        return None
    rows = np.geomspace(first, last, 400)
    gap = np.log(one.startup + one.c * rows**one.k) - np.log(other.startup + other.c * rows**other.k)
    # Dealt again, since resamplings of as many costs from the same seed would go up and down together.
    dealt = np.random.default_rng(SEED + 1).permutation(RESAMPLES)
    gaps = np.log(one._curves(rows[:, None])) - np.log(other._curves(rows[:, None]))[:, dealt]
    if np.count_nonzero(np.sign(gap[1:]) != np.sign(gap[:-1])) != 1:
        return None
    value = _zeros(gap[:, None], rows)[0]
    found = _zeros(gaps, rows)
    known = found[~np.isnan(found)]
    if math.isnan(value) or len(known) < LEVEL * len(found):
        return None
    return _interval(float(value), known)


def _least_squares(rows: Array, costs: Array, law: Array) -> tuple[Array, Array, Array]:
    """startup, c and k of each row of `costs`, shape (m, n), with weights 1 / law²; startup and c are not negative."""
    weight = law**-2.0
    total = weight.sum()
    scale = rows.max()
    power = (rows / scale) ** EXPONENTS[:, None]  # (exponents, n)
    sum_x, sum_xx = power @ weight, (power**2) @ weight
    sum_y, sum_yy = costs @ weight, (costs**2) @ weight
    sum_xy = (costs * weight) @ power.T  # (m, exponents)
    slope = (total * sum_xy - sum_x * sum_y[:, None]) / np.maximum(total * sum_xx - sum_x**2, 1e-300)
    start = (sum_y[:, None] - slope * sum_x) / total
    slope = np.where(start < 0, sum_xy / sum_xx, slope)
    start = np.where(slope < 0, sum_y[:, None] / total, np.maximum(start, 0.0))
    slope = np.maximum(slope, 0.0)
    errors = (
        sum_yy[:, None]
        - 2 * (start * sum_y[:, None] + slope * sum_xy)
        + start**2 * total
        + 2 * start * slope * sum_x
        + slope**2 * sum_xx
    )
    best = errors.argmin(axis=1)
    chosen = np.arange(len(costs)), best
    k = EXPONENTS[best]
    return start[chosen], slope[chosen] / scale**k, k


def _resampled(rows: Array, cost: Array, law: Array) -> Array:
    """startup, c, k of costs whose residuals were dealt anew, and one residual more; shape (RESAMPLES, 4)."""
    from scipy import stats

    residuals = np.log(cost / law)
    freedom = len(cost) - 3
    wider = math.sqrt(len(cost) / freedom) * stats.t.ppf((1 + LEVEL) / 2, freedom) / stats.norm.ppf((1 + LEVEL) / 2)
    residuals = (residuals - residuals.mean()) * wider
    random = np.random.default_rng(SEED)
    costs = law * np.exp(random.choice(residuals, (RESAMPLES, len(cost))))
    found = np.column_stack([*_least_squares(rows, costs, law), np.exp(random.choice(residuals, RESAMPLES))])
    return np.array([[float(f"{value:.6g}") for value in sample] for sample in found])  # what the page embeds


def _zeros(gaps: Array, rows: Array) -> Array:
    """Where each column of `gaps` first changes its sign, between two of the rows; NaN where it does not."""
    change = (np.sign(gaps[1:]) != np.sign(gaps[:-1])).T
    first = change.argmax(axis=1)
    column = np.arange(gaps.shape[1])
    before, after = gaps[first, column], gaps[first + 1, column]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = before / (before - after)
    logs = np.log(rows)
    return np.where(change.any(axis=1), np.exp(logs[first] + share * (logs[first + 1] - logs[first])), np.nan)


def _interval(value: float, found: Array) -> Interval:
    low, high = np.percentile(found, _ends())
    return Interval(float(value), float(low), float(high))


def _ends() -> tuple[float, float]:
    return 50 * (1 - LEVEL), 50 * (1 + LEVEL)
