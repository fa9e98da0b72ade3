"""A comparison of two runs reports real differences, ignores noise, and skips cases that are not comparable."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console

import commandline
from benchmarks.comparison import compare
from benchmarks.comparison.compare import FASTER, ONLY_A, ONLY_B, OTHER, SAME, SLOWER, UNLIKE
from benchmarks.results import runs
from benchmarks.results.records import Case, Phase, Quality, Record
from errors import BadInput
from tests.factories import contended, make_run

ENVIRONMENT = {
    "machine": {"processor": "Some CPU", "usable_cores": 2, "memory_bytes": 24 * 2**30, "load_average": 0.1},
    "settings": {"threads": 2, "seed": 0, "rounds": 3, "time_limit_s": 600.0, "launches": 3},
    "frameworks": {"spark": {"version": "4.3.0"}, "h2o": {"version": "3.46"}, "scikit-learn": {"version": "1.9"}},
    "java": "17.0.15",
    "git": {"commit": "aaaa", "dirty": False},
}
FRAMEWORKS = ("scikit-learn", "spark", "h2o")
GOOD = Quality(1000, 0.98, 0.05, 0.97, True)


def case(framework="scikit-learn", rows=1000, threads=2, seed=0) -> Case:
    return Case(framework, "mlp", rows, "tuned", threads, seed)


def launch(number: int, of: Case, seconds=(1.0, 1.01, 0.99), probe=0.04, **more) -> Record:
    parts = {"phases": {"train": Phase(tuple(seconds))}, "quality": GOOD, **more}
    return Record("made", of, more.get("outcome", "ok"), number, probe_seconds=(probe,) * 5,
                  **{name: value for name, value in parts.items() if name != "outcome"})  # fmt: skip


def launches(of: Case, seconds=1.0, probe=0.04, **more) -> list[Record]:
    """Return three launches whose times are within 1 % of `seconds`."""
    return [
        launch(number + 1, of, (seconds * near, seconds * 1.003 * near), probe, **more)
        for number, near in enumerate((0.995, 1.0, 1.005))
    ]


@pytest.fixture
def results(tmp_path: Path):
    """Return a function that compares two lists of records and returns the result and the reason of each case."""

    def compared(a, b, environment_b=ENVIRONMENT, environment_a=ENVIRONMENT):
        folders = make_run(tmp_path / "A", a, environment_a), make_run(tmp_path / "B", b, environment_b)
        return {one.case: (one.result, one.reason) for one in compare.compare(*folders, "train").cases}

    return compared


@pytest.fixture
def exit_code(tmp_path: Path):
    """Return a function that runs the command on two lists of records and returns its exit code and its output."""

    def compared(a, b, fail_on_slower=None, environment_b=ENVIRONMENT, names="AB"):
        folders = make_run(tmp_path / names[0], a, ENVIRONMENT), make_run(tmp_path / names[1], b, environment_b)
        console = Console(width=200, record=True, quiet=False, file=(tmp_path / "said").open("w"))
        return compare.command(*folders, "train", fail_on_slower, console), console.export_text()

    return compared


def test_slower_faster_and_equal_cases_are_distinguished(results):
    seconds = {"scikit-learn": 1.3, "spark": 0.7, "h2o": 1.03}
    outcomes = results(
        [one for name in FRAMEWORKS for one in launches(case(name))],
        [one for name in FRAMEWORKS for one in launches(case(name), seconds[name])],
    )
    assert [outcomes[case(name)] for name in FRAMEWORKS] == [(SLOWER, ""), (FASTER, ""), (SAME, "")]


def test_noise_is_rarely_reported_as_a_difference(tmp_path):
    """In 200 cases of two launches from the same distribution, about ten intervals exclude 1 by chance."""
    random = np.random.default_rng(5)

    def noise() -> list[Record]:
        return [
            launch(number, case(rows=rows), np.exp(random.normal(0, 0.06) + random.normal(0, 0.02, 3)).tolist())
            for rows in range(1, 201)
            for number in (1, 2)
        ]

    outcomes = compare.compare(
        make_run(tmp_path / "A", noise(), ENVIRONMENT), make_run(tmp_path / "B", noise(), ENVIRONMENT), "train"
    )
    counts = Counter(one.result for one in outcomes.cases)
    assert counts[SAME] + counts[SLOWER] + counts[FASTER] == 200 and counts[SAME] >= 186


def test_a_changed_version_affects_only_the_cases_of_its_framework(results):
    frameworks = {**ENVIRONMENT["frameworks"], "spark": {"version": "4.4.0"}}
    runs_ = [[one for name in FRAMEWORKS for one in launches(case(name))] for _ in "AB"]
    outcomes = results(*runs_, {**ENVIRONMENT, "frameworks": frameworks})
    assert outcomes[case("spark")] == (OTHER, "spark was 4.3.0 and is 4.4.0")
    assert outcomes[case("scikit-learn")] == outcomes[case("h2o")] == (SAME, "")


def test_a_changed_java_affects_only_the_frameworks_that_use_it(results):
    runs_ = [[one for name in FRAMEWORKS for one in launches(case(name))] for _ in "AB"]
    outcomes = results(*runs_, {**ENVIRONMENT, "java": "21"})
    assert [outcomes[case(name)][0] for name in FRAMEWORKS] == [SAME, OTHER, OTHER]


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("machine", {"processor": "Other CPU"}, "processor was Some CPU and is Other CPU"),
        ("machine", {"usable_cores": 4}, "usable cores was 2 and is 4"),
        ("settings", {"time_limit_s": 60.0}, "time limit s was 600.0 and is 60.0"),
        ("settings", {"rounds": 5}, "rounds was 3 and is 5"),
        ("machine", {"load_average": 7.5}, None),
        ("settings", {"launches": 5}, None),
        ("git", {"commit": "bbbb", "dirty": True}, None),
    ],
)
def test_a_changed_machine_or_setting_is_reported_and_not_compared(results, part, change, reason):
    outcomes = results(launches(case()), launches(case(), 2.0), {**ENVIRONMENT, part: {**ENVIRONMENT[part], **change}})
    assert outcomes[case()] == ((OTHER, reason) if reason else (SLOWER, ""))


@pytest.mark.parametrize(
    ("other", "reason"),
    [(case(threads=1), "threads was 2 and is 1"), (case(seed=1), "seed was 0 and is 1")],
)
def test_a_case_with_another_number_of_threads_or_seed_is_not_compared(results, other, reason):
    assert results(launches(case()), launches(other)) == {case(): (OTHER, reason)}


def test_cases_with_different_numbers_of_threads_are_compared_separately(results):
    outcomes = results(
        [*launches(case(threads=1), 2.0), *launches(case())], [*launches(case(threads=1)), *launches(case())]
    )
    assert outcomes == {case(threads=1): (FASTER, ""), case(): (SAME, "")}


def test_a_number_of_threads_that_only_one_run_has_is_only_in_that_run(results):
    outcomes = results([*launches(case(threads=1)), *launches(case())], launches(case()))
    assert outcomes == {case(threads=1): (ONLY_A, ""), case(): (SAME, "")}


def test_the_table_shows_the_threads_if_a_run_has_several_numbers(exit_code):
    one_and_two = [*launches(case(threads=1), 2.0), *launches(case())]
    _, printed = exit_code(one_and_two, one_and_two)
    assert "tuned, 1 thread " in printed and "tuned, 2 threads " in printed
    assert "thread" not in exit_code(launches(case()), launches(case()), names="CD")[1]


def test_a_flagged_launch_does_not_count_if_there_are_others(results):
    slow = [contended(launch(number, case(), (9.0, 9.1)), 0.4, "train") for number in (4, 5)]
    assert results(launches(case()), [*launches(case()), *slow])[case()] == (SAME, "")


def test_a_run_without_a_machine_is_not_compared(results):
    assert results(launches(case()), launches(case()), None)[case()] == (
        OTHER, "B does not record its machine"
    )  # fmt: skip


def test_a_setting_that_an_older_run_lacks_is_not_a_difference(results):
    settings = {**ENVIRONMENT["settings"], "case_limit_s": 900.0}
    newer = {**ENVIRONMENT, "settings": settings}
    assert results(launches(case()), launches(case()), newer)[case()] == (SAME, "")


def test_cases_that_failed_or_missed_their_target_are_not_compared(results):
    timeout = Record("made", case(), "timeout", phase="train", reason="more than 60 s")
    bad = replace(GOOD, accuracy=0.5, reached_target=False, failed_conditions=("accuracy",))
    missed, unknown = launches(case("spark"), 0.1, quality=bad), launches(case("h2o"), quality=None)
    outcomes = results(
        [*launches(case()), *launches(case("spark")), *launches(case("h2o"))],
        [*launches(case())[:2], timeout, *missed, *unknown],
    )
    assert outcomes[case()] == (UNLIKE, "timeout in B")
    assert outcomes[case("spark")] == (UNLIKE, "below target (accuracy 0.5000, at least 0.9700) in B")
    assert outcomes[case("h2o")] == (SAME, "")


def test_cases_that_only_one_run_has_are_shown(results):
    outcomes = results(
        [*launches(case()), *launches(case(rows=150))], [*launches(case()), *launches(case("spark"))]
    )  # fmt: skip
    assert outcomes == {case(): (SAME, ""), case(rows=150): (ONLY_A, ""), case("spark"): (ONLY_B, "")}


def test_times_too_short_for_the_clock_show_no_difference(results):
    outcomes = results(launches(case(), 2e-5), launches(case(), 9e-5))
    assert outcomes[case()] == (SAME, "too short: 20 µs, and one reading of the clock needs 1 ms in A")


def test_single_values_show_no_difference(results):
    outcomes = results([launch(1, case(), [1.0])], [launch(1, case(), [9.0])])
    assert outcomes[case()] == (SAME, "too few values to show a difference")


def test_a_slower_machine_raises_the_smallest_difference_that_counts(exit_code, tmp_path):
    a = [*launches(case()), *launches(case("spark"))]
    b = [*launches(case(), 1.15, probe=0.048), *launches(case("spark"), 1.5, probe=0.048)]
    _, said = exit_code(a, b)
    assert "the machine itself was 20 % slower in B" in said
    assert "1 slower, 1 no difference" in said or "1 no difference, 1 slower" in said
    outcomes = compare.compare(tmp_path / "A", tmp_path / "B", "train")
    assert {one.case.framework: one.result for one in outcomes.cases} == {"scikit-learn": SAME, "spark": SLOWER}


@pytest.mark.parametrize(("limit", "code"), [(None, 0), (0.1, 1), (0.5, 0)])
def test_a_case_slower_than_the_limit_gives_exit_code_1(exit_code, limit, code):
    assert exit_code(launches(case()), launches(case(), 1.3), limit)[0] == code


def test_a_faster_case_gives_exit_code_0(exit_code):
    assert exit_code(launches(case()), launches(case(), 0.5), 0.0)[0] == 0


def test_a_case_that_fails_the_gate_only_in_b_gives_exit_code_1(exit_code):
    bad = replace(GOOD, reached_target=False, log_loss=0.06, log_loss_limit=0.055, failed_conditions=("log-loss",))
    code, said = exit_code(
        [*launches(case()), *launches(case("spark"))], [*launches(case(), quality=bad), *launches(case("spark"))], 0.1
    )
    assert code == 1
    assert "below target (log-loss 0.0600, at most 0.0550) in B" in " ".join(said.split())


@pytest.mark.parametrize(("outcome", "code"), [("timeout", 1), ("failed", 1), ("unavailable", 0)])
def test_a_case_that_fails_only_in_b_gives_exit_code_1(exit_code, outcome, code):
    a = [*launches(case()), *launches(case("spark"))]
    b = [*launches(case()), Record("made", case("spark"), outcome, reason="so it was")]
    assert exit_code(a, b, 0.1)[0] == code


def test_runs_without_a_comparable_case_are_an_error(exit_code):
    other = {**ENVIRONMENT, "machine": {"processor": "Other CPU"}}
    with pytest.raises(BadInput, match="none of the 1 cases could be compared"):
        exit_code(launches(case()), launches(case(), 3.0), 0.1, other)


def test_the_table_marks_ratios_from_a_single_launch(exit_code):
    _, said = exit_code([launch(1, case())], [launch(1, case(), (1.5, 1.51, 1.52))])
    assert "1.51 (" in said and "from the repeats of a single launch" in said and "1 slower" in said


def test_runs_without_a_case_in_common_are_an_error(tmp_path):
    with pytest.raises(BadInput, match="no case in common"):
        compare.compare(make_run(tmp_path / "A", launches(case())), make_run(tmp_path / "B", []), "train")


def test_a_run_is_found_by_its_name_or_as_the_latest(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    run = make_run(tmp_path / "runs" / "monday", launches(case()), ENVIRONMENT)
    (tmp_path / "latest").symlink_to("runs/monday")
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(runs, "LATEST", tmp_path / "latest")
    monkeypatch.chdir(tmp_path / "runs")
    assert runs.find(Path("monday")).samefile(run) and runs.find(Path("latest")).samefile(run)
    monkeypatch.chdir("/")
    assert runs.find(Path("monday")) == run
    with pytest.raises(BadInput, match="nowhere is not a run"):
        compare.compare(Path("nowhere"), run, "train")


def test_a_percentage_needs_a_percent_sign():
    assert [commandline.percent(text) for text in ("10%", "2.5 %", "0%")] == [0.1, 0.025, 0.0]
    for text in ("10", "-5%", "ten%", "%"):
        with pytest.raises(typer.BadParameter, match=r"write 10%"):
            commandline.percent(text)
