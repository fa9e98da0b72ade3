"""The matrix: what a case is, and which cases a run has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters import registry
from adapters.base import MODELS, TRACKS


@dataclass(frozen=True, order=True)
class Case:
    """One framework trains one model on so many rows: the unit that is run, limited and recorded."""

    framework: str
    model: str
    rows: int
    track: str = "tuned"
    threads: int = 1
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.framework} {self.model} {self.rows:,} rows, {self.track}"

    @property
    def slug(self) -> str:
        """A name that fits a folder, different for every case of a run."""
        return f"{self.framework}-{self.model}-{self.rows}-{self.track}-t{self.threads}-s{self.seed}"


@dataclass(frozen=True)
class Profile:
    """What a run measures when the command does not say otherwise."""

    models: Sequence[str]
    rows: Sequence[int]
    tracks: Sequence[str]


PROFILES = {
    "quick": Profile(("logistic", "mlp"), (150, 10_000, 1_000_000), ("tuned",)),
    "full": Profile(MODELS, (150, 1_000, 10_000, 100_000, 1_000_000, 10_000_000), TRACKS),
}


def cases(
    profile: Profile,
    frameworks: Sequence[str] = (),
    models: Sequence[str] = (),
    rows: Sequence[int] = (),
    tracks: Sequence[str] = (),
    threads: int = 1,
    seed: int = 0,
) -> list[Case]:
    """The cases of a run, smallest sizes first; within a size the order of frameworks rotates from model to model."""
    frameworks = list(dict.fromkeys(frameworks)) or list(registry.FRAMEWORKS)
    matrix = []
    turn = 0
    for n_rows in sorted(set(rows or profile.rows)):
        for track in dict.fromkeys(tracks or profile.tracks):
            for model in dict.fromkeys(models or profile.models):
                shift = turn % len(frameworks)
                turn += 1
                for framework in frameworks[shift:] + frameworks[:shift]:
                    matrix.append(Case(framework, model, n_rows, track, threads, seed))
    return matrix
