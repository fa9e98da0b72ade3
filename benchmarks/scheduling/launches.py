"""The rule for further launches: which case gets the next one, so that the time budget is spent where it matters.

Every case gets one launch. Further launches go to cases whose result is not clear, in this order:

1. flagged: other programs disturbed every launch so far
2. doubtful: the order of the case and a neighbour in the ranking is not clear
3. noisy: its launches differ much
4. single: it has fewer than three values

Within a group, the case with the fewest launches comes first, then the one whose launch is the shortest. A case in
none of these groups gets no further launch, and a tied pair is not doubtful.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, median

from benchmarks.cases import Case
from benchmarks.results.records import Record, counted
from benchmarks.statistics import FEWEST, LARGEST_DEVIATION, NOISE_FLOOR

MOST_LAUNCHES = 10
"""Per case. Otherwise, nearly equal cases would use up the budget."""

MOST_DISTURBED_LAUNCHES = 4
"""Per case. On a machine that is always busy, more launches do not help."""

CLEAR = 0.01
"""Two cases are in a clear order if the probability of the opposite order is smaller."""

TIED_LEVEL = 0.95
"""Two cases are tied if an interval of this level around their ratio lies within the noise floor."""

USUAL_DEVIATION = 0.05
USUAL_LAUNCHES = 4
"""The prior for the deviation between launches has the weight of this many launches."""


@dataclass(frozen=True)
class Measured:
    """The measurements of a case: the median seconds of each launch, how many values they have, and their cost.

    `launches` has the undisturbed launches. If every launch was disturbed, `flagged` is true and `launches` has all of
    them. `count` is the number of all launches, and `wall_seconds` the time that one takes.
    """

    launches: tuple[float, ...]
    values: int
    count: int
    wall_seconds: float
    flagged: bool = False


def measured(records: Iterable[Record]) -> dict[Case, Measured]:
    """Return the measurements of each case whose launches all succeeded and reached their target."""
    by_case: dict[Case, list[Record]] = {}
    for record in records:
        by_case.setdefault(record.case, []).append(record)
    known = {}
    for case, launches in by_case.items():
        if any(record.outcome != "ok" or (record.quality and not record.quality.reached_target) for record in launches):
            continue
        trains = [record.phases["train"] for record in launches if "train" in record.phases]
        trains = [phase for phase in trains if phase.seconds and min(phase.seconds) > 0]
        if not trains:
            continue
        usable = counted(trains)
        known[case] = Measured(
            tuple(median(phase.seconds) for phase in usable),
            sum(len(phase.seconds) for phase in usable),
            len(launches),
            median(record.wall_seconds or 0.0 for record in launches),
            flagged=all(phase.flagged for phase in trains),
        )
    return known


def next_case(known: Mapping[Case, Measured], seconds_left: float) -> Case | None:
    """Return the case that gets the next launch, or None if all results are clear or no launch fits."""
    doubtful = _doubtful(known)
    urgency: dict[Case, tuple[int, int, float]] = {}
    for case, state in known.items():
        if state.count >= MOST_LAUNCHES or state.wall_seconds > seconds_left:
            continue
        if state.flagged:
            if state.count >= MOST_DISTURBED_LAUNCHES:
                continue
            group = 1
        elif case in doubtful:
            group = 2
        elif _deviation(state.launches) > LARGEST_DEVIATION:
            group = 3
        elif state.values < FEWEST:
            group = 4
        else:
            continue
        urgency[case] = group, state.count, state.wall_seconds
    return min(urgency, key=lambda case: urgency[case], default=None)


def _doubtful(known: Mapping[Case, Measured]) -> set[Case]:
    """Return the cases whose order with a neighbour in their ranking is not clear."""
    usual = _usual_variance([state.launches for state in known.values()])
    rankings: dict[tuple[object, ...], list[Case]] = {}
    for case in sorted(known, key=lambda case: median(known[case].launches)):
        rankings.setdefault(case.task, []).append(case)
    doubtful: set[Case] = set()
    for ranking in rankings.values():
        for a, b in pairwise(ranking):
            if _is_open(known[a].launches, known[b].launches, usual):
                doubtful |= {a, b}
    return doubtful


def _is_open(a: Sequence[float], b: Sequence[float], usual: float) -> bool:
    """Return whether two cases are neither in a clear order nor tied, by a normal approximation of log seconds."""
    difference = math.log(median(b) / median(a))
    error = math.sqrt(_variance(a, usual) / len(a) + _variance(b, usual) / len(b))
    if NormalDist().cdf(-difference / error) < CLEAR:
        return False
    half = NormalDist().inv_cdf((1 + TIED_LEVEL) / 2) * error
    return difference + half > math.log(1 + NOISE_FLOOR)


def _usual_variance(launches: Iterable[Sequence[float]]) -> float:
    """Return the variance of log seconds between launches, pooled over all cases."""
    squares, freedom = USUAL_LAUNCHES * USUAL_DEVIATION**2, USUAL_LAUNCHES
    for values in launches:
        squares += _squares(values)
        freedom += len(values) - 1
    return squares / freedom


def _variance(values: Sequence[float], usual: float) -> float:
    """Return the variance of one case, moderated by the usual one, because few launches may agree by chance."""
    return (USUAL_LAUNCHES * usual + _squares(values)) / (USUAL_LAUNCHES + len(values) - 1)


def _squares(values: Sequence[float]) -> float:
    logs = [math.log(value) for value in values]
    return sum((value - fmean(logs)) ** 2 for value in logs)


def _deviation(values: Sequence[float]) -> float:
    return math.sqrt(_squares(values) / (len(values) - 1)) if len(values) > 1 else 0.0
