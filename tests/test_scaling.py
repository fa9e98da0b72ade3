"""A scaling fit recovers known parameters, and there is no fit if the costs do not determine one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from reports import scaling
from reports.scaling import Law, crossing, fit

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
TRIES = 200


def costs(startup, c, k, noise, tries, sizes=SIZES, launches=3):
    """Return the costs of launches that follow startup + c · rows^k with log-normal noise, by rows."""
    random = np.random.default_rng(tries)
    return {rows: list((startup + c * rows**k) * np.exp(random.normal(0, noise, launches))) for rows in sizes}


@pytest.mark.parametrize(
    ("startup", "c", "k", "noise", "sizes", "launches"),
    [
        (0.05, 3e-7, 1.0, 0.05, SIZES, 3),
        (0.5, 1e-6, 1.0, 0.10, SIZES, 3),
        (0.01, 1e-5, 0.8, 0.10, SIZES, 2),
        (0.05, 3e-6, 1.1, 0.05, SIZES[:4], 3),
    ],
)
def test_the_intervals_of_known_parameters_contain_the_truth_in_90_to_99_percent_of_the_fits(
    startup, c, k, noise, sizes, launches
):
    held = {"k": 0, "c": 0, "one more": 0}
    beyond = 3 * sizes[-1]
    for tries in range(TRIES):
        fitted = fit(costs(startup, c, k, noise, tries, sizes, launches))
        assert isinstance(fitted, Law), fitted
        held["k"] += fitted.exponent.low <= k <= fitted.exponent.high
        low, high = np.percentile(fitted.samples[:, 1], (2.5, 97.5))
        held["c"] += low <= c <= high
        more = (startup + c * beyond**k) * np.exp(np.random.default_rng([tries, 1]).normal(0, noise))
        predicted = fitted.at(beyond)
        assert predicted
        held["one more"] += predicted.low <= more <= predicted.high
    for name, times in held.items():
        assert 0.90 <= times / TRIES <= 0.99, (name, times)


@pytest.mark.parametrize(
    ("one", "other"), [((0.05, 3e-6, 1.0), (2.0, 1e-6, 1.0)), ((0.01, 1e-5, 0.8), (0.3, 1e-6, 0.9))]
)
def test_the_interval_of_a_known_crossing_contains_the_truth_in_90_to_99_percent_of_the_fits(one, other):
    truth = optimize.brentq(lambda n: one[0] + one[1] * n ** one[2] - other[0] - other[1] * n ** other[2], 1e3, 1e8)
    held = 0
    for tries in range(TRIES):
        fits = [fit(costs(*parameters, 0.05, 2 * tries + side)) for side, parameters in enumerate((one, other))]
        assert isinstance(fits[0], Law) and isinstance(fits[1], Law)
        rows = crossing(fits[0], fits[1])
        assert rows
        held += rows.low <= truth <= rows.high
    assert 0.90 <= held / TRIES <= 0.99


def test_fits_that_keep_their_order_do_not_cross():
    slow, fast = fit(costs(1.0, 1e-5, 1.0, 0.02, 1)), fit(costs(0.1, 1e-6, 1.0, 0.02, 2))
    assert isinstance(slow, Law) and isinstance(fast, Law)
    assert crossing(slow, fast) is None


@pytest.mark.parametrize("level", [0.001, 1.0, 100.0])
def test_constant_times_have_no_fit(level):
    for tries in range(50):
        assert "does not grow enough" in str(fit(costs(level, 0.0, 1.0, 0.05, tries)))


def test_growth_at_the_largest_size_only_has_no_fit():
    assert "does not grow enough" in str(fit(costs(5.0, 2e-7, 1.0, 0.01, 0)))


@pytest.mark.parametrize("sizes", [(), SIZES[:1], SIZES[:3]])
def test_fewer_than_four_sizes_have_no_fit(sizes):
    assert fit(costs(0.1, 1e-6, 1.0, 0.05, 0, sizes)) == f"too few sizes: {len(sizes)}, and a fit wants 4"


def test_costs_that_follow_no_power_of_the_rows_have_a_poor_fit():
    assert str(fit({1_000: [1.0], 10_000: [9.0], 100_000: [1.0], 1_000_000: [9.0]})).startswith("a poor fit")


def test_a_fit_is_valid_from_the_smallest_size_to_ten_times_the_largest():
    fitted = fit(costs(0.05, 1e-6, 1.0, 0.02, 0))
    assert isinstance(fitted, Law)
    largest = 10 * SIZES[-1]
    assert fitted.at(999) is None and fitted.at(1_000) and fitted.at(largest) and fitted.at(largest + 1) is None


def test_the_largest_size_within_a_budget_is_where_the_fit_reaches_it():
    fitted = fit(costs(0.05, 1e-6, 1.0, 0.02, 0))
    assert isinstance(fitted, Law)
    rows = fitted.largest_within(30.0)
    assert rows and rows.low < rows.value < rows.high
    assert fitted.startup + fitted.c * rows.value**fitted.k == pytest.approx(30.0)
    assert rows.value == pytest.approx(29.95e6, rel=0.1)
    assert fitted.largest_within(1e6).value == math.inf
    assert fitted.largest_within(0.01) is None


def test_the_same_costs_have_the_same_fit():
    first, second = (fit(costs(0.05, 1e-6, 1.0, 0.05, 7)) for _ in range(2))
    assert isinstance(first, Law) and isinstance(second, Law)
    assert np.array_equal(first.samples, second.samples) and first.samples.shape == (scaling.RESAMPLES, 4)
