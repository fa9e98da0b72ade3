"""The rule for further launches, in a simulation: it finds the true order, and spends nothing on clear cases."""

from __future__ import annotations

import math
import random
from statistics import median

import pytest

from adapters import registry
from benchmarks.cases import Case
from benchmarks.results.records import Phase, Quality, Record
from benchmarks.scheduling.launches import MOST_DISTURBED_LAUNCHES, MOST_LAUNCHES, Measured, measured, next_case

FRAMEWORKS = [name for name in registry.FRAMEWORKS if not name.endswith("-gpu") and name != "baseline"]
TRIES = 200
STEPS = (1.0, 1.0, 1.15, 1.3, 2.0, 4.0, 8.0)
"""Ratios of neighbours in a simulated ranking: ties, close cases, clear winners."""
DEVIATIONS = (0.03, 0.03, 0.05, 0.1)
"""Simulated deviations of log seconds between the launches of a case."""


class Machine:
    """Simulated times: three sizes of two models in five frameworks."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.truth: dict[Case, float] = {}
        self.deviation: dict[Case, float] = {}
        for model in ("logistic", "mlp"):
            for rows in (10_000, 100_000, 1_000_000):
                seconds = self.random.uniform(0.1, 1.0)
                for framework in self.random.sample(FRAMEWORKS, len(FRAMEWORKS)):
                    case = Case(framework, model, rows)
                    self.truth[case] = seconds
                    self.deviation[case] = self.random.choice(DEVIATIONS)
                    seconds *= self.random.choice(STEPS)

    def launch(self, case: Case) -> float:
        return self.truth[case] * math.exp(self.random.gauss(0, self.deviation[case]))

    def is_right(self, launches: dict[Case, list[float]]) -> bool:
        """Return whether the medians have the simulated order. Ties may have any order."""
        return all(
            median(launches[a]) < median(launches[b])
            for a in launches
            for b in launches
            if a.task == b.task and self.truth[a] * 1.001 < self.truth[b]
        )


def adaptive(machine: Machine, total: int) -> dict[Case, list[float]]:
    launches = {case: [machine.launch(case)] for case in machine.truth}
    while sum(map(len, launches.values())) < total:
        known = {
            case: Measured(tuple(seconds), 3 * len(seconds), len(seconds), 1 + machine.truth[case])
            for case, seconds in launches.items()
        }
        if (case := next_case(known, math.inf)) is None:
            break
        launches[case].append(machine.launch(case))
    return launches


def test_the_rule_finds_the_true_order_more_often_than_two_launches_of_every_case() -> None:
    right = {"adaptive": 0, "two each": 0}
    for seed in range(TRIES):
        machine = Machine(seed)
        two = {case: [machine.launch(case), machine.launch(case)] for case in machine.truth}
        right["two each"] += machine.is_right(two)
        right["adaptive"] += machine.is_right(adaptive(machine, 2 * len(machine.truth)))
    print(f"right order in {TRIES} tries: {right}")
    assert right["adaptive"] >= 0.95 * TRIES
    assert right["adaptive"] > right["two each"]


def one(*launches: float, values: int | None = None, wall: float = 5.0, flagged: bool = False) -> Measured:
    return Measured(launches, 3 * len(launches) if values is None else values, len(launches), wall, flagged)


FAST, SLOW = Case("pytorch-cpu", "mlp", 10_000), Case("spark", "mlp", 10_000)


def test_clear_cases_get_no_further_launch() -> None:
    assert next_case({FAST: one(0.1), SLOW: one(0.4)}, math.inf) is None


def test_a_close_pair_gets_launches_until_it_is_clear() -> None:
    assert next_case({FAST: one(0.10), SLOW: one(0.11)}, math.inf) in (FAST, SLOW)
    clear = {FAST: one(0.10, 0.101, 0.099, 0.1), SLOW: one(0.115, 0.114, 0.116, 0.115)}
    assert next_case(clear, math.inf) is None


def test_a_known_tie_gets_no_further_launch() -> None:
    tied = one(*(0.1 + 0.0001 * number for number in range(9)))
    assert next_case({FAST: tied, SLOW: tied}, math.inf) is None


def test_of_two_open_cases_the_shorter_launch_comes_first() -> None:
    assert next_case({FAST: one(0.1, wall=9.0), SLOW: one(0.1, wall=3.0)}, math.inf) == SLOW


def test_a_disturbed_case_comes_before_a_doubtful_one() -> None:
    lonely = Case("h2o", "logistic", 150)
    known = {FAST: one(0.1), SLOW: one(0.1), lonely: one(3.0, flagged=True, wall=30.0)}
    assert next_case(known, math.inf) == lonely


def test_single_values_and_noisy_cases_get_launches_last() -> None:
    lonely, noisy = Case("h2o", "logistic", 150), Case("h2o", "mlp", 150)
    assert next_case({lonely: one(3.0, values=1)}, math.inf) == lonely
    known = {lonely: one(3.0, values=1, wall=1.0), noisy: one(1.0, 1.5)}
    assert next_case(known, math.inf) == noisy
    assert next_case(known | {FAST: one(0.1), SLOW: one(0.1)}, math.inf) in (FAST, SLOW)


def test_no_launch_starts_that_does_not_fit_into_the_time_left() -> None:
    known = {FAST: one(0.1, wall=9.0), SLOW: one(0.1, wall=30.0)}
    assert next_case(known, 10.0) == FAST
    assert next_case(known, 5.0) is None


def test_a_case_gets_a_limited_number_of_launches() -> None:
    spread = one(*(0.1 * 1.5 ** (number % 2) for number in range(MOST_LAUNCHES)))
    assert next_case({FAST: spread}, math.inf) is None


@pytest.mark.parametrize("outcome", ["timeout", "failed"])
def test_only_cases_that_count_get_further_launches(outcome: str) -> None:
    train = {"train": Phase((1.0, 1.1, 0.9))}
    missed = Quality(1000, 0.9, 0.3, 0.97, False, failed_conditions=("accuracy",))
    failed = Record("a run", SLOW, outcome, reason="so it was")  # type: ignore[arg-type]
    good = Record("a run", FAST, "ok", phases=train, wall_seconds=4.0)
    below = Record("a run", Case("h2o", "mlp", 10_000), "ok", phases=train, quality=missed)
    assert measured([failed, good, below]) == {FAST: Measured((1.0,), 3, 1, 4.0)}


def test_a_case_that_is_always_disturbed_gets_a_limited_number_of_launches() -> None:
    launches = (0.1,) * MOST_DISTURBED_LAUNCHES
    assert next_case({FAST: one(*launches[1:], flagged=True)}, math.inf) == FAST
    assert next_case({FAST: one(*launches, flagged=True), SLOW: one(*launches, flagged=True)}, math.inf) is None


def test_a_record_without_training_times_gets_no_further_launch() -> None:
    for phases in ({}, {"train": Phase(())}, {"train": Phase((0.0,))}):
        assert measured([Record("a run", FAST, "ok", phases=phases)]) == {}


def test_flagged_launches_count_only_if_there_are_no_others() -> None:
    quiet, disturbed = Phase((1.0,), others_share=0.01), Phase((9.0,), others_share=0.4)
    records = [
        Record("a run", FAST, "ok", number, phases={"train": phase}, wall_seconds=4.0)
        for number, phase in enumerate((quiet, disturbed), start=1)
    ]
    assert measured(records)[FAST] == Measured((1.0,), 1, 2, 4.0)
    assert measured(records[1:])[FAST] == Measured((9.0,), 1, 1, 4.0, flagged=True)
