"""A run: its folder, its cases one after another, and what each leaves in the records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from adapters import registry
from benchmarks import environment, records, supervisor
from benchmarks.cases import Case
from benchmarks.environment import ROOT
from benchmarks.records import Record
from benchmarks.supervisor import Limits
from commandline import BadInput, check_folder

RUNS = ROOT / "reports" / "runs"
LATEST = ROOT / "reports" / "latest"


def new_folder(output: Path | None) -> Path:
    """The folder asked for, or one named after the time, at which `reports/latest` then points."""
    folder = output or RUNS / datetime.now().strftime("%Y%m%d-%H%M%S")
    check_folder(folder)
    if (folder / records.FILE).exists():
        raise BadInput(f"{folder} holds the records of a run already; name another folder for --output")
    folder.mkdir(parents=True, exist_ok=True)
    if output is None:
        beside = LATEST.with_name(".latest")
        beside.unlink(missing_ok=True)
        try:
            beside.symlink_to(folder.relative_to(LATEST.parent))
        except OSError:  # a file system without links
            beside.write_text(f"{folder.relative_to(LATEST.parent)}\n")
        beside.replace(LATEST)
    return folder


def prepare(rows: int, seed: int) -> list[str]:
    """Makes the data of cases in a process of its own, so that this one stays small; returns what had to be mended.

    BadInput if there is no room.
    """
    command = [sys.executable, "-m", "benchmarks.preparation", str(rows), str(seed)]
    environment_ = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, cwd=ROOT, env=environment_, capture_output=True, text=True, check=False)
    lines = answer.stderr.strip().splitlines()
    if answer.returncode:
        raise BadInput(lines[-1] if lines else f"making {rows:,} rows ended with exit code {answer.returncode}")
    return lines


def run(
    folder: Path,
    matrix: Sequence[Case],
    limits: Limits,
    started: Callable[[Case], None] = lambda case: None,
    watch: Callable[[str | None], None] = lambda phase: None,
    ended: Callable[[Record], None] = lambda record: None,
    said: Callable[[str], None] = lambda line: None,
) -> list[Record]:
    """Runs the cases in their order; the record of each is on the disk before the next one begins."""
    settings = {
        "threads": matrix[0].threads,
        "seed": matrix[0].seed,
        "rounds": limits.rounds,
        "time_limit_s": limits.time_s,
        "memory_limit_bytes": limits.memory_bytes,
    }
    description = environment.describe(folder.name, settings)
    (folder / "environment.json").write_text(json.dumps(description, indent=1))
    (folder / records.FILE).touch()
    missing = {name: registry.FRAMEWORKS[name].missing() for name in {case.framework for case in matrix}}
    done: list[Record] = []
    prepared: set[tuple[int, int]] = set()
    for case in matrix:
        started(case)
        if reason := missing[case.framework]:
            record = Record(folder.name, case, "unavailable", reason=reason)
        elif (smaller := gave_up_before(case, done)) is not None:
            reason = f"inferred, not measured: {smaller.case.rows:,} rows already ended in {smaller.outcome}"
            record = Record(folder.name, case, "skipped", reason=reason)
        else:
            if (data := (case.rows, case.seed)) not in prepared:
                watch("data")
                for line in prepare(*data):
                    said(line)
                prepared.add(data)
            record = supervisor.run(case, limits, folder / "cases" / case.slug, folder.name, watch)
        records.append(folder, record)
        done.append(record)
        ended(record)
    with suppress(OSError):  # what is left in there are the logs of cases that did not end well
        (folder / "cases").rmdir()
    return done


def gave_up_before(case: Case, done: Sequence[Record]) -> Record | None:
    """The record of a smaller size, all else the same, that ran out of time or memory."""
    for record in done:
        same = Case(**{**asdict(record.case), "rows": case.rows}) == case
        if same and record.case.rows < case.rows and record.outcome in ("timeout", "out-of-memory"):
            return record
    return None
