"""The matrix: what a case is, and which cases a run has."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from adapters import registry
from adapters.base import MODELS, TRACKS
from benchmarks.received import Count, Name, Rows, Seed

LARGEST_WARMUP = 100_000
"""Rows of the first pass, in which everything is done for the first time: as many as the case's, up to these."""


@dataclass(frozen=True, order=True)
class Case:
    """One framework trains one model on so many rows: the unit that is run, limited and recorded."""

    framework: Name
    model: Name
    rows: Rows
    track: Name = "tuned"
    threads: Count = 1
    seed: Seed = 0

    def __str__(self) -> str:
        return f"{self.framework} {self.model} {self.rows:,} rows, {self.track}"

    @property
    def slug(self) -> str:
        """The name of the case's folder, different for every case of a run; no name in it can lead elsewhere."""
        name = f"{self.framework}-{self.model}-{self.rows}-{self.track}-t{self.threads}-s{self.seed}"
        return re.sub(r"[^A-Za-z0-9_-]", "_", name)


@dataclass(frozen=True)
class Profile:
    """What a run measures when the command does not say otherwise."""

    models: Sequence[str]
    rows: Sequence[int]
    tracks: Sequence[str]
    launches: int
    time_budget_s: float | None = None


PROFILES = {
    "quick": Profile(("logistic", "mlp"), (150, 10_000, 1_000_000), ("tuned",), 2, time_budget_s=660.0),
    "full": Profile(MODELS, (150, 1_000, 10_000, 100_000, 1_000_000, 10_000_000), TRACKS, 3),
}


@dataclass(frozen=True)
class Plan:
    """All cases of a run, and how many processes, or launches, each of them gets."""

    frameworks: tuple[Name, ...]
    models: tuple[Name, ...]
    rows: tuple[Rows, ...]
    tracks: tuple[Name, ...]
    launches: Count = 1
    threads: Count = 1
    seed: Seed = 0

    def steps(self) -> list[tuple[Case, int]]:
        """Each case with the number of its launch: all the first launches, smallest sizes first, then all the second.

        Within a size the order of frameworks rotates from model to model. So what the machine does meanwhile it does
        to all of them, and the launches of a case tell what it does in the course of a run.
        """
        launches = range(1, self.launches + 1)
        turns = itertools.product(launches, self.rows, self.tracks, self.models)
        steps = []
        for turn, (launch, rows, track, model) in enumerate(turns):
            shift = turn % len(self.frameworks)
            for framework in self.frameworks[shift:] + self.frameworks[:shift]:
                steps.append((Case(framework, model, rows, track, self.threads, self.seed), launch))
        return steps


def plan(
    profile: Profile,
    frameworks: Sequence[str] = (),
    models: Sequence[str] = (),
    rows: Sequence[int] = (),
    tracks: Sequence[str] = (),
    launches: int | None = None,
    threads: int = 1,
    seed: int = 0,
) -> Plan:
    """The plan of a profile, with what was chosen beside it in the place of its parts."""
    return Plan(
        tuple(dict.fromkeys(frameworks or registry.FRAMEWORKS)),
        tuple(dict.fromkeys(models or profile.models)),
        tuple(sorted(set(rows or profile.rows))),
        tuple(dict.fromkeys(tracks or profile.tracks)),
        launches or profile.launches,
        threads,
        seed,
    )
