"""How long a run will take: by what earlier ones took on this machine, or else by the published ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from adapters import registry
from benchmarks import conditions, environment, runs
from benchmarks.cases import Case, Plan
from errors import BadInput

PUBLISHED = runs.REPORTS / "published"
HERE, ELSEWHERE = "measured here", "published"
BESIDES_S = 1.0
"""What the supervisor takes between two cases: its probe, and ending the processes."""

Walls = dict[Case, list[float]]
"""Wall seconds of each case, whatever its seed: every launch that was started counts, however it ended."""


@dataclass(frozen=True)
class Forecast:
    """Seconds that one launch of a case will take, and what says so; None where nothing does."""

    seconds: float | None
    source: str = ""


def walls(folders: Iterable[Path], here: bool) -> Walls:
    """What the runs in `folders` took; only those made on a machine like this one if `here`."""
    now = {"machine": environment.machine()}
    found: Walls = {}
    for folder in folders:
        try:
            run = runs.read(folder)
        except BadInput:
            continue  # what cannot be read says nothing
        if here and (not run.facts("machine") or conditions.differences(run.environment, now, "")):
            continue
        for record in run.records:
            if record.wall_seconds is not None:
                found.setdefault(replace(record.case, seed=0), []).append(record.wall_seconds)
    return found


def forecast(case: Case, known: Walls, source: str) -> Forecast:
    """The median of the same case's, or a line through the sizes around it; beyond the largest, the line goes on."""
    wanted = replace(case, seed=0)
    sizes = {other.rows: statistics.median(known[other]) for other in known if replace(other, rows=case.rows) == wanted}
    if case.rows in sizes:
        return Forecast(sizes[case.rows], source)
    if not sizes:
        return Forecast(None)
    points = sorted(sizes.items())
    if len(points) == 1 or case.rows < points[0][0]:
        rows, seconds = points[0]
        return Forecast(seconds * max(1.0, case.rows / rows), f"{source}, scaled from {rows:,} rows")
    around = [pair for pair in pairwise(points) if case.rows > pair[0][0]][-1]
    (few, short), (many, long) = around
    slope = max((long - short) / (many - few), 0.0)
    return Forecast(short + slope * (case.rows - few), f"{source}, scaled from {few:,} and {many:,} rows")


def forecasts(plan: Plan) -> dict[Case, Forecast]:
    """A forecast for each case of the plan; those that cannot run here take no time."""
    here, published = walls(_folders(runs.RUNS), here=True), walls(_folders(PUBLISHED), here=False)
    found = {}
    for case in dict.fromkeys(case for case, _ in plan.steps()):
        if reason := registry.FRAMEWORKS[case.framework].missing():
            found[case] = Forecast(0.0, f"unavailable: {reason}")
        else:
            first = forecast(case, here, HERE)
            found[case] = first if first.seconds is not None else forecast(case, published, ELSEWHERE)
    return found


def _folders(parent: Path) -> list[Path]:
    return sorted(folder for folder in parent.iterdir() if folder.is_dir()) if parent.is_dir() else []


def show(plan: Plan, time_budget_s: float | None, console: Console) -> None:
    """Prints the cases of a plan with their forecasts, and that of the whole run."""
    found = forecasts(plan)
    table = Table(title=f"{len(found)} cases, launches: {plan.launches}, threads: {plan.threads}, seed: {plan.seed}")
    for heading in ("framework", "model"):
        table.add_column(heading)
    table.add_column("rows", justify="right")
    table.add_column("track")
    table.add_column("a launch", justify="right")
    table.add_column("by")
    for case, one in found.items():
        time = "" if not one.seconds else f"{one.seconds:.1f} s"
        by = one.source or "not measured yet"
        table.add_row(case.framework, case.model, f"{case.rows:,}", case.track, time, by)
    console.print(table)
    first = sum(one.seconds + BESIDES_S for one in found.values() if one.seconds)
    seconds = plan.launches * first
    if time_budget_s is not None:
        seconds = max(first, min(seconds, time_budget_s))
    unknown = sum(one.seconds is None for one in found.values())
    sources = {name for name in (HERE, ELSEWHERE) for one in found.values() if one.source.startswith(name)}
    origin = f", by what was {' and '.join(sorted(sources))}" if sources else ""
    rest = f"; nothing is known of {unknown} cases, which come on top" if unknown else ""
    console.print(f"the whole run: about {_time(seconds)}{origin}{rest}", soft_wrap=True)


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
