"""Record: what one launch of a case left behind. Append-only JSON Lines, a line as soon as it ends.

schema 1    the first
schema 2    launches, the probe, memory and CPU of the JVM apart, the harness's own seconds, the framework's build
schema 3    the quality gate on log-loss: reference, excess and limit, and the conditions that failed
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from benchmarks.cases import Case
from benchmarks.received import Bytes, Count, Difference, Excess, Loss, Name, Rows, Seconds, Share, parse, shown
from datasets.files import read_regular, replace_file
from errors import BadInput

SCHEMA = 3
PHASES = ("import", "start", "load", "train", "predict", "predict_one", "save", "restore", "close")
OUTCOMES = ("ok", "unavailable", "unsupported", "timeout", "out-of-memory", "failed", "skipped")
Condition = Literal["accuracy", "log-loss"]
"""What the quality gate limits."""
LONGEST_REASON = 10_000
LARGEST_FILE_BYTES = 2**28
FILE = "records.jsonl"
SET_ASIDE = "set-aside.jsonl"


@dataclass(frozen=True)
class Phase:
    """Raw values of one phase. `seconds` are the measured rounds, `warmup_seconds` the first time, on other data.

    `cpu_seconds` and `peak_memory_bytes` are the whole process tree's, seen from outside while the measured
    rounds ran; `span_seconds` is the wall time of that same stretch, so that CPU over span is the threads used.
    The `jvm_` values are Java's share of the CPU seconds and of the memory at its peak; the rest is Python's.
    """

    seconds: tuple[Seconds, ...] = ()
    warmup_seconds: tuple[Seconds, ...] = ()
    cpu_seconds: Seconds | None = None
    span_seconds: Seconds | None = None
    peak_memory_bytes: Bytes | None = None
    jvm_cpu_seconds: Seconds | None = None
    jvm_memory_bytes: Bytes | None = None
    gpu_memory_bytes: Bytes | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes that the process tree held: after `start`, after `load`, and at most during `train`."""

    baseline_bytes: Bytes
    data_bytes: Bytes
    training_bytes: Bytes


@dataclass(frozen=True)
class Harness:
    """Seconds of a case that were no phase's: with the phases' seconds and warm-ups they add up to the wall time.

    `startup` is Python's and pytest's until the first phase, `rounds` what measuring adds around the measured calls,
    `scoring` the model's on unseen flowers, `between` the rest until the last phase, `shutdown` until the process is
    gone.
    """

    startup_seconds: Difference
    rounds_seconds: Difference
    scoring_seconds: Difference
    between_seconds: Difference
    shutdown_seconds: Difference


@dataclass(frozen=True)
class Quality:
    """How good the trained model is on rows that it has not seen, and whether it passes the quality gate.

    `reached_target` is false if the model fails one of the conditions, which `failed_conditions` names. The reference
    is the maximum-likelihood fit for `logistic`, and Bayes for the networks; `log_loss_excess` is the log-loss above
    it, in nats. `log_loss_limit` is None where only the accuracy is limited. Bayes and reference values are None for
    the real flowers. Records of schemas 1 and 2 know no condition but the accuracy.
    """

    test_rows: Rows
    accuracy: Share
    log_loss: Loss
    target_accuracy: Share
    reached_target: bool
    bayes_accuracy: Share | None = None
    bayes_log_loss: Loss | None = None
    reference_log_loss: Loss | None = None
    log_loss_excess: Excess | None = None
    log_loss_limit: Loss | None = None
    failed_conditions: tuple[Condition, ...] = ()


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
    launch: Count = 1
    phase: Name | None = None
    reason: str | None = None
    inferred_from: Case | None = None
    started: str | None = None
    probe_seconds: tuple[Seconds, ...] = ()
    phases: dict[Name, Phase] = field(default_factory=dict)
    first_prediction_seconds: Seconds | None = None
    wall_seconds: Seconds | None = None
    supervisor_cpu_seconds: Seconds | None = None
    harness: Harness | None = None
    memory: Memory | None = None
    quality: Quality | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    model_bytes: Bytes | None = None
    schema: int = SCHEMA

    def to_json(self) -> str:
        """One line of JSON, without the line end."""
        reason = self.reason and shown(self.reason)[:LONGEST_REASON]
        return json.dumps(asdict(self) | {"reason": reason}, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record that `to_json` wrote; ValueError that says what is wrong if it is something else."""
        values = parse(line)
        schema = values.get("schema") if isinstance(values, dict) else None
        if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
            raise ValueError(f"schema {schema}, and this irisbench reads schemas 1 to {SCHEMA}")
        try:
            record = msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None
        if record.outcome not in OUTCOMES:
            raise ValueError(f"outcome {record.outcome!r}")
        if unknown := values.keys() - record.__dataclass_fields__.keys():
            raise ValueError(f"unknown field {min(unknown)!r}")
        return _with_conditions(record)


def _with_conditions(record: Record) -> Record:
    """Return the record with the failed conditions of its gate, which older schemas do not hold."""
    quality = record.quality
    if quality is None or quality.reached_target != bool(quality.failed_conditions):
        return record
    if quality.reached_target or record.schema > 2:
        raise ValueError(f"reached_target is {quality.reached_target}, failed_conditions {quality.failed_conditions}")
    return replace(record, quality=replace(quality, failed_conditions=("accuracy",)))


def append(folder: Path, record: Record) -> None:
    """Adds the record to the run's file, and returns when it is on the disk. OSError if it does not fit there.

    Then the file is as it was before: no half of a record stays in it.
    """
    path = folder / FILE
    line = (record.to_json() + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    before = os.fstat(descriptor).st_size
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except BaseException as error:
        os.ftruncate(descriptor, before)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def read(folder: Path) -> Iterator[Record]:
    """The records of a run in the order in which the cases ended; BadInput names a line that is none.

    A last line without its end is no record yet, or was torn by a power cut: it is passed over.
    """
    *lines, _ = _text(folder).split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield Record.from_json(line)
        except ValueError as error:
            problem = shown(" ".join(str(error).split()))
            raise BadInput(
                f"{folder / FILE}, line {number} is no record ({problem}). Take the line out and try again"
            ) from None


def set_aside(folder: Path, stays: Callable[[Record], bool]) -> int:
    """Moves the records that do not stay, and a torn last line, out of the run's file; returns how many moved.

    They are kept in a file beside it. The run's file is replaced as a whole, and last.
    """
    *lines, torn = _text(folder).split("\n")
    kept = [line for line, record in zip(lines, read(folder), strict=True) if stays(record)]
    moved = [line for line in lines if line not in kept] + [torn] * bool(torn)
    if moved:
        descriptor = os.open(folder / SET_ASIDE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in moved)
        replace_file(folder / FILE, lambda beside: _write_lines(beside, kept))
    return len(moved)


def _text(folder: Path) -> str:
    try:
        return read_regular(folder / FILE, LARGEST_FILE_BYTES).decode("utf-8-sig", "replace")
    except FileNotFoundError:
        raise BadInput(f"{folder} is no run: it has no {FILE}. Runs are folders under reports/runs/") from None


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
