"""Reading runs for the report, with words that can be shown. Nothing is computed here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.records import Record
from benchmarks.runs import Run, newest, read


def runs(folders: Sequence[Path] = ()) -> list[Run]:
    """The runs in `folders`, the newest run if there are none. BadInput for a folder that is no run."""
    loaded = list({run.folder.resolve(): run for run in map(read, folders or [newest()])}.values())
    names = [run.name for run in loaded]
    return [
        replace(
            run,
            name=str(run.folder) if names.count(run.name) > 1 else run.name,
            records=tuple(_readable(record) for record in run.records),
        )
        for run in loaded
    ]


def _readable(record: Record) -> Record:
    """The record with words that HTML, SVG and UTF-8 can all hold: what a dying process printed need not be."""
    case = record.case
    words = replace(case, framework=clean(case.framework), model=clean(case.model), track=clean(case.track))
    return replace(record, case=words, reason=record.reason and clean(record.reason))


def clean(text: str) -> str:
    """Text without colours of a terminal, and with a question mark for what cannot be shown."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else " " if letter.isspace() else "?" for letter in plain
    )
