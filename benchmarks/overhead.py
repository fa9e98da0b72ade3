"""What measuring itself costs: a real run of the adapter that does nothing, seen from all sides."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import records
from benchmarks.records import Record
from benchmarks.runner import Order

PARTS = {
    "startup_seconds": "Python and pytest, until the first phase",
    "rounds_seconds": "around the measured calls",
    "between_seconds": "between phases",
    "shutdown_seconds": "from the last phase to the end of the process",
    "scoring_seconds": "scoring the model",
}


def measure(order: Order, run: Callable[[Path, Order], None], console: Console) -> None:
    """Makes a run in a folder that goes again, and prints what its cases and its supervisor took besides."""
    with TemporaryDirectory(prefix="irisbench-") as folder:
        (Path(folder) / records.FILE).touch()
        run(Path(folder), order)
        done = [record for record in records.read(Path(folder)) if record.outcome == "ok" and record.harness]
    table = Table(title="What the harness costs a case, and the machine while a case runs")
    table.add_column("")
    for heading in ("median", "largest"):
        table.add_column(heading, justify="right")
    for name, words in PARTS.items():
        values = [getattr(record.harness, name) for record in done]
        _row(table, words, values, "s", 3)
    _row(
        table, "together, without scoring: a case beyond its phases", [beyond_phases(record) for record in done], "s", 3
    )
    _row(table, "a measured round beyond the measured call", [1e6 * round_seconds(record) for record in done], "µs", 1)
    _row(table, "the supervisor's share of a core", [100 * supervisor_share(record) for record in done], "%", 1)
    _row(table, "the supervisor's memory", [psutil.Process().memory_info().rss / 2**20], "MiB", 0)
    console.print(table)


def beyond_phases(record: Record) -> float:
    """Seconds of a case that went to no phase and not into scoring its model."""
    harness = record.harness
    assert harness
    return harness.startup_seconds + harness.rounds_seconds + harness.between_seconds + harness.shutdown_seconds


def round_seconds(record: Record) -> float:
    """Seconds that a measured round of predict_one takes beyond the measured call: of all phases it has most rounds."""
    phase = record.phases["predict_one"]
    return ((phase.span_seconds or 0.0) - sum(phase.seconds)) / len(phase.seconds)


def supervisor_share(record: Record) -> float:
    """CPU seconds of the supervisor a second of the case."""
    return (record.supervisor_cpu_seconds or 0.0) / (record.wall_seconds or 1.0)


def _row(table: Table, words: str, values: Iterable[float], unit: str, digits: int) -> None:
    known = list(values)
    if known:
        table.add_row(words, *(f"{value:.{digits}f} {unit}" for value in (statistics.median(known), max(known))))
