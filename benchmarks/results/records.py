"""Records: the result of each launch of a case, as one line of JSON in records.jsonl.

This version also reads the files of earlier ones. History of the format:

schema 1    the first
schema 2    launches, speed probe, memory and CPU of the JVM, seconds of the harness, build of the framework
schema 3    the quality gate on log-loss: reference, excess, limit, and the conditions that failed
schema 4    by phase: when it began, CPU time of other programs, and how long the case waited for a core
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from benchmarks.cases import Case
from benchmarks.validation import (
    Bytes,
    Count,
    Difference,
    Excess,
    Loss,
    Name,
    Rows,
    Seconds,
    Share,
    Total,
    parse,
    shown,
)
from datasets.files import read_regular, replace_file
from errors import BadInput

SCHEMA = 4
PHASES = ("import", "start", "load", "train", "predict", "predict_one", "save", "restore", "close")
Outcome = Literal["ok", "unavailable", "unsupported", "timeout", "out-of-memory", "failed", "skipped"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Condition = Literal["accuracy", "log-loss"]
"""A condition of the quality gate."""
LONGEST_REASON = 10_000
LARGEST_FILE_BYTES = 2**28
FILE = "records.jsonl"
SET_ASIDE = "set-aside.jsonl"

LARGEST_OTHERS_SHARE = 0.05
"""A phase is flagged if other programs took a larger share of its cores. An idle system takes about 0.01."""


@dataclass(frozen=True)
class Phase:
    """Measurements of one phase.

    `seconds` has one value per repeat. `warmup_seconds` is the first call, which is on other data. The other values
    cover all repeats together and are measured from outside: CPU seconds and peak memory of the process tree, and the
    JVM's part of them (`jvm_`). `span_seconds` are wall seconds, so `cpu_seconds / span_seconds` is the number of
    threads used. `began_seconds` is the time from the start of the case to the first repeat.

    Contention: `others_share` is the share of the case's cores that other programs and the hypervisor took.
    `waited_seconds` is the time that the threads of the Python process were ready but waited for a core.
    `involuntary_switches` is how often they lost one. `pressure_seconds` is the time in which any process of the
    machine waited. None means that the system does not report the value.
    """

    seconds: tuple[Seconds, ...] = ()
    warmup_seconds: tuple[Seconds, ...] = ()
    cpu_seconds: Seconds | None = None
    span_seconds: Seconds | None = None
    peak_memory_bytes: Bytes | None = None
    jvm_cpu_seconds: Seconds | None = None
    jvm_memory_bytes: Bytes | None = None
    gpu_memory_bytes: Bytes | None = None
    began_seconds: Seconds | None = None
    others_share: Share | None = None
    waited_seconds: Seconds | None = None
    involuntary_switches: Total | None = None
    pressure_seconds: Seconds | None = None

    @property
    def flagged(self) -> bool:
        """Whether other programs took so much CPU time that the seconds are not reliable."""
        return self.others_share is not None and self.others_share > LARGEST_OTHERS_SHARE


def counted(phases: Sequence[Phase]) -> list[Phase]:
    """Return the phases of several launches without the flagged ones, or all of them if all are flagged."""
    return [phase for phase in phases if not phase.flagged] or list(phases)


@dataclass(frozen=True)
class Memory:
    """Bytes of the process tree after `start`, after `load`, and the peak during `train`."""

    baseline_bytes: Bytes
    data_bytes: Bytes
    training_bytes: Bytes


@dataclass(frozen=True)
class Harness:
    """Seconds of a case outside its phases. With the seconds and warm-ups of the phases, they add up to the wall time.

    `startup` is the time before the first phase, `rounds` the time around the repeats, and `shutdown` the time after
    the last phase. `scoring` is the time to score the model on unseen flowers. `between` is the rest.
    """

    startup_seconds: Difference
    rounds_seconds: Difference
    scoring_seconds: Difference
    between_seconds: Difference
    shutdown_seconds: Difference


@dataclass(frozen=True)
class Quality:
    """Quality of the trained model on unseen rows, and whether it passes the quality gate.

    `reached_target` is false if the model fails a condition; `failed_conditions` names the failed ones. The reference
    is the maximum-likelihood fit for `logistic`, and Bayes for the networks; `log_loss_excess` is the log-loss above
    it, in nats. `log_loss_limit` is None where only the accuracy is limited. Bayes and reference values are None for
    the real flowers. In records of schemas 1 and 2, accuracy is the only condition.
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
    """One launch of a case.

    `phase` and `reason` say where and why it failed if `outcome` is not ok. `started` is a time in UTC, ISO 8601.
    `probe_seconds` are the repeats of a fixed piece of work before the launch, which show the speed of the machine.
    `inferred_from` is the smaller case that caused this one to be skipped. `build` describes the framework's build, in
    the first launch. The real flowers are scored in the first launch only.
    """

    run: str
    case: Case
    outcome: Outcome
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
        """Return one line of JSON, without a newline."""
        reason = self.reason and shown(self.reason)[:LONGEST_REASON]
        return json.dumps(asdict(self) | {"reason": reason}, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Return the record in a line that `to_json` wrote. Raise ValueError with the problem for other text."""
        values = parse(line)
        schema = values.get("schema") if isinstance(values, dict) else None
        if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
            raise ValueError(f"schema {schema}; this version of irisbench reads schemas 1 to {SCHEMA}")
        try:
            record = msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None
        if unknown := values.keys() - record.__dataclass_fields__.keys():
            raise ValueError(f"unknown field {min(unknown)!r}")
        return _with_conditions(record)


def _with_conditions(record: Record) -> Record:
    """Return the record with the failed conditions of its gate, which older schemas do not store."""
    quality = record.quality
    if quality is None or quality.reached_target != bool(quality.failed_conditions):
        return record
    if quality.reached_target or record.schema > 2:
        raise ValueError(f"reached_target is {quality.reached_target}, failed_conditions {quality.failed_conditions}")
    return replace(record, quality=replace(quality, failed_conditions=("accuracy",)))


def append(folder: Path, record: Record) -> None:
    """Append a record to the file of a run. Return after it is on the disk.

    Raises
    ------
    OSError
        The record does not fit on the disk. The file then remains unchanged, without an incomplete record.
    """
    path = folder / FILE
    line = (_readable(record).to_json() + "\n").encode()
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


def _readable(record: Record) -> Record:
    """Return the record, or a failed one if a value of its recipe or build is out of bounds and could not be read."""
    try:
        Record.from_json(record.to_json())
    except (ValueError, TypeError) as error:
        reason = f"the adapter describes its model or build with a value that cannot be stored: {error}"
        return replace(record, outcome="failed", reason=reason, recipe={}, build={})
    return record


def read(folder: Path) -> Iterator[Record]:
    """Yield the records of a run in the order in which they were written. Raise BadInput for any other line.

    A last line without a newline is skipped: it is being written, or a power failure cut it off.
    """
    *lines, _ = _text(folder).split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield Record.from_json(line)
        except ValueError as error:
            problem = shown(" ".join(str(error).split()))
            raise BadInput(
                f"{folder / FILE}, line {number} is not a record ({problem}). Delete the line and try again"
            ) from None


def set_aside(folder: Path, stays: Callable[[Record], bool]) -> int:
    """Move records for which `stays` is false, and an incomplete last line, into a second file. Return their number.

    The file of the run is replaced as a whole after the second file is written.
    """
    *lines, incomplete = _text(folder).split("\n")
    kept = [line for line, record in zip(lines, read(folder), strict=True) if stays(record)]
    moved = [line for line in lines if line not in kept] + [incomplete] * bool(incomplete)
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
        raise BadInput(f"{folder} is not a run: it has no {FILE}. Runs are folders under reports/runs/") from None


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
