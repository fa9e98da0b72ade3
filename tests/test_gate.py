"""The quality gate fails a training that stops early, and the record and the report name the failed condition."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.quality_gate import Gate, Reference, gate, shortfall
from benchmarks.results import records
from benchmarks.results.records import Quality
from tests.conftest import Command, missing

REFERENCE = Reference(accuracy=0.98, log_loss=0.05)


@pytest.mark.parametrize(
    ("model", "rows", "least_accuracy", "log_loss_limit"),
    [
        ("logistic", 1_000, 0.978, 0.051),
        ("logistic", 10_000_000, 0.978, 0.051),
        ("mlp", 9_999, 0.96, None),
        ("mlp", 10_000, 0.97, 0.065),
        ("deep", 99_999, 0.97, 0.065),
        ("deep", 100_000, 0.978, 0.052),
        ("mlp", 10_000_000, 0.978, 0.052),
    ],
)
def test_the_limits_depend_on_the_model_and_the_rows(
    model: str, rows: int, least_accuracy: float, log_loss_limit: float | None
) -> None:
    found = gate(model, rows, REFERENCE)
    assert found.reference == REFERENCE
    assert (found.least_accuracy, found.log_loss_limit) == pytest.approx((least_accuracy, log_loss_limit))


@pytest.mark.parametrize("model", ["logistic", "mlp", "deep"])
def test_only_the_accuracy_of_the_real_flowers_is_limited(model: str) -> None:
    assert gate(model, 150, None) == Gate(least_accuracy=0.93, log_loss_limit=None, reference=None)


@pytest.mark.parametrize(
    ("accuracy", "log_loss", "failed"),
    [
        (0.978, 0.052, ()),
        (0.97799, 0.052, ("accuracy",)),
        (0.978, 0.05201, ("log-loss",)),
        (0.97799, 0.05201, ("accuracy", "log-loss")),
        (0.99, 0.01, ()),
    ],
)
def test_a_model_at_the_limit_passes_and_one_beyond_it_fails(
    accuracy: float, log_loss: float, failed: tuple[str, ...]
) -> None:
    limits = Gate(least_accuracy=0.978, log_loss_limit=0.052)
    assert limits.failed(accuracy, log_loss) == failed


def test_without_a_limit_any_log_loss_passes() -> None:
    assert Gate(least_accuracy=0.93).failed(0.93, 30.0) == ()


def judged(accuracy: float, log_loss: float) -> Quality:
    limits = Gate(least_accuracy=0.978, log_loss_limit=0.053)
    failed = limits.failed(accuracy, log_loss)
    return Quality(
        100_000, accuracy, log_loss, 0.978, not failed, log_loss_limit=limits.log_loss_limit, failed_conditions=failed
    )


def test_the_shortfall_names_each_failed_condition_with_the_worst_launch() -> None:
    assert shortfall([judged(0.98, 0.05)]) == shortfall([]) == ""
    assert shortfall([judged(0.98, 0.0584)]) == "log-loss 0.0584, at most 0.0530"
    assert shortfall([judged(0.975, 0.05)]) == "accuracy 0.9750, at least 0.9780"
    launches = [judged(0.975, 0.05), judged(0.98, 0.05), judged(0.97, 0.06), judged(0.98, 0.07)]
    assert shortfall(launches) == "accuracy 0.9700, at least 0.9780; log-loss 0.0700, at most 0.0530"


def test_a_shortfall_too_small_for_four_decimals_is_shown_with_more() -> None:
    assert shortfall([judged(0.98, 0.0530004)]) == "log-loss 0.0530004, at most 0.0530000"


def test_a_training_that_stops_early_fails_only_the_condition_on_log_loss(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := missing("scikit-learn"):
        pytest.skip(reason)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.hindered")
    monkeypatch.setenv("HINDER", "train early")
    words = ["--framework", "scikit-learn", "--model", "logistic", "--track", "default", "--rows", "10_000"]
    done = command("benchmarks", "run", *words, "--launches", "1", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    [record] = records.read(tmp_path / "run")
    assert record.outcome == "ok", record.reason
    assert record.recipe["iterations"] == 10
    quality = record.quality
    assert quality is not None
    assert quality.accuracy > quality.target_accuracy
    assert quality.reference_log_loss is not None
    assert quality.log_loss_limit == pytest.approx(1.02 * quality.reference_log_loss)
    assert quality.log_loss > quality.log_loss_limit
    assert quality.log_loss_excess == pytest.approx(quality.log_loss - quality.reference_log_loss)
    assert not quality.reached_target
    assert quality.failed_conditions == ("log-loss",)
    shortfall_text = f"below target: log-loss {quality.log_loss:.4f}, at most {quality.log_loss_limit:.4f}"
    assert shortfall_text in done.stdout
    for name in ("report.html", "report.md"):
        assert f"ok, {shortfall_text}" in (tmp_path / "run" / name).read_text(encoding="utf-8")
    with (tmp_path / "run" / "results.csv").open(newline="", encoding="utf-8") as file:
        [line] = csv.DictReader(file)
    assert (line["reached_target"], line["failed_conditions"]) == ("False", "log-loss")
