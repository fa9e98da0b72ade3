"""The forecast of a run comes from the same case or from other sizes of it, and is otherwise unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cases import Case
from benchmarks.results import detect_environment, environment, records
from benchmarks.results.environment import Environment
from benchmarks.results.records import Record
from benchmarks.scheduling.forecast import HERE, forecast, walls
from datasets.files import write_json


def case(rows: int, seed: int = 0) -> Case:
    return Case("spark", "mlp", rows, "tuned", 2, seed)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run on this machine: 10 s on 1,000 rows, 12 s on 10,000 rows."""
    for rows, seconds in ((1_000, 9.0), (1_000, 10.0), (1_000, 11.0), (10_000, 12.0)):
        records.append(tmp_path, Record("made", case(rows), "ok", wall_seconds=seconds))
    records.append(tmp_path, Record("made", case(10), "unavailable", reason="no Java"))
    write_json(tmp_path / environment.FILE, Environment(machine=detect_environment.machine()))
    return tmp_path


@pytest.mark.parametrize(
    ("rows", "seconds", "source"),
    [
        (1_000, 10.0, "measured here"),
        (10_000, 12.0, "measured here"),
        (5_500, 11.0, "measured here, scaled from 1,000 and 10,000 rows"),
        (100_000, 32.0, "measured here, scaled from 1,000 and 10,000 rows"),
        (100, 10.0, "measured here, scaled from 1,000 rows"),
    ],
)
def test_a_forecast_is_the_median_of_the_same_case_or_lies_on_a_line_through_the_nearest_sizes(
    run: Path, rows: int, seconds: float, source: str
) -> None:
    found = forecast(case(rows, seed=5), walls([run], here=True), HERE)
    assert found.seconds == pytest.approx(seconds)
    assert found.source == source


def test_a_case_that_was_never_run_has_no_forecast(run: Path) -> None:
    known = walls([run], here=True)
    assert forecast(Case("h2o", "mlp", 1_000, "tuned", 2), known, HERE).seconds is None
    assert forecast(Case("spark", "logistic", 1_000, "tuned", 2), known, HERE).seconds is None


def test_a_case_with_other_threads_has_the_forecast_of_the_threads_that_were_measured(run: Path) -> None:
    assert forecast(Case("spark", "mlp", 1_000, "tuned", 1), walls([run], here=True), HERE).seconds == 10.0


def test_runs_of_another_machine_do_not_count_as_measured_here(run: Path) -> None:
    other = replace(detect_environment.machine(), processor="another")
    write_json(run / environment.FILE, Environment(machine=other))
    assert walls([run], here=True) == {}
    assert len(walls([run], here=False)) == 2


def test_a_folder_that_is_not_a_run_is_ignored(tmp_path: Path) -> None:
    assert walls([tmp_path], here=True) == {}
