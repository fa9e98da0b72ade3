"""A run: its folder, its cases one after another, and what each leaves in the records."""

from __future__ import annotations

import errno
import math
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import interrupts
from adapters import exit_with_parent, registry
from adapters.base import MODELS, TRACKS
from benchmarks import adapter_files, conditions, environment, preparation, records, runs, supervisor
from benchmarks.adapter_files import AdapterFile
from benchmarks.cases import Case, Plan
from benchmarks.probe import probe
from benchmarks.received import Limit, shown
from benchmarks.records import Record
from benchmarks.runs import ENVIRONMENT, LATEST, RUNS
from benchmarks.supervisor import Limits
from datasets import flowers
from datasets.files import check_folder, read_json, write_json
from errors import BadInput
from machine import SMALLEST_MEMORY_BYTES, usable_cores

ORDER = "plan.json"
"""What a run was asked for, so that it can be resumed."""

LOCK = ".lock"
CASES = "cases"
"""The folder of what the running case keeps, and of the logs of cases that did not end well."""

MOST_LAUNCHES = 100_000
LEAST_FREE = 2**20
"""Bytes: on a disk with less, a case fails because it cannot write, and that says nothing of its framework."""
MOST_NAMED = 3

LARGER_TOO = ("timeout", "out-of-memory")
"""Outcomes that a larger size would have, too."""


@dataclass(frozen=True)
class Order:
    """What a run was asked for: the cases, what each may take, and whether it passes over what will not end well.

    Once `time_budget_s` seconds are over, no case gets a further launch.
    """

    plan: Plan
    limits: Limits
    skip: bool = True
    time_budget_s: Limit | None = None
    adapters: tuple[AdapterFile, ...] = ()

    def __post_init__(self) -> None:
        """BadInput for a name that is not known, or more than a run can do."""
        added = {file.framework for file in self.adapters}  # `check` asks whether the user has named their files
        for what, given, known in (
            ("framework", self.plan.frameworks, (*registry.FRAMEWORKS, *added)),
            ("model", self.plan.models, MODELS),
            ("track", self.plan.tracks, TRACKS),
        ):
            if unknown := [name for name in given if name not in known]:
                raise BadInput(f"there is no {what} {shown(unknown[0])!r}; choose from {', '.join(known)}")
        parts = (self.plan.frameworks, self.plan.models, self.plan.rows, self.plan.tracks)
        launches = self.plan.launches * math.prod(map(len, parts))
        if not 1 <= launches <= MOST_LAUNCHES:
            raise BadInput(f"a run has 1 to {MOST_LAUNCHES:,} launches in all; this one has {launches:,}")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides how a case is measured, for environment.json."""
        return {
            "threads": self.plan.threads,
            "seed": self.plan.seed,
            "launches": self.plan.launches,
            "rounds": self.limits.rounds,
            "time_limit_s": self.limits.time_s,
            "case_limit_s": self.limits.case_s,
            "memory_limit_bytes": self.limits.memory_bytes,
        }

    def resume_options(self, folder: Path) -> str:
        """Return the options that resume this run."""
        return shlex.join(
            ["--resume", str(folder), *(word for file in self.adapters for word in ("--adapter", file.path))]
        )

    def write(self, folder: Path) -> None:
        write_json(folder / ORDER, self)

    @classmethod
    def read(cls, folder: Path) -> Order:
        """The order that stands in a run's folder; BadInput if there is none, or it is damaged."""
        try:
            return read_json(folder / ORDER, cls)
        except FileNotFoundError:
            raise BadInput(
                f"{folder} cannot be resumed: it has no {ORDER}; name a folder under reports/runs/"
            ) from None
        except BadInput as error:
            raise BadInput(f"{error}. Start a new run") from None


def check(order: Order) -> None:
    """BadInput if this machine has not the cores, the memory, the disk or the plug-ins that an order asks for."""
    cores, memory = usable_cores(), environment.default_memory_limit() * 4 // 3
    if order.plan.threads > cores:
        raise BadInput(f"--threads {order.plan.threads}: this process may use {cores} cores")
    if not SMALLEST_MEMORY_BYTES <= order.limits.memory_bytes <= memory:
        asked = f"{order.limits.memory_bytes / 2**20:,.3f}".rstrip("0").rstrip(".")
        raise BadInput(
            f"--memory-limit {asked} MiB: a case needs at least {SMALLEST_MEMORY_BYTES / 2**20:.0f} MiB, and this "
            f"machine has {memory / 2**20:,.0f} MiB"
        )
    preparation.check_room(order.plan.rows, order.plan.seed)
    adapter_files.check(order.adapters, order.plan.frameworks)


def new_folder(output: Path | None) -> Path:
    """The folder asked for, or one named after the time. BadInput if it is in use."""
    folder = output or RUNS / datetime.now().strftime("%Y%m%d-%H%M%S")
    check_folder(folder)
    if (folder / ORDER).exists():
        raise BadInput(f"{folder} already holds a run; continue it with --resume {folder}, or name another folder")
    if folder.exists() and (others := sorted(path.name for path in folder.iterdir() if not _is_unfinished(path))):
        raise BadInput(
            f"{folder} holds other files ({', '.join(map(shown, others[:MOST_NAMED]))}); name a new or empty folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_unfinished(path: Path) -> bool:
    """Whether a run that was cut off before its first case left this file: it claims no folder."""
    return (
        path.name == LOCK
        or path.name.startswith(f".{ORDER}.")
        or (path.name == records.FILE and not path.stat().st_size)
    )


def resumed_folder(run: Path) -> Path:
    """The folder of a run to go on with. BadInput if a file in it is a symbolic link, which could lead anywhere."""
    folder = runs.find(run)
    for name in (LOCK, ORDER, records.FILE, records.SET_ASIDE, ENVIRONMENT, CASES):
        if (folder / name).is_symlink():
            raise BadInput(f"{folder / name} is a symbolic link; a run is resumed only in files of its own")
    return folder


def claim(folder: Path, order: Order) -> None:
    """Makes the folder that of a new run, and the newest if it is one of ours. BadInput if it is in use by now."""
    new_folder(folder)
    (folder / records.FILE).touch()
    order.write(folder)
    if folder.parent == RUNS:
        beside = LATEST.with_name(f".latest.{os.getpid()}")
        beside.unlink(missing_ok=True)
        try:
            beside.symlink_to(folder.relative_to(LATEST.parent))
        except OSError:  # a file system without links
            beside.write_text(f"{folder.relative_to(LATEST.parent)}\n")
        beside.replace(LATEST)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a run's folder for this process; the system gives it free however the process ends. BadInput if taken."""
    try:
        lock = FileLock(folder / LOCK)
        with lock.acquire(blocking=False):
            yield
    except Timeout:
        raise BadInput(f"another run is writing to {folder}; wait until it ends, or name another folder") from None


def prepare(rows: int, seed: int) -> list[str]:
    """Makes the data of cases in a process of its own, so that this one stays small; returns what had to be mended.

    BadInput if there is no room.
    """
    answer = exit_with_parent.run("benchmarks.preparation", [str(rows), str(seed)], stderr=subprocess.PIPE)
    lines = answer.stderr.strip().splitlines()
    if answer.returncode:
        raise BadInput(lines[-1] if lines else f"making {rows:,} rows ended with exit code {answer.returncode}")
    return lines


class Disk:
    """The least room that a run's disk had since the first look: a case that fails without any says nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._least = shutil.disk_usage(folder).free

    def watched(self, watch: Callable[[str | None], None]) -> Callable[[str | None], None]:
        """`watch`, with a look at the disk whenever it is called."""

        def look(phase: str | None) -> None:
            self._least = min(self._least, shutil.disk_usage(self._folder).free)
            watch(phase)

        return look

    def check(self) -> None:
        """OSError if the disk was full."""
        if self._least < LEAST_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))


class Watcher:
    """Is told how a run comes along. This one does nothing."""

    def started(self, case: Case, launch: int) -> None: ...

    def phase(self, name: str | None) -> None: ...

    def ended(self, record: Record) -> None: ...

    def said(self, line: str) -> None: ...


def run(folder: Path, order: Order, watcher: Watcher | None = None) -> None:
    """Runs what has no record yet, in the order of the plan; the record of each is on the disk before the next begins.

    A record made under other conditions than today's counts as none: it is set aside, and its case is run again.
    """
    began = time.monotonic()
    watcher = watcher or Watcher()
    description = environment.describe(folder.name, order.settings)
    for warning in description.get("warnings", []):
        watcher.said(f"warning: {warning}")
    missing = {name: registry.FRAMEWORKS[name].missing() for name in order.plan.frameworks}
    _set_aside_what_differs(folder, description, missing, watcher.said)
    write_json(folder / ENVIRONMENT, description)
    done = {(record.case, record.launch): record for record in records.read(folder)}
    prepared: set[int] = set()
    left_out = 0
    for case, launch in order.plan.steps():
        if (case, launch) in done:
            continue
        if launch > 1 and order.time_budget_s is not None:
            will_take = done[case, 1].wall_seconds or 0.0  # the first launch tells
            if time.monotonic() - began + will_take > order.time_budget_s:
                left_out += 1
                continue
        watcher.started(case, launch)
        if reason := missing[case.framework]:
            record = Record(folder.name, case, "unavailable", launch, reason=reason)
        elif order.skip and (smaller := gave_up_before(case, done.values())):
            reason = f"inferred, not measured: {smaller.case.rows:,} rows already ended in {smaller.outcome}"
            record = Record(folder.name, case, "skipped", launch, reason=reason, inferred_from=smaller.case)
        else:
            if case.rows not in prepared:
                watcher.phase("data")
                for line in prepare(case.rows, case.seed):
                    watcher.said(line)
                prepared.add(case.rows)
            watcher.phase("probe")
            seconds = probe()
            place = folder / CASES / f"{case.slug}-{launch}"
            disk = Disk(folder)
            disk.check()
            record = supervisor.run(case, order.limits, place, folder.name, launch, disk.watched(watcher.phase))
            record = replace(record, probe_seconds=seconds)
            if record.outcome == "failed":
                disk.check()
        with interrupts.uninterrupted():
            records.append(folder, record)
        done[case, launch] = record
        watcher.ended(record)
    if left_out:
        watcher.said(
            f"{left_out} repeat launches were left out because the time budget of {order.time_budget_s:g} s is used "
            f"up; add them with ./nox -s benchmark -- {order.resume_options(folder)}"
        )
    with suppress(OSError):  # what is left in there are the logs of cases that did not end well
        (folder / CASES).rmdir()


def _set_aside_what_differs(
    folder: Path, now: dict[str, Any], missing: dict[str, str | None], said: Callable[[str], None]
) -> None:
    """Takes from the records those that other versions, recipes or settings made, and a torn last line."""
    before = runs.read_environment(folder / ENVIRONMENT) or now  # there is none if the run was cut off before a case
    differences = {
        name: conditions.differences(before, now, name) + conditions.recipe_changed(before, now, name)
        for name in registry.FRAMEWORKS
    }

    def stays(record: Record) -> bool:
        name = record.case.framework
        arrived = record.outcome == "unavailable" and not missing.get(name)
        # Another schema's records were judged by another quality gate.
        return record.schema == records.SCHEMA and not arrived and not differences.get(name)

    moved = records.set_aside(folder, stays)
    for words in dict.fromkeys("; ".join(words) for words in differences.values() if words):
        names = [name for name, own in differences.items() if "; ".join(own) == words]
        said(f"measured again, since something has changed ({', '.join(names)}): {words}")
    if moved:
        said(f"{moved} records no longer count and were moved to {records.SET_ASIDE}")


def gave_up_before(case: Case, done: Iterable[Record]) -> Record | None:
    """The record of a smaller size, all else the same, that ran out of time or memory.

    Nothing follows from the real flowers, which are other data, and learned by recipes of their own.
    """
    for record in done:
        same = replace(record.case, rows=case.rows) == case and record.case.rows != flowers.ROWS
        if same and record.case.rows < case.rows and record.outcome in LARGER_TOO:
            return record
    return None
