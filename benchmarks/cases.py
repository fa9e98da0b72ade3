"""Cases: what irisbench runs, limits and records, and the plan of all cases of a run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from adapters import registry
from adapters.base import MODELS, TRACKS
from benchmarks.units import show_threads
from benchmarks.validation import Bytes, Count, Limit, Name, Rows, Seed

LARGEST_WARMUP = 100_000
"""The cold pass has as many rows as the case, up to this number."""


@dataclass(frozen=True, order=True)
class Case:
    """One framework trains one model on a number of rows with a number of threads."""

    framework: Name
    model: Name
    rows: Rows
    track: Name = "tuned"
    threads: Count = 1
    seed: Seed = 0

    def __str__(self) -> str:
        return f"{self.framework} {self.model} {self.rows:,} rows, {self.track}"

    @property
    def with_threads(self) -> str:
        """The text of the case with its number of threads, for runs that have several."""
        return f"{self}, {show_threads(self.threads)}"

    @property
    def slug(self) -> str:
        """The name of the case's folder, which is unique in a run and cannot leave the folder of the run."""
        name = f"{self.framework}-{self.model}-{self.rows}-{self.track}-t{self.threads}-s{self.seed}"
        return re.sub(r"[^A-Za-z0-9_-]", "_", name)

    @property
    def task(self) -> tuple[str, int, str, int, int]:
        """The task in which frameworks are ranked: every field of the case except the framework."""
        return self.model, self.rows, self.track, self.threads, self.seed


@dataclass(frozen=True)
class Limits:
    """The limits of a case.

    `time_s` limits one call of a phase, `case_s` the whole case, and `memory_bytes` all its processes together.
    `rounds` is the largest number of repeats of a phase.
    """

    time_s: Limit
    memory_bytes: Bytes
    case_s: Limit = 3600.0
    rounds: Count = 3


@dataclass(frozen=True)
class Profile:
    """The cases that a run measures by default.

    With a time budget, the run chooses the number of launches of each case (see `benchmarks.scheduling.launches`) and
    measures `optional_rows` where the forecast fits. `single_thread` adds cases with one thread.
    """

    models: Sequence[str]
    rows: Sequence[int]
    tracks: Sequence[str]
    launches: int | None = None
    time_budget_s: float | None = None
    optional_rows: Sequence[int] = ()
    single_thread: bool = False


PROFILES = {
    "quick": Profile(
        ("logistic", "mlp"),
        (150, 10_000, 100_000, 1_000_000),
        ("tuned",),
        time_budget_s=500.0,
        optional_rows=(10_000_000,),
    ),
    "full": Profile(MODELS, (150, 1_000, 10_000, 100_000, 1_000_000, 10_000_000), TRACKS, 3, single_thread=True),
}


@dataclass(frozen=True)
class Plan:
    """All cases of a run.

    `launches` is the number of processes of each case, or None if the run chooses it. `optional_rows` are sizes that
    are measured only if the forecast fits into the time budget.
    """

    frameworks: tuple[Name, ...]
    models: tuple[Name, ...]
    rows: tuple[Rows, ...]
    tracks: tuple[Name, ...]
    launches: Count | None = 1
    threads: tuple[Count, ...] = (1,)
    seed: Seed = 0
    optional_rows: tuple[Rows, ...] = ()

    def steps(self) -> list[tuple[Case, int]]:
        """Return each case with the number of its launch: all first launches from small to large, then all second ones.

        The order of the frameworks rotates within a size, so that a change of the machine's speed affects all of them.
        """
        return [(case, launch) for launch in range(1, (self.launches or 1) + 1) for case in self._cases(launch)]

    def required_steps(self) -> list[tuple[Case, int]]:
        """Return the steps that run whatever their forecast: all, unless the run chooses the number of launches."""
        return [(case, launch) for case, launch in self.steps() if self.launches or case.rows in self.rows]

    def _cases(self, launch: int) -> list[Case]:
        turns = itertools.product(sorted({*self.rows, *self.optional_rows}), self.tracks, self.models, self.threads)
        cases = []
        per_launch = len({*self.rows, *self.optional_rows}) * len(self.tracks) * len(self.models) * len(self.threads)
        for turn, (rows, track, model, threads) in enumerate(turns, start=(launch - 1) * per_launch):
            shift = turn % len(self.frameworks)
            for framework in self.frameworks[shift:] + self.frameworks[:shift]:
                cases.append(Case(framework, model, rows, track, threads, self.seed))
        return cases


def plan(
    profile: Profile,
    frameworks: Sequence[str] = (),
    models: Sequence[str] = (),
    rows: Sequence[int] = (),
    tracks: Sequence[str] = (),
    launches: int | None = None,
    threads: Sequence[int] = (1,),
    seed: int = 0,
) -> Plan:
    """Return the plan of a profile. Parts that the user has chosen replace those of the profile."""
    required = tuple(sorted(set(rows or profile.rows)))
    return Plan(
        tuple(dict.fromkeys(frameworks or registry.FRAMEWORKS)),
        tuple(dict.fromkeys(models or profile.models)),
        required,
        tuple(dict.fromkeys(tracks or profile.tracks)),
        launches or profile.launches,
        tuple(sorted(set(threads))),
        seed,
        () if rows else tuple(profile.optional_rows),
    )
