"""Runs: the folders that a benchmark leaves behind, found by their names and read whole. Nothing is computed here."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.records import Record
from commandline import BadInput

REPORTS = Path(__file__).resolve().parent.parent / "reports"
RUNS = REPORTS / "runs"
LATEST = REPORTS / "latest"


@dataclass(frozen=True)
class Run:
    """One run. `records` keep the order of the file, every launch of a case; `environment` may be empty."""

    name: str
    folder: Path
    records: tuple[Record, ...]
    environment: dict[str, Any]

    def facts(self, part: str) -> dict[str, Any]:
        """A part of the environment, such as "machine" or "settings"; empty where it was not written down."""
        value = self.environment.get(part)
        return value if isinstance(value, dict) else {}

    @property
    def time_limit(self) -> float | None:
        """Seconds that a case was allowed, where the run says so."""
        limit: Any = self.facts("settings").get("time_limit_s")
        return float(limit) if is_number(limit) and limit > 0 else None


def read(run: Path) -> Run:
    """The run in a folder, or of a bare name under reports/runs/, or "latest". BadInput for what is no run."""
    folder = find(run)
    if not folder.is_dir():
        raise BadInput(f"{run} is no run: there is no such folder. Runs are folders under reports/runs/")
    try:
        found = tuple(records.read(folder))
    except BadInput:
        raise
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"{folder / records.FILE} cannot be read ({error})") from None
    for number, record in enumerate(found, start=1):
        if problem := _problem(record):
            raise BadInput(f"{folder / records.FILE}, record {number} is no record ({problem}). Take it out, try again")
    return Run(folder.resolve().name, folder, found, _environment(folder / "environment.json"))


def find(run: Path) -> Path:
    """The folder of a run, which may be called by its bare name, or "latest"."""
    if run.exists():
        return run
    if run == Path("latest"):
        return newest()
    return RUNS / run if (RUNS / run).is_dir() else run


def newest(latest: Path | None = None) -> Path:
    """The folder that `latest` points at: a symbolic link, or a text file that names it. BadInput if there is none."""
    latest = latest or LATEST
    if latest.is_dir():
        return latest.resolve()
    if latest.is_file():
        return latest.parent / latest.read_text(errors="replace").strip()
    raise BadInput("there is no run yet: make one with python -m benchmarks run, or name the folder of a run")


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number that one can reckon with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _environment(path: Path) -> dict[str, Any]:
    try:
        environment = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error}). Without the file, the report only knows less") from None
    if not isinstance(environment, dict):
        raise BadInput(
            f"{path} is no environment: it holds no dictionary. Without the file, the report only knows less"
        )
    return environment


def _problem(record: Record) -> str | None:
    """Why the values of a record, well-formed JSON, cannot be true; None if they can."""
    case = record.case
    if record.outcome not in records.OUTCOMES:
        return f"outcome {record.outcome!r}"
    for name, value, least in (("rows", case.rows, 1), ("threads", case.threads, 0), ("seed", case.seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            return f"{name} {value!r}"
    texts = (case.framework, case.model, case.track, record.reason or "", record.started or "")
    if not all(isinstance(text, str) for text in texts):
        return "a framework, model, track, reason or time that is no text"
    if not isinstance(record.recipe, dict) or not isinstance(record.build, dict):
        return "a recipe or build that is no dictionary"
    optional: list[Any] = [record.first_prediction_seconds, record.wall_seconds, record.model_bytes]
    numbers: list[Any] = [*record.probe_seconds]
    for phase in record.phases.values():
        numbers += [*phase.seconds, *phase.warmup_seconds]
        optional += [phase.cpu_seconds, phase.span_seconds, phase.jvm_cpu_seconds]
        optional += [phase.peak_memory_bytes, phase.jvm_memory_bytes, phase.gpu_memory_bytes]
    if quality := record.quality:
        numbers += [quality.accuracy, quality.log_loss, quality.target_accuracy]
        optional += [quality.bayes_accuracy, quality.bayes_log_loss]
    if record.memory:
        numbers += vars(record.memory).values()
    for number in numbers + [value for value in optional if value is not None]:
        if not is_number(number) or number < 0:
            return f"{number!r} where a measured value belongs"
    if record.harness and not all(map(is_number, vars(record.harness).values())):
        return "a harness that took no seconds"
    return None
