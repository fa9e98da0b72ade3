"""Runs that choose their launches: optional sizes, further launches, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cases import Limits, Plan
from benchmarks.results import records
from benchmarks.results.records import Record
from benchmarks.scheduling import runner
from benchmarks.scheduling.configuration import RunConfiguration
from errors import BadInput

LIMITS = Limits(60.0, 2 << 30)


class Messages(runner.Watcher):
    """A watcher that keeps the messages of a run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, line: str) -> None:
        self.lines.append(line)


def run(folder: Path, optional_rows: tuple[int, ...], budget_s: float = 120.0) -> tuple[list[Record], list[str]]:
    """Run scikit-learn's logistic regression on 150 rows and on optional sizes. Return the records and messages."""
    plan = Plan(("scikit-learn",), ("logistic",), (150,), ("tuned",), None, (1,), 0, optional_rows)
    (folder / records.FILE).touch()
    messages = Messages()
    runner.run(folder, RunConfiguration(plan, LIMITS, time_budget_s=budget_s), messages)
    return list(records.read(folder)), messages.lines


def test_an_optional_size_is_measured_if_its_forecast_fits(tmp_path: Path) -> None:
    found, messages = run(tmp_path, (2_000,))
    assert {(record.case.rows, record.outcome) for record in found} == {(150, "ok"), (2_000, "ok")}
    assert not [line for line in messages if "not measured" in line]


def test_an_optional_size_is_left_out_with_a_message_if_its_forecast_does_not_fit(tmp_path: Path) -> None:
    found, messages = run(tmp_path, (1_000_000_000,))
    assert {record.case.rows for record in found} == {150}
    (line,) = [line for line in messages if line.startswith("not measured")]
    assert "scikit-learn logistic 1,000,000,000 rows" in line
    assert line.endswith("./nox -s benchmark -- --rows 1000000000")


def test_an_optional_size_without_disk_space_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = runner.prepare

    def without_space(rows: int, seed: int) -> list[str]:
        if rows == 2_000:
            raise BadInput("the data needs 1 GiB, and 0 GiB are free")
        return prepare(rows, seed)

    monkeypatch.setattr(runner, "prepare", without_space)
    found, messages = run(tmp_path, (2_000,))
    assert {record.case.rows for record in found} == {150}
    assert (
        "scikit-learn logistic 2,000 rows, tuned is not measured: the data needs 1 GiB, and 0 GiB are free" in messages
    )
