"""Intervals contain the true value as often as they claim, and every unreliable number says why."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from benchmarks.statistics import NOISE_FLOOR, estimate, percentiles, ratio, spread
from benchmarks.units import show_seconds

BETWEEN, WITHIN = 0.06, 0.03
"""Standard deviations of the simulated noise between launches and within a launch, as shares of the time."""


@pytest.fixture(autouse=True)
def no_warnings():
    """Fail a test if scipy or numpy warns of an invalid computation."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def launches(
    random: np.random.Generator, number: int, seconds: float = 1.0, between: float = BETWEEN, rounds: int = 3
) -> list[np.ndarray]:
    """Return simulated times of a case whose true median is `seconds`."""
    noise = random.normal(0, between, (number, 1)) + random.normal(0, WITHIN, (number, rounds))
    return list(seconds * np.exp(noise))


def test_the_median_is_the_median_of_the_launches_medians():
    found = estimate([(1.0, 1.0, 9.0), (2.0, 2.0, 2.0, 2.0, 2.0), ()])
    assert (found.median, found.smallest, found.largest) == (1.5, 1.0, 9.0)
    assert (found.count, found.launches) == (8, 2)


def test_no_values_have_no_estimate_and_one_value_has_no_interval():
    assert estimate([]) is estimate([()]) is percentiles([()]) is None
    one = estimate([(2.0,)])
    assert (one.median, one.low, one.high) == (2.0, None, None)


def test_identical_values_have_an_interval_of_no_width():
    found = estimate([(2.0, 2.0, 2.0), (2.0, 2.0, 2.0)])
    assert (found.low, found.high, found.unstable) == (2.0, 2.0, None)


def test_the_same_values_give_the_same_interval():
    values = launches(np.random.default_rng(1), 4)
    assert estimate(values) == estimate(values)


def test_the_interval_of_many_launches_contains_the_true_median_as_often_as_it_claims():
    random = np.random.default_rng(2)
    found = [estimate(launches(random, 10)) for _ in range(200)]
    assert 0.90 <= np.mean([one.low <= 1 <= one.high for one in found]) <= 0.99


def test_repeats_of_one_launch_do_not_count_as_launches():
    """With equally many values, three launches give a wider interval, because launches differ more than repeats."""
    random = np.random.default_rng(3)
    many, one = launches(random, 3, rounds=30), launches(random, 1, rounds=90)
    wide, narrow = estimate(many), estimate(one)
    assert math.log(wide.high / wide.low) > 2 * math.log(narrow.high / narrow.low)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ([(1.0,)], "too few: 1 value, and an interval needs 3"),
        ([(1.0,), (1.0,)], "too few: 2 values, and an interval needs 3"),
        ([(1.0,), (1.0,), (1.0,)], None),
        ([(2e-5, 2e-5, 2e-5)], "too short: 20 µs, and one reading of the clock needs 1 ms"),
        ([(2e-5,) * 200], None),
        ([(5e-7,) * 200] * 2, "too short: 500 ns, and one reading of the clock needs 10 µs"),
        ([(1.0, 1.0, 1.3)], "noisy: deviation 16 % is over 10 %"),
        ([(1.0, 1.0, 1.1)], None),
        ([(1.0,) * 3, (1.3,) * 3], "noisy: deviation 14 % is over 10 %"),
    ],
)
def test_an_unreliable_number_names_its_rule(values, rule):
    assert estimate(values).unstable == rule


def test_many_calls_are_noisy_only_if_their_launches_differ():
    calls = (1e-3,) * 150 + (1e-2,) * 50
    assert estimate([calls]).unstable is None
    assert estimate([calls, calls]).unstable is None
    assert estimate([calls, [2 * call for call in calls]]).unstable.startswith("noisy")


def test_percentiles_are_over_all_calls():
    assert percentiles([range(0, 50), range(50, 101)]) == (50.0, 95.0, 99.0)


def runs_of_many_cases(random, number: int, slower: float = 1.0):
    """Return two runs of 30 cases with `number` launches each. The noise differs between cases."""
    noise = 0.03 * np.exp(random.normal(0.0, 0.5, 30))
    return [(launches(random, number, 1.0, n), launches(random, number, slower, n)) for n in noise]


@pytest.mark.parametrize("number", [2, 3, 5])
def test_two_runs_of_the_same_code_differ_in_at_most_2_percent_of_the_cases(number):
    random = np.random.default_rng(number)
    found = []
    for _ in range(50):
        pairs = runs_of_many_cases(random, number)
        general = spread(pairs)
        found += [ratio(a, b, general) for a, b in pairs]
    assert np.mean([one.low <= 1 <= one.high for one in found]) >= 0.98
    assert np.mean([one.differs() for one in found]) <= 0.02


@pytest.mark.parametrize("number", [2, 3])
def test_a_real_difference_is_found(number):
    random = np.random.default_rng(number)
    pairs = [pair for _ in range(10) for pair in runs_of_many_cases(random, number, 1.3)]
    general = spread(pairs)
    found = [ratio(a, b, general) for a, b in pairs]
    assert np.mean([one.differs() and one.ratio > 1 for one in found]) >= 0.9


def test_the_spread_of_launches_is_estimated_from_many_cases():
    random = np.random.default_rng(7)
    alike = [(np.exp(random.normal(0, 0.05, (4, 1))), np.exp(random.normal(0, 0.05, (4, 1)))) for _ in range(300)]
    found = spread(alike)
    assert found.variance == pytest.approx(0.05**2, rel=0.1) and found.freedom > 50
    assert spread(alike[:2]) is None
    # Scaled inverse chi-squared with 4 degrees of freedom: the prior that Smyth's estimate supposes.
    noise = 0.05 * np.sqrt(4 / random.chisquare(4, 3000))
    pairs = [(np.exp(random.normal(0, n, (3, 1))), np.exp(random.normal(0, n, (3, 1)))) for n in noise]
    found = spread(pairs)
    assert found.freedom == pytest.approx(4, rel=0.25) and found.variance == pytest.approx(0.05**2, rel=0.15)


def test_the_ratio_of_a_to_b_is_the_inverse_of_b_to_a():
    random = np.random.default_rng(4)
    a, b = launches(random, 3), launches(random, 2, 1.2)
    there, back = ratio(a, b), ratio(b, a)
    assert there.ratio == pytest.approx(1 / back.ratio) and there.low == pytest.approx(1 / back.high)
    assert there.low < there.ratio < there.high and there.unit == "launches"


def test_a_small_difference_is_ignored_however_certain():
    sure = ratio([(1.0,) * 3] * 3, [(1.04,) * 3] * 3)
    assert sure.low == sure.high == sure.ratio > 1 and sure.ratio < 1 + NOISE_FLOOR
    assert not sure.differs() and sure.differs(0.03)


def test_a_side_with_a_single_launch_is_compared_by_its_repeats():
    found = ratio([(1.0, 1.01, 1.02)], [(1.5, 1.51), (1.49, 1.5)])
    assert found.unit == "rounds" and found.differs()


def test_a_single_value_shows_no_difference_and_a_zero_time_has_no_ratio():
    found = ratio([(1.0,)], [(9.0, 9.0)])
    assert (found.ratio, found.low, found.high) == (9.0, None, None) and not found.differs()
    assert ratio([(0.0, 0.0)], [(1.0,)]) is ratio([], [(1.0,)]) is None
    assert ratio([(0.0, 1.0, 1.0)], [(1.0, 1.0)]).low is None


def test_seconds_are_shown_with_units():
    assert [show_seconds(value) for value in (1.234, 0.045, 1.7e-5, 0.0)] == ["1.2 s", "45 ms", "17 µs", "0 s"]
