"""Reading runs: folders that a benchmark left behind. Nothing is computed here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.records import Record
from commandline import BadInput

HERE = Path(__file__).parent
LATEST = HERE / "latest"


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
        return float(limit) if _is_number(limit) and limit > 0 else None


def runs(folders: Sequence[Path] = ()) -> list[Run]:
    """The runs in `folders`, the newest run if there are none. BadInput for a folder that is no run."""
    loaded = [_read(_find(folder)) for folder in folders or [newest()]]
    names = [run.name for run in loaded]
    return [replace(run, name=str(run.folder)) if names.count(run.name) > 1 else run for run in loaded]


def newest(latest: Path = LATEST) -> Path:
    """The folder that `latest` points at: a symbolic link, or a text file that names it. BadInput if there is none."""
    if latest.is_dir():
        return latest.resolve()
    if latest.is_file():
        return latest.parent / latest.read_text(errors="replace").strip()
    raise BadInput("there is no run yet: make one with python -m benchmarks run, or name the folder of a run")


def _find(folder: Path) -> Path:
    """A run may be called by its bare name, too."""
    by_name = HERE / "runs" / folder
    return by_name if not folder.exists() and by_name.is_dir() else folder


def _read(folder: Path) -> Run:
    if not folder.is_dir():
        raise BadInput(f"{folder} is no run: there is no such folder. Runs are folders under reports/runs/")
    try:
        found = tuple(_readable(record) for record in records.read(folder))
    except BadInput:
        raise
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"{folder / records.FILE} cannot be read ({error})") from None
    for number, record in enumerate(found, start=1):
        if problem := _problem(record):
            raise BadInput(f"{folder / records.FILE}, record {number} is no record ({problem}). Take it out, try again")
    return Run(folder.resolve().name, folder, found, _environment(folder / "environment.json"))


def _readable(record: Record) -> Record:
    """The record with words that HTML, SVG and UTF-8 can all hold: what a dying process printed need not be."""
    words = {name: _clean(getattr(record.case, name)) for name in ("framework", "model", "track")}
    return replace(record, case=replace(record.case, **words), reason=record.reason and _clean(record.reason))


def _clean(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else " " if letter.isspace() else "?" for letter in plain
    )


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
    if not isinstance(case.rows, int) or case.rows < 1:
        return f"rows {case.rows!r}"
    if not all(isinstance(name, str) for name in (case.framework, case.model, case.track, record.reason or "")):
        return "a framework, model, track or reason that is no text"
    optional: list[Any] = [record.first_prediction_seconds, record.wall_seconds, record.model_bytes]
    numbers: list[Any] = []
    for phase in record.phases.values():
        numbers += [*phase.seconds, *phase.warmup_seconds]
        optional += [phase.cpu_seconds, phase.span_seconds, phase.peak_memory_bytes]
    if quality := record.quality:
        numbers += [quality.accuracy, quality.log_loss, quality.target_accuracy]
        optional += [quality.bayes_accuracy, quality.bayes_log_loss]
    for number in numbers + [value for value in optional if value is not None]:
        if not _is_number(number) or number < 0:
            return f"{number!r} where a measured value belongs"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
