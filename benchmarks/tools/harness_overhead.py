"""Harness overhead: the cost of the harness itself, measured by a run of an adapter that does almost nothing."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.results import records
from benchmarks.results.records import Record
from benchmarks.scheduling.configuration import RunConfiguration

PARTS = {
    "startup_seconds": "Python and pytest, until the first phase",
    "rounds_seconds": "around the measured calls",
    "between_seconds": "between phases",
    "shutdown_seconds": "from the last phase to the end of the process",
    "scoring_seconds": "scoring the model",
}


def measure(configuration: RunConfiguration, run: Callable[[Path, RunConfiguration], None], console: Console) -> None:
    """Make a run in a temporary folder, and print the resources that it used outside the phases."""
    with TemporaryDirectory(prefix="irisbench-") as folder:
        (Path(folder) / records.FILE).touch()
        run(Path(folder), configuration)
        ended = [record for record in records.read(Path(folder)) if record.outcome == "ok" and record.harness]
    table = Table(title="Cost of the harness per case, and on the machine while a case runs")
    table.add_column("")
    for heading in ("median", "largest"):
        table.add_column(heading, justify="right")
    for name, label in PARTS.items():
        values = [getattr(record.harness, name) for record in ended]
        _row(table, label, values, "s", 3)
    _row(table, "sum without scoring: a case outside its phases", [beyond_phases(record) for record in ended], "s", 3)
    _row(table, "a repeat outside its measured call", [1e6 * round_seconds(record) for record in ended], "µs", 1)
    _row(table, "the supervisor's share of a core", [100 * supervisor_share(record) for record in ended], "%", 1)
    _row(table, "the supervisor's memory", [psutil.Process().memory_info().rss / 2**20], "MiB", 0)
    console.print(table)


def beyond_phases(record: Record) -> float:
    """Return the seconds of a case that were spent neither in a phase nor in scoring its model."""
    harness = record.harness
    assert harness
    return harness.startup_seconds + harness.rounds_seconds + harness.between_seconds + harness.shutdown_seconds


def round_seconds(record: Record) -> float:
    """Return the seconds of a repeat of predict_one outside the measured call. This phase has the most repeats."""
    phase = record.phases["predict_one"]
    return ((phase.span_seconds or 0.0) - sum(phase.seconds)) / len(phase.seconds)


def supervisor_share(record: Record) -> float:
    """Return the CPU seconds of the supervisor per second of the case."""
    return (record.supervisor_cpu_seconds or 0.0) / (record.wall_seconds or 1.0)


def _row(table: Table, label: str, values: Iterable[float], unit: str, digits: int) -> None:
    known = list(values)
    if known:
        table.add_row(label, *(f"{value:.{digits}f} {unit}" for value in (statistics.median(known), max(known))))
