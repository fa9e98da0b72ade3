"""The event log of a case: typed lines of JSON that its process writes and the supervisor reads.

Each event is on the disk when `EventLog.write` returns, so the log of a killed process shows how far it came.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.results.records import Outcome, Quality
from benchmarks.validation import Bytes, Name, Seconds, shown
from machine import probe

FILE = "events.jsonl"
THREADS = Path("/proc/self/task")


class PhaseBegan(msgspec.Struct, frozen=True, tag="phase-began"):
    """A phase begins. `time` is the system's monotonic clock in seconds, as in all events."""

    time: Seconds
    phase: Name
    cold: bool = False


class PhaseEnded(msgspec.Struct, frozen=True, tag="phase-ended"):
    """A phase has ended, with the seconds of each repeat.

    `waited_seconds` is the time that the threads of this process were ready to run but waited for a core.
    `involuntary_switches` is how often the kernel took a core from them.
    """

    time: Seconds
    phase: Name
    seconds: tuple[Seconds, ...]
    waited_seconds: Seconds | None = None
    involuntary_switches: int | None = None


class ModelSaved(msgspec.Struct, frozen=True, tag="model-saved"):
    """The recipe as it ran, facts about the framework's build, and the size of the saved model."""

    time: Seconds
    recipe: dict[str, Any]
    build: dict[str, Any]
    model_bytes: Bytes


class Scored(msgspec.Struct, frozen=True, tag="scored"):
    """The quality of the model."""

    time: Seconds
    quality: Quality


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The reason why the case cannot continue."""

    time: Seconds
    outcome: Outcome
    reason: str


Event = PhaseBegan | PhaseEnded | ModelSaved | Scored | Failed


class EventLog:
    """The writer of an event log. Without a folder, it drops the events."""

    def __init__(self, folder: Path | None) -> None:
        self._file = (folder / FILE).open("ab", buffering=0) if folder else None
        self._phase = ""
        self._waited: float | None = None
        self._switches = 0

    def begin(self, phase: str, cold: bool = False) -> None:
        self._phase = phase
        self._waited, self._switches = _waited_seconds(), _involuntary_switches()
        self.write(PhaseBegan(time.monotonic(), phase, cold))

    def end(self, seconds: Sequence[float]) -> None:
        ended = time.monotonic()
        waited = _waited_seconds()
        self.write(
            PhaseEnded(
                ended,
                self._phase,
                tuple(seconds),
                None if waited is None or self._waited is None else max(waited - self._waited, 0.0),
                max(_involuntary_switches() - self._switches, 0),
            )
        )

    def fail(self, outcome: Outcome, reason: str) -> None:
        self.write(Failed(time.monotonic(), outcome, shown(reason)))

    def write(self, event: Event) -> None:
        if self._file:
            self._file.write(msgspec.json.encode(event) + b"\n")


class EventReader:
    """The reader of an event log."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._read = 0

    def new(self) -> list[Event]:
        """Return the events that were completed since the last call. A line torn by a full disk is skipped."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                complete = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return []
        self._read += len(complete) + 1 if complete else 0
        events = []
        for line in complete.splitlines():
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                events.append(_decoder.decode(line))
        return events


_decoder = msgspec.json.Decoder(Event)


def _waited_seconds() -> float | None:
    """Return the seconds that the threads of this process have waited for a core, or None if they are unknown."""
    files = probe(lambda: list(THREADS.glob("*/schedstat")))
    return sum(map(_waited, files)) if files else None


def _waited(schedstat: Path) -> float:
    return (probe(lambda: int(schedstat.read_text().split()[1])) or 0) / 1e9  # a thread may have ended


def _involuntary_switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
