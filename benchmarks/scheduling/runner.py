"""Run the cases of a run one after another, and write the record of each before the next one starts."""

from __future__ import annotations

import errno
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import interrupts
from adapters import exit_with_parent, registry
from benchmarks.cases import Case
from benchmarks.results import detect_environment, environment, records
from benchmarks.results.records import Record
from benchmarks.scheduling import forecast, launches, output_folder
from benchmarks.scheduling.configuration import RunConfiguration
from benchmarks.scheduling.output_folder import CASES
from benchmarks.scheduling.speed_probe import speed_probe
from benchmarks.supervision import supervisor
from datasets import flowers
from datasets.files import write_json
from errors import BadInput

LEAST_FREE = 2**20
"""Bytes. On a disk with less free space, a case fails for a reason unrelated to its framework."""

INFERRED = ("timeout", "out-of-memory")
"""Outcomes that a larger size is assumed to have, too."""

OPTIONAL_SHARE = 0.95
"""Optional sizes may use this share of the time budget. The rest is for further launches."""


class Watcher:
    """An observer of the progress of a run. This base class does nothing."""

    def started(self, case: Case, launch: int) -> None: ...

    def phase(self, name: str | None) -> None: ...

    def ended(self, record: Record) -> None: ...

    def message(self, line: str) -> None: ...


class Disk:
    """The smallest free space of a run's disk since this object was created."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._least = shutil.disk_usage(folder).free

    def watched(self, on_phase: Callable[[str | None], None]) -> Callable[[str | None], None]:
        """Return `on_phase` with a check of the free space at each call."""

        def check_and_report(phase: str | None) -> None:
            self._least = min(self._least, shutil.disk_usage(self._folder).free)
            on_phase(phase)

        return check_and_report

    def check(self) -> None:
        """Raise OSError if the disk was full."""
        if self._least < LEAST_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))


def run(folder: Path, configuration: RunConfiguration, watcher: Watcher | None = None) -> None:
    """Run all cases that have no record yet.

    Records that were made with other versions, recipes or settings are set aside, and their cases run again.
    """
    _Run(folder, configuration, watcher or Watcher()).run()


class _Run:
    """A run in progress."""

    def __init__(self, folder: Path, configuration: RunConfiguration, watcher: Watcher) -> None:
        self._folder = folder
        self._configuration = configuration
        self._watcher = watcher
        self._began = time.monotonic()
        self._missing = {name: registry.FRAMEWORKS[name].missing() for name in configuration.plan.frameworks}
        self._done: dict[tuple[Case, int], Record] = {}
        self._prepared: set[int] = set()

    def run(self) -> None:
        now = detect_environment.describe(self._folder.name, self._configuration.settings)
        for warning in now.warnings:
            self._watcher.message(f"warning: {warning}")
        output_folder.set_aside_outdated(self._folder, now, self._missing, self._watcher.message)
        path = self._folder / environment.FILE
        write_json(path, environment.resumed(environment.read(path), now))
        self._done = {(record.case, record.launch): record for record in records.read(self._folder)}
        for case, launch in self._steps():
            self._launch(case, launch)
        with suppress(OSError):  # not empty if it has the logs of cases that failed
            (self._folder / CASES).rmdir()

    def _steps(self) -> Iterator[tuple[Case, int]]:
        """Yield the next launch: first the required ones, then the optional sizes, then cases with unclear results."""
        plan = self._configuration.plan
        for case, launch in plan.required_steps():
            is_open = (case, launch) not in self._done
            if is_open and (launch == 1 or self._fits(self._done[case, 1].wall_seconds or 0.0)):
                yield case, launch
        if plan.launches is None:
            yield from self._optional_steps()
            yield from self._further_steps()
        self._report_left_out()

    def _optional_steps(self) -> Iterator[tuple[Case, int]]:
        """Yield the first launches of the optional sizes whose forecast fits, the shortest first."""
        plan = self._configuration.plan
        cases = [case for case, launch in plan.steps() if case.rows not in plan.rows and (case, 1) not in self._done]
        seconds = {case: self._forecast(case) for case in cases}
        for case in sorted(cases, key=lambda case: seconds[case]):
            if not seconds[case]:
                yield case, 1
            elif self._fits(seconds[case], OPTIONAL_SHARE):
                try:
                    self._prepare(case)
                except BadInput as error:  # for example, no disk space
                    self._watcher.message(f"{case} is not measured: {error}")
                else:
                    yield case, 1

    def _further_steps(self) -> Iterator[tuple[Case, int]]:
        """Yield further launches of cases whose result is not clear, while there is time."""
        available = {name for name, reason in self._missing.items() if not reason}
        while case := launches.next_case(
            launches.measured(record for record in self._done.values() if record.case.framework in available),
            self._seconds_left(),
        ):
            yield case, 1 + max(launch for other, launch in self._done if other == case)

    def _forecast(self, case: Case) -> float:
        """Return the forecast of a launch in seconds, from smaller sizes of this run, or 0 if it will not start."""
        if self._missing[case.framework] or self._inferred_from(case):
            return 0.0
        walls = forecast.walls_of(self._done.values())
        return forecast.forecast(case, walls, "this run").seconds or math.inf

    def _inferred_from(self, case: Case) -> Record | None:
        """Return the record because of which a case is skipped, or None. A case that has succeeded is not skipped."""
        if not self._configuration.skip or any(
            record.case == case and record.outcome == "ok" for record in self._done.values()
        ):
            return None
        return inferred_from(case, self._done.values())

    def _fits(self, seconds: float, share: float = 1.0) -> bool:
        budget = self._configuration.time_budget_s
        return budget is None or time.monotonic() - self._began + seconds <= share * budget

    def _seconds_left(self) -> float:
        return (self._configuration.time_budget_s or 0.0) - (time.monotonic() - self._began)

    def _launch(self, case: Case, launch: int) -> None:
        self._watcher.started(case, launch)
        if reason := self._missing[case.framework]:
            record = Record(self._folder.name, case, "unavailable", launch, reason=reason)
        elif smaller := self._inferred_from(case):
            reason = f"inferred, not measured: {smaller.case.rows:,} rows already ended in {smaller.outcome}"
            record = Record(self._folder.name, case, "skipped", launch, reason=reason, inferred_from=smaller.case)
        else:
            record = self._measure(case, launch)
        with interrupts.uninterrupted():
            records.append(self._folder, record)
        self._done[case, launch] = record
        self._watcher.ended(record)

    def _prepare(self, case: Case) -> None:
        if case.rows not in self._prepared:
            self._watcher.phase("data")
            for line in prepare(case.rows, case.seed):
                self._watcher.message(line)
            self._prepared.add(case.rows)

    def _measure(self, case: Case, launch: int) -> Record:
        self._prepare(case)
        self._watcher.phase("probe")
        seconds = speed_probe()
        disk = Disk(self._folder)
        disk.check()
        record = supervisor.run(
            case,
            self._configuration.limits,
            self._folder / CASES / f"{case.slug}-{launch}",
            self._folder.name,
            launch,
            disk.watched(self._watcher.phase),
        )
        disk.check()  # a full disk may have lost events of any case
        return replace(record, probe_seconds=seconds)

    def _report_left_out(self) -> None:
        plan = self._configuration.plan
        left_out = [step for step in plan.steps() if step not in self._done]
        if cases := [case for case, _ in left_out if case.rows not in plan.rows and plan.launches is None]:
            self._watcher.message(
                f"not measured, because the forecast does not fit into the time budget: {'; '.join(map(str, cases))}. "
                f"Measure them with ./nox -s benchmark -- --rows {cases[0].rows}"
            )
        elif left_out:
            self._watcher.message(
                f"{len(left_out)} further launches were left out, because the time budget of "
                f"{self._configuration.time_budget_s:g} s is used up; add them with "
                f"./nox -s benchmark -- {self._configuration.resume_options(self._folder)}"
            )


def prepare(rows: int, seed: int) -> list[str]:
    """Make the data of cases in another process, so that this one stays small. Return the lines that it printed.

    Raise BadInput if it fails, for example without free disk space.
    """
    answer = exit_with_parent.run("benchmarks.case_data", [str(rows), str(seed)], stderr=subprocess.PIPE)
    lines = answer.stderr.strip().splitlines()
    if answer.returncode:
        raise BadInput(lines[-1] if lines else f"making {rows:,} rows failed with exit code {answer.returncode}")
    return lines


def inferred_from(case: Case, done: Iterable[Record]) -> Record | None:
    """Return the record of a smaller size of the same case that ran out of time or memory, or None.

    The real flowers do not count, because they are other data and have other recipes.
    """
    for record in done:
        same = replace(record.case, rows=case.rows) == case and record.case.rows != flowers.ROWS
        if same and record.case.rows < case.rows and record.outcome in INFERRED:
            return record
    return None
