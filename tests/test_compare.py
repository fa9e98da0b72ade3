"""Two runs compared: differences that are there are called, noise is not, and what is not alike is not ranked."""

from __future__ import annotations

import json
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
from benchmarks.run_folder import runs
from benchmarks.run_folder.records import FILE, Case, Phase, Quality, Record, append
from errors import BadInput

ENVIRONMENT = {
    "machine": {"processor": "Some CPU", "usable_cores": 2, "memory_bytes": 24 * 2**30, "load": 0.1},
    "settings": {"threads": 2, "seed": 0, "rounds": 3, "time_limit_s": 600.0, "launches": 3},
    "frameworks": {"spark": {"version": "4.3.0"}, "h2o": {"version": "3.46"}, "scikit-learn": {"version": "1.9"}},
    "java": "17.0.15",
    "git": {"commit": "aaaa", "dirty": False},
}
FRAMEWORKS = ("scikit-learn", "spark", "h2o")
GOOD = Quality(1000, 0.98, 0.05, 0.97, True)


def case(framework="scikit-learn", rows=1000, threads=2) -> Case:
    return Case(framework, "mlp", rows, "tuned", threads, 0)


def launch(number: int, of: Case, seconds=(1.0, 1.01, 0.99), probe=0.04, **more) -> Record:
    parts = {"phases": {"train": Phase(tuple(seconds))}, "quality": GOOD, **more}
    return Record("made", of, more.get("outcome", "ok"), number, probe_seconds=(probe,) * 5,
                  **{name: value for name, value in parts.items() if name != "outcome"})  # fmt: skip


def launches(of: Case, seconds=1.0, probe=0.04, **more) -> list[Record]:
    """Three launches whose times are within 1 % of `seconds`."""
    return [
        launch(number + 1, of, (seconds * near, seconds * 1.003 * near), probe, **more)
        for number, near in enumerate((0.995, 1.0, 1.005))
    ]


def make(folder: Path, found: list[Record], environment: dict | None = ENVIRONMENT) -> Path:
    folder.mkdir()
    (folder / FILE).touch()
    for record in found:
        append(folder, record)
    if environment:
        (folder / "environment.json").write_text(json.dumps(environment))
    return folder


@pytest.fixture
def verdicts(tmp_path: Path):
    """Compares two lists of records, and returns the verdict and the reason of each case."""

    def judge(a, b, environment_b=ENVIRONMENT, environment_a=ENVIRONMENT):
        folders = make(tmp_path / "A", a, environment_a), make(tmp_path / "B", b, environment_b)
        return {one.case: (one.verdict, one.reason) for one in compare.compare(*folders, "train").cases}

    return judge


@pytest.fixture
def exit_code(tmp_path: Path):
    """Compares two lists of records as the command does, and returns its exit code and what it said."""

    def judge(a, b, fail_on_slower=None, environment_b=ENVIRONMENT):
        folders = make(tmp_path / "A", a), make(tmp_path / "B", b, environment_b)
        console = Console(width=200, record=True, quiet=False, file=(tmp_path / "said").open("w"))
        return compare.command(*folders, "train", fail_on_slower, console), console.export_text()

    return judge


def test_slower_faster_and_no_difference_are_told_apart(verdicts):
    seconds = {"scikit-learn": 1.3, "spark": 0.7, "h2o": 1.03}
    found = verdicts(
        [one for name in FRAMEWORKS for one in launches(case(name))],
        [one for name in FRAMEWORKS for one in launches(case(name), seconds[name])],
    )
    assert [found[case(name)] for name in FRAMEWORKS] == [(SLOWER, ""), (FASTER, ""), (SAME, "")]


def test_noise_is_seldom_called_a_difference(tmp_path):
    """200 cases, two launches against two, all from the same distribution: by chance, some ten intervals exclude 1."""
    random = np.random.default_rng(5)

    def noise() -> list[Record]:
        return [
            launch(number, case(rows=rows), np.exp(random.normal(0, 0.06) + random.normal(0, 0.02, 3)).tolist())
            for rows in range(1, 201)
            for number in (1, 2)
        ]

    found = compare.compare(make(tmp_path / "A", noise()), make(tmp_path / "B", noise()), "train")
    counts = Counter(one.verdict for one in found.cases)
    assert counts[SAME] + counts[SLOWER] + counts[FASTER] == 200 and counts[SAME] >= 186


def test_another_version_concerns_the_cases_of_its_framework_only(verdicts):
    frameworks = {**ENVIRONMENT["frameworks"], "spark": {"version": "4.4.0"}}
    runs_ = [[one for name in FRAMEWORKS for one in launches(case(name))] for _ in "AB"]
    found = verdicts(*runs_, {**ENVIRONMENT, "frameworks": frameworks})
    assert found[case("spark")] == (OTHER, "spark was 4.3.0 and is 4.4.0")
    assert found[case("scikit-learn")] == found[case("h2o")] == (SAME, "")


def test_another_java_concerns_the_frameworks_that_need_one(verdicts):
    runs_ = [[one for name in FRAMEWORKS for one in launches(case(name))] for _ in "AB"]
    found = verdicts(*runs_, {**ENVIRONMENT, "java": "21"})
    assert [found[case(name)][0] for name in FRAMEWORKS] == [SAME, OTHER, OTHER]


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("machine", {"processor": "Other CPU"}, "processor was Some CPU and is Other CPU"),
        ("machine", {"usable_cores": 4}, "usable cores was 2 and is 4"),
        ("settings", {"time_limit_s": 60.0}, "time limit s was 600.0 and is 60.0"),
        ("settings", {"rounds": 5}, "rounds was 3 and is 5"),
        ("settings", {"seed": 1}, "seed was 0 and is 1"),
        ("machine", {"load": 7.5}, None),
        ("settings", {"launches": 5}, None),
        ("git", {"commit": "bbbb", "dirty": True}, None),
    ],
)
def test_other_conditions_are_told_and_not_ranked(verdicts, part, change, reason):
    found = verdicts(launches(case()), launches(case(), 2.0), {**ENVIRONMENT, part: {**ENVIRONMENT[part], **change}})
    assert found[case()] == ((OTHER, reason) if reason else (SLOWER, ""))


def test_another_number_of_threads_is_told(verdicts):
    assert verdicts(launches(case()), launches(case(threads=1))) == {case(): (OTHER, "threads was 2 and is 1")}


def test_a_run_that_does_not_say_where_it_ran_is_not_ranked(verdicts):
    assert verdicts(launches(case()), launches(case()), None)[case()] == (
        OTHER, "B does not say on what machine it ran"
    )  # fmt: skip


def test_what_an_older_run_did_not_write_down_is_no_difference(verdicts):
    settings = {**ENVIRONMENT["settings"], "case_limit_s": 900.0}
    newer = {**ENVIRONMENT, "settings": settings}
    assert verdicts(launches(case()), launches(case()), newer)[case()] == (SAME, "")


def test_what_did_not_end_or_counts_in_no_ranking_is_not_compared(verdicts):
    timeout = Record("made", case(), "timeout", phase="train", reason="more than 60 s")
    bad = replace(GOOD, accuracy=0.5, reached_target=False, failed_conditions=("accuracy",))
    missed, unknown = launches(case("spark"), 0.1, quality=bad), launches(case("h2o"), quality=None)
    found = verdicts(
        [*launches(case()), *launches(case("spark")), *launches(case("h2o"))],
        [*launches(case())[:2], timeout, *missed, *unknown],
    )
    assert found[case()] == (UNLIKE, "timeout in B")
    assert found[case("spark")] == (UNLIKE, "below target (accuracy 0.5000, at least 0.9700) in B")
    assert found[case("h2o")] == (SAME, "")


def test_cases_of_one_run_only_are_named(verdicts):
    found = verdicts(
        [*launches(case()), *launches(case(rows=150))], [*launches(case()), *launches(case("spark"))]
    )  # fmt: skip
    assert found == {case(): (SAME, ""), case(rows=150): (ONLY_A, ""), case("spark"): (ONLY_B, "")}


def test_what_the_clock_cannot_see_is_never_called(verdicts):
    found = verdicts(launches(case(), 2e-5), launches(case(), 9e-5))
    assert found[case()] == (SAME, "too short: 20 µs is under the clock's reach of 1 ms in A")


def test_a_single_value_is_never_called(verdicts):
    found = verdicts([launch(1, case(), [1.0])], [launch(1, case(), [9.0])])
    assert found[case()] == (SAME, "single values tell no difference")


def test_where_the_machine_was_slower_so_much_is_no_difference(exit_code, tmp_path):
    a = [*launches(case()), *launches(case("spark"))]
    b = [*launches(case(), 1.15, probe=0.048), *launches(case("spark"), 1.5, probe=0.048)]
    _, said = exit_code(a, b)
    assert "the machine itself was 20 % slower in B" in said
    assert "1 slower, 1 no difference" in said or "1 no difference, 1 slower" in said
    found = compare.compare(tmp_path / "A", tmp_path / "B", "train")
    assert {one.case.framework: one.verdict for one in found.cases} == {"scikit-learn": SAME, "spark": SLOWER}


@pytest.mark.parametrize(("limit", "code"), [(None, 0), (0.1, 1), (0.5, 0)])
def test_slower_by_more_than_allowed_ends_with_1(exit_code, limit, code):
    assert exit_code(launches(case()), launches(case(), 1.3), limit)[0] == code


def test_faster_ends_with_0(exit_code):
    assert exit_code(launches(case()), launches(case(), 0.5), 0.0)[0] == 0


def test_a_case_that_fails_the_gate_in_b_is_slower_than_any_number(exit_code):
    bad = replace(GOOD, reached_target=False, log_loss=0.06, log_loss_limit=0.055, failed_conditions=("log-loss",))
    code, said = exit_code(
        [*launches(case()), *launches(case("spark"))], [*launches(case(), quality=bad), *launches(case("spark"))], 0.1
    )
    assert code == 1
    assert "below target (log-loss 0.0600, at most 0.0550) in B" in " ".join(said.split())


@pytest.mark.parametrize(("outcome", "code"), [("timeout", 1), ("failed", 1), ("unavailable", 0)])
def test_a_case_that_ends_no_more_is_slower_than_any_number(exit_code, outcome, code):
    a = [*launches(case()), *launches(case("spark"))]
    b = [*launches(case()), Record("made", case("spark"), outcome, reason="so it was")]
    assert exit_code(a, b, 0.1)[0] == code


def test_where_nothing_could_be_compared_nothing_is_said_to_be_no_slower(exit_code):
    other = {**ENVIRONMENT, "machine": {"processor": "Other CPU"}}
    with pytest.raises(BadInput, match="none of the 1 cases could be compared"):
        exit_code(launches(case()), launches(case(), 3.0), 0.1, other)


def test_the_table_says_what_rests_on_a_single_launch(exit_code):
    _, said = exit_code([launch(1, case())], [launch(1, case(), (1.5, 1.51, 1.52))])
    assert "1.51 (" in said and "rests on the rounds of a single launch" in said and "1 slower" in said


def test_runs_without_a_case_in_common_are_named(tmp_path):
    with pytest.raises(BadInput, match="no case in common"):
        compare.compare(make(tmp_path / "A", launches(case())), make(tmp_path / "B", []), "train")


def test_a_run_goes_by_its_name_or_as_the_latest(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    run = make(tmp_path / "runs" / "monday", launches(case()))
    (tmp_path / "latest").symlink_to("runs/monday")
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(runs, "LATEST", tmp_path / "latest")
    monkeypatch.chdir(tmp_path / "runs")
    assert runs.find(Path("monday")).samefile(run) and runs.find(Path("latest")).samefile(run)
    monkeypatch.chdir("/")
    assert runs.find(Path("monday")) == run
    with pytest.raises(BadInput, match="nowhere is no run"):
        compare.compare(Path("nowhere"), run, "train")


def test_a_percentage_is_written_with_its_sign():
    assert [commandline.percent(text) for text in ("10%", "2.5 %", "0%")] == [0.1, 0.025, 0.0]
    for text in ("10", "-5%", "ten%", "%"):
        with pytest.raises(typer.BadParameter, match=r"write 10%"):
            commandline.percent(text)
