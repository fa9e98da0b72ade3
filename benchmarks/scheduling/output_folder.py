"""The folder of a run that is being written: create, claim and lock it, and set aside records that do not count."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from adapters import registry
from benchmarks.comparison import comparability
from benchmarks.results import environment, records, runs
from benchmarks.results.environment import Environment
from benchmarks.results.records import Record
from benchmarks.results.runs import LATEST, RUNS
from benchmarks.scheduling import configuration
from benchmarks.scheduling.configuration import RunConfiguration
from benchmarks.validation import shown
from datasets.files import check_folder
from errors import BadInput

LOCK = ".lock"
CASES = "cases"
"""Subfolder for the files of the running case, and for the logs of cases that failed."""
MOST_NAMED = 3


def new(output: Path | None) -> Path:
    """Create the folder `output`, or one that is named after the time. Raise BadInput if it is in use."""
    folder = output or RUNS / datetime.now().strftime("%Y%m%d-%H%M%S")
    check_folder(folder)
    if (folder / configuration.FILE).exists():
        raise BadInput(f"{folder} already holds a run; continue it with --resume {folder}, or name another folder")
    if folder.exists() and (others := sorted(path.name for path in folder.iterdir() if not _is_unfinished(path))):
        raise BadInput(
            f"{folder} holds other files ({', '.join(map(shown, others[:MOST_NAMED]))}); name a new or empty folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_unfinished(path: Path) -> bool:
    """Return whether a run that was killed before its first case left this file. The folder then counts as empty."""
    return (
        path.name == LOCK
        or path.name.startswith(f".{configuration.FILE}.")
        or (path.name == records.FILE and not path.stat().st_size)
    )


def to_resume(run: Path) -> Path:
    """Return the folder of a run. Raise BadInput if one of its files is a symbolic link, which could lead anywhere."""
    folder = runs.find(run)
    for name in (LOCK, configuration.FILE, records.FILE, records.SET_ASIDE, environment.FILE, CASES):
        if (folder / name).is_symlink():
            raise BadInput(f"{folder / name} is a symbolic link; replace it with its target, or start a new run")
    return folder


def claim(folder: Path, run: RunConfiguration) -> None:
    """Write the configuration of a new run, and make `latest` point to it. Raise BadInput if the folder is in use."""
    new(folder)
    (folder / records.FILE).touch()
    run.write(folder)
    if folder.parent == RUNS:
        beside = LATEST.with_name(f".latest.{os.getpid()}")
        beside.unlink(missing_ok=True)
        try:
            beside.symlink_to(folder.relative_to(LATEST.parent))
        except OSError:  # a file system without symbolic links
            beside.write_text(f"{folder.relative_to(LATEST.parent)}\n")
        beside.replace(LATEST)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process. The system unlocks it when the process ends. Raise BadInput if it is locked."""
    try:
        with FileLock(folder / LOCK).acquire(blocking=False):
            yield
    except Timeout:
        raise BadInput(f"another run is writing to {folder}; wait until it ends, or name another folder") from None


def set_aside_outdated(
    folder: Path, now: Environment, missing: Mapping[str, str | None], report: Callable[[str], None]
) -> None:
    """Move records of other versions, recipes or settings out of the run, and an incomplete last line.

    `missing` names the reason why each framework is unavailable now, or None.
    """
    path = folder / environment.FILE
    before = environment.read(path) if path.exists() else now  # missing if the run was killed before its first case
    differences = {
        name: comparability.differences(before, now, name) + comparability.recipe_changed(before, now, name)
        for name in registry.FRAMEWORKS
    }

    def stays(record: Record) -> bool:
        name = record.case.framework
        now_available = record.outcome == "unavailable" and not missing.get(name)
        # Records of another schema were judged by another quality gate.
        return record.schema == records.SCHEMA and not now_available and not differences.get(name)

    moved = records.set_aside(folder, stays)
    for reasons in dict.fromkeys("; ".join(reasons) for reasons in differences.values() if reasons):
        names = [name for name, changes in differences.items() if "; ".join(changes) == reasons]
        report(f"measured again because of a change ({', '.join(names)}): {reasons}")
    if moved:
        report(f"{moved} records no longer count and were moved to {records.SET_ASIDE}")
