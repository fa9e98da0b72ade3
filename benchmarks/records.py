"""Record: what one case left behind. Append-only JSON Lines, a line as soon as the case ends.

schema 1    the first
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from commandline import BadInput

SCHEMA = 1
PHASES = ("import", "start", "load", "train", "predict", "predict_one", "save", "restore", "close")
OUTCOMES = ("ok", "unavailable", "unsupported", "timeout", "out-of-memory", "failed", "skipped")
FILE = "records.jsonl"


@dataclass(frozen=True)
class Phase:
    """Raw values of one phase. `seconds` are the measured rounds, `warmup_seconds` the first time, on other data.

    `cpu_seconds` and `peak_memory_bytes` are the whole process tree's, seen from outside while the measured
    rounds ran; `span_seconds` is the wall time of that same stretch, so that CPU over span is the threads used.
    """

    seconds: tuple[float, ...] = ()
    warmup_seconds: tuple[float, ...] = ()
    cpu_seconds: float | None = None
    span_seconds: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Quality:
    """How good the trained model is on rows that it has not seen. Bayes values are None for the real flowers."""

    test_rows: int
    accuracy: float
    log_loss: float
    target_accuracy: float
    reached_target: bool
    bayes_accuracy: float | None = None
    bayes_log_loss: float | None = None


@dataclass(frozen=True)
class Record:
    """What one case left behind. `phase` and `reason` say where and why when `outcome` is not ok."""

    run: str
    case: Case
    outcome: str
    launch: int = 1
    phase: str | None = None
    reason: str | None = None
    phases: dict[str, Phase] = field(default_factory=dict)
    first_prediction_seconds: float | None = None
    wall_seconds: float | None = None
    quality: Quality | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    model_bytes: int | None = None
    schema: int = SCHEMA

    def to_json(self) -> str:
        """One line of JSON, without the line end."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record that `to_json` wrote; ValueError, KeyError or TypeError if it is something else."""
        values = json.loads(line)
        if values["schema"] != SCHEMA:
            raise ValueError(f"schema {values['schema']}, and this irisbench reads schema {SCHEMA}")
        values["case"] = Case(**values["case"])
        values["phases"] = {
            name: Phase(
                **{**phase, "seconds": tuple(phase["seconds"]), "warmup_seconds": tuple(phase["warmup_seconds"])}
            )
            for name, phase in values["phases"].items()
        }
        values["quality"] = Quality(**values["quality"]) if values["quality"] else None
        return cls(**values)


def append(folder: Path, record: Record) -> None:
    """Adds the record to the run's file, and returns when it is on the disk."""
    descriptor = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (record.to_json() + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: Path) -> Iterator[Record]:
    """The records of a run in the order in which the cases ended; BadInput names a line that is none."""
    path = folder / FILE
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise BadInput(f"{folder} is no run: it has no {FILE}. Runs are folders under reports/runs/") from None
    for number, line in enumerate(lines, start=1):
        try:
            yield Record.from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}, line {number} is no record ({error}). Take the line out and try again") from None
