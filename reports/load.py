"""Reading runs for the report, each under a name of its own. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.results.runs import Run, newest, read
from benchmarks.validation import shown


def runs(folders: Sequence[Path] = ()) -> list[Run]:
    """The runs in `folders`, the newest run if there are none. BadInput for a folder that is no run."""
    loaded = list({run.folder.resolve(): run for run in map(read, folders or [newest()])}.values())
    names = [run.name for run in loaded]
    return [replace(run, name=shown(str(run.folder)) if names.count(run.name) > 1 else run.name) for run in loaded]
