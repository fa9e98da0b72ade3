"""The numbers of a report: what the records of a case say together, and how it is written for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby

import numpy as np

from benchmarks import quality_gate, statistics
from benchmarks.cases import Case
from benchmarks.results.records import Memory, Phase, Record, counted
from benchmarks.statistics import Estimate
from benchmarks.units import show_seconds, show_threads, significant

MEMORY_PHASES = ("load", "train", "predict")
SHORTEST_SPAN_S = 1.0
"""CPU seconds are seen from outside, a few times a second: over less than this they are not exact enough."""
DRIFT = 0.10
"""How far the probe may move from its median before the report warns."""

_estimate = cache(statistics.estimate)


@dataclass(frozen=True)
class Result:
    """All records of one case, launch by launch. Cases and runs are never mixed.

    `several_threads` means that the run has cases with other numbers of threads, so that names must tell them apart.
    """

    case: Case
    records: tuple[Record, ...]
    several_threads: bool = False

    @property
    def name(self) -> str:
        """The framework, with its number of threads if the run has several: "pytorch-cpu, 1 thread"."""
        return name_of(self.case, self.several_threads)

    @property
    def title(self) -> str:
        """The case as text, with its number of threads if the run has several."""
        return title_of(self.case, self.several_threads)

    @property
    def failure(self) -> Record | None:
        """The first launch that did not end well, if one did not."""
        return next((record for record in self.records if record.outcome != "ok"), None)

    @property
    def outcome(self) -> str:
        """ "ok" if every launch was, or what happened to the first that was not."""
        return self.failure.outcome if self.failure else "ok"

    def phases(self, name: str) -> list[Phase]:
        """A phase of each launch that came so far."""
        return [record.phases[name] for record in self.records if name in record.phases]

    def values(self, phase: str) -> tuple[tuple[float, ...], ...]:
        """Return the seconds of a phase by launch. Flagged launches do not count if there are others."""
        return tuple(launch.seconds for launch in counted(self.phases(phase)))

    def flagged(self, phase: str) -> int:
        """Return in how many launches other programs took too much CPU time during a phase."""
        return sum(launch.flagged for launch in self.phases(phase))

    def reliable(self, phases: Iterable[str]) -> list[Record]:
        """Return the launches in which none of the phases is flagged, or all launches if there are none."""
        names = set(phases)
        unflagged = [
            record
            for record in self.records
            if not any(phase.flagged for name, phase in record.phases.items() if name in names)
        ]
        return unflagged or list(self.records)

    def seconds(self, phase: str) -> Estimate | None:
        """Seconds of a phase: median, interval, and whether to trust them."""
        return _estimate(self.values(phase))

    @property
    def latencies(self) -> tuple[float, float, float] | None:
        """p50, p95 and p99 of the seconds in which one flower is predicted."""
        return statistics.percentiles(self.values("predict_one"))

    def doubt(self, phase: str) -> str | None:
        """Return why the seconds of a phase are not reliable, beginning with a mark and a colon, or None."""
        found = self.seconds(phase)
        launches = self.phases(phase)
        if found and launches and self.flagged(phase) == len(launches):
            share = median(launch.others_share for launch in launches if launch.others_share is not None) or 0.0
            return f"flagged: other programs took {share:.0%} of the cores".replace("%", " %")
        if found and phase == "predict_one" and found.count < statistics.MANY:
            return f"too few: {found.count} calls, and a p99 wants {statistics.MANY}"
        return found.unstable if found else None

    def cold_seconds(self, phase: str) -> float | None:
        """Seconds of a phase the first time: the warm-up of each launch, or its first round if it had none."""
        first = [launch.warmup_seconds or launch.seconds for launch in counted(self.phases(phase))]
        return median(values[0] for values in first if values)

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most that the process tree held while it loaded, trained or predicted."""
        return max((peak for record in self.records if (peak := peak_memory_bytes(record)) is not None), default=None)

    @property
    def gpu_memory_bytes(self) -> int | None:
        """The most that it held on the GPU in any phase."""
        phases = [phase for record in self.records for phase in record.phases.values()]
        return max((phase.gpu_memory_bytes for phase in phases if phase.gpu_memory_bytes is not None), default=None)

    @property
    def memory(self) -> Memory | None:
        """The three figures of memory, each the largest of the launches."""
        known = [record.memory for record in self.records if record.memory]
        if not known:
            return None
        return Memory(*(max(getattr(one, name) for one in known) for name in Memory.__dataclass_fields__))

    @property
    def training_shares(self) -> tuple[int, int] | None:
        """Bytes of the JVM and of Python at the peak of training, of the launch that had the highest."""
        shares = [
            (train.peak_memory_bytes, train.jvm_memory_bytes)
            for train in self.phases("train")
            if train.peak_memory_bytes is not None and train.jvm_memory_bytes is not None
        ]
        if not shares:
            return None
        peak, jvm = max(shares)
        return jvm, max(peak - jvm, 0)  # damaged records may say that the part is larger than the whole

    def threads_used(self, phase: str) -> float | None:
        """CPU seconds of a phase over its wall seconds; None where it was too short for the samples from outside."""
        return median(
            own.cpu_seconds / own.span_seconds
            for own in self.phases(phase)
            if own.cpu_seconds is not None and own.span_seconds and own.span_seconds >= SHORTEST_SPAN_S
        )

    def quality(self, name: str) -> float | None:
        """The median over the launches of a field of Quality; not every launch is scored."""
        values = [getattr(record.quality, name) for record in self.records if record.quality]
        return median(value for value in values if value is not None)

    @property
    def log_loss_gap(self) -> float | None:
        """How much the log-loss is above that of Bayes, the best possible."""
        own, best = self.quality("log_loss"), self.quality("bayes_log_loss")
        return own - best if own is not None and best is not None else None

    @property
    def below_target(self) -> bool:
        """Whether a launch was measured and did not reach the target."""
        return any(record.quality is not None and not record.quality.reached_target for record in self.records)

    @property
    def failed_conditions(self) -> list[str]:
        """The conditions of the quality gate that any launch failed."""
        failed = {name for record in self.records if record.quality for name in record.quality.failed_conditions}
        return sorted(failed)

    @property
    def shortfall(self) -> str:
        """Which conditions of the quality gate a launch failed and by how much, as text; empty if none did."""
        return quality_gate.shortfall(record.quality for record in self.records if record.quality)

    @property
    def first_prediction_seconds(self) -> float | None:
        """Seconds from start to first prediction, the median over the launches."""
        found = [record.first_prediction_seconds for record in self.records]
        return median(seconds for seconds in found if seconds is not None)


@dataclass(frozen=True)
class Probe:
    """The seconds of the speed probe before a launch, and the minutes since the first probe.

    `title` names the launch: "h2o mlp 1,000 rows, tuned, launch 2".
    """

    minutes: float
    seconds: float
    record: Record
    title: str


def results(records: Sequence[Record]) -> list[Result]:
    """Return the records by case, ordered by framework, track, number of threads, rows and seed."""
    cases: dict[Case, list[Record]] = {}
    for record in records:
        cases.setdefault(record.case, []).append(record)
    order = sorted(cases, key=lambda case: (case.framework, case.track, case.threads, case.rows, case.seed))
    several = have_several_threads(records)
    return [Result(case, tuple(cases[case]), several) for case in order]


def have_several_threads(records: Iterable[Record]) -> bool:
    """Return whether the records are of cases with different numbers of threads."""
    return len({record.case.threads for record in records}) > 1


def name_of(case: Case, several_threads: bool) -> str:
    """Return the framework of a case, with its number of threads if the run has several."""
    return f"{case.framework}, {show_threads(case.threads)}" if several_threads else case.framework


def title_of(case: Case, several_threads: bool) -> str:
    """Return a case as text, with its number of threads if the run has several."""
    return case.with_threads if several_threads else str(case)


def standings(found: Iterable[Result]) -> dict[Case, str]:
    """Return how the training time of each case compares with the fastest one of the same task.

    Only cases that reached their target are compared. Two cases differ if their intervals do not overlap and the
    interval of their ratio, which takes the number of launches into account, excludes 1.
    """
    ranked = [result for result in found if not result.failure and _reached(result) and result.seconds("train")]
    ranked.sort(key=lambda result: (result.case.task, _train(result).median))
    words = {}
    for _, group in groupby(ranked, key=lambda result: result.case.task):
        fastest, *others = group
        words[fastest.case] = "fastest" if others else "the only one"
        words |= {other.case: _standing(fastest, other) for other in others}
    return words


def probes(records: Iterable[Record]) -> list[Probe]:
    """Return the probe of each record that has one and says when it began."""
    records = list(records)
    several = have_several_threads(records)
    known = [(when, record) for record in records if record.probe_seconds and (when := _time(record.started))]
    first = min((when for when, _ in known), default=0.0)
    return [
        Probe(
            (when - first) / 60,
            float(np.median(record.probe_seconds)),
            record,
            f"{title_of(record.case, several)}, launch {record.launch}",
        )
        for when, record in known
    ]


def moved(found: Sequence[Probe]) -> list[Probe]:
    """The probes that are farther from the median of all than the machine should move during a run."""
    middle = median(probe.seconds for probe in found)
    return [probe for probe in found if middle and abs(probe.seconds / middle - 1) > DRIFT]


def median(values: Iterable[float]) -> float | None:
    """None if there are no values."""
    known = list(values)
    return float(np.median(known)) if known else None


def median_seconds(record: Record, phase: str) -> float | None:
    """Median seconds of the measured rounds of one phase of one record."""
    return median(record.phases[phase].seconds) if phase in record.phases else None


def peak_memory_bytes(record: Record) -> int | None:
    """The largest peak of loading, training and predicting of one record."""
    peaks = [record.phases[phase].peak_memory_bytes for phase in MEMORY_PHASES if phase in record.phases]
    return max((peak for peak in peaks if peak is not None), default=None)


def _reached(result: Result) -> bool:
    return result.quality("accuracy") is not None and not result.below_target


def _train(result: Result) -> Estimate:
    seconds = result.seconds("train")
    assert seconds
    return seconds


def _standing(fastest: Result, other: Result) -> str:
    ratio = statistics.ratio(fastest.values("train"), other.values("train"))
    if ratio is None:
        return "–"
    times = f"{significant(ratio.ratio, 2)} times as long"
    best, own = _train(fastest), _train(other)
    if ratio.low is None or best.high is None or own.low is None:
        return f"{times}, untested"
    return times if ratio.differs() and own.low > best.high else "no difference seen"


def _time(text: str | None) -> float | None:
    """Seconds since 1970 of a time in ISO 8601; None for what is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def show_estimate(found: Estimate) -> str:
    """Return a median in seconds with its interval, if it has one: 1.2 s (1.1 – 1.4 s)."""
    if found.low is None or found.high is None:
        return show_seconds(found.median)
    digits = 2 if show_seconds(found.low) != show_seconds(found.high) else 3
    median_, low, high = (show_seconds(value, digits) for value in (found.median, found.low, found.high))
    same_unit = low.split()[-1] == high.split()[-1]
    return f"{median_} ({low.split()[0] if same_unit else low} – {high})"
