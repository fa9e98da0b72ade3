"""From raw values to numbers: medians with their intervals, ratios with theirs, and whether they can be trusted.

The values of a case come launch by launch. Rounds of one launch share its memory layout, its compiled code and the
state of the machine, so they are more alike than launches are: the launch is what counts as one observation where
there are several (Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import numpy as np

Launches = Sequence[Sequence[float]]

LEVEL = 0.95
RATIO_LEVEL = 0.99
"""Of the interval of a ratio: as strict as asking that two 95 % intervals do not overlap."""

RESAMPLES = 1_000
SEED = 0
"""Of the bootstrap: the same records make the same report."""

NOISE_FLOOR = 0.05
"""A smaller difference is called none, whatever its interval says: where code and data come to lie in memory moves
times by some per cent, and all launches of a run may share that (Mytkowicz and others, Producing Wrong Data Without
Doing Anything Obviously Wrong!, ASPLOS 2009)."""

LARGEST_EXPONENT = 300.0
"""Of an interval, which says nothing long before: beyond 709, numbers overflow."""

# The rules of stability are those of pyperf's check.
FEWEST = 3
LARGEST_DEVIATION = 0.10
LEAST_VARIANCE = 1e-6
"""Of logarithms: launches that differ by less than 0.1 % do so by luck."""
CLOCK_REACH_S = 1e-3
"""Below it, a single reading of the clock is mostly what else the machine did just then."""
MANY = 100
CLOCK_REACH_OF_MANY_S = 1e-5
"""The median of MANY calls averages that out, as pyperf's loops do. What stays is the cost of a call and of reading the
clock, up to 0.5 µs, which is NOISE_FLOOR of this."""


@dataclass(frozen=True)
class Estimate:
    """The median of the launches' medians with its 95 % interval, which is None where there is one value only.

    `unstable` says why the number is to be taken with care, its first word before a colon: "too few: ..." has not the
    values for an interval, "too short: ..." is under the clock's reach, "noisy: ..." varies much.
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
        """Whether the median is under the clock's reach."""
        return self.median < _clock_reach(self.count, self.launches)


@dataclass(frozen=True)
class Ratio:
    """How many times the first median the second is, with the 99 % interval, which is None where it has no ground.

    `unit` is what counted as one observation: "launches", or "rounds" where one side has a single launch. Rounds know
    nothing of how launches differ, so their interval is too narrow for that.
    """

    ratio: float
    low: float | None
    high: float | None
    unit: str

    def differs(self, floor: float = NOISE_FLOOR) -> bool:
        """Whether the interval excludes 1, and the ratio is farther from it than `floor`, up or down."""
        if self.low is None or self.high is None:
            return False
        return not self.low <= 1 <= self.high and max(self.ratio, 1 / self.ratio) > 1 + floor


@dataclass(frozen=True)
class Spread:
    """How far launches lie apart in general: the variance of their logarithms, and for how many degrees of freedom of
    an own sample that knowledge stands."""

    variance: float
    freedom: float


def estimate(values_by_launch: Launches) -> Estimate | None:
    """What all launches of a case say about one number; None if they have no values.

    The interval is a percentile bootstrap of launches, and of the rounds within each; of the rounds where there is one
    launch. From 3 observations it is little more than the smallest and the largest, and holds the true median in some
    75 of 100 cases only; to tell two numbers apart, ask for their `ratio`.
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
    """p50, p95 and p99 of all values; None if there are none."""
    launches = _known(values_by_launch)
    if not launches:
        return None
    p50, p95, p99 = np.percentile(np.concatenate(launches), (50, 95, 99))
    return float(p50), float(p95), float(p99)


def ratio(a_by_launch: Launches, b_by_launch: Launches, general: Spread | None = None) -> Ratio | None:
    """The median of B over that of A; None if one has no values or took no time at all.

    The interval is Student's, with pooled variance, on the logarithms, where a ratio is a difference: a bootstrap of
    two or three launches would find differences in pure noise. It stands around the ratio of the medians, so the
    variance of a median takes the place of that of a mean. So few launches may be alike by luck, which `general`, what
    the launches of other cases do, makes up for (the moderated t of Smyth, Linear Models and Empirical Bayes Methods,
    SAGMB 2004).
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
    """What the launches of many cases, each on two sides, say of those of any: Smyth's estimate of their prior.

    None from fewer than three cases with two launches.
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
    if beyond_chance <= special.polygamma(1, freedoms.sum() / 2):  # they vary as equal ones do by chance
        return Spread(math.exp(logs.mean()), freedoms.sum())
    half = optimize.brentq(lambda x: special.polygamma(1, x) - beyond_chance, 1e-3, freedoms.sum())
    return Spread(math.exp(logs.mean() + special.digamma(half) - math.log(half)), 2 * half)


def show_seconds(value: float, digits: int = 2) -> str:
    """Seconds for people: 1.2 s, 45 ms, 17 µs."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 0.9995 or not value:
            return f"{significant(value * factor, digits)} {unit}"
    return f"{significant(value * 1e9, digits)} ns"


def significant(value: float, digits: int) -> str:
    """A number with so many significant digits, but never fewer than those before the point."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(value)))
    # A half is rounded up, as people and browsers do.
    text = f"{Decimal(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP):,}"
    return text.rstrip("0").rstrip(".") if decimals else text


def _known(values_by_launch: Launches) -> list[np.ndarray]:
    return [np.asarray(values, dtype=float) for values in values_by_launch if len(values)]


def _units(launches: Sequence[np.ndarray]) -> np.ndarray:
    """The median of each launch."""
    return np.array([np.median(launch) for launch in launches])


def _median(launches: Sequence[np.ndarray]) -> float:
    return float(np.median(_units(launches)))


def _bootstrap(launches: Sequence[np.ndarray]) -> tuple[float, float]:
    from scipy import stats  # here, since the supervisor's process is to stay small

    random = np.random.default_rng(SEED)
    if len(launches) == 1:
        medians = np.median(random.choice(launches[0], (RESAMPLES, len(launches[0]))), axis=1)
        low, high = np.percentile(medians, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
        return float(low), float(high)
    drawn = np.array([np.median(random.choice(unit, (RESAMPLES, len(unit))), axis=1) for unit in launches])

    def median(chosen: np.ndarray, axis: int) -> np.ndarray:
        """The median over the chosen launches, each with its rounds drawn anew."""
        medians: np.ndarray = np.median(drawn[chosen, random.integers(RESAMPLES, size=chosen.shape)], axis=axis)
        return medians

    found = stats.bootstrap(
        (np.arange(len(launches)),),
        median,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=random,
    )
    low, high = found.confidence_interval
    return float(low), float(high)


def _half_width(logs: Sequence[np.ndarray], general: Spread | None) -> float:
    """Half of the interval of the difference of two medians."""
    from scipy import stats

    variance, freedom = _pooled(logs)
    if general:
        variance = (freedom * variance + general.freedom * general.variance) / (freedom + general.freedom)
        freedom += general.freedom
    # A median of many varies by pi / 2 more than their mean does (Laplace); that of two is their mean.
    per_side = sum((math.pi / 2 if len(side) > 2 else 1.0) / len(side) for side in logs)
    return float(stats.t.ppf((1 + RATIO_LEVEL) / 2, freedom) * math.sqrt(variance * per_side))


def _pooled(sides: Sequence[np.ndarray]) -> tuple[float, float]:
    """The variance around the means of the sides, and its degrees of freedom."""
    freedom = sum(len(side) - 1 for side in sides)
    return sum(float(((side - side.mean()) ** 2).sum()) for side in sides) / freedom, float(freedom)


def _clock_reach(count: int, launches: int) -> float:
    return CLOCK_REACH_OF_MANY_S if count >= MANY * launches else CLOCK_REACH_S


def _unstable(launches: Sequence[np.ndarray]) -> str | None:
    values = np.concatenate(launches)
    if len(values) < FEWEST:
        return f"too few: {len(values)} value{'s' * (len(values) > 1)}, and an interval wants {FEWEST}"
    median, reach = _median(launches), _clock_reach(len(values), len(launches))
    if median < reach:
        return f"too short: {show_seconds(median)} is under the clock's reach of {show_seconds(reach)}"
    # How much single calls of many vary is a result of its own, told in percentiles; their median is not noisy for it.
    judged = _units(launches) if len(values) >= MANY * len(launches) else values
    deviation = judged.std(ddof=1) / judged.mean() if len(judged) > 1 else 0.0
    if deviation > LARGEST_DEVIATION:
        return f"noisy: deviation {deviation:.0%} is over {LARGEST_DEVIATION:.0%}".replace("%", " %")
    return None
