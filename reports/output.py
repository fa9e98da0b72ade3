"""Where a report is written: in whose folder, and all of its files or none.

A report is written into the folder of its run, into a new or empty folder, or over an earlier report. Outside the
folder of a run, report.json lists the files of the report: only a folder in which every file is listed is written to.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.results.runs import Run
from benchmarks.validation import shown
from datasets.files import check_folder, read_json, write_json
from errors import BadInput

MARKER = "report.json"
LOCK = ".report.lock"
BESIDE = ".irisbench-report-"
"""What the name of the folder begins with in which the files are written before they are renamed."""
LONGEST_WAIT_S = 60.0
MOST_NAMED = 3


@dataclass(frozen=True)
class Written:
    """The names of all files of the reports in a folder, figures with their folder."""

    files: list[str]


def check(folder: Path, runs: Sequence[Run]) -> None:
    """BadInput unless a report of the runs may be written into `folder`."""
    check_folder(folder)
    if (folder / "figures").is_symlink():
        raise BadInput(f"{folder / 'figures'} is a symbolic link; name another folder with --output")
    if not folder.exists() or _is_of(folder, runs):
        return
    found = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    if others := sorted(name for name in found - _listed(folder) if not name.startswith(".")):
        names = ", ".join(map(shown, others[:MOST_NAMED]))
        raise BadInput(f"{folder} holds files that are not of a report ({names}); name a new or empty folder")


def write(folder: Path, runs: Sequence[Run], files: Mapping[str, str]) -> None:
    """Write all files, by their names in `folder`, or none: they are written in a folder beside them, then renamed.

    BadInput if the folder is in use. OSError if there is no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK).acquire(timeout=LONGEST_WAIT_S):
            check(folder, runs)
            for left in folder.glob(f"{BESIDE}*"):  # of a report that was killed while it was written
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
            beside = Path(tempfile.mkdtemp(prefix=BESIDE, dir=folder))
            try:
                _write(beside, folder, files, marked=not _is_of(folder, runs))
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except Timeout:
        raise BadInput(f"another report is being written into {folder}; wait for its end") from None
    except OSError as error:
        error.filename = error.filename or str(folder)  # a full disk names no file
        raise


def _write(beside: Path, folder: Path, files: Mapping[str, str], marked: bool) -> None:
    (beside / "figures").mkdir()
    for name, text in files.items():
        (beside / name).write_text(text, encoding="utf-8", errors="replace", newline="")
    if marked:  # before the files that it lists
        write_json(folder / MARKER, Written(sorted({MARKER, *files} | _listed(folder))))
    (folder / "figures").mkdir(exist_ok=True)
    for name in files:
        (beside / name).replace(folder / name)


def _is_of(folder: Path, runs: Iterable[Run]) -> bool:
    """Whether a folder is that of one of the runs."""
    return any(folder.samefile(run.folder) for run in runs)


def _listed(folder: Path) -> set[str]:
    try:
        return set(read_json(folder / MARKER, Written).files)
    except FileNotFoundError:
        return set()
