"""Runs: the folders that a benchmark leaves behind, found by their names and read whole. Nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from adapters.plugins import Style
from benchmarks import records
from benchmarks.received import Count, Megabytes, is_number, parse, shown
from benchmarks.records import Record
from datasets.files import LARGEST_JSON_BYTES, read_regular
from errors import BadInput

REPORTS = Path(__file__).resolve().parent.parent / "reports"
RUNS = REPORTS / "runs"
LATEST = REPORTS / "latest"
ENVIRONMENT = "environment.json"


class Git(TypedDict, total=False):
    """The version of irisbench that made a run."""

    commit: str | None
    dirty: bool


class Adoption(TypedDict, total=False):
    """What it costs to install a framework, and the lines of its adapter."""

    packages: Count
    megabytes: Megabytes
    adapter_lines: Count


class Framework(TypedDict, total=False):
    """A framework on the machine of a run; `reason` says why it is not available."""

    version: str | None
    reason: str | None
    device: str
    format: str
    distributed: str
    recipe_digest: str
    adoption: Adoption | None
    style: Style


class Environment(TypedDict, total=False):
    """The parts of an environment.json that are used; others are not read."""

    run: str
    started: str
    command: str
    machine: dict[str, Any]
    warnings: list[str]
    java: str | None
    packages: dict[str, str]
    git: Git
    settings: dict[str, Any]
    frameworks: dict[str, Framework]


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
    name = shown(folder.resolve().name)
    return Run(name, folder, tuple(records.read(folder)), read_environment(folder / ENVIRONMENT))


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
    raise BadInput("there is no run yet; make one with ./nox -s benchmark, or name the folder of a run")


def read_environment(path: Path) -> dict[str, Any]:
    """The content of an environment.json, which is empty where there is none. BadInput if it is damaged."""
    try:
        values = parse(read_regular(path, LARGEST_JSON_BYTES).decode("utf-8-sig", "replace"))
        environment: dict[str, Any] = dict(msgspec.convert(values, Environment))
        for part in ("machine", "settings"):
            for name, value in environment.get(part, {}).items():
                if isinstance(value, int | float) and value < 0:
                    raise ValueError(f"{part}, {name} is {value}")
        return environment
    except FileNotFoundError:
        return {}
    except (ValueError, msgspec.ValidationError) as error:
        if isinstance(error, BadInput):
            raise
        problem = shown(" ".join(str(error).split()))
        raise BadInput(f"{path} is damaged ({problem}). Without the file, the report only knows less") from None
