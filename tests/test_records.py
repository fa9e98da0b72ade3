"""Records come back as they were written, and what is no record is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters import registry
from benchmarks import records
from benchmarks.cases import PROFILES, Case, cases
from benchmarks.records import Phase, Quality, Record
from benchmarks.runner import gave_up_before
from commandline import BadInput

CASE = Case("spark", "mlp", 1_000_000, "tuned", 2, 0)
OK = Record(
    run="a run",
    case=CASE,
    outcome="ok",
    phases={"train": Phase((16.0, 15.5), (22.0,), 31.0, 31.6, 3 << 30)},
    first_prediction_seconds=31.2,
    wall_seconds=80.0,
    quality=Quality(100_000, 0.982, 0.045, 0.9813, True, 0.9833, 0.0432),
    recipe={"solver": "L-BFGS"},
    model_bytes=7531,
)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    timeout = Record("a run", CASE, "timeout", phase="train", reason="train took longer than the 5 s allowed")
    records.append(tmp_path, OK)
    records.append(tmp_path, timeout)
    assert list(records.read(tmp_path)) == [OK, timeout]


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    records.append(tmp_path, OK)
    with (tmp_path / records.FILE).open("a") as file:
        file.write('{"schema": 1, "run": "torn')
    with pytest.raises(BadInput, match=r"records\.jsonl, line 2 is no record"):
        list(records.read(tmp_path))


def test_another_schema_is_named(tmp_path: Path) -> None:
    (tmp_path / records.FILE).write_text(OK.to_json().replace('"schema": 1', '"schema": 99') + "\n")
    with pytest.raises(BadInput, match="schema 99, and this irisbench reads schemas 1 to"):
        list(records.read(tmp_path))


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is no run: it has no records\.jsonl"):
        list(records.read(tmp_path))


def test_quick_has_every_framework_on_two_models_and_three_sizes() -> None:
    matrix = cases(PROFILES["quick"])
    assert len(matrix) == len(set(matrix)) == len(registry.FRAMEWORKS) * 2 * 3
    assert {case.rows for case in matrix} == {150, 10_000, 1_000_000}
    assert {case.track for case in matrix} == {"tuned"}


def test_frameworks_take_turns_in_going_first() -> None:
    matrix = cases(PROFILES["quick"])
    firsts = [matrix[turn * len(registry.FRAMEWORKS)].framework for turn in range(6)]
    assert len(set(firsts)) == 6


def test_a_larger_size_is_given_up_when_a_smaller_one_ran_out() -> None:
    timeout = Record("a run", CASE, "timeout", phase="train", reason="too long")
    larger = Case("spark", "mlp", 10_000_000, "tuned", 2, 0)
    assert gave_up_before(larger, [timeout]) is timeout
    assert gave_up_before(larger, [OK]) is None
    assert gave_up_before(Case("spark", "logistic", 10_000_000, "tuned", 2, 0), [timeout]) is None
    assert gave_up_before(Case("spark", "mlp", 10_000, "tuned", 2, 0), [timeout]) is None
