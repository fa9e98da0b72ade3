"""The run configuration: the cases of a run and their limits. It is stored as plan.json to resume the run."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from adapters import registry
from adapters.base import MODELS, TRACKS
from benchmarks import case_data
from benchmarks.cases import Limits, Plan
from benchmarks.results import detect_environment
from benchmarks.results.environment import Settings
from benchmarks.scheduling import adapter_files
from benchmarks.scheduling.adapter_files import AdapterFile
from benchmarks.validation import Limit, shown
from datasets.files import read_json, write_json
from errors import BadInput
from machine import SMALLEST_MEMORY_BYTES, usable_cores

FILE = "plan.json"
MOST_LAUNCHES = 100_000


@dataclass(frozen=True)
class RunConfiguration:
    """The cases of a run and their limits.

    `skip` leaves out sizes larger than one that ran out of time or memory. After `time_budget_s` seconds, no case gets
    another launch; every case gets its first.
    """

    plan: Plan
    limits: Limits
    skip: bool = True
    time_budget_s: Limit | None = None
    adapters: tuple[AdapterFile, ...] = ()

    def __post_init__(self) -> None:
        """Raise BadInput for an unknown name, or for too many launches."""
        added = {file.framework for file in self.adapters}  # `check` asks whether the user has named their files
        for what, given, known in (
            ("framework", self.plan.frameworks, (*registry.FRAMEWORKS, *added)),
            ("model", self.plan.models, MODELS),
            ("track", self.plan.tracks, TRACKS),
        ):
            if unknown := [name for name in given if name not in known]:
                raise BadInput(f"there is no {what} {shown(unknown[0])!r}; choose from {', '.join(known)}")
        plan = self.plan
        parts = (plan.frameworks, plan.models, {*plan.rows, *plan.optional_rows}, plan.tracks, plan.threads)
        launches = (1 if plan.launches is None else plan.launches) * math.prod(map(len, parts))
        if not 1 <= launches <= MOST_LAUNCHES:
            raise BadInput(f"a run has 1 to {MOST_LAUNCHES:,} launches in all; got {launches:,}")

    @property
    def settings(self) -> Settings:
        """The settings of the run, for environment.json."""
        return Settings(
            threads=self.plan.threads,
            seed=self.plan.seed,
            launches=self.plan.launches,
            rounds=self.limits.rounds,
            time_limit_s=self.limits.time_s,
            case_limit_s=self.limits.case_s,
            memory_limit_bytes=self.limits.memory_bytes,
        )

    def resume_options(self, folder: Path) -> str:
        """Return the options that resume this run."""
        return shlex.join(
            ["--resume", str(folder), *(word for file in self.adapters for word in ("--adapter", file.path))]
        )

    def write(self, folder: Path) -> None:
        write_json(folder / FILE, self)

    @classmethod
    def read(cls, folder: Path) -> RunConfiguration:
        """Return the configuration in the folder of a run. Raise BadInput if it is missing or damaged."""
        try:
            return read_json(folder / FILE, cls)
        except FileNotFoundError:
            raise BadInput(f"{folder} cannot be resumed: it has no {FILE}; name a folder under reports/runs/") from None
        except BadInput as error:
            raise BadInput(f"{error}. Start a new run") from None

    def check(self) -> None:
        """Raise BadInput if this machine lacks the cores, memory, disk space or plug-ins for the run."""
        cores, memory = usable_cores(), detect_environment.default_memory_limit() * 4 // 3
        if not self.plan.threads or min(self.plan.threads) < 1:
            raise BadInput(f"threads must be positive integers such as 1 or 2; got {list(self.plan.threads)}")
        if max(self.plan.threads) > cores:
            most = max(self.plan.threads)
            raise BadInput(f"--threads {most}: this process may use {cores} cores; write {cores} or less")
        if not SMALLEST_MEMORY_BYTES <= self.limits.memory_bytes <= memory:
            asked = f"{self.limits.memory_bytes / 2**20:,.3f}".rstrip("0").rstrip(".")
            raise BadInput(
                f"--memory-limit {asked} MiB: a case needs at least {SMALLEST_MEMORY_BYTES / 2**20:.0f} MiB, and this "
                f"machine has {memory / 2**20:,.0f} MiB"
            )
        forced = self.plan.optional_rows if self.plan.launches else ()  # the others are measured only if they fit
        case_data.check_room((*self.plan.rows, *forced), self.plan.seed)
        adapter_files.check(self.adapters, self.plan.frameworks)
