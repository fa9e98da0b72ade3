"""The forecast of a run's duration, from earlier runs on this machine, or else from published runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from adapters import registry
from benchmarks.cases import Case, Plan
from benchmarks.comparison import comparability
from benchmarks.results import detect_environment, runs
from benchmarks.results.environment import Environment
from benchmarks.results.records import Record
from benchmarks.units import show_duration
from errors import BadInput

PUBLISHED = runs.REPORTS / "published"
HERE, ELSEWHERE = "measured here", "published"
BETWEEN_CASES_S = 1.0
"""Seconds of the supervisor between two launches: the speed probe, and ending the processes."""

Walls = Mapping[Case, Sequence[float]]
"""Wall seconds of all launches of each case, whatever their seed."""


@dataclass(frozen=True)
class Forecast:
    """Seconds of one launch and their source, or None if no run has measured the case."""

    seconds: float | None
    source: str = ""


def walls_of(records: Iterable[Record]) -> Walls:
    """Return the wall seconds in some records."""
    seconds: dict[Case, list[float]] = {}
    for record in records:
        if record.wall_seconds is not None:
            seconds.setdefault(replace(record.case, seed=0), []).append(record.wall_seconds)
    return seconds


def walls(folders: Iterable[Path], here: bool) -> Walls:
    """Return the wall seconds of the runs in `folders`. `here` selects the runs on a machine like this one."""
    now = Environment(machine=detect_environment.machine())
    records: list[Record] = []
    for folder in folders:
        try:
            run = runs.read(folder)
        except (BadInput, OSError):
            continue
        if not here or (run.environment.machine and not comparability.differences(run.environment, now, "")):
            records += run.records
    return walls_of(records)


def forecast(case: Case, known: Walls, source: str) -> Forecast:
    """Return the median of the same case, or the value of a line through the two nearest sizes.

    A case that was measured only with other numbers of threads has the forecast of one of these.
    """
    wanted = replace(case, seed=0)
    if not any(replace(other, rows=case.rows) == wanted for other in known):  # any number of threads, then
        known = {replace(other, threads=case.threads): seconds for other, seconds in known.items()}
    sizes = {other.rows: statistics.median(known[other]) for other in known if replace(other, rows=case.rows) == wanted}
    if case.rows in sizes:
        return Forecast(sizes[case.rows], source)
    if not sizes:
        return Forecast(None)
    points = sorted(sizes.items())
    if len(points) == 1 or case.rows < points[0][0]:
        rows, seconds = points[0]
        return Forecast(seconds * max(1.0, case.rows / rows), f"{source}, scaled from {rows:,} rows")
    nearest = [pair for pair in pairwise(points) if case.rows > pair[0][0]][-1]
    (few, short), (many, long) = nearest
    slope = max((long - short) / (many - few), 0.0)
    return Forecast(short + slope * (case.rows - few), f"{source}, scaled from {few:,} and {many:,} rows")


def forecasts(plan: Plan) -> dict[Case, Forecast]:
    """Return a forecast for each case of a plan. An unavailable framework takes no time."""
    here, published = walls(_folders(runs.RUNS), here=True), walls(_folders(PUBLISHED), here=False)
    by_case = {}
    for case in dict.fromkeys(case for case, _ in plan.steps()):
        if reason := registry.FRAMEWORKS[case.framework].missing():
            by_case[case] = Forecast(0.0, f"unavailable: {reason}")
        else:
            first = forecast(case, here, HERE)
            by_case[case] = first if first.seconds is not None else forecast(case, published, ELSEWHERE)
    return by_case


def _folders(parent: Path) -> list[Path]:
    return sorted(folder for folder in parent.iterdir() if folder.is_dir()) if parent.is_dir() else []


def show(plan: Plan, time_budget_s: float | None, console: Console) -> None:
    """Print the cases of a plan with their forecasts, and the forecast of the whole run."""
    by_case = forecasts(plan)
    required = {case for case, _ in plan.required_steps()}
    launches = f"launches: {plan.launches or 'chosen by the run'}"
    threads = f"threads: {', '.join(map(str, plan.threads))}"
    table = Table(title=f"{len(by_case)} cases, {launches}, {threads}, seed: {plan.seed}")
    for heading in ("framework", "model"):
        table.add_column(heading)
    table.add_column("rows", justify="right")
    table.add_column("track")
    table.add_column("threads", justify="right")
    table.add_column("one launch", justify="right")
    table.add_column("source")
    for case, expected in by_case.items():
        seconds = "" if not expected.seconds else show_duration(expected.seconds)
        source = expected.source or "not measured yet"
        if case not in required:
            source += ", optional"
        table.add_row(case.framework, case.model, f"{case.rows:,}", case.track, str(case.threads), seconds, source)
    console.print(table)
    seconds_once = sum(
        expected.seconds + BETWEEN_CASES_S
        for case, expected in by_case.items()
        if expected.seconds and case in required
    )
    total = seconds_once * (plan.launches or 1)
    if time_budget_s is not None:
        total = max(seconds_once, time_budget_s if plan.launches is None else min(total, time_budget_s))
    unknown = sum(expected.seconds is None for expected in by_case.values())
    sources = {name for name in (HERE, ELSEWHERE) for value in by_case.values() if value.source.startswith(name)}
    origin = f" ({' and '.join(sorted(sources))})" if sources else ""
    if len(required) < len(by_case):
        console.print("optional: measured only if the forecast fits into the time budget")
    rest = f"; {unknown} cases have no forecast and are not included" if unknown else ""
    console.print(f"the whole run: about {show_duration(total)}{origin}{rest}", soft_wrap=True)
