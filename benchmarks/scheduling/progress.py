"""The progress of a run on the terminal: the running case, the number of ended cases, and the time left.

On a terminal, the last line is updated. In a pipe, each case gets one line with a counter and the time left.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from benchmarks.cases import Case
from benchmarks.quality_gate import shortfall
from benchmarks.results import records
from benchmarks.results.records import Record
from benchmarks.scheduling import forecast, runner
from benchmarks.scheduling.configuration import RunConfiguration
from benchmarks.units import show_duration, show_seconds
from benchmarks.validation import shown

COLOURS = {"ok": "green", "unavailable": "dim", "unsupported": "dim", "skipped": "dim"}
UPDATES_PER_SECOND = 1
"""The rate is low because drawing takes time from the cores that are measured."""


class TimeLeft:
    """The forecast of the rest of a run, from earlier runs and scaled by the launches of this run."""

    def __init__(self, configuration: RunConfiguration) -> None:
        self._configuration = configuration
        self._forecasts = forecast.forecasts(configuration.plan)
        self._open = configuration.plan.required_steps()
        self._done: list[Record] = []
        self._ratios: list[float] = []
        self._began = time.monotonic()

    def ended(self, record: Record) -> None:
        self._done.append(record)
        if (record.case, record.launch) in self._open:
            self._open.remove((record.case, record.launch))
        expected = self._forecasts[record.case].seconds if record.case in self._forecasts else None
        if expected and record.wall_seconds:
            self._ratios.append(record.wall_seconds / expected)

    def seconds(self) -> float | None:
        """Return the forecast in seconds, or None if most open cases have no forecast and there is no time budget."""
        scale = statistics.median(self._ratios) if self._ratios else 1.0
        walls = forecast.walls_of(self._done)
        known = []
        for case, _ in self._open:
            earlier = self._forecasts[case].seconds
            seconds = forecast.forecast(case, walls, "this run").seconds if earlier is None else scale * earlier
            if seconds is not None:
                known.append(seconds + forecast.BETWEEN_CASES_S)
        budget = self._configuration.time_budget_s
        left = None if budget is None else max(budget - (time.monotonic() - self._began), 0.0)
        if len(known) < len(self._open) / 2:
            return left
        required = len(self._open) * statistics.fmean(known) if known else 0.0
        if left is None:
            return required
        return max(required, left) if self._configuration.plan.launches is None else min(required, left)


class Terminal(runner.Watcher):
    """The terminal output of a run: a line for each ended case, and the phase of the running one."""

    def __init__(self, console: Console, configuration: RunConfiguration, folder: Path) -> None:
        self._console = console
        recorded = list(records.read(folder))
        self._time_left = TimeLeft(configuration)
        for record in recorded:
            self._time_left.ended(record)
        done = {(record.case, record.launch) for record in recorded}
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}")
        )
        required = configuration.plan.required_steps()
        self._several_threads = len(configuration.plan.threads) > 1
        self._total, self._ended = len(required), sum(step in done for step in required)
        self._task = self._bar.add_task("starting", total=self._total, completed=self._ended, left="")
        self._about = "at most" if configuration.plan.launches is None else "about"
        self._printed: set[str] = set()
        self._case = self._phase = ""
        self._since = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the running case during the block. Nothing is drawn if the output is piped."""
        with Live(self._bar, console=self._console, refresh_per_second=UPDATES_PER_SECOND, transient=True):
            yield

    def started(self, case: Case, launch: int) -> None:
        self._case, self._phase = f"{self._name(case)}, launch {launch}", "starting"
        self._since = time.monotonic()

    def _name(self, case: Case) -> str:
        return case.with_threads if self._several_threads else str(case)

    def phase(self, name: str | None) -> None:
        now = time.monotonic()
        if (name or "starting") != self._phase and (name or self._phase == "probe"):
            self._phase, self._since = name or "starting", now
        self._bar.update(self._task, description=f"{self._case}: {self._phase} {now - self._since:.0f} s")

    def ended(self, record: Record) -> None:
        self._ended += 1
        self._time_left.ended(record)
        left = self._time_left.seconds()
        time_left = f"{self._about} {show_duration(left)} left" if left else ""
        self._bar.update(self._task, completed=self._ended, left=time_left)
        line = describe(record, self._name(record.case))
        if record.outcome in ("unavailable", "unsupported"):  # the same line for all cases of a framework
            if line in self._printed:
                return
            self._printed.add(line)
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            further = self._ended - self._total  # optional sizes and further launches
            counter = f"[{self._ended}/{self._total}]" if further <= 0 else f"[+{further}]"
            line = f"{escape(counter)} {line}" + (f" · {time_left}" if time_left else "")
        self._console.print(line, soft_wrap=True)

    def message(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False)


def describe(record: Record, name: str) -> str:
    """Return one line of Rich markup about an ended launch. `name` is the text of its case."""
    case, reason = record.case, escape(shown(record.reason or ""))
    outcome = f"[{COLOURS.get(record.outcome, 'red')}]{record.outcome:13}[/]"
    if record.outcome == "unavailable":
        return f"{outcome} {case.framework}: {reason}"
    if record.outcome == "unsupported":
        return f"{outcome} {case.framework} {case.model}: {reason}"
    text = f"{outcome} {escape(name):45} {record.launch}"
    if record.outcome != "ok":
        return text + (f" in {record.phase}: " if record.phase else " ") + reason
    train = record.phases.get("train")
    if train and train.seconds:
        text += f" train {show_seconds(statistics.median(train.seconds))}"
    if (quality := record.quality) is not None:
        text += f", accuracy {quality.accuracy:.4f}"
        if not quality.reached_target:
            text += f", below target: {shortfall([quality])}"
    if train and train.flagged:
        text += f", flagged: other programs took {train.others_share:.0%} of its cores"
    return text
