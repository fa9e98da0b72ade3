"""Record: what one launch of a case left behind. Append-only JSON Lines, a line as soon as it ends.

schema 1    the first
schema 2    launches, the probe, memory and CPU of the JVM apart, the harness's own seconds, the framework's build
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from commandline import BadInput

SCHEMA = 2
PHASES = ("import", "start", "load", "train", "predict", "predict_one", "save", "restore", "close")
OUTCOMES = ("ok", "unavailable", "unsupported", "timeout", "out-of-memory", "failed", "skipped")
FILE = "records.jsonl"
SET_ASIDE = "set-aside.jsonl"


@dataclass(frozen=True)
class Phase:
    """Raw values of one phase. `seconds` are the measured rounds, `warmup_seconds` the first time, on other data.

    `cpu_seconds` and `peak_memory_bytes` are the whole process tree's, seen from outside while the measured
    rounds ran; `span_seconds` is the wall time of that same stretch, so that CPU over span is the threads used.
    The `jvm_` values are Java's share of the CPU seconds and of the memory at its peak; the rest is Python's.
    """

    seconds: tuple[float, ...] = ()
    warmup_seconds: tuple[float, ...] = ()
    cpu_seconds: float | None = None
    span_seconds: float | None = None
    peak_memory_bytes: int | None = None
    jvm_cpu_seconds: float | None = None
    jvm_memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes that the process tree held: after `start`, after `load`, and at most during `train`."""

    baseline_bytes: int
    data_bytes: int
    training_bytes: int


@dataclass(frozen=True)
class Harness:
    """Seconds of a case that were no phase's: with the phases' seconds and warm-ups they add up to the wall time.

    `startup` is Python's and pytest's until the first phase, `rounds` what measuring adds around the measured calls,
    `scoring` the model's on unseen flowers, `between` the rest until the last phase, `shutdown` until the process is
    gone.
    """

    startup_seconds: float
    rounds_seconds: float
    scoring_seconds: float
    between_seconds: float
    shutdown_seconds: float


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
    """What one launch of a case left behind. `phase` and `reason` say where and why when `outcome` is not ok.

    `started` is the time in UTC, ISO 8601; `probe_seconds` are those of a fixed piece of work just before, which show
    how fast the machine was; `inferred_from` is the case for which this one was skipped; `build` is what the framework
    says of its own build, in the first launch. Of the real flowers only the first launch is scored.
    """

    run: str
    case: Case
    outcome: str
    launch: int = 1
    phase: str | None = None
    reason: str | None = None
    inferred_from: Case | None = None
    started: str | None = None
    probe_seconds: tuple[float, ...] = ()
    phases: dict[str, Phase] = field(default_factory=dict)
    first_prediction_seconds: float | None = None
    wall_seconds: float | None = None
    supervisor_cpu_seconds: float | None = None
    harness: Harness | None = None
    memory: Memory | None = None
    quality: Quality | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    model_bytes: int | None = None
    schema: int = SCHEMA

    def to_json(self) -> str:
        """One line of JSON, without the line end."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record that `to_json` wrote; ValueError, KeyError or TypeError if it is something else."""
        values = json.loads(line)
        if not 1 <= values["schema"] <= SCHEMA:
            raise ValueError(f"schema {values['schema']}, and this irisbench reads schemas 1 to {SCHEMA}")
        values["case"] = Case(**values["case"])
        values["phases"] = {
            name: Phase(
                **{**phase, "seconds": tuple(phase["seconds"]), "warmup_seconds": tuple(phase["warmup_seconds"])}
            )
            for name, phase in values["phases"].items()
        }
        values["probe_seconds"] = tuple(values.get("probe_seconds", ()))
        parts: dict[str, type] = {"inferred_from": Case, "harness": Harness, "memory": Memory, "quality": Quality}
        for name, kind in parts.items():
            values[name] = kind(**values[name]) if values.get(name) else None
        return cls(**values)


def append(folder: Path, record: Record) -> None:
    """Adds the record to the run's file, and returns when it is on the disk. BadInput if it does not fit there.

    Then the file is as it was before: no half of a record stays in it.
    """
    path = folder / FILE
    line = (record.to_json() + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    before = os.fstat(descriptor).st_size
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except BaseException as error:
        os.ftruncate(descriptor, before)
        if not isinstance(error, OSError):
            raise
        raise BadInput(
            f"{path} takes no further record ({error.strerror}). Those in it are whole: make room, then go on with "
            f"python -m benchmarks run --resume {folder}"
        ) from None
    finally:
        os.close(descriptor)


def read(folder: Path) -> Iterator[Record]:
    """The records of a run in the order in which the cases ended; BadInput names a line that is none.

    A last line without its end is no record yet, or was torn by a power cut: it is passed over.
    """
    path = folder / FILE
    try:
        *lines, _ = path.read_text(errors="replace").split("\n")
    except FileNotFoundError:
        raise BadInput(f"{folder} is no run: it has no {FILE}. Runs are folders under reports/runs/") from None
    for number, line in enumerate(lines, start=1):
        try:
            yield Record.from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}, line {number} is no record ({error}). Take the line out and try again") from None


def set_aside(folder: Path, stays: Callable[[Record], bool]) -> int:
    """Moves the records that do not stay, and a torn last line, out of the run's file; returns how many moved.

    They are kept in a file beside it. The run's file is replaced as a whole, and last.
    """
    path = folder / FILE
    text = path.read_text(errors="replace") if path.exists() else ""
    *lines, torn = text.split("\n")
    kept = [line for line, record in zip(lines, read(folder), strict=True) if stays(record)] if lines else []
    moved = [line for line in lines if line not in kept] + [torn] * bool(torn)
    if moved:
        with (folder / SET_ASIDE).open("a") as file:
            file.writelines(f"{line}\n" for line in moved)
        beside = path.with_suffix(".new")
        with beside.open("w") as file:
            file.writelines(f"{line}\n" for line in kept)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    return len(moved)
