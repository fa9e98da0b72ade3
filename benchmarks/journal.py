"""What a case's process tells its supervisor: one line of JSON as each phase begins and ends, on the disk at once.

A process that is killed has then said how far it came.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

FILE = "journal.jsonl"


class Journal:
    """The writing end; without a folder it writes nowhere. Times are of the system's monotonic clock, in seconds."""

    def __init__(self, folder: Path | None) -> None:
        self._file = (folder / FILE).open("a", buffering=1) if folder else None
        self.phase: str | None = None

    def begin(self, phase: str, cold: bool = False) -> None:
        self.phase = phase
        self.write("begin", phase=phase, cold=cold)

    def end(self, seconds: list[float]) -> None:
        self.write("end", phase=self.phase, seconds=seconds)
        self.phase = None

    def write(self, event: str, **values: Any) -> None:
        if self._file:
            self._file.write(json.dumps({"event": event, "time": time.monotonic(), **values}) + "\n")


class Reader:
    """The reading end: `new()` gives the lines that have been finished since the last call."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._read = 0

    def new(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + 1 if whole else 0
        lines = []
        for line in whole.splitlines():
            with suppress(ValueError):  # torn by a full disk
                lines.append(json.loads(line))
        return lines
