"""Factories of records, runs and environments for the tests of comparisons and reports."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.quality_gate import Gate
from benchmarks.results import environment as environments
from benchmarks.results.environment import Environment
from benchmarks.results.records import FILE, Case, Harness, Memory, Phase, Quality, Record, append
from benchmarks.results.runs import Run

HOSTILE = "</script><script>alert('gotcha')</script> | `tick` <!--"
SECONDS = {"import": (0.9,), "start": (0.1,), "load": (0.2,), "train": (1.5, 1.0, 9.0), "predict": (0.1, 0.3)}
"""Repeats of each phase of a record, unless a test has others."""
JVM = Phase((4.0, 4.1, 3.9), (), 7.0, 4.0, 3 * 2**30, 6.0, 2 * 2**30, 512 * 2**20)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def record(
    framework="scikit-learn", model="mlp", rows=1000, outcome="ok", launch=1, accuracy=0.98, log_loss=0.05,
    track="tuned", threads=2, **more,
) -> Record:  # fmt: skip
    """Return the record of one launch. `times` replaces the seconds of phases, by name.

    A record whose outcome is not ok has no measurements.
    """
    case = Case(framework, model, rows, track, threads, 0)
    if outcome != "ok":
        return Record("made", case, outcome, launch=launch, **more)
    times = {**SECONDS, "predict_one": (2e-5,) * 200, **more.pop("times", {})}
    phases = {name: Phase(values, (2 * values[0],), 1.0, 1.0, 300 * 2**20) for name, values in times.items()}
    failed = Gate(0.978, 0.058).failed(accuracy, log_loss)
    quality = Quality(
        20_000, accuracy, log_loss, 0.978, not failed, 0.9837, 0.043, 0.043, log_loss - 0.043, 0.058, failed
    )
    return Record("made", case, "ok", launch, phases=phases, first_prediction_seconds=3.0, quality=quality,
                  recipe={"solver": "adam", "epochs": 2}, **more)  # fmt: skip


def contended(launch: Record, others_share: float, *phases: str) -> Record:
    """Return a record in which other programs took a share of the cores during some phases."""
    changed = {name: replace(launch.phases[name], others_share=others_share) for name in phases}
    return replace(launch, phases={**launch.phases, **changed})


def probed(minute: float, seconds: float, **more) -> Record:
    """Return a record that started at a minute, with a speed probe of some seconds."""
    return record(started=(NOON + timedelta(minutes=minute)).isoformat(), probe_seconds=(seconds,) * 5, **more)


def rich_record(framework: str, launch: int, minute: float, probe: float) -> Record:
    """Return a record with every kind of measurement that the schema has."""
    launched = probed(minute, probe, framework=framework, launch=launch)
    return replace(
        launched,
        phases={**launched.phases, "train": JVM},
        memory=Memory(100 * 2**20, 200 * 2**20, 3 * 2**30),
        harness=Harness(0.5, 0.1, 0.2, 0.15, 0.05),
        wall_seconds=10.0,
        build={"blas": "OpenBLAS 0.3", "instructions": HOSTILE},
    )


def growing(
    framework, startup, c, noise, rows=(1_000, 10_000, 100_000, 1_000_000), model="mlp", track="tuned", threads=2
) -> Iterator[Record]:
    """Yield three launches per size whose time and memory grow linearly: startup + c · rows."""
    for size in rows:
        for launch in (1, 2, 3):
            seconds = (startup + c * size) * (1 + noise * (launch - 2))
            accuracy = 0.97 + 0.01 * (size >= 10_000) + 0.002 * (size >= 100_000)
            launched = record(
                framework, model, size, launch=launch, track=track, threads=threads,
                times={"load": (0.1,), "train": (seconds,)}, accuracy=accuracy,
            )  # fmt: skip
            peak = int(2e8 * (1 + noise * (launch - 2)) + 300 * size)
            phases = {name: replace(phase, peak_memory_bytes=peak) for name, phase in launched.phases.items()}
            yield replace(launched, phases=phases)


def environment(values: dict[str, Any] | None = None) -> Environment:
    """Return the environment that a dictionary in the form of environment.json describes."""
    return environments.from_json(copy.deepcopy(values or {}))


def run(records: Iterable[Record], values: dict[str, Any] | None = None, name: str = "a") -> Run:
    """Return a run with an environment, without a folder on the disk."""
    return Run(name, Path(), tuple(records), environment(values))


def make_run(folder: Path, records: Iterable[Record], values: Any = None) -> Path:
    """Write the folder of a run, with an environment.json if there are values for it, and return the folder."""
    folder.mkdir(parents=True)
    (folder / FILE).touch()
    for launch in records:
        append(folder, launch)
    if values is not None:
        (folder / environments.FILE).write_text(json.dumps(values))
    return folder


ENVIRONMENT = {
    "settings": {"time_limit_s": 60, "memory_limit_bytes": 8 * 2**30},
    "machine": {"processor": "Some CPU", "usable_cores": 2, "memory_bytes": 24 * 2**30},
    "frameworks": {
        name: {"version": "1", "device": device, "adoption": {"packages": 5, "megabytes": size, "adapter_lines": 99}}
        for name, device, size in (
            ("scikit-learn", "cpu", 210.5), ("tensorflow-cpu", "cpu", 2056.0), ("pytorch-gpu", "cuda", 2900.0),
            ("spark", "cpu", 774.0), ("h2o", "cpu", 741.0), ("a framework of tomorrow", "cpu", 12.0),
        )
    },
}  # fmt: skip
"""An environment.json of an earlier version, which has `adoption` for `install_cost`."""

EVERYTHING = [
    record(rows=150),
    record(),
    record(rows=1_000_000, times={"train": (20.0,)}),
    record("pytorch-gpu", outcome="unavailable", reason="no CUDA device"),
    record("h2o", accuracy=0.745),
    record("h2o", rows=1_000_000, outcome="out-of-memory", phase="train", reason=HOSTILE),
    record("spark", rows=1_000_000, outcome="timeout", phase="train", reason="train took longer than the 60 s allowed"),
    record("spark", rows=10_000_000, outcome="skipped", reason="1,000,000 rows timed out"),
    record("tensorflow-cpu", outcome="failed", phase="load", reason="ValueError: bad\nTraceback: of many lines"),
    record("a framework of tomorrow"),
    record("baseline", accuracy=0.33),
    record("baseline", "forest", outcome="unsupported", reason="it has no trees"),
    record(model="logistic", track="default"),
    record(model="logistic", track="tuned"),
    record("h2o", model="logistic", log_loss=0.0612),
]
"""Records with every outcome."""
