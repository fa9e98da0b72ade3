"""Statistics of repeated measurements: medians and ratios with their intervals, and whether they are reliable.

Values are grouped by launch. Repeats of one launch share its memory layout, its compiled code and the state of the
machine, so they differ less than launches do. With several launches, one launch is therefore one observation
(Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.units import show_seconds

Launches = Sequence[Sequence[float]]

LEVEL = 0.95
RATIO_LEVEL = 0.99
"""Level of the interval of a ratio. It is as strict as two 95 % intervals that must not overlap."""

RESAMPLES = 1_000
SEED = 0
"""Seed of the bootstrap, so that the same records give the same report."""

NOISE_FLOOR = 0.05
"""Smaller differences are ignored, whatever their interval. The layout of code and data in memory changes times by
several per cent, and all launches of a run may share it (Mytkowicz et al., Producing Wrong Data Without Doing Anything
Obviously Wrong!, ASPLOS 2009)."""

LARGEST_EXPONENT = 300.0
"""Limit for half the width of a logarithmic interval. Above 709, numbers overflow."""

# The rules of stability are those of `pyperf check`.
FEWEST = 3
LARGEST_DEVIATION = 0.10
LEAST_VARIANCE = 1e-6
"""Of log seconds. Launches that differ by less than 0.1 % do so by chance."""
CLOCK_REACH_S = 1e-3
"""A single value below this mostly shows other activity of the machine."""
MANY = 100
CLOCK_REACH_OF_MANY_S = 1e-5
"""The median of MANY calls averages other activity out, as the loops of pyperf do. The cost of a call and of reading
the clock remains. It is up to 0.5 µs, that is, NOISE_FLOOR times this value."""


@dataclass(frozen=True)
class Estimate:
    """The median of the launches' medians in seconds. `low` and `high` are its 95 % interval, or None for one value.

    `unstable` says why the number is not reliable: "too few: ..." for an interval, "too short: ..." for the clock, or
    "noisy: ...". It is None for a reliable number.
    """

    median: float
    low: float | None
    high: float | None
    smallest: float
    largest: float
    count: int
    launches: int
    unstable: str | None

    @property
    def too_short(self) -> bool:
        """Whether the median is too short for the clock."""
        return self.median < _clock_reach(self.count, self.launches)


@dataclass(frozen=True)
class Ratio:
    """The ratio of the medians, b / a. `low` and `high` are its 99 % interval, or None if there are too few values.

    `unit` is the observation: "launches", or "rounds" if one side has a single launch. Repeats within a launch do not
    show how launches differ, so their interval is too narrow.
    """

    ratio: float
    low: float | None
    high: float | None
    unit: str

    def differs(self, floor: float = NOISE_FLOOR) -> bool:
        """Return whether the interval excludes 1 and the ratio differs from 1 by more than `floor`."""
        if self.low is None or self.high is None:
            return False
        return not self.low <= 1 <= self.high and max(self.ratio, 1 / self.ratio) > 1 + floor


@dataclass(frozen=True)
class Spread:
    """The usual variance of log seconds between launches, and the degrees of freedom of this estimate."""

    variance: float
    freedom: float


def estimate(values_by_launch: Launches) -> Estimate | None:
    """Return the median of a case over its launches and its 95 % bootstrap interval, or None without values.

    The bootstrap draws launches, and repeats within each of them. With 3 observations the interval is close to the
    smallest and the largest, and contains the true median in about 75 of 100 cases. Compare two cases by `ratio`.
    """
    launches = _known(values_by_launch)
    if not launches:
        return None
    values = np.concatenate(launches)
    low, high = _bootstrap(launches) if len(values) > 1 else (None, None)
    return Estimate(
        _median(launches),
        low,
        high,
        float(values.min()),
        float(values.max()),
        len(values),
        len(launches),
        _unstable(launches),
    )


def percentiles(values_by_launch: Launches) -> tuple[float, float, float] | None:
    """Return p50, p95 and p99 of all values in seconds, or None without values."""
    launches = _known(values_by_launch)
    if not launches:
        return None
    p50, p95, p99 = np.percentile(np.concatenate(launches), (50, 95, 99))
    return float(p50), float(p95), float(p99)


def ratio(a_by_launch: Launches, b_by_launch: Launches, general: Spread | None = None) -> Ratio | None:
    """Return the ratio of the medians, b / a, or None if a side has no values or a median of 0.

    The interval is Student's t with pooled variance on log seconds, because a bootstrap of two or three launches finds
    differences in pure noise. It uses the variance of a median, not of a mean. A few launches may be alike by
    chance. `general`, the spread of other cases, corrects this (the moderated t of Smyth, Linear Models and Empirical
    Bayes Methods, SAGMB 2004).
    """
    a, b = _known(a_by_launch), _known(b_by_launch)
    if not a or not b or _median(a) <= 0 or _median(b) <= 0:
        return None
    middle = _median(b) / _median(a)
    unit = "launches" if min(len(a), len(b)) > 1 else "rounds"
    sides = [_units(side) if unit == "launches" else np.concatenate(side) for side in (a, b)]
    if min(map(len, sides)) < 2 or min(side.min() for side in sides) <= 0:
        return Ratio(middle, None, None, unit)
    half = _half_width([np.log(side) for side in sides], general if unit == "launches" else None)
    half = min(half, LARGEST_EXPONENT)
    return Ratio(middle, middle * math.exp(-half), middle * math.exp(half), unit)


def spread(pairs: Sequence[tuple[Launches, Launches]]) -> Spread | None:
    """Return the usual spread of launches in many pairs of cases: Smyth's estimate of the prior.

    Return None with fewer than three cases that have two launches.
    """
    from scipy import optimize, special

    samples = []
    for pair in pairs:
        sides = [_units(known) for values in pair if len(known := _known(values)) > 1]
        if sides and min(side.min() for side in sides) > 0:
            samples.append(_pooled([np.log(side) for side in sides]))
    if len(samples) < 3:
        return None
    variances, freedoms = (np.array(column, dtype=float) for column in zip(*samples, strict=True))
    logs = np.log(np.maximum(variances, LEAST_VARIANCE)) - special.digamma(freedoms / 2) + np.log(freedoms / 2)
    beyond_chance = logs.var(ddof=1) - special.polygamma(1, freedoms / 2).mean()
    if beyond_chance <= special.polygamma(1, freedoms.sum() / 2):  # no more than chance
        return Spread(math.exp(logs.mean()), freedoms.sum())
    half = optimize.brentq(lambda x: special.polygamma(1, x) - beyond_chance, 1e-3, freedoms.sum())
    return Spread(math.exp(logs.mean() + special.digamma(half) - math.log(half)), 2 * half)


def _known(values_by_launch: Launches) -> list[np.ndarray]:
    return [np.asarray(values, dtype=float) for values in values_by_launch if len(values)]


def _units(launches: Sequence[np.ndarray]) -> np.ndarray:
    """Return the median of each launch."""
    return np.array([np.median(launch) for launch in launches])


def _median(launches: Sequence[np.ndarray]) -> float:
    return float(np.median(_units(launches)))


def _bootstrap(launches: Sequence[np.ndarray]) -> tuple[float, float]:
    from scipy import stats  # imported here because the supervisor must stay small

    random = np.random.default_rng(SEED)
    if len(launches) == 1:
        medians = np.median(random.choice(launches[0], (RESAMPLES, len(launches[0]))), axis=1)
        low, high = np.percentile(medians, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
        return float(low), float(high)
    drawn = np.array([np.median(random.choice(unit, (RESAMPLES, len(unit))), axis=1) for unit in launches])

    def median(chosen: np.ndarray, axis: int) -> np.ndarray:
        """Return the median over the chosen launches, each with its repeats resampled."""
        medians: np.ndarray = np.median(drawn[chosen, random.integers(RESAMPLES, size=chosen.shape)], axis=axis)
        return medians

    result = stats.bootstrap(
        (np.arange(len(launches)),),
        median,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=random,
    )
    low, high = result.confidence_interval
    return float(low), float(high)


def _half_width(logs: Sequence[np.ndarray], general: Spread | None) -> float:
    """Return half the width of the interval of a difference of two medians."""
    from scipy import stats

    variance, freedom = _pooled(logs)
    if general:
        variance = (freedom * variance + general.freedom * general.variance) / (freedom + general.freedom)
        freedom += general.freedom
    # The variance of a median is pi / 2 times that of a mean (Laplace). The median of two values is their mean.
    per_side = sum((math.pi / 2 if len(side) > 2 else 1.0) / len(side) for side in logs)
    return float(stats.t.ppf((1 + RATIO_LEVEL) / 2, freedom) * math.sqrt(variance * per_side))


def _pooled(sides: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the variance around the means of the sides, and its degrees of freedom."""
    freedom = sum(len(side) - 1 for side in sides)
    return sum(float(((side - side.mean()) ** 2).sum()) for side in sides) / freedom, float(freedom)


def _clock_reach(count: int, launches: int) -> float:
    return CLOCK_REACH_OF_MANY_S if count >= MANY * launches else CLOCK_REACH_S


def _unstable(launches: Sequence[np.ndarray]) -> str | None:
    values = np.concatenate(launches)
    if len(values) < FEWEST:
        return f"too few: {len(values)} value{'s' * (len(values) > 1)}, and an interval needs {FEWEST}"
    median, reach = _median(launches), _clock_reach(len(values), len(launches))
    if median < reach:
        return f"too short: {show_seconds(median)}, and one reading of the clock needs {show_seconds(reach)}"
    # The variation of many single calls is reported as percentiles. It does not make their median noisy.
    judged = _units(launches) if len(values) >= MANY * len(launches) else values
    deviation = judged.std(ddof=1) / judged.mean() if len(judged) > 1 else 0.0
    if deviation > LARGEST_DEVIATION:
        return f"noisy: deviation {deviation:.0%} is over {LARGEST_DEVIATION:.0%}".replace("%", " %")
    return None
