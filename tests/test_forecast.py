"""How long a run will take: from the same case, from sizes around it, or not known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cases import Case
from benchmarks.run_folder import environment, records
from benchmarks.run_folder.records import Record
from benchmarks.scheduling.forecast import HERE, forecast, walls


def case(rows: int, seed: int = 0) -> Case:
    return Case("spark", "mlp", rows, "tuned", 2, seed)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run made here: 10 s on 1,000 rows, 12 s on 10,000."""
    for rows, seconds in ((1_000, 9.0), (1_000, 10.0), (1_000, 11.0), (10_000, 12.0)):
        records.append(tmp_path, Record("made", case(rows), "ok", wall_seconds=seconds))
    records.append(tmp_path, Record("made", case(10), "unavailable", reason="no Java"))
    (tmp_path / "environment.json").write_text(json.dumps({"machine": environment.machine()}))
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
def test_a_case_takes_what_it_took_or_what_the_sizes_around_it_say(
    run: Path, rows: int, seconds: float, source: str
) -> None:
    found = forecast(case(rows, seed=5), walls([run], here=True), HERE)
    assert found.seconds == pytest.approx(seconds)
    assert found.source == source


def test_of_what_was_never_run_nothing_is_known(run: Path) -> None:
    known = walls([run], here=True)
    assert forecast(Case("h2o", "mlp", 1_000, "tuned", 2), known, HERE).seconds is None
    assert forecast(Case("spark", "mlp", 1_000, "tuned", 1), known, HERE).seconds is None


def test_another_machines_runs_do_not_count_as_measured_here(run: Path) -> None:
    description = {"machine": environment.machine() | {"processor": "another"}}
    (run / "environment.json").write_text(json.dumps(description))
    assert walls([run], here=True) == {}
    assert len(walls([run], here=False)) == 2


def test_what_is_no_run_says_nothing(tmp_path: Path) -> None:
    assert walls([tmp_path], here=True) == {}
