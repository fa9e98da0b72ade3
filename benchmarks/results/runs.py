"""Runs: find the folder of a run by its name, and read it as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import environment, records
from benchmarks.results.environment import Environment
from benchmarks.results.records import Record
from benchmarks.validation import shown
from errors import BadInput
from machine import ROOT

REPORTS = ROOT / "reports"
RUNS = REPORTS / "runs"
LATEST = REPORTS / "latest"


@dataclass(frozen=True)
class Run:
    """One run. `records` has every launch of every case, in the order of the file."""

    name: str
    folder: Path
    records: tuple[Record, ...]
    environment: Environment = field(default_factory=Environment)


def read(run: Path) -> Run:
    """Return a run, given by its folder, its name under reports/runs/, or "latest". Raise BadInput if there is none."""
    folder = find(run)
    if not folder.is_dir():
        raise BadInput(f"{run} is not a run: there is no such folder. Runs are folders under reports/runs/")
    name = shown(folder.resolve().name)
    return Run(name, folder, tuple(records.read(folder)), environment.read(folder / environment.FILE))


def find(run: Path) -> Path:
    """Return the folder of a run, given by its folder, its name under reports/runs/, or "latest"."""
    if run.exists():
        return run
    if run == Path("latest"):
        return newest()
    return RUNS / run if (RUNS / run).is_dir() else run


def newest(latest: Path | None = None) -> Path:
    """Return the folder to which `latest`, a symbolic link or a text file, points. Raise BadInput if there is none."""
    latest = latest or LATEST
    if latest.is_dir():
        return latest.resolve()
    if latest.is_file():
        return latest.parent / latest.read_text(errors="replace").strip()
    raise BadInput("there is no run yet; make one with ./nox -s benchmark, or name the folder of a run")
